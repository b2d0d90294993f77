"""The YOLO family's heads: graph against reference, and both against what the libraries themselves decode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from yolo_graphs import Arrays, decoded, kept, tensors

from generator import graph
from generator.cli import run
from generator.detection import Answers
from generator.errors import SurgeryError
from generator.heads import Head
from generator.load import load_all
from generator.nms import Nms
from generator.pipeline import Pipeline
from generator.plugin import family
from generator.spec import Spec
from generator.tensors import Tensor

FIXTURES = sorted((Path(__file__).parent / "fixtures" / "heads").glob("*.npz"))
IMAGE = Tensor("images", "FP32", (3, 64, 96))
GRIDS = ((8, 12), (4, 6), (2, 3))
#: For each grid as many.
ANCHORS = (((10, 13), (16, 30)), ((30, 61), (62, 45)), ((116, 90), (156, 198)))


def head_of(said: dict[str, Any]) -> Head:
    """As a spec would state it."""
    made = family("generator.heads")[said["kind"]](**said)
    assert isinstance(made, Head)
    return made


def same(found: Answers, expected: Answers, boxes: float = 1e-3, scores: float = 1e-5) -> None:
    """Boxes in pixels."""
    size = np.maximum(1, np.abs(expected.boxes) / 1000)
    np.testing.assert_allclose(found.boxes / size, expected.boxes / size, rtol=0, atol=boxes)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=scores)
    assert set(found.extras) == set(expected.extras)
    for name, values in expected.extras.items():
        np.testing.assert_allclose(found.extras[name], values, rtol=1e-5, atol=1e-4, err_msg=name)


def read(path: Path) -> tuple[dict[str, Any], Arrays, Arrays]:
    """Meta, raw outputs, truth."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    meta = json.loads(str(arrays.pop("meta")))
    assert meta["library"]
    raw = {key.removeprefix("raw/"): array for key, array in arrays.items() if key.startswith("raw/")}
    return meta, raw, {key: array for key, array in arrays.items() if not key.startswith("raw/")}


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: str(path.stem))
def test_heads_decode_what_the_libraries_decode(path: Path) -> None:
    """Before suppression: both the reference and the graph. After it: head and NMS as one graph, and both references."""
    meta, raw, truth = read(path)
    head, image = head_of(meta["head"]), Tensor("images", "FP32", (3, *meta["size"]))
    _, found = decoded(head, image, raw)
    answers = head.reference(image, raw)
    same(found, answers)
    if "boxes" in truth:
        extras = {key.removeprefix("extra/"): array for key, array in truth.items() if key.startswith("extra/")}
        same(answers, Answers(truth["boxes"], truth["scores"], extras))
        same(found, Answers(truth["boxes"], truth["scores"], extras))
        return
    nms = family("generator.nms")[meta["nms"].get("kind", "onnx")](**meta["nms"])
    assert isinstance(nms, Nms)
    for result in (kept(head, image, raw, nms), nms.reference(answers, head.candidates(image, tensors(raw)))):
        rows = listed(result)
        if meta.get("cut"):  # its own boxes end at the picture's edge, after the suppression
            rows[:, :4] = rows[:, :4].clip(0, np.array(meta["size"])[[1, 0, 1, 0]])
        np.testing.assert_allclose(ordered(rows), ordered(truth["kept"]), rtol=1e-5, atol=1e-3)
    assert len(truth["kept"]) > 5


def listed(result: Any) -> NDArray[np.float64]:
    """The first picture's detections: box, score, class, extras."""
    count = int(result["num_dets"][0, 0])
    parts = [result[name][0, :count].reshape(count, -1) for name in ("det_boxes", "det_scores", "det_classes")]
    parts += [
        result[f"det_{name}"][0, :count].reshape(count, -1) for name in ("keypoints", "masks", "angle") if f"det_{name}" in result
    ]
    rows: NDArray[np.float64] = np.concatenate(parts, 1).astype(np.float64)
    return rows


def ordered(rows: Any) -> Any:
    """Libraries list by class or by score."""
    return rows[np.lexsort([rows[:, 4], rows[:, 5]])]


def test_every_fixture_is_there() -> None:
    kinds = {json.loads(str(np.load(path)["meta"]))["head"]["kind"] for path in FIXTURES}
    assert kinds == {"yolov5", "yolov8", "yolov10", "yolox", "nanodet"}
    assert sum(path.stat().st_size for path in FIXTURES) < 2**20


def level(grid: tuple[int, int], channels: int, form: str, anchors: int = 1) -> tuple[int, ...]:
    """A raw output's shape without the batch."""
    rows, columns = grid
    cells = rows * columns
    return {
        "first": (anchors * channels, rows, columns),
        "last": (rows, columns, anchors * channels),
        "five": (anchors, rows, columns, channels),
        "flat": (anchors * cells, channels),
        "flat first": (channels, cells),
    }[form]


def levels(channels: int, form: str, anchors: int = 1, grids: Any = GRIDS, name: str = "t") -> dict[str, tuple[int, ...]]:
    return {f"{name}{i}": level(grid, channels, form, anchors) for i, grid in enumerate(grids)}


C = 5
N = sum(rows * columns for rows, columns in GRIDS)
PICO = (*GRIDS, (1, 2))
V8, V5, V2 = {"kind": "yolov8"}, {"kind": "yolov5", "anchors": ANCHORS}, {"kind": "yolov2", "anchors": [(1, 2), (3, 1.5), (4, 4)]}
#: What a head is told, and the shapes of its raw outputs.
CASES: dict[str, tuple[dict[str, Any], dict[str, tuple[int, ...]]]] = {
    "yolov2": (V2, {"region": (3 * (5 + C), 2, 3)}),
    "yolov2 last": (V2 | {"softmax": False}, {"region": (2, 3, 3 * (5 + C))}),
    "yolov2 stride": (V2 | {"strides": [16]}, {"region": (3 * (5 + C), 4, 6)}),
    "yolov5 five axes": (V5, levels(5 + C, "five", 2)),
    "yolov5 first": (V5, levels(5 + C, "first", 2)),
    "yolov5 last": (V5, levels(5 + C, "last", 2)),
    "yolov5 flat": (V5, levels(5 + C, "flat", 2)),
    "yolov5 masks": (V5 | {"masks": 4}, {"protos": (4, 16, 24), **levels(9 + C, "five", 2)}),
    "yolov5 decoded": ({"kind": "yolov5"}, {"o": (77, 5 + C)}),
    "yolov5 decoded first": ({"kind": "yolov5", "masks": 2}, {"o": (7 + C, 77)}),
    "yolov8 first": (V8, levels(64 + C, "first")),
    "yolov8 last": (V8, levels(64 + C, "last")),
    "yolov8 flat": (V8, levels(64 + C, "flat")),
    "yolov8 joined": (V8, {"all": (64 + C, N)}),
    "yolov8 joined last": (V8, {"all": (N, 64 + C)}),
    "yolov8 apart": (V8, {**levels(C, "first", name="c"), **levels(64, "first", name="b")}),
    "yolov8 apart, unlike": (V8, {**levels(C, "last", name="c"), **levels(64, "flat first", name="b")}),
    "yolov8 apart, joined": (V8, {"c": (C, N), "b": (64, N)}),
    "yolov8 P2 to P6": (V8 | {"strides": [4, 8, 64]}, levels(64 + C, "first", grids=[(16, 24), (8, 12), (1, 2)])),
    "yolov8 no distribution": (V8 | {"reg_max": 1, "activated": True}, levels(4 + C, "first")),
    "yolov8 scores first": (V8 | {"scores_first": True}, levels(64 + C, "first")),
    "yolov8 decoded": (V8, {"output0": (4 + C, 55)}),
    "yolov8 decoded last": (V8, {"output0": (55, 4 + C)}),
    "yolov8 everything behind": (V8 | {"keypoints": [3, 3], "masks": 2, "angle": True}, {"output0": (4 + C + 12, 55)}),
    "yolov8 pose, x and y only": (V8 | {"keypoints": [4, 2]}, {"output0": (55, 4 + C + 8)}),
    "yolov10": ({"kind": "yolov10"}, {"output0": (30, 6)}),
    "yolov10 first": ({"kind": "yolov10", "keypoints": [2, 3]}, {"output0": (12, 30)}),
    "yolov10 turned": ({"kind": "yolov10", "angle": True, "masks": 3}, {"output0": (30, 10), "protos": (3, 16, 24)}),
    "yolox": ({"kind": "yolox"}, {"output": (N, 5 + C)}),
    "yolox first": ({"kind": "yolox", "activated": False}, levels(5 + C, "first")),
    "yolox decoded": ({"kind": "yolox", "decoded": True}, {"output": (5 + C, N)}),
    "yolox apart": (
        {"kind": "yolox"},
        {**levels(C, "first", name="c"), **levels(4, "first", name="b"), **levels(1, "last", name="o")},
    ),
    "nanodet": ({"kind": "nanodet", "variant": "nanodet"}, {"output": (N, C + 32)}),
    "nanodet plus": ({"kind": "nanodet", "variant": "nanodet-plus", "reg_max": 3}, {"output": (N + 2, C + 16)}),
    "picodet": (
        {"kind": "nanodet", "variant": "picodet"},
        {**levels(C, "flat", grids=PICO, name="c"), **levels(32, "flat", grids=PICO, name="d")},
    ),
    "picodet levels": ({"kind": "nanodet", "variant": "picodet", "activated": False}, levels(C + 32, "first", grids=PICO)),
    "picodet decoded": ({"kind": "nanodet", "variant": "picodet", "decoded": True}, {"s": (C, 99), "b": (99, 4)}),
}  # fmt: skip


def random(shapes: dict[str, tuple[int, ...]], batch: int, kind: str, seed: int) -> Arrays:
    """Ordinary values, or extreme ones; YOLOv10's class numbers are whole."""
    numbers = np.random.default_rng(seed)
    raw: Arrays = {n: numbers.normal(0, 3, (batch, *shape)).astype(np.float32) for n, shape in shapes.items()}
    if kind == "yolov10":
        for array in raw.values():
            rows = array if array.shape[2] < 30 else array.transpose(0, 2, 1)
            rows[..., 5] = numbers.integers(-1, C + 1, rows.shape[:-1])
    return raw


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_the_graph_equals_the_reference(name: str, batch: int) -> None:
    said, shapes = CASES[name]
    head = head_of(said | {"classes": C})
    raw = random(shapes, batch, said["kind"], seed=batch)
    _, found = decoded(head, IMAGE, raw)
    same(found, head.reference(IMAGE, raw), boxes=2e-3)


@pytest.mark.parametrize("name", CASES)
def test_a_batch_fixed_at_one_and_any_order_of_outputs(name: str) -> None:
    said, shapes = CASES[name]
    head = head_of(said | {"classes": C})
    raw = random(shapes, 1, said["kind"], seed=7)
    turned = dict(reversed(raw.items()))
    _, found = decoded(head, Tensor("images", "FP32", (1, 3, 64, 96), batched=False), turned, batched=False)
    same(found, head.reference(IMAGE, raw), boxes=2e-3)


@pytest.mark.parametrize("name", CASES)
def test_extreme_values_stay_what_the_formula_says(name: str) -> None:
    """Saturated logits, and sizes near float32's end: no NaN where the formula has a number."""
    said, shapes = CASES[name]
    head = head_of(said | {"classes": C})
    raw = random(shapes, 1, said["kind"], seed=3)
    numbers = np.random.default_rng(4)
    for array in raw.values():
        extreme = numbers.choice(np.array([-80, -20, 0, 20, 80], np.float32), array.shape)
        array[:] = array if said["kind"] == "yolov10" else extreme
    with np.errstate(over="ignore"):
        expected = head.reference(IMAGE, raw)
    _, found = decoded(head, IMAGE, raw)
    assert np.isfinite(expected.scores).all()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-5, atol=2e-3)


#: What is said, what is found, and what the one message says of it.
MISFITS: list[tuple[dict[str, Any], dict[str, tuple[int, ...]], str]] = [
    (V8, {"o": (84, N)}, r"expected FP32, for each grid \(8x12, 4x6, 2x3\) \[batch, 69, .*decoded one FP32 \[batch, 9, "),
    (V8, {"o": (9, -1)}, "a fixed number of boxes"),
    (V8 | {"reg_max": 1}, {"o": (9, N)}, "both fit: say `decoded`"),
    (V8 | {"decoded": True}, levels(69, "first"), r"expected one FP32 \[batch, 9, boxes\]"),
    (V8 | {"decoded": False}, {"o": (9, 44)}, "expected FP32, for each grid"),
    (V8 | {"outputs": ["p"]}, {"o": (9, N)}, "expected outputs named p"),
    (V8 | {"masks": 2}, levels(69, "first"), "taken from decoded outputs only"),
    (V8, {"o": (9, 44), "p": (9, 55)}, "several fit: name it in `outputs`"),
    ({"kind": "yolov5"}, {"o": (44, 10), "p": (10, 55)}, "several fit: name it in `outputs`"),
    (V8, dict.fromkeys("abc", (69, -1, -1)), "say their names in `outputs`"),
    (V8, levels(69, "first")  | {"t3": (69, 4, 6)}, "say their names in `outputs`"),
    (V5, levels(5 + C, "first", 3), r"\[batch, 20, rows, columns\] or \[batch, 2, rows, columns, 10\]"),
    (V5 | {"anchors": ANCHORS[:2]}, levels(5 + C, "first", 2), "anchors for 3 strides, as many for each"),
    (V5 | {"angle": True}, levels(5 + C, "first", 2), "no keypoints or angle before decoding"),
    ({"kind": "yolov5"}, levels(5 + C, "first", 2), "for raw ones say `anchors`"),
    (V2, {"region": (30, 4, 6)}, r"for each grid \(2x3\) \[batch, 30, rows, columns\]"),
    ({"kind": "yolox"}, {"o": (N, 4 + C)}, r"\[batch, 126, 10\] of all"),
    ({"kind": "yolov10"}, {"o": (30, 7)}, r"one FP32 \[batch, boxes, 6\]"),
    ({"kind": "yolov10"}, {"o": (30, 6), "p": (6, 5)}, "several fit: say `output`"),
    ({"kind": "nanodet", "variant": "picodet"}, {"o": (N, C + 32)}, r"\(8x12, 4x6, 2x3, 1x2\)"),
    ({"kind": "nanodet", "variant": "picodet", "decoded": True}, {"o": (N, 4)}, r"\[batch, boxes, 4\] and \[batch, 5, boxes\]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "shapes", "message"), MISFITS, ids=[f"{said['kind']} {number}" for number, (said, _, _) in enumerate(MISFITS)]
)
def test_a_head_that_does_not_fit_says_what_it_found_and_what_it_takes(
    said: dict[str, Any], shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    head, outputs = head_of(said | {"classes": C}), tuple(Tensor(n, "FP32", s) for n, s in shapes.items())
    with pytest.raises(SurgeryError, match=message) as caught:
        head.candidates(IMAGE, outputs)
    assert all(str(output) in caught.value.message for output in outputs)


def test_raw_outputs_of_an_open_input_size() -> None:
    raw = tensors(random(levels(69, "first"), 1, "", 0))
    with pytest.raises(SurgeryError, match=r"of an input of fixed size, not images FP32\[batch, 3, \?, \?\]"):
        head_of(V8 | {"classes": C}).candidates(Tensor("images", "FP32", (3, -1, -1)), raw)


@pytest.mark.parametrize("name", CASES)
def test_half_precision_outputs_are_refused(name: str) -> None:
    said, shapes = CASES[name]
    halves = tuple(Tensor(output, "FP16", shape) for output, shape in shapes.items())
    with pytest.raises(SurgeryError, match=r"FP16\[batch, .* expected .*FP32"):
        head_of(said | {"classes": C}).candidates(IMAGE, halves)


def test_names_tell_apart_what_shapes_do_not() -> None:
    """As many classes as box channels; and sizes that the export left open."""
    head = head_of(V8 | {"classes": 64, "outputs": [f"{kind}{i}" for i in range(3) for kind in "bc"]})
    raw = random({**levels(64, "first", name="c"), **levels(64, "first", name="b")}, 1, "yolov8", seed=1)
    _, found = decoded(head, IMAGE, raw)
    np.testing.assert_allclose(found.scores[0, :96], 1 / (1 + np.exp(-raw["c0"].reshape(64, -1).T)), atol=1e-6)
    same(found, head.reference(IMAGE, raw))
    opened = tuple(Tensor(f"t{i}", "FP32", (69, -1, -1)) for i in range(3))
    assert head_of(V8 | {"classes": C, "outputs": ["t0", "t1", "t2"]}).candidates(IMAGE, opened).boxes == N


def test_a_cube_is_taken_channels_first() -> None:
    """80 classes of 80 x 80 cells lie alike both ways; the boxes' tensor decides, and where that is no help, channels first."""
    head, cube = head_of({"kind": "yolov8", "classes": 8, "strides": [8]}), Tensor("images", "FP32", (3, 64, 64))
    for form in ("first", "last"):
        raw = random({"c": (8, 8, 8), "b": level((8, 8), 64, form)}, 1, "yolov8", seed=2)
        cells = raw["c"].reshape(8, 64).T if form == "first" else raw["c"].reshape(64, 8)
        np.testing.assert_allclose(head.reference(cube, raw).scores[0], 1 / (1 + np.exp(-cells)), atol=1e-6)
        same(decoded(head, cube, raw)[1], head.reference(cube, raw))


BUILT: list[tuple[str, str, int]] = [
    ("{kind: yolov8, classes: 3, strides: [8]}", "onnx", 67),
    ("{kind: yolov5, classes: 3, strides: [8], anchors: [[[9, 9], [20, 12]]]}", "onnx", 16),
    ("{kind: yolox, classes: 3, strides: [8], activated: false}", "onnx", 8),
    ("{kind: yolov2, classes: 3, strides: [8], anchors: [[1, 2]]}", "onnx", 8),
    ("{kind: yolov10, classes: 3}", "none", 6),
    ("{kind: nanodet, variant: nanodet-plus, classes: 3, strides: [8], activated: false}", "onnx", 35),
]


@pytest.mark.parametrize(("head", "nms", "channels"), BUILT, ids=[head.split(",")[0].split()[1] for head, _, _ in BUILT])
def test_each_head_from_spec_to_model(tmp_path: Path, head: str, nms: str, channels: int) -> None:
    """A network of one convolution, built; what the model answers is what both references make of its raw outputs."""
    numbers = np.random.default_rng(channels)
    weights = numpy_helper.from_array(numbers.normal(0, 0.2, (channels, 3, 8, 8)).astype(np.float32), "w")
    nodes = [helper.make_node("Conv", ["images", "w"], ["raw"], strides=[8, 8])]
    shape: list[Any] = ["batch", channels, 4, 6]
    if nms == "none":
        nodes[0].output[0] = "grid"
        nodes.append(helper.make_node("Reshape", ["grid", "shape"], ["rows"]))
        nodes.append(helper.make_node("Round", ["rows"], ["raw"]))  # class numbers are whole
        shape = ["batch", channels, 24]
    size = numpy_helper.from_array(np.array([0, channels, 24]), "shape")
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 48])],
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, shape)], [weights, size],
    )  # fmt: skip
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "m.onnx")
    threshold = "score_threshold: 0.05, max_detections: 12"
    spec = tmp_path / "s.yaml"
    spec.write_text(f"name: tiny\ncheckpoint: {{kind: onnx, file: m.onnx}}\nhead: {head}\nnms: {{kind: {nms}, {threshold}}}\n")
    assert run(["build", str(spec), "-o", str(tmp_path / "repo")]) == 0
    image = numbers.normal(0, 1, (3, 3, 32, 48)).astype(np.float32)
    raw = graph.run(graph.session(tmp_path / "m.onnx"), {"images": image})
    found = graph.run(graph.session(tmp_path / "repo" / "tiny" / "1" / "model.onnx"), {"images": image})
    ((path, read_spec, _),) = load_all([spec])
    assert isinstance(read_spec, Spec)
    pipeline = Pipeline(path, read_spec)
    assert pipeline.head is not None
    assert pipeline.spec.nms is not None
    assert pipeline.candidates is not None
    expected = pipeline.spec.nms.reference(pipeline.head.reference(pipeline.raw.inputs[0], raw), pipeline.candidates)
    assert set(found) == set(expected)
    assert (found["num_dets"] > 0).any()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values.astype(np.float32), rtol=1e-4, atol=1e-3, err_msg=name)
