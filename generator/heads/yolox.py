"""yolox: the anchor-free head of YOLOX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from generator.detection import Answers, Candidates, Decoded, corners
from generator.levels import GridHead, Pack, bare, boxes_first, cells
from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder


class Yolox(GridHead):
    """YOLOX: one box a cell, decoded or not; scores are objectness times class.

    For cell (i, j) and stride s: x = (tx + i) * s, w = exp(tw) * s, likewise y and h; score = objectness * class
    (Ge et al., YOLOX, arXiv:2107.08430, section 2.1, "Anchor-free"). Takes one [batch, boxes, 5 + classes] of all grids (the
    project's own export), or for each grid [batch, 5 + classes, rows, columns], or boxes, objectness and classes apart.
    """

    kind: Literal["yolox"] = "yolox"
    sources: ClassVar[tuple[str, ...]] = ("../levels.py",)
    proven_by: ClassVar[str] = "yolox 0.3.0"

    activated: Annotated[bool, Field(description="Objectness and classes are probabilities already, as in its own export.")] = (
        True
    )
    decoded: Annotated[bool, Field(description="Boxes are decoded already (`--decode_in_inference`).")] = False

    def packings(self) -> tuple[tuple[Pack, ...], ...]:
        """One tensor, or three."""
        parts: tuple[Pack, ...] = ({"boxes": 4}, {"objectness": 1}, {"scores": self.classes})
        return (({"boxes": 4, "objectness": 1, "scores": self.classes},), parts)

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Yolox]:  # noqa: ARG003 -- shapes tell
        """One row for each cell, decoded or not."""
        shapes = [bare(tensor) for tensor in outputs]
        if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != cells(image) or shapes[0][1] <= 5:
            return []
        return [cls(classes=shapes[0][1] - 5, decoded=decoded) for decoded in (False, True)]

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """rows * columns over all grids."""
        self.taken(image, outputs)
        return Candidates(self.boxes(image), self.classes)

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Boxes as centres, scores as probabilities."""
        roles = self.gathered(build, image, outputs)
        boxes = boxes_first(build, roles["boxes"])
        if not self.decoded:
            points, strides = self.cells(image, 0)
            xy, wh = build.many("Split", boxes, np.array([2, 2]), outputs=2, axis=2)
            centre = build("Add", build("Mul", xy, strides), points)
            boxes = build("Concat", centre, build("Mul", build("Exp", wh), strides), axis=2)
        axis = roles["scores"].axis
        objectness = roles["objectness"].name
        if roles["objectness"].axis != axis:
            objectness = build("Transpose", objectness, perm=[0, 2, 1])
        given = (objectness, roles["scores"].name)
        first, second = given if self.activated else (build("Sigmoid", name) for name in given)
        return Decoded(boxes, build("Mul", first, second), coding="centre", by_class=axis == 1)

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """The formula above, grid by grid."""
        roles, boxes, start = self.arrays(image, outputs), [], 0
        for grid in self.grids(image):
            t = roles["boxes"][:, start : start + grid.cells]
            j, i = np.mgrid[0 : grid.rows, 0 : grid.columns]
            centre = (t[..., :2] + np.stack([i.ravel(), j.ravel()], -1)) * grid.stride
            boxes.append(t if self.decoded else np.concatenate([centre, np.exp(t[..., 2:]) * grid.stride], -1))
            start += grid.cells
        objectness, scores = roles["objectness"], roles["scores"]
        if not self.activated:
            objectness, scores = 1 / (1 + np.exp(-objectness)), 1 / (1 + np.exp(-scores))
        return Answers(corners(np.concatenate(boxes, 1).astype(np.float32)), (objectness * scores).astype(np.float32))
