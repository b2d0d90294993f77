"""yolov4: the anchor head of YOLOv3 and YOLOv4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator.detection import Answers, Candidates, Decoded
from generator.heads import Head
from generator.plugin import Model
from generator.tensors import Tensor

if TYPE_CHECKING:
    from generator.builder import Builder


class Level(Model):
    """One output of the head."""

    anchors: Annotated[tuple[tuple[float, float], ...], Field(min_length=1, description="(width, height) in input pixels.")]
    scale_x_y: Annotated[float, Field(gt=0, description="YOLOv4's grid sensitivity; 1 is YOLOv3.")] = 1.0


class Yolov4(Head):
    """YOLOv3 and YOLOv4: anchors; scores are objectness times class probability.

    For cell (i, j), anchor (pw, ph), grid (columns, rows), input (W, H) and s = scale_x_y:
    x = (s * sigmoid(tx) - (s - 1) / 2 + i) / columns * W, w = pw * exp(tw), likewise y and h; score = sigmoid(to) * sigmoid(tc)
    (Redmon and Farhadi, YOLOv3, arXiv:1804.02767, section 2.1; Bochkovskiy et al., YOLOv4, arXiv:2004.10934, section 3.4).
    """

    kind: Literal["yolov4"] = "yolov4"
    proven_by: ClassVar[str] = "OpenCV's Darknet reader"

    levels: Annotated[tuple[Level, ...], Field(min_length=1, description="One for each raw output, in their order.")]

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """rows * columns * anchors over all levels."""
        channels = [len(level.anchors) * (5 + self.classes) for level in self.levels]
        fits = len(outputs) == len(channels) and all(
            len(out.shape) == 3 and out.shape[0] == count and min(out.shape) > 0
            for out, count in zip(outputs, channels, strict=True)
        )
        if not fits:
            raise self.misfit(outputs, " and ".join(f"[batch, {count}, rows, columns]" for count in channels))
        cells = sum(len(level.anchors) * out.shape[1] * out.shape[2] for level, out in zip(self.levels, outputs, strict=True))
        return Candidates(cells, self.classes)

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Each level decoded to [batch, rows * columns * anchors, ...], then joined."""
        parts = [self._level(build, image, out, level) for out, level in zip(outputs, self.levels, strict=True)]
        boxes, scores = (build.joined(names, axis=1) for names in zip(*parts, strict=True))
        return Decoded(boxes, scores)

    def _level(self, build: Builder, image: Tensor, raw: Tensor, level: Level) -> tuple[str, str]:
        rows, columns = raw.shape[1:]
        count, fields = len(level.anchors), 5 + self.classes
        split = build("Reshape", raw.name, np.array([-1, count, fields, rows * columns]))
        flat = build("Reshape", build("Transpose", split, perm=[0, 3, 1, 2]), np.array([-1, rows * columns * count, fields]))
        xy, wh, objectness, classes = build.many("Split", flat, np.array([2, 2, 1, self.classes]), outputs=4, axis=2)
        scale, offset, anchors = _constants(image, rows, columns, level)
        centre = build("Add", build("Mul", build("Sigmoid", xy), scale), offset)
        half = build("Mul", build("Exp", wh), anchors / 2)
        boxes = build("Concat", build("Sub", centre, half), build("Add", centre, half), axis=2)
        return boxes, build("Mul", build("Sigmoid", objectness), build("Sigmoid", classes))

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """The formula above, cell by cell."""
        boxes, scores = [], []
        height, width = image.shape[-2:]
        for raw, level in zip(outputs.values(), self.levels, strict=True):
            batch, _, rows, columns = raw.shape
            t = (
                raw.reshape(batch, len(level.anchors), 5 + self.classes, rows, columns)
                .transpose(0, 3, 4, 1, 2)
                .astype(np.float64)
            )
            j, i = np.mgrid[0:rows, 0:columns]
            s, anchors = level.scale_x_y, np.array(level.anchors)
            x = (s * _sigmoid(t[..., 0]) - (s - 1) / 2 + i[None, :, :, None]) / columns * width
            y = (s * _sigmoid(t[..., 1]) - (s - 1) / 2 + j[None, :, :, None]) / rows * height
            w, h = anchors[:, 0] * np.exp(t[..., 2]), anchors[:, 1] * np.exp(t[..., 3])
            corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=-1)
            boxes.append(corners.reshape(batch, -1, 4))
            scores.append((_sigmoid(t[..., 4:5]) * _sigmoid(t[..., 5:])).reshape(batch, -1, self.classes))
        return Answers(np.concatenate(boxes, 1).astype(np.float32), np.concatenate(scores, 1).astype(np.float32))


def _constants(image: Tensor, rows: int, columns: int, level: Level) -> tuple[NDArray[np.float32], ...]:
    """Scale [2], offset [1, cells * anchors, 2] and anchors [1, cells * anchors, 2], all in input pixels."""
    stride = np.array([image.shape[-1] / columns, image.shape[-2] / rows], np.float32)
    s, count = level.scale_x_y, len(level.anchors)
    j, i = np.mgrid[0:rows, 0:columns]
    cells = np.stack([i, j], -1).reshape(-1, 1, 2) - (s - 1) / 2
    offset = np.broadcast_to(cells * stride, (rows * columns, count, 2)).reshape(1, -1, 2)
    anchors = np.broadcast_to(np.array(level.anchors), (rows * columns, count, 2)).reshape(1, -1, 2)
    return (stride * s).astype(np.float32), offset.astype(np.float32), anchors.astype(np.float32)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))
