"""The NMS graph against its NumPy reference, and both against OpenCV's NMS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from generator import graph
from generator.builder import Builder
from generator.errors import SurgeryError
from generator.nms.onnx import OnnxNms

SIZES = ((12, 3), (40, 5))


def model(nms: OnnxNms, n: int, classes: int) -> onnx.ModelProto:
    """boxes and scores straight into the strategy."""
    boxes = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", n, 4])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", n, classes])
    empty = helper.make_model(
        helper.make_graph([], "nms", [boxes, scores], []), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    build = Builder(empty, "nms")
    nms.append(build, "boxes", "scores", (n, classes))
    return graph.checked(build.model(), "nms")


_sessions: dict[Any, Any] = {}


def run(nms: OnnxNms, boxes: NDArray[np.float32], scores: NDArray[np.float32], tmp: Path) -> dict[str, NDArray[Any]]:
    key = (nms, boxes.shape[1], scores.shape[2])
    if key not in _sessions:
        graph.save(model(nms, boxes.shape[1], scores.shape[2]), tmp / "nms.onnx")
        _sessions[key] = graph.session(tmp / "nms.onnx", threads=1)
    return graph.run(_sessions[key], {"boxes": boxes, "scores": scores})


@st.composite
def candidates(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Random boxes on a coarse grid (so that overlaps and equal boxes are common) and scores, some below every threshold."""
    n, classes = draw(st.sampled_from(SIZES))
    batch, seed = draw(st.integers(1, 8)), draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    low = random.integers(0, 8, (batch, n, 2)).astype(np.float32) * 4
    size = random.integers(1, 6, (batch, n, 2)).astype(np.float32) * 4
    top = draw(st.sampled_from([0.1, 0.6, 1.0]))
    # distinct scores: which of two equals comes first is not what this test is about
    scores = (random.permutation(batch * n * classes).reshape(batch, n, classes) / (batch * n * classes) * top).astype(np.float32)
    return np.concatenate([low, low + size], -1), scores


@settings(max_examples=60, deadline=None)
@given(data=candidates(), k=st.sampled_from([1, 7, 30]))
def test_graph_equals_reference(tmp_path_factory: pytest.TempPathFactory, data: Any, k: int) -> None:
    nms = OnnxNms(max_detections=k)
    boxes, scores = data
    found, expected = run(nms, boxes, scores, tmp_path_factory.mktemp("nms")), nms.reference(boxes, scores)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(data=candidates())
def test_reference_equals_opencv(data: Any) -> None:
    boxes, scores = data
    nms = OnnxNms(max_detections=boxes.shape[1])
    ours = nms.reference(boxes, scores)
    for b in range(len(boxes)):
        expected: list[tuple[float, int, int]] = []
        for c in range(scores.shape[2]):
            wide = np.concatenate([boxes[b, :, :2], boxes[b, :, 2:] - boxes[b, :, :2]], -1)
            kept = cv2.dnn.NMSBoxes(wide.tolist(), scores[b, :, c].tolist(), nms.score_threshold, nms.iou_threshold)
            expected += [(-float(scores[b, i, c]), c, int(i)) for i in np.ravel(kept)]
        expected = sorted(expected)[: nms.max_detections]
        assert int(ours["num_dets"][b, 0]) == len(expected)
        np.testing.assert_array_equal(ours["det_classes"][b, : len(expected)], [c for _, c, _ in expected])
        np.testing.assert_array_equal(ours["det_boxes"][b, : len(expected)], boxes[b, [i for _, _, i in expected]].reshape(-1, 4))


def test_every_picture_of_a_batch_gets_its_own_boxes(tmp_path: Path) -> None:
    boxes = np.array([[[0, 0, 9, 9], [20, 20, 29, 29]]], np.float32).repeat(3, 0)
    scores = np.array([[[0.9], [0.1]], [[0.1], [0.8]], [[0.1], [0.1]]], np.float32)
    found = run(OnnxNms(max_detections=2), boxes, scores, tmp_path)
    assert found["num_dets"].ravel().tolist() == [1, 1, 0]
    assert found["det_boxes"][:, 0].tolist() == [[0, 0, 9, 9], [20, 20, 29, 29], [0, 0, 0, 0]]


def test_not_a_number_is_never_kept(tmp_path: Path) -> None:
    boxes = np.array([[[0, 0, 9, 9], [20, 20, 29, 29]]], np.float32)
    scores = np.array([[[np.nan], [0.9]]], np.float32)
    found = run(OnnxNms(max_detections=2), boxes, scores, tmp_path)
    assert found["num_dets"].ravel().tolist() == [1]
    assert found["det_boxes"][0, 0].tolist() == [20, 20, 29, 29]


def test_of_equal_scores_the_lower_class_and_box_come_first(tmp_path: Path) -> None:
    boxes = np.array([[[0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49]]], np.float32)
    scores = np.full((1, 3, 2), 0.5, np.float32)
    nms = OnnxNms(max_detections=4)
    found, expected = run(nms, boxes, scores, tmp_path), nms.reference(boxes, scores)
    assert found["det_classes"].ravel().tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(found["det_boxes"], expected["det_boxes"])


def test_more_detections_than_candidates_is_refused() -> None:
    with pytest.raises(SurgeryError, match="max_detections is 7, the model has 2 boxes x 3 classes = 6"):
        model(OnnxNms(max_detections=7), 2, 3)
