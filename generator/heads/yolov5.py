"""yolov5: the anchor head of YOLOv5 and YOLOv7."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator import cells, raw_outputs
from generator.detection import Answers, Candidates, Decoded
from generator.heads import Head
from generator.raw_outputs import Grid
from generator.tensors import Tensor

if TYPE_CHECKING:
    from generator.builder import Builder

#: Of one level: (width, height) of each anchor, in pixels of the input.
Anchors = tuple[tuple[float, float], ...]
#: As both repositories publish them with their COCO models.
_PUBLISHED: tuple[tuple[Anchors, ...], ...] = (
    (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326))),
    (((12, 16), (19, 36), (40, 28)), ((36, 75), (76, 55), (72, 146)), ((142, 110), (192, 243), (459, 401))),
)


class Yolov5(Head):
    """YOLOv5, v7: raw levels with anchors, or one output that the model has decoded (YOLOv6 gives such a one, too).

    Of cell (i, j) with stride s and anchor (pw, ph), q = sigmoid(t): x = (2 q_x - 0.5 + i) * s, w = pw * (2 q_w)^2, likewise y
    and h; score = q_objectness * q_class (Jocher, ultralytics/yolov5 v6.2, models/yolo.py, Detect). Raw: [batch, anchors, rows,
    columns, 5 + classes] or [batch, anchors * (5 + classes), rows, columns] a level, in any order. Decoded: [batch, boxes,
    5 + classes], centre boxes in pixels, objectness and classes as probabilities.
    """

    kind: Literal["yolov5"] = "yolov5"
    proven_by: ClassVar[str] = "ultralytics 8.4.190's YOLOv5 code"
    sources: ClassVar[tuple[str, ...]] = ("../raw_outputs.py", "../cells.py")

    anchors: Annotated[
        tuple[Anchors, ...],
        Field(description="Of raw levels: (width, height) of each anchor in input pixels, finest level first."),
    ] = ()
    strides: Annotated[tuple[float, ...], Field(min_length=1, description="Pixels between cells, a level each.")] = (8, 16, 32)

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Yolov5]:  # noqa: ARG003 -- a head looks at what it needs
        """Three levels of three anchors, or one decoded output of thrice the cells, or of the cells (YOLOv6)."""
        maps = cells.grids(image, (8, 16, 32))
        if len(outputs) == 1 and len(outputs[0].shape) == 2 and outputs[0].shape[0] in {3 * cells.count(maps), cells.count(maps)}:
            count = outputs[0].shape[1] - 5
            return [cls(classes=count)] if count > 0 else []
        widths = {_width(tensor) for tensor in outputs}
        if len(outputs) == 3 and len(widths) == 1 and (width := widths.pop()) > 5:
            found = [cls(classes=width - 5, anchors=anchors) for anchors in _PUBLISHED]
            return [head for head in found if head._levels(image, outputs) is not None]
        return []

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """One an anchor and cell."""
        decoded = self._decoded(outputs)
        if decoded is not None:
            return Candidates(decoded.shape[0], self.classes)
        if self._levels(image, outputs) is None:
            raise self.misfit(outputs, self._expected(image))
        return Candidates(
            sum(len(a) * rows * columns for a, (rows, columns) in zip(self.anchors, self._maps(image), strict=True)), self.classes
        )

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """All levels as one table, decoded at once."""
        decoded = self._decoded(outputs)
        sizes = np.array([4, 1, self.classes])
        if decoded is not None:
            boxes, objectness, classes = build.many("Split", decoded.name, sizes, outputs=3, axis=2)
            return Decoded(boxes, build("Mul", objectness, classes), "centre")
        width, parts = 5 + self.classes, []
        for tensor, anchors in zip(self._levels(image, outputs) or (), self.anchors, strict=True):
            order = [0, 1, 2, 3, 4] if len(tensor.shape) == 4 else [0, 1, 3, 4, 2]
            raw = tensor.name
            if len(tensor.shape) == 3:
                raw = build("Reshape", raw, np.array([-1, len(anchors), width, *tensor.shape[1:]]))
                raw = build("Transpose", raw, perm=order)
            parts.append(build("Reshape", raw, np.array([-1, int(np.prod(tensor.shape)) // width, width])))
        q = build("Sigmoid", build.joined(parts, axis=1))
        xy, wh, objectness, classes = build.many("Split", q, np.array([2, 2, 1, self.classes]), outputs=4, axis=2)
        numbers, strides, priors = self._constants(image)
        centre = build("Mul", build("Add", build("Mul", xy, 2.0), numbers - 0.5), strides)
        double = build("Mul", wh, 2.0)
        size = build("Mul", build("Mul", double, double), priors)
        return Decoded(build("Concat", centre, size, axis=2), build("Mul", objectness, classes), "centre")

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """Level by level."""
        tensors = raw_outputs.tensors(outputs)
        decoded = self._decoded(tensors)
        if decoded is not None:
            rows = outputs[decoded.name].astype(np.float64)
            return self._answers(rows[..., :2], rows[..., 2:4], rows[..., 4:])
        width, found = 5 + self.classes, []
        for tensor, anchors, stride in zip(self._levels(image, tensors) or (), self.anchors, self.strides, strict=True):
            raw, count = outputs[tensor.name], len(anchors)
            if raw.ndim == 4:
                raw = np.moveaxis(raw.reshape(len(raw), count, width, *raw.shape[2:]), 2, -1)
            q = raw_outputs.sigmoid(raw.astype(np.float64))
            j, i = np.mgrid[0 : raw.shape[2], 0 : raw.shape[3]]
            xy = np.stack([(2 * q[..., 0] - 0.5 + i) * stride, (2 * q[..., 1] - 0.5 + j) * stride], -1)
            wh = (2 * q[..., 2:4]) ** 2 * np.array(anchors)[:, None, None]
            found.append([part.reshape(len(raw), -1, part.shape[-1]) for part in (xy, wh, q[..., 4:])])
        return self._answers(*(np.concatenate(parts, 1) for parts in zip(*found, strict=True)))

    def _answers(self, xy: NDArray[np.float64], wh: NDArray[np.float64], scores: NDArray[np.float64]) -> Answers:
        corners = np.concatenate([xy - wh / 2, xy + wh / 2], -1).astype(np.float32)
        return Answers(corners, (scores[..., :1] * scores[..., 1:]).astype(np.float32))

    def _decoded(self, outputs: tuple[Tensor, ...]) -> Tensor | None:
        fits = len(outputs) == 1 and len(outputs[0].shape) == 2 and outputs[0].shape[1] == 5 + self.classes
        return outputs[0] if fits and outputs[0].shape[0] > 0 else None

    def _maps(self, image: Tensor) -> tuple[Grid, ...]:
        return cells.grids(image, self.strides)

    def _levels(self, image: Tensor, outputs: tuple[Tensor, ...]) -> list[Tensor] | None:
        """An output for each level, finest first; None where they do not fit."""
        if len(self.anchors) != len(self.strides) or len(outputs) != len(self.strides):
            return None
        found, width = [], 5 + self.classes
        for (rows, columns), anchors in zip(self._maps(image), self.anchors, strict=True):
            shapes = {(len(anchors), rows, columns, width), (len(anchors) * width, rows, columns)}
            found += [tensor for tensor in outputs if tensor.shape in shapes][:1]
        return found if len(found) == len(outputs) else None

    def _constants(self, image: Tensor) -> tuple[NDArray[np.float32], ...]:
        """Cells [1, boxes, 2], strides [1, boxes, 1] and anchors [1, boxes, 2]: all cells of an anchor, then the next."""
        parts = []
        for grid, anchors, stride in zip(self._maps(image), self.anchors, self.strides, strict=True):
            numbers, strides = cells.places([grid], [stride])
            each = len(anchors)
            parts.append((np.tile(numbers, (each, 1)), np.tile(strides, (each, 1)), np.array(anchors).repeat(len(numbers), 0)))
        return tuple(np.concatenate(column)[None].astype(np.float32) for column in zip(*parts, strict=True))

    def _expected(self, image: Tensor) -> str:
        width = 5 + self.classes
        if len(self.anchors) != len(self.strides):
            return f"one decoded [batch, boxes, {width}]; of raw levels say `anchors`, a list a stride ({len(self.strides)})"
        levels = (f"[batch, {len(a)}, {r}, {c}, {width}]" for a, (r, c) in zip(self.anchors, self._maps(image), strict=True))
        return f"{' and '.join(levels)} (or [batch, anchors * {width}, rows, columns]), or one decoded [batch, boxes, {width}]"


def _width(tensor: Tensor) -> int:
    """Numbers a box, if it is a level of three anchors."""
    if len(tensor.shape) == 4 and tensor.shape[0] == 3:
        return tensor.shape[3]
    return tensor.shape[0] // 3 if len(tensor.shape) == 3 and tensor.shape[0] % 3 == 0 else 0
