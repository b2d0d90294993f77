"""nanodet: the head of NanoDet, NanoDet-Plus and PicoDet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from generator import distances
from generator.detection import Activation, Answers, Candidates, Decoded
from generator.levels import GridHead, Pack, bare
from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder

#: Where in its cell the point lies that distances are measured from, and whether boxes end at the picture's edge.
_VARIANTS = {"nanodet": (0.5, True), "nanodet-plus": (0.0, True), "picodet": (0.5, False)}


class Nanodet(GridHead):
    """NanoDet, NanoDet-Plus, PicoDet: distances from a point of the cell to the box's sides, each the mean of a distribution.

    For cell (i, j), stride s and distances (l, t, r, b): x1 = (i + o - l) * s, x2 = (i + o + r) * s, likewise y1 and y2
    (Li et al., Generalized Focal Loss, arXiv:2006.04388, section 3.2); o is 0.5, in NanoDet-Plus 0; both NanoDets cut boxes at
    the edge. Takes one [batch, boxes, classes + 4 * (reg_max + 1)], or for each grid [batch, boxes, classes] and
    [batch, boxes, 4 * (reg_max + 1)], or the same with rows and columns, channels first or last.
    PicoDet decoded: [batch, boxes, 4] as corners in pixels, and [batch, classes, boxes].
    """

    kind: Literal["nanodet"] = "nanodet"
    sources: ClassVar[tuple[str, ...]] = ("../levels.py", "../distances.py")
    proven_by: ClassVar[str] = "nanodet (be9b4a9) and rapid-layout 1.2.1's post-processing of PicoDet"

    variant: Annotated[Literal["nanodet", "nanodet-plus", "picodet"], Field(description="Whose points and edges.")]
    strides: Annotated[
        tuple[int, ...], Field(description="Input pixels between the cells of each grid; left out, 8, 16, 32 (NanoDet) and 64.")
    ] = ()
    reg_max: Annotated[int, Field(ge=0, description="The largest distance a side, in strides; 0: they are no distributions.")] = 7
    activated: Annotated[bool, Field(description="Classes are probabilities already, as in their own exports.")] = True
    decoded: Annotated[bool, Field(description="Boxes come decoded (PicoDet's `export_post_process`).")] = False

    def packings(self) -> tuple[tuple[Pack, ...], ...]:
        """Together, or apart."""
        scores, boxes = {"scores": self.classes}, {"boxes": 4 * (self.reg_max + 1)}
        return ({**scores, **boxes},), (scores, boxes)

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """rows * columns over all grids."""
        if self.decoded:
            return Candidates(bare(self._decoded(outputs)[0])[0], self.classes)
        self.taken(image, outputs)
        return Candidates(self.boxes(image), self.classes)

    @property
    def steps(self) -> tuple[int, ...]:
        """NanoDet has three grids, its successors four."""
        return self.strides or ((8, 16, 32) if self.variant == "nanodet" else (8, 16, 32, 64))

    def _decoded(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, int]:
        """Boxes, scores, and the axis of the scores' classes."""
        known = self.named(outputs)
        ways = [
            (boxes, scores, axis)
            for boxes in known
            for scores in known
            for axis, shape in enumerate([(self.classes, bare(boxes)[0]), (bare(boxes)[0], self.classes)], 1)
            if boxes is not scores
            and boxes.dtype == scores.dtype == "FP32"
            and bare(boxes)[1:] == (4,)
            and bare(scores) == shape
            and min(shape) > 0
        ]
        ways = [way for way in ways if not self.outputs or way[0].name == self.outputs[0]]
        if len(ways) != 1:
            what = f"FP32 [batch, boxes, 4] and [batch, {self.classes}, boxes], decoded"
            raise self.misfit(outputs, f"{what}; several fit: say their names in `outputs`, boxes first" if ways else what)
        return ways[0]

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Boxes as corners; the sigmoid, where it is missing, is left to the NMS."""
        given: Activation = "none" if self.activated else "sigmoid"
        if self.decoded:
            found, scores, axis = self._decoded(outputs)
            return Decoded(found.name, scores.name, activation=given, by_class=axis == 1)
        roles, (offset, cut) = self.gathered(build, image, outputs), _VARIANTS[self.variant]
        boxes = distances.append(build, roles["boxes"], self.reg_max + 1, *self.cells(image, offset))
        if cut:
            height, width = image.shape[-2:]
            edge = np.array([width, height, width, height], np.float32)
            boxes = build("Min", build("Max", boxes, 0.0), edge)
        return Decoded(boxes, roles["scores"].name, activation=given, by_class=roles["scores"].axis == 1)

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """The formula above."""
        if self.decoded:
            tensors = tuple(Tensor(name, "FP32", array.shape[1:]) for name, array in outputs.items())
            found, given, axis = self._decoded(tensors)
            boxes, scores = outputs[found.name], outputs[given.name].astype(np.float64)
            scores = scores.swapaxes(1, 2) if axis == 1 else scores
        else:
            roles, (offset, cut) = self.arrays(image, outputs), _VARIANTS[self.variant]
            boxes, scores = distances.decoded(roles["boxes"], self.reg_max + 1, *self.cells(image, offset)), roles["scores"]
            if cut:
                boxes = boxes.clip(0, np.tile(image.shape[:-3:-1], 2)).astype(np.float32)
        return Answers(boxes, (scores if self.activated else 1 / (1 + np.exp(-scores))).astype(np.float32))
