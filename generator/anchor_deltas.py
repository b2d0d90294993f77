"""What heads with anchors have in common: deltas from anchors become boxes, in the graph and in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from generator import raw_outputs
from generator.detection import Activation, Answers, Candidates, Decoded, corners
from generator.heads import Head
from generator.raw_outputs import Grid, Names, Role
from generator.selection import as_corners
from generator.tensors import Tensor

if TYPE_CHECKING:
    from generator.builder import Builder

Four = tuple[float, float, float, float]


class AnchorHead(Head):
    """Deltas from anchors.

    For an anchor of centre (ax, ay) and size (aw, ah), deltas t and variances v: x = ax + v0 * t0 * aw, w = aw * exp(v2 * t2),
    likewise y and h (Girshick et al., R-CNN, arXiv:1311.2524, appendix C; the variances: Caffe's SSD, `DecodeBBox`).
    """

    sources: ClassVar[tuple[str, ...]] = ("../anchor_deltas.py", "../raw_outputs.py")

    boxes: Annotated[Names, Field(description="Outputs with the deltas, in order of the levels; left out: found by shape.")] = ()
    scores: Annotated[Names, Field(description="Outputs with the scores, likewise.")] = ()
    activation: Annotated[
        Literal["none", "sigmoid", "softmax"], Field(description="What still has to be applied to the scores.")
    ] = "sigmoid"
    background: Annotated[int | None, Field(ge=0, description="The class that means nothing; `classes` counts it.")] = None
    variances: Annotated[Four, Field(description="Each delta is multiplied by its own: x, y, width, height.")] = (1, 1, 1, 1)
    coding: Annotated[Literal["xywh", "yxhw"], Field(description="Order of the deltas.")] = "xywh"
    size_coding: Annotated[
        Literal["log", "linear"],
        Field(description="Whether sizes are logarithms of the anchor's multiple, or that multiple itself."),
    ] = "log"
    size_limit: Annotated[
        float | None, Field(gt=0, description="The largest logarithm; greater ones are cut; torchvision's is log(1000 / 16).")
    ] = None
    clip: Annotated[bool, Field(description="Whether boxes are cut at the input's edge before NMS, as torchvision does.")] = False
    keypoints: Annotated[
        int, Field(ge=0, description="Points that follow each box: deltas (x, y) behind its own four, or outputs of their own.")
    ] = 0
    points: Annotated[Names, Field(description="Outputs with the points where they have their own.")] = ()

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.background is not None and self.background >= self.classes:
            raise ValueError(
                f"background is {self.background}; `classes: {self.classes}` counts it, so say at most {self.classes - 1}"
            )
        if self.points and not self.keypoints:
            raise ValueError("points without keypoints: say how many points a box has, `keypoints: 5`")
        return self

    def levels_of(self, image: Tensor) -> list[tuple[int, Grid]]:
        """Boxes a cell and feature map of each level, for this input, as far as no output says otherwise."""
        raise NotImplementedError

    def anchors(self, image: Tensor, grids: Sequence[Grid]) -> NDArray[np.float64]:
        """[boxes, 4]: centre and size in pixels of the model's input."""
        raise NotImplementedError

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """One box an anchor. Raises SurgeryError where the outputs do not have as many."""
        levels = self._found(image, outputs)[1]
        boxes = sum(each * rows * columns for each, (rows, columns) in levels)
        extras = (Tensor("keypoints", "FP32", (self.keypoints, 2)),) if self.keypoints else ()
        return Candidates(boxes, self.classes, self.background, extras=extras)

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Boxes as centres, so that nothing but the kept ones need become corners; cut ones as corners."""
        (boxes, scores, *points), levels = self._found(image, outputs)
        per_cell = [each for each, _ in levels]
        anchors = self.anchors(image, [grid for _, grid in levels])[None].astype(np.float32)
        deltas, extras = raw_outputs.rows(build, boxes, self._width, per_cell), {}
        if self.keypoints:
            around = raw_outputs.rows(build, points[0], 2 * self.keypoints, per_cell) if points else ""
            if not points:
                deltas, around = build.many("Split", deltas, np.array([4, 2 * self.keypoints]), outputs=2, axis=2)
            extras["keypoints"] = self._points(build, around, anchors)
        centres, prepared = self._centres(build, deltas, anchors)
        fused = (prepared, anchors) if self.size_coding == "log" else None
        logits, activation = self._scores(build, raw_outputs.rows(build, scores, self.classes, per_cell))
        if self.clip:
            return Decoded(
                raw_outputs.inside(build, as_corners(build, centres), image), logits, "corners", activation, extras=extras
            )
        return Decoded(centres, logits, "centre", activation, extras=extras, deltas=fused)

    def _centres(self, build: Builder, deltas: str, anchors: NDArray[np.float32]) -> tuple[str, str]:
        """Boxes, and the deltas without variances: [batch, boxes, 4] both."""
        if self.coding == "yxhw":
            deltas = build("Gather", deltas, np.array([1, 0, 3, 2]), axis=2)
        if self.variances != (1, 1, 1, 1):
            deltas = build("Mul", deltas, np.array(self.variances, np.float32))
        offset, size = build.many("Split", deltas, np.array([2, 2]), outputs=2, axis=2)
        if self.size_limit is not None and self.size_coding == "log":
            size = build("Min", size, np.float32(self.size_limit))
            deltas = build("Concat", offset, size, axis=2)
        centre = build("Add", build("Mul", offset, anchors[..., 2:]), anchors[..., :2])
        grown = build("Exp", size) if self.size_coding == "log" else size
        return build("Concat", centre, build("Mul", grown, anchors[..., 2:]), axis=2), deltas

    def _points(self, build: Builder, around: str, anchors: NDArray[np.float32]) -> str:
        pairs = build("Reshape", around, np.array([-1, anchors.shape[1], self.keypoints, 2]))
        scale = anchors[:, :, None, 2:] * np.array(self.variances[:2], np.float32)
        return build("Add", build("Mul", pairs, scale), anchors[:, :, None, :2])

    def _scores(self, build: Builder, logits: str) -> tuple[str, Activation]:
        if self.activation == "softmax":
            return build("Softmax", logits, axis=2), "none"
        return logits, self.activation

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """The formula, in float64."""
        (boxes, scores, *points), levels = self._found(image, raw_outputs.tensors(outputs))
        per_cell, anchors = [each for each, _ in levels], self.anchors(image, [grid for _, grid in levels])
        t = raw_outputs.rows_of([outputs[x.name] for x in boxes], self._width, per_cell)
        tx, ty, tw, th = (t[..., i] * v for i, v in zip(_ORDER[self.coding], self.variances, strict=True))
        if self.size_coding == "log":
            tw, th = (np.exp(np.minimum(x, self.size_limit or np.inf)) for x in (tw, th))
        ax, ay, aw, ah = anchors.T
        x, y, w, h = ax + tx * aw, ay + ty * ah, tw * aw, th * ah
        found = corners(np.stack([x, y, w, h], -1).astype(np.float32))
        if self.clip:
            found = np.clip(found, 0, raw_outputs.edge(image))
        logits = raw_outputs.rows_of([outputs[x.name] for x in scores], self.classes, per_cell)
        extras = {}
        if self.keypoints:
            k = 2 * self.keypoints
            around = raw_outputs.rows_of([outputs[x.name] for x in points[0]], k, per_cell) if points else t[..., 4:]
            px = ax[:, None] + around[..., 0::2] * self.variances[0] * aw[:, None]
            py = ay[:, None] + around[..., 1::2] * self.variances[1] * ah[:, None]
            extras["keypoints"] = np.stack([px, py], -1).astype(np.float32)
        return Answers(found, raw_outputs.probabilities(logits, self.activation).astype(np.float32), extras)

    @property
    def _width(self) -> int:
        return 4 + 2 * self.keypoints * (not self.points)

    def _found(self, image: Tensor, outputs: tuple[Tensor, ...]) -> tuple[tuple[tuple[Tensor, ...], ...], list[tuple[int, Grid]]]:
        """The outputs of each role, and the levels with the maps that they have."""
        levels = self.levels_of(image)
        widths = {"boxes": self._width, "scores": self.classes, **({"points": 2 * self.keypoints} if self.points else {})}
        roles = [Role(field, getattr(self, field), raw_outputs.of_levels(width, levels)) for field, width in widths.items()]
        expected = raw_outputs.expected(widths, levels)
        found = raw_outputs.assigned(self, outputs, roles, expected)
        maps = [raw_outputs.grids(t, width, levels) for t, width in zip(found, widths.values(), strict=True)]
        if maps[0] is None or any(grid != maps[0] for grid in maps):
            raise self.misfit(outputs, expected)
        return found, [(each, grid) for (each, _), grid in zip(levels, maps[0], strict=True)]


#: Where x, y, width and height are among the deltas.
_ORDER = {"xywh": (0, 1, 2, 3), "yxhw": (1, 0, 3, 2)}
