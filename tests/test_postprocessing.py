"""The last step on the server against the plug-ins' NumPy references, against PyTorch, and against answers known by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import served_code
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from generator.errors import SpecError
from generator.postprocessing.classification import Classification
from generator.postprocessing.detections import Detections
from generator.tensors import Tensor

detections, classification = served_code.load("detections"), served_code.load("classification")
CONTRACT = (
    Tensor("num_dets", "INT32", (1,)),
    Tensor("det_boxes", "FP32", (3, 4)),
    Tensor("det_scores", "FP32", (3,)),
    Tensor("det_classes", "INT32", (3,)),
)
LOGITS = Tensor("logits", "FP32", (4,))
NO_LABELS = np.array([], np.object_)


def listed(folder: Path, *names: str, text: str = "") -> Path:
    file = folder / "labels.txt"
    file.write_text(text or "\n".join(names) + "\n", encoding="utf-8")
    return file


def found(counts: list[int], geometry: list[list[float]], **given: Any) -> dict[str, NDArray[Any]]:
    """Three rows a picture; what lies behind the counted ones is rubbish, as some engines leave it."""
    n = len(counts)
    tensors: dict[str, NDArray[Any]] = {
        "num_dets": np.array(counts, np.int32)[:, None],
        "det_boxes": np.full((n, 3, 4), np.nan, np.float32),
        "det_scores": np.full((n, 3), np.inf, np.float32),
        "det_classes": np.full((n, 3), -7, np.int32),
        "geometry": np.array(geometry, np.float32),
    }
    for name, rows in given.items():
        values = tensors[name]
        for b, row in enumerate(rows):
            for i, value in enumerate(row):
                values[b, i] = value
    return tensors


def text(labels: NDArray[Any]) -> list[Any]:
    """Nested lists of str: the server's code gives str, its wire and the reference bytes."""
    return [text(v) if isinstance(v, np.ndarray) else v.decode() if isinstance(v, bytes) else str(v) for v in labels]


def test_boxes_go_back_to_the_original_and_stay_inside_it() -> None:
    answer = detections.original(
        found(
            [2, 0, 1],
            [[0.5, 0.5, 10, 20, 200, 100], [1, 1, 0, 0, 50, 50], [2, 4, -40, -10, 60, 40]],
            det_boxes=[[[20, 30, 60, 50], [0, 0, 900, 900]], [], [[-100, -2, 0, 30]]],
            det_scores=[[0.75, 0.5], [], [0.25]],
            det_classes=[[1, 9], [], [0]],
        ),
        np.array(["cat", "dög"], np.object_),
    )
    assert {name: (values.dtype, values.shape) for name, values in answer.items()} == {
        "num_dets": (np.int32, (3, 1)),
        "det_boxes": (np.float32, (3, 3, 4)),
        "det_scores": (np.float32, (3, 3)),
        "det_classes": (np.int32, (3, 3)),
        "det_labels": (np.object_, (3, 3)),
    }
    assert answer["num_dets"].tolist() == [[2], [0], [1]]
    nothing = [0.0] * 4
    assert answer["det_boxes"].tolist() == [
        [[20, 20, 100, 60], [0, 0, 200, 100], nothing],
        [nothing] * 3,
        [[0, 2, 20, 10], nothing, nothing],
    ]
    assert answer["det_scores"].tolist() == [[0.75, 0.5, 0], [0, 0, 0], [0.25, 0, 0]]
    assert answer["det_classes"].tolist() == [[1, 9, 0], [0, 0, 0], [0, 0, 0]]
    assert answer["det_labels"].tolist() == [["dög", "class 9", ""], ["", "", ""], ["cat", "", ""]]


def test_without_labels_the_class_number_is_the_label() -> None:
    given_ = found([1], [[1, 1, 0, 0, 9, 9]], det_boxes=[[[1, 2, 3, 4]]], det_scores=[[0.5]], det_classes=[[93]])
    assert detections.original(given_, NO_LABELS)["det_labels"].tolist() == [["93", "", ""]]
    assert text(Detections().reference(given_, given_["geometry"])["det_labels"]) == [["93", "", ""]]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Detections:
    return Detections(labels=listed(tmp_path_factory.mktemp("labels"), "a", "b", "c", "d"))


finite = st.floats(-1e4, 1e4, width=32)


@st.composite
def batches(draw: st.DrawFn) -> dict[str, NDArray[Any]]:
    counts = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    scale, shift, size = st.floats(0.0625, 16, width=32), st.integers(-500, 500), st.integers(1, 5000)
    geometry = [[*(draw(s) for s in (scale, scale, shift, shift, size, size))] for _ in counts]
    boxes = [draw(st.lists(st.lists(finite, min_size=4, max_size=4), min_size=n, max_size=n)) for n in counts]
    scores = [draw(st.lists(st.floats(0, 1, width=32), min_size=n, max_size=n)) for n in counts]
    classes = [draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)) for n in counts]
    return found(counts, geometry, det_boxes=boxes, det_scores=scores, det_classes=classes)


@settings(max_examples=150, deadline=None)
@given(tensors=batches(), labelled=st.booleans())
def test_detections_do_as_the_reference(four: Detections, tensors: dict[str, NDArray[Any]], labelled: bool) -> None:
    kind = four if labelled else Detections()
    answer = detections.original(tensors, np.array(kind.label_names(), np.object_))
    wanted = kind.reference({name: v for name, v in tensors.items() if name != "geometry"}, tensors["geometry"])
    assert set(answer) == set(wanted)
    for name in ("num_dets", "det_scores", "det_classes"):
        assert (answer[name] == wanted[name]).all(), name
    # float32 on the server: half a digit of the largest canvas coordinate, divided by the scale, is below this
    assert answer["det_boxes"] == pytest.approx(wanted["det_boxes"], rel=1e-5, abs=0.05)
    assert text(answer["det_labels"]) == text(wanted["det_labels"])


def test_detections_wiring(tmp_path: Path) -> None:
    kind = Detections(labels=listed(tmp_path, "cat", "dog"))
    assert kind.label_names() == ["cat", "dog"]
    assert kind.parameters() == {"labels": "labels.txt"}
    assert [str(t) for t in kind.inputs(CONTRACT)][-1] == "geometry FP32[batch, 6]"
    assert [str(t) for t in kind.outputs(CONTRACT)][-1] == "det_labels BYTES[batch, 3]"
    assert Detections().parameters() == {}


def test_detections_without_the_contract_are_refused() -> None:
    with pytest.raises(SpecError, match=r"takes num_dets, det_boxes.*the model gives logits FP32\[batch, 4\]; add `nms:`"):
        Detections().inputs((LOGITS,))


def test_best_first_and_of_equals_the_lower_class() -> None:
    logits = np.array([[1, 3, 3, 2], [0, 0, 0, 0]], np.float32)
    answer = classification.best(logits, "none", 3, np.array(["a", "b", "c", "é"], np.object_))
    assert answer["class_ids"].tolist() == [[1, 2, 3], [0, 1, 2]]
    assert answer["class_scores"].tolist() == [[3, 3, 2], [0, 0, 0]]
    assert answer["class_labels"].tolist() == [["b", "c", "é"], ["a", "b", "c"]]
    assert [answer[name].dtype for name in ("class_scores", "class_ids", "class_labels")] == [np.float32, np.int32, np.object_]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_sure_model_is_ranked_by_its_logits(activation: Any) -> None:
    """The scores of all but one class round to 0 (softmax), those of several to 1 (sigmoid)."""
    logits = np.array([[20, -300, 40, 200]], np.float32)
    answer = classification.best(logits, activation, 4, NO_LABELS)
    assert answer["class_ids"].tolist() == [[3, 2, 0, 1]]
    assert answer["class_labels"].tolist() == [["3", "2", "0", "1"]]
    wanted = Classification(top_k=4, activation=activation).reference({"x": logits}, np.zeros((1, 6), np.float32))
    assert wanted["class_ids"].tolist() == [[3, 2, 0, 1]]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("reach", [1, 1000, 3e38])
def test_activations_are_pytorchs(activation: str, reach: float) -> None:
    logits = (np.random.default_rng(1).uniform(-1, 1, (5, 40)) * reach).astype(np.float32)
    scores = classification.activate(logits, activation)
    values = torch.from_numpy(logits).double()
    wanted = {"softmax": values.softmax(-1), "sigmoid": values.sigmoid(), "none": values}[activation].numpy()
    assert scores.dtype == np.float32
    assert scores == pytest.approx(wanted, rel=1e-6, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.floats(-200, 200, width=32), min_size=6, max_size=6), min_size=1, max_size=4),
    st.integers(1, 6),
    st.sampled_from(["softmax", "sigmoid", "none"]),
)
def test_classification_does_as_the_reference(rows: list[list[float]], top_k: int, activation: Any) -> None:
    logits = np.array(rows, np.float32)
    wanted = Classification(top_k=top_k, activation=activation).reference({"x": logits}, np.zeros((len(rows), 6), np.float32))
    answer = classification.best(logits, activation, top_k, NO_LABELS)
    assert (answer["class_ids"] == wanted["class_ids"]).all()
    assert answer["class_scores"] == pytest.approx(wanted["class_scores"], rel=1e-6, abs=1e-12)
    assert text(answer["class_labels"]) == text(wanted["class_labels"])


def test_classification_wiring(tmp_path: Path) -> None:
    kind = Classification(top_k=2, labels=listed(tmp_path, "a", "b", "c", "d"))
    assert kind.inputs((LOGITS,)) == (LOGITS,)
    assert [str(t) for t in kind.outputs((LOGITS,))] == [
        "class_scores FP32[batch, 2]",
        "class_ids INT32[batch, 2]",
        "class_labels BYTES[batch, 2]",
    ]
    assert kind.parameters() == {"top_k": "2", "activation": "softmax", "labels": "labels.txt"}
    assert "labels" not in Classification().parameters()


@pytest.mark.parametrize(
    "outputs",
    [CONTRACT, (), (LOGITS, LOGITS), (Tensor("x", "FP16", (4,)),), (Tensor("x", "FP32", (4, 4)),), (Tensor("x", "FP32", (-1,)),)],
)
def test_classification_takes_one_row_of_logits_only(outputs: tuple[Tensor, ...]) -> None:
    with pytest.raises(SpecError, match=re.escape(f"the model gives {', '.join(map(str, outputs))}")):
        Classification(top_k=1).inputs(outputs)


def test_counts_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"labels\.txt has 3 labels, the model has 4 classes"):
        Classification(top_k=1, labels=listed(tmp_path, "a", "b", "c")).inputs((LOGITS,))
    with pytest.raises(SpecError, match=r"top_k is 5, the model has 4 classes; say at most 4"):
        Classification().inputs((LOGITS,))


@pytest.mark.parametrize("template", [detections, classification])
def test_both_sides_read_a_labels_file_alike(template: Any, tmp_path: Path) -> None:
    """Windows line ends and byte order mark, trailing lines, blanks around a name, and what is not ASCII."""
    file = listed(tmp_path, text="\ufeffcat\r\n traffic light \r\ndög\r\n\r\n")
    assert template.read_labels(file).tolist() == ["cat", "traffic light", "dög"]
    assert Detections(labels=file).label_names() == ["cat", "traffic light", "dög"]


@pytest.mark.parametrize(
    ("content", "message"), [(b"cat\n\ndog\n", "labels.txt:2: a blank line"), (b"\xff\xfecat", "labels.txt: not UTF-8 text")]
)
def test_a_labels_file_that_would_shift_the_classes_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    with pytest.raises(SpecError, match=message):
        Detections(labels=file).label_names()


def test_extras_follow_their_boxes_and_key_points_go_back_to_the_picture() -> None:
    tensors = found(
        [2], [[0.5, 0.25, 10, 20, 400, 300]], det_boxes=[[[10, 20, 60, 70], [20, 30, 40, 50]]], det_scores=[[0.9, 0.8]]
    )
    tensors["det_classes"][:] = 0
    tensors["det_mask"] = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    tensors["det_keypoints"] = np.array([[[[10, 20, 0.5]], [[60, 45, 0.25]], [[np.nan] * 3]]], np.float32)
    answer = detections.original(tensors, NO_LABELS)
    assert answer["det_keypoints"][0].tolist() == [[[0, 0, 0.5]], [[100, 100, 0.25]], [[0, 0, 0]]]
    assert answer["det_mask"][0].tolist() == [[0, 1], [2, 3], [0, 0]]
    geometry = tensors.pop("geometry")
    wanted: dict[str, NDArray[Any]] = dict(Detections().reference(tensors, geometry))
    for name in ("det_keypoints", "det_mask", "det_boxes"):
        np.testing.assert_allclose(answer[name], wanted[name], err_msg=name)
    outputs = (*CONTRACT, Tensor("det_mask", "FP32", (3, 2)))
    assert [t.name for t in Detections().inputs(outputs)] == [*(t.name for t in outputs), "geometry"]
    assert [t.name for t in Detections().outputs(outputs)] == [*(t.name for t in outputs), "det_labels"]
