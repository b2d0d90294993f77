"""onnx: NMS of standard operators, batched, with fixed-size outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from generator.errors import SurgeryError
from generator.nms import Nms

if TYPE_CHECKING:
    from generator.builder import Builder


class OnnxNms(Nms):
    """Standard ONNX operators: runs on ONNX Runtime and OpenVINO, and on TensorRT as INMSLayer.

    NonMaxSuppression gives (picture, class, box) triples for the whole batch; their scores are scattered into a dense
    [batch, classes * N] map of zeros, of which TopK takes the best K a picture: the outputs have one size whatever is kept.
    Class-aware and multi-label (a box may be kept for several classes), like EfficientNMS. Ties: the lower (class, box) first.
    """

    kind: Literal["onnx"] = "onnx"

    def append(self, build: Builder, boxes: str, scores: str, candidates: tuple[int, int]) -> None:
        """boxes [batch, N, 4], scores [batch, N, C] -> the contract's four outputs."""
        n, classes = candidates
        k = self.max_detections
        if k > n * classes:
            raise SurgeryError(
                f"nms: max_detections is {k}, the model has {n} boxes x {classes} classes = {n * classes} candidates", "lower it"
            )
        by_class = build("Transpose", scores, perm=[0, 2, 1])
        kept = build(
            "NonMaxSuppression",
            boxes,
            by_class,
            np.array([min(k, n)]),
            np.array([self.iou_threshold], np.float32),
            np.array([self.score_threshold], np.float32),
        )
        values = build("GatherND", by_class, kept)
        empty = build("ConstantOfShape", build("Shape", by_class))
        dense = build("ScatterND", empty, kept, values)
        flat = build("Reshape", dense, np.array([0, n * classes]))
        top, index = build.many("TopK", flat, np.array([k]), outputs=2, axis=1, largest=1, sorted=1)
        valid = build("Greater", top, 0.0)
        box = build("Mod", index, np.array(n))
        label = build("Div", index, np.array(n))
        corners = build("GatherElements", boxes, _rows(build, box), axis=1)
        outputs = self.outputs()
        count = build("ReduceSum", build("Cast", valid, to=6), np.array([1]), keepdims=1)
        mask = build("Unsqueeze", valid, np.array([2]))
        build.output(count, outputs[0])
        build.output(build("Where", mask, corners, 0.0), outputs[1])
        build.output(top, outputs[2])
        build.output(build("Where", valid, build("Cast", label, to=6), np.array(0, np.int32)), outputs[3])

    def reference(self, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """Greedy, class by class, strongest first; then the K best over all classes."""
        batch, k = boxes.shape[0], self.max_detections
        count = np.zeros((batch, 1), np.int32)
        out_boxes, out_scores = np.zeros((batch, k, 4), np.float32), np.zeros((batch, k), np.float32)
        out_classes = np.zeros((batch, k), np.int32)
        for b in range(batch):
            found = [
                (-float(scores[b, i, c]), c, i) for c in range(scores.shape[2]) for i in self._greedy(boxes[b], scores[b, :, c])
            ]
            for row, (score, c, i) in enumerate(sorted(found)[:k]):
                out_boxes[b, row], out_scores[b, row], out_classes[b, row] = boxes[b, i], -score, c
            count[b] = min(len(found), k)
        return {"num_dets": count, "det_boxes": out_boxes, "det_scores": out_scores, "det_classes": out_classes}

    def _greedy(self, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> list[int]:
        order = [int(i) for i in np.argsort(-scores, kind="stable") if scores[i] > self.score_threshold]
        kept: list[int] = []
        for i in order:
            if len(kept) < self.max_detections and all(_iou(boxes[i], boxes[j]) <= self.iou_threshold for j in kept):
                kept.append(i)
        return kept


def _rows(build: Builder, box: str) -> str:
    """[batch, K] -> [batch, K, 4], the same index for each of the four corners."""
    return build("Expand", build("Unsqueeze", box, np.array([2])), np.array([1, 1, 4]))


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    left, top = np.maximum(a[:2], b[:2])
    right, bottom = np.minimum(a[2:], b[2:])
    inner = max(0.0, float(right - left)) * max(0.0, float(bottom - top))
    union = float((a[2] - a[0]) * (a[3] - a[1])) + float((b[2] - b[0]) * (b[3] - b[1])) - inner
    return inner / union if union > 0 else 0.0
