"""yolox: the anchor-free head of YOLOX."""

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


class Yolox(Head):
    """YOLOX: offsets from each cell and logarithms of sizes, in strides; objectness and classes.

    Of cell (i, j) with stride s: x = (i + t_x) * s, w = exp(t_w) * s, likewise y and h; score = objectness * class (Ge et al.,
    YOLOX, arXiv:2107.08430, section 2.1; Megvii-BaseDetection/YOLOX, demo_postprocess). One output [batch, boxes, 5 + classes],
    cells level after level, or a map [batch, 5 + classes, rows, columns] for each.
    """

    kind: Literal["yolox"] = "yolox"
    proven_by: ClassVar[str] = "YOLOX 0.3.0"
    sources: ClassVar[tuple[str, ...]] = ("../raw_outputs.py", "../cells.py")

    strides: Annotated[tuple[float, ...], Field(min_length=1, description="Pixels between cells, a level each.")] = (8, 16, 32)
    activation: Annotated[
        Literal["none", "sigmoid"], Field(description="What objectness and classes still need; YOLOX's export has applied it.")
    ] = "none"

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Yolox]:  # noqa: ARG003 -- a head looks at what it needs
        """One row for each cell."""
        total = cells.count(cells.grids(image, (8, 16, 32)))
        if len(outputs) == 1 and len(outputs[0].shape) == 2 and outputs[0].shape[0] == total and outputs[0].shape[1] > 5:
            return [cls(classes=outputs[0].shape[1] - 5)]
        return []

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """One a cell."""
        self._check(image, outputs)
        return Candidates(cells.count(cells.grids(image, self.strides)), self.classes)

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Centre boxes."""
        table = raw_outputs.rows(build, self._check(image, outputs), 5 + self.classes)
        xy, wh, objectness, classes = build.many("Split", table, np.array([2, 2, 1, self.classes]), outputs=4, axis=2)
        numbers, strides = cells.places(cells.grids(image, self.strides), self.strides)
        centre = build("Mul", build("Add", xy, numbers[None]), strides[None])
        if self.activation == "sigmoid":
            objectness, classes = build("Sigmoid", objectness), build("Sigmoid", classes)
        boxes = build("Concat", centre, build("Mul", build("Exp", wh), strides[None]), axis=2)
        return Decoded(boxes, build("Mul", objectness, classes), "centre")

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """Cell by cell."""
        found = self._check(image, raw_outputs.tensors(outputs))
        table = raw_outputs.rows_of([outputs[tensor.name] for tensor in found], 5 + self.classes)
        corners, at = np.zeros((*table.shape[:2], 4)), 0
        for (rows, columns), stride in zip(cells.grids(image, self.strides), self.strides, strict=True):
            for j in range(rows):
                for i in range(columns):
                    tx, ty, tw, th = table[:, at, :4].T
                    x, y, w, h = (i + tx) * stride, (j + ty) * stride, np.exp(tw) * stride, np.exp(th) * stride
                    corners[:, at] = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
                    at += 1
        scores = raw_outputs.probabilities(table[..., 4:], self.activation)
        return Answers(corners.astype(np.float32), (scores[..., :1] * scores[..., 1:]).astype(np.float32))

    def _check(self, image: Tensor, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The outputs, finest level first."""
        width, maps = 5 + self.classes, cells.grids(image, self.strides)
        if len(outputs) == 1 and outputs[0].shape == (cells.count(maps), width):
            return outputs
        levels = [tensor for grid in maps for tensor in outputs if tensor.shape == (width, *grid)]
        if len(levels) != len(maps) or len(levels) != len(outputs):
            shapes = " and ".join(f"[batch, {width}, {rows}, {columns}]" for rows, columns in maps)
            raise self.misfit(outputs, f"[batch, {cells.count(maps)}, {width}], or {shapes}")
        return tuple(levels)
