"""yolov8: the anchor-free head of YOLOv8, v9, 11 and 12."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator import cells, raw_outputs
from generator.detection import Answers, Candidates, Decoded
from generator.heads import Head
from generator.tensors import Tensor

if TYPE_CHECKING:
    from generator.builder import Builder


class Yolov8(Head):
    """YOLOv8, v9, 11, 12: decoded by the model, or distances as distributions over `reg_max` bins (distribution focal loss).

    Of cell (i, j) with stride s and distances d = sum over k of k * softmax(bins)_k: x1 = (i + 0.5 - d_left) * s, x2 =
    (i + 0.5 + d_right) * s, likewise y; score = sigmoid(class) (Li et al., Generalized Focal Loss, arXiv:2006.04388, section
    3.2; no objectness). Decoded: one output of centre boxes in pixels, probabilities, and behind them what `masks`, `angle`
    and `keypoints` say, [batch, numbers, boxes] or turned. Raw: an output a level [batch, 4 * reg_max + classes, rows,
    columns], two of each level (4 * reg_max and classes), or one [batch, 4 * reg_max + classes, boxes].
    """

    kind: Literal["yolov8"] = "yolov8"
    proven_by: ClassVar[str] = "ultralytics 8.4.190"
    sources: ClassVar[tuple[str, ...]] = ("../raw_outputs.py", "../cells.py")

    reg_max: Annotated[int, Field(ge=1, description="Bins of a distance; 1 is a plain distance.")] = 16
    strides: Annotated[tuple[float, ...], Field(min_length=1, description="Pixels between cells, a level each.")] = (8, 16, 32)
    masks: Annotated[int, Field(ge=0, description="Mask coefficients behind the classes of a decoded output.")] = 0
    angle: Annotated[bool, Field(description="Whether an angle (radians) follows, as of oriented boxes.")] = False
    keypoints: Annotated[
        tuple[int, int] | None, Field(description="Key points behind the classes: [points, 2 or 3 numbers each].")
    ] = None
    prototypes: Annotated[str, Field(description="The output that masks are made of; it goes through as it is.")] = ""

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Yolov8]:
        """One decoded output, or three maps."""
        maps = cells.grids(image, (8, 16, 32))
        if len(outputs) == 1 and len(outputs[0].shape) == 2 and max(outputs[0].shape) == cells.count(maps):
            numbers = min(outputs[0].shape)
            more = numbers - 4 - (classes or numbers - 4)  # behind the classes: what it is, no shape tells
            return [cls(classes=numbers - 4)] if numbers > 4 and more == 0 and outputs[0].shape[0] == numbers else []
        channels = {t.shape[0] for t in outputs if len(t.shape) == 3}
        if len(outputs) == 3 and len(channels) == 1 and {t.shape[1:] for t in outputs if len(t.shape) == 3} == set(maps):
            count = channels.pop() - 64
            return [cls(classes=count)] if count > 0 else []
        return []

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """One a cell."""
        passed = self._passed(outputs)
        decoded = self._decoded(image, outputs)
        if decoded is None:
            self._levels(image, outputs)
        boxes = max(decoded.shape) if decoded else cells.count(cells.grids(image, self.strides))
        return Candidates(boxes, self.classes, extras=self._extras(), passed=passed)

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Scores stay by class, their sigmoid is left to the NMS."""
        decoded = self._decoded(image, outputs)
        if decoded is not None:
            return self._split(build, decoded)
        bins, scores = self._raw(build, image, outputs)
        numbers, strides = cells.places(cells.grids(image, self.strides), self.strides)
        distance = bins
        if self.reg_max > 1:
            spread = build("Softmax", build("Reshape", bins, np.array([0, 4, self.reg_max, len(numbers)])), axis=2)
            weights = np.arange(self.reg_max, dtype=np.float32).reshape(1, 1, -1, 1)
            distance = build("ReduceSum", build("Mul", spread, weights), np.array([2]), keepdims=0)
        near, far = build.many("Split", distance, np.array([2, 2]), outputs=2, axis=1)
        middle = (numbers + 0.5).T[None]
        boxes = build("Concat", build("Sub", middle, near), build("Add", middle, far), axis=1)
        corners = build("Transpose", build("Mul", boxes, strides.T[None]), perm=[0, 2, 1])
        return Decoded(corners, scores, activation="sigmoid", by_class=True)

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """Cell by cell."""
        tensors = raw_outputs.tensors(outputs)
        decoded = self._decoded(image, tensors)
        if decoded is not None:
            return self._taken_apart(outputs[decoded.name], decoded)
        values = [
            [outputs[t.name].reshape(len(outputs[t.name]), t.shape[0], -1) for t in level]
            for level in self._levels(image, tensors)
        ]
        joined = np.concatenate([np.concatenate(level, 1) for level in values], 2).astype(np.float64)
        bins, logits = joined[:, : 4 * self.reg_max], joined[:, 4 * self.reg_max :]
        bins = bins.reshape(len(bins), 4, self.reg_max, -1)
        share = raw_outputs.softmax(np.moveaxis(bins, 2, -1))
        left, top, right, bottom = np.moveaxis(share @ np.arange(self.reg_max) if self.reg_max > 1 else bins[:, :, 0], 1, 0)
        maps = cells.grids(image, self.strides)
        j, i, s = (np.concatenate(parts) for parts in zip(*(
            (*(m.ravel() for m in np.mgrid[0:rows, 0:columns]), np.full(rows * columns, stride))
            for (rows, columns), stride in zip(maps, self.strides, strict=True)
        ), strict=True))  # fmt: skip
        corners = np.stack([(i + 0.5 - left) * s, (j + 0.5 - top) * s, (i + 0.5 + right) * s, (j + 0.5 + bottom) * s], -1)
        return Answers(corners.astype(np.float32), raw_outputs.sigmoid(logits).transpose(0, 2, 1).astype(np.float32))

    def _extras(self) -> tuple[Tensor, ...]:
        found = [Tensor("masks", "FP32", (self.masks,))] if self.masks else []
        found += [Tensor("angle", "FP32", (1,))] if self.angle else []
        return (*found, *([Tensor("keypoints", "FP32", self.keypoints)] if self.keypoints else []))

    def _sizes(self) -> list[int]:
        """Of a decoded output: box, classes, extras."""
        return [4, self.classes, *(int(np.prod(extra.shape)) for extra in self._extras())]

    def _passed(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        found = tuple(tensor for tensor in outputs if tensor.name == self.prototypes)
        if self.prototypes and not found:
            raise self.misfit(outputs, f"one called {self.prototypes!r} (prototypes)")
        return found

    def _decoded(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Tensor | None:
        """The one decoded output; None where they are raw."""
        left = [tensor for tensor in outputs if tensor.name != self.prototypes]
        numbers = sum(self._sizes())
        if len(left) == 1 and len(left[0].shape) == 2 and min(left[0].shape) > 0 and numbers in left[0].shape:
            return left[0]
        return None

    def _first(self, decoded: Tensor) -> bool:
        """Do the numbers of a box lie on the first axis behind the batch?"""
        return decoded.shape[0] == sum(self._sizes())

    def _split(self, build: Builder, decoded: Tensor) -> Decoded:
        sizes, axis = self._sizes(), 1 if self._first(decoded) else 2
        boxes, scores, *rest = build.many("Split", decoded.name, np.array(sizes), outputs=len(sizes), axis=axis)
        if axis == 1:
            boxes, *rest = (build("Transpose", name, perm=[0, 2, 1]) for name in (boxes, *rest))
        extras = {extra.name: self._shaped(build, name, extra) for extra, name in zip(self._extras(), rest, strict=True)}
        return Decoded(boxes, scores, "centre", by_class=axis == 1, extras=extras)

    def _shaped(self, build: Builder, name: str, extra: Tensor) -> str:
        return build("Reshape", name, np.array([0, 0, *extra.shape])) if len(extra.shape) > 1 else name

    def _taken_apart(self, values: NDArray[np.float32], decoded: Tensor) -> Answers:
        rows = values.transpose(0, 2, 1) if self._first(decoded) else values
        cx, cy, w, h = np.moveaxis(rows[..., :4].astype(np.float64), -1, 0)
        corners = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1).astype(np.float32)
        ends = np.cumsum(self._sizes())
        extras = {
            extra.name: rows[..., start:end].reshape(*rows.shape[:2], *extra.shape)
            for extra, start, end in zip(self._extras(), ends[1:], ends[2:], strict=False)
        }
        return Answers(corners, rows[..., 4 : 4 + self.classes], extras)

    def _levels(self, image: Tensor, outputs: tuple[Tensor, ...]) -> list[list[Tensor]]:
        """The tensors of each level, whose channels together are the bins and the classes; or one of all levels."""
        width, bins = 4 * self.reg_max + self.classes, 4 * self.reg_max
        maps = cells.grids(image, self.strides)
        left = [tensor for tensor in outputs if tensor.name != self.prototypes]
        if len(left) == 1 and left[0].shape == (width, cells.count(maps)) and not self._extras():
            return [left]
        found = []
        for grid in maps:
            whole = [t for t in left if t.shape == (width, *grid)]
            apart = [t for channels in (bins, self.classes) for t in left if t.shape == (channels, *grid)]
            found.append(whole or apart[:1] + apart[-1:])
        if self._extras() or not all(sum(t.shape[0] for t in level) == width for level in found):
            raise self.misfit(outputs, self._expected(maps))
        return found

    def _raw(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> tuple[str, str]:
        """Bins [batch, 4 * reg_max, boxes] and class logits [batch, classes, boxes]."""
        bins, scores = [], []
        sizes = np.array([4 * self.reg_max, self.classes])
        for level in self._levels(image, outputs):
            flat = [build("Reshape", t.name, np.array([0, t.shape[0], -1])) if len(t.shape) > 2 else t.name for t in level]
            parts = flat if len(flat) == 2 else build.many("Split", flat[0], sizes, outputs=2, axis=1)
            bins.append(parts[0])
            scores.append(parts[1])
        return build.joined(bins, axis=2), build.joined(scores, axis=2)

    def _expected(self, maps: tuple[raw_outputs.Grid, ...]) -> str:
        numbers, width = sum(self._sizes()), 4 * self.reg_max + self.classes
        shapes = " and ".join(f"[batch, {width}, {rows}, {columns}]" for rows, columns in maps)
        return f"one decoded [batch, {numbers}, boxes], or raw {shapes} (or {4 * self.reg_max} and {self.classes} apart)"
