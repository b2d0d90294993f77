"""The NMS strategies against their NumPy reference, against each other, and against NMS that is not ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nms_graphs import Arrays, Case, model, run
from numpy.typing import NDArray

from generator import plugin_nodes
from generator.detection import Activation, Candidates, Coding, Decoded
from generator.errors import SurgeryError
from generator.nms import Nms
from generator.nms.efficient_nms_trt import EfficientNms
from generator.nms.none import NoNms
from generator.nms.onnx import OnnxNms
from generator.tensors import Tensor

N, CLASSES = 24, 4
#: Everything that a strategy can be told, a few at a time.
SETTINGS: list[dict[str, Any]] = [
    {},
    {"max_detections": 1},
    {"max_detections": N * (CLASSES - 1)},
    {"score_threshold": 0.0, "max_detections": 40},
    {"score_threshold": 0.001, "iou_threshold": 0.0},
    {"score_threshold": 0.9, "iou_threshold": 1.0},
    {"class_agnostic": True},
    {"class_agnostic": True, "pre_nms_top_k": 9},
    {"multi_label": False},
    {"pre_nms_top_k": 9},
    {"pre_nms_top_k": 9, "multi_label": False, "score_threshold": 0.002},
]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Boxes on a coarse grid, so that equal, touching, nested and empty ones are common; scores with ties, NaN and nothing."""
    batch, random = draw(st.integers(1, 8)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    per_class, by_class = draw(st.booleans()), draw(st.booleans())
    coding: Coding = draw(st.sampled_from(("corners", "centre")))
    activation: Activation = draw(st.sampled_from(("none", "sigmoid")))
    shape = (batch, N, CLASSES, 2) if per_class else (batch, N, 2)
    low, size = random.integers(0, 8, shape) * 4.0, random.integers(draw(st.integers(0, 1)), 6, shape) * 4.0
    boxes = np.concatenate([low + size / 2, size] if coding == "centre" else [low, low + size], -1).astype(np.float32)
    levels = draw(st.sampled_from([3, 40, 4000]))  # few: ties are common
    scores = random.integers(0, levels, (batch, N, CLASSES)) / levels * draw(st.sampled_from([0.01, 0.2, 1.0]))
    scores += 1e-5 * (activation == "sigmoid")  # not at a threshold itself, which is rounded once more as a logit
    scores = scores if activation == "none" else np.log(np.maximum(scores, 1e-6)) - np.log1p(-np.minimum(scores, 1 - 1e-6))
    scores[random.random(scores.shape) < draw(st.sampled_from([0.0, 0.2]))] = np.nan
    scores = np.ascontiguousarray(scores.transpose(0, 2, 1) if by_class else scores).astype(np.float32)
    extras: Arrays = {
        "mask": random.random((batch, N, 3)).astype(np.float32),
        "angle": random.random((batch, N)).astype(np.float32),
    }
    known = Candidates(
        N, CLASSES, draw(st.sampled_from([None, 0, 2, CLASSES - 1])), per_class,
        (Tensor("mask", "FP32", (3,)), Tensor("angle", "FP32", ())),
    )  # fmt: skip
    return Case(known, boxes, scores, extras, Decoded("boxes", "scores", coding, activation, by_class))


def bare(case: Case) -> Case:
    """Without extras."""
    return replace(case, candidates=replace(case.candidates, extras=()), extras={})


def same(found: Arrays, expected: Arrays) -> None:
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-6, err_msg=name)


def _told(kind: type[Nms], said: dict[str, Any]) -> Nms:
    return kind(**{"max_detections": 12, **{k: v for k, v in said.items() if k in kind.model_fields}})


@settings(max_examples=50, deadline=None)
@given(case=cases(), said=st.sampled_from(SETTINGS))
def test_the_onnx_graph_equals_the_reference(case: Case, said: dict[str, Any]) -> None:
    nms = _told(OnnxNms, said)
    same(run(nms, case), nms.reference(case.answers, case.candidates))


@settings(max_examples=25, deadline=None)
@given(case=cases(), said=st.sampled_from(SETTINGS))
def test_fixed_shapes_give_the_same(case: Case, said: dict[str, Any]) -> None:
    nms = _told(OnnxNms, said | {"fixed_shapes": True})
    same(run(nms, case), nms.reference(case.answers, case.candidates))


@settings(max_examples=25, deadline=None)
@given(case=cases(), said=st.sampled_from(SETTINGS))
def test_no_suppression_equals_the_reference(case: Case, said: dict[str, Any]) -> None:
    nms = _told(NoNms, said)
    same(run(nms, case), nms.reference(case.answers, case.candidates))


@settings(max_examples=50, deadline=None)
@given(case=cases(), said=st.sampled_from(SETTINGS))
def test_the_plugin_as_documented_gives_what_onnx_gives(case: Case, said: dict[str, Any]) -> None:
    plugin, onnx = _told(EfficientNms, said), _told(OnnxNms, said)
    same(plugin_nodes.run(model(plugin, bare(case)), bare(case).feeds), run(onnx, bare(case)))


def torchvision_nms(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> list[int]:
    """torchvision.ops.nms as it is defined: in the order of scores, what overlaps a kept box by more than the threshold goes."""
    x1, y1, x2, y2 = boxes.T
    areas, order, kept = (x2 - x1) * (y2 - y1), np.argsort(-scores, kind="stable"), []
    while len(order):
        i, rest = order[0], order[1:]
        kept.append(int(i))
        width = np.clip(np.minimum(x2[i], x2[rest]) - np.maximum(x1[i], x1[rest]), 0, None)
        inter = width * np.clip(np.minimum(y2[i], y2[rest]) - np.maximum(y1[i], y1[rest]), 0, None)
        with np.errstate(invalid="ignore", divide="ignore"):
            order = rest[~(inter / (areas[i] + areas[rest] - inter) > np.float32(threshold))]
    return kept


@settings(max_examples=40, deadline=None)
@given(case=cases(), iou=st.sampled_from([0.0, 0.3, 0.45, 0.7]))
def test_it_is_torchvisions_nms_class_by_class(case: Case, iou: float) -> None:
    """And torchvision's own where it can be imported: tests/test_nms_torchvision.py."""
    one = replace(bare(case), candidates=replace(case.candidates, extras=(), background=None))
    nms = OnnxNms(max_detections=N * CLASSES, iou_threshold=iou, score_threshold=0.05)
    found, answers = run(nms, one), one.answers
    for b in range(len(answers.boxes)):
        expected = []
        for c in range(CLASSES):
            chosen = np.flatnonzero(answers.scores[b, :, c] > np.float32(0.05))
            boxes = answers.boxes[b] if answers.boxes.ndim == 3 else answers.boxes[b, :, c]
            kept = chosen[torchvision_nms(boxes[chosen], answers.scores[b, chosen, c], iou)]
            expected += [(-float(answers.scores[b, i, c]), c, int(i), *boxes[i].tolist()) for i in kept]
        count = int(found["num_dets"][b, 0])
        assert count == len(expected)
        rows = zip(found["det_scores"][b, :count], found["det_classes"][b, :count], found["det_boxes"][b, :count], strict=True)
        mine = [(int(label), [round(float(v), 3) for v in box]) for _, label, box in rows]
        assert sorted(mine) == sorted((c, [round(v, 3) for v in box]) for _, c, _, *box in expected)
        np.testing.assert_allclose(found["det_scores"][b, :count], sorted((-s for s, *_ in expected), reverse=True), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(case=cases(), fixed=st.booleans())
def test_thresholds_from_the_request_are_each_pictures_own(case: Case, fixed: bool) -> None:
    runtime: Any = ("score_threshold",) if fixed else ("score_threshold", "iou_threshold")
    nms = OnnxNms(max_detections=N * (CLASSES - 1), runtime=runtime, fixed_shapes=fixed)
    random = np.random.default_rng(len(case.boxes))
    given_ = {name: random.choice([0.05, 0.3, 0.6], (len(case.boxes), 1)).astype(np.float32) for name in runtime}
    found = run(nms, case, given_)
    for b in range(len(case.boxes)):
        own = nms.model_copy(update={name: float(values[b, 0]) for name, values in given_.items()})
        one = replace(
            case,
            boxes=case.boxes[b : b + 1],
            scores=case.scores[b : b + 1],
            extras={k: v[b : b + 1] for k, v in case.extras.items()},
        )
        same({k: v[b : b + 1] for k, v in found.items()}, own.reference(one.answers, one.candidates))


def test_an_iou_threshold_for_each_picture_of_one_batch() -> None:
    """The two boxes overlap by a half: the same picture thrice, of which the strictest loses one."""
    case = simple([[0, 0, 10, 30], [0, 10, 10, 40]], [[0.9], [0.8]], batch=3)
    nms = OnnxNms(max_detections=2, runtime=("iou_threshold",))
    found = run(nms, case, {"iou_threshold": np.array([[0.6], [0.4], [1.0]], np.float32)})
    assert found["num_dets"].ravel().tolist() == [2, 1, 2]


def test_the_plugin_takes_a_score_threshold_from_the_request() -> None:
    case = simple([[0, 0, 9, 9], [20, 20, 29, 29]], [[0.9], [0.4]], batch=2)
    nms = EfficientNms(max_detections=2, runtime=("score_threshold",))
    limits = np.array([[0.2], [0.5]], np.float32)
    found = plugin_nodes.run(model(nms, case), {**case.feeds, "score_threshold": limits})
    assert found["num_dets"].ravel().tolist() == [2, 1]


def test_the_plugin_finds_extras_again_and_leaves_out_what_it_fills_up_with() -> None:
    case = simple([[0, 0, 9, 9], [20, 20, 29, 29], [1, 0, 9, 9]], [[0.5], [0.9], [0.7]])
    case = replace(
        case, candidates=replace(case.candidates, extras=(Tensor("mask", "FP32", (2,)),)),
        extras={"mask": np.array([[[1, 1], [2, 2], [3, 3]]], np.float32)},
    )  # fmt: skip
    nms = EfficientNms(max_detections=3, score_threshold=0.001)
    found = plugin_nodes.run(model(nms, case), case.feeds)
    assert found["num_dets"].ravel().tolist() == [2]
    assert found["det_mask"][0].tolist() == [[2, 2], [3, 3], [0, 0]]
    same(found, nms.reference(case.answers, case.candidates))


def test_the_plugin_decodes_anchors_itself() -> None:
    random = np.random.default_rng(3)
    anchors = np.concatenate([random.uniform(10, 90, (1, N, 2)), random.uniform(5, 30, (1, N, 2))], -1).astype(np.float32)
    deltas = random.normal(0, 0.2, (2, N, 4)).astype(np.float32)
    centres = np.concatenate(
        [deltas[..., :2] * anchors[..., 2:] + anchors[..., :2], np.exp(deltas[..., 2:]) * anchors[..., 2:]], -1
    )
    scores = random.random((2, N, CLASSES)).astype(np.float32)
    case = Case(Candidates(N, CLASSES), deltas, scores, decoded=Decoded("boxes", "scores", "centre", deltas=("boxes", anchors)))
    nms = EfficientNms(max_detections=12, fused_decoder=True)
    expected = replace(case, boxes=centres.astype(np.float32)).answers
    found = plugin_nodes.run(model(nms, case), case.feeds)
    wanted: Arrays = dict(nms.reference(expected, case.candidates))
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-4, err_msg=name)
    with pytest.raises(SurgeryError, match="fused_decoder needs a head of anchors"):
        model(nms, replace(case, decoded=Decoded("boxes", "scores", "centre")))


def simple(boxes: list[list[float]], scores: list[list[float]], batch: int = 1) -> Case:
    values = np.array([boxes] * batch, np.float32), np.array([scores] * batch, np.float32)
    return Case(Candidates(len(boxes), len(scores[0])), *values)


@pytest.mark.parametrize("seed", range(20))
def test_reference_equals_opencv(seed: int) -> None:
    """Without ties, whose order is OpenCV's own, and with area, without which boxes overlap wholly there."""
    random = np.random.default_rng(seed)
    low, size = random.integers(0, 8, (2, N, 2)) * 4.0, random.integers(1, 6, (2, N, 2)) * 4.0
    scores = random.permutation(2 * N * CLASSES).reshape(2, N, CLASSES) / (2 * N * CLASSES)
    boxes = np.concatenate([low, low + size], -1).astype(np.float32)
    case = Case(Candidates(N, CLASSES), boxes, scores.astype(np.float32))
    nms = OnnxNms(max_detections=N * CLASSES)
    answers = case.answers
    ours = nms.reference(answers, case.candidates)
    for b in range(len(answers.boxes)):
        found = set()
        for c in range(CLASSES):
            wide = np.concatenate([answers.boxes[b, :, :2], answers.boxes[b, :, 2:] - answers.boxes[b, :, :2]], -1)
            kept = cv2.dnn.NMSBoxes(wide.tolist(), answers.scores[b, :, c].tolist(), nms.score_threshold, nms.iou_threshold)
            found |= {(c, float(answers.scores[b, i, c])) for i in np.ravel(kept)}
        count = int(ours["num_dets"][b, 0])
        assert set(zip(ours["det_classes"][b, :count].tolist(), ours["det_scores"][b, :count].tolist(), strict=True)) == found


@pytest.mark.parametrize("nms", [OnnxNms(max_detections=2), OnnxNms(max_detections=2, fixed_shapes=True)])
def test_every_picture_of_a_batch_gets_its_own_boxes(nms: OnnxNms) -> None:
    case = simple([[0, 0, 9, 9], [20, 20, 29, 29]], [[0.9], [0.1]], batch=3)
    found = run(nms, replace(case, scores=np.array([[[0.9], [0.1]], [[0.1], [0.8]], [[0.1], [0.1]]], np.float32)))
    assert found["num_dets"].ravel().tolist() == [1, 1, 0]
    assert found["det_boxes"][:, 0].tolist() == [[0, 0, 9, 9], [20, 20, 29, 29], [0, 0, 0, 0]]


def test_of_equal_scores_the_lower_class_and_box_come_first() -> None:
    case = simple([[0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49]], [[0.5, 0.5]] * 3)
    found = run(OnnxNms(max_detections=4), case)
    assert found["det_classes"].ravel().tolist() == [0, 0, 0, 1]
    assert found["det_boxes"][0].tolist() == [[0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49], [0, 0, 9, 9]]


@pytest.mark.parametrize(
    ("nms", "candidates", "message"),
    [
        (OnnxNms(max_detections=7), Candidates(2, 3), "max_detections is 7, the model has 2 boxes x 3 classes = 6"),
        (OnnxNms(max_detections=5), Candidates(2, 3, 0), "max_detections is 5, the model has 2 boxes x 2 classes = 4"),
        (OnnxNms(runtime=("iou_threshold",), fixed_shapes=True), Candidates(90, 3), "one IoU threshold a batch"),
        (EfficientNms(runtime=("iou_threshold",)), Candidates(90, 3), "iou_threshold is an attribute, not an input"),
        (EfficientNms(pre_nms_top_k=5000), Candidates(90, 3), "pre_nms_top_k is 5000, the plugin looks at 4096 pairs"),
        (EfficientNms(), Candidates(90, 3, None, True, (Tensor("m", "FP32", ()),)), "extras are found again by their boxes"),
    ],
)
def test_what_a_strategy_cannot_do_is_refused(nms: Nms, candidates: Candidates, message: str) -> None:
    with pytest.raises(SurgeryError, match=message):
        nms.check(candidates)
