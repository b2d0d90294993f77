"""fcos: the anchor-free head of FCOS and its kin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator import raw_outputs
from generator.detection import Answers, Candidates, Decoded
from generator.heads import Head
from generator.raw_outputs import Grid, Names, Role
from generator.tensors import Tensor

if TYPE_CHECKING:
    from generator.builder import Builder

#: Numbers a box of each role; the classes' are the head's.
_WIDTHS = {"boxes": 4, "scores": 0, "centreness": 1}


class Fcos(Head):
    """FCOS: distances (left, top, right, bottom) from each cell's place to the edges; scores weighed by centre-ness.

    Of cell (i, j): x1 = (i + offset) * stride - left * unit, x2 = (i + offset) * stride + right * unit, likewise y, where
    the unit is the stride or one pixel; score = sqrt(sigmoid(class) * sigmoid(centre-ness)), or without the root (Tian et
    al., FCOS, arXiv:1904.01355, section 3; the root: the authors' later code, and torchvision).
    """

    kind: Literal["fcos"] = "fcos"
    proven_by: ClassVar[str] = "torchvision's FCOS (the root, places at 0)"
    sources: ClassVar[tuple[str, ...]] = ("../raw_outputs.py",)

    boxes: Annotated[
        Names, Field(description="Outputs with the distances, in order of the levels; left out: found by shape.")
    ] = ()
    scores: Annotated[Names, Field(description="Outputs with the class scores, likewise.")] = ()
    centreness: Annotated[Names, Field(description="Outputs with the centre-ness, likewise.")] = ()
    strides: Annotated[tuple[float, ...], Field(min_length=1, description="Pixels between cells, a level each.")] = (
        8, 16, 32, 64, 128,
    )  # fmt: skip
    stride_from_map: Annotated[
        bool, Field(description="Whether cells lie input size // map size pixels apart, as in torchvision, or a stride.")
    ] = False
    offset: Annotated[float, Field(description="Where in its cell a place lies; the paper's is 0.5, torchvision's 0.")] = 0.5
    in_strides: Annotated[bool, Field(description="Whether distances are in strides, or in pixels.")] = True
    distances: Annotated[Literal["none", "relu", "exp"], Field(description="What still has to be applied to the distances.")] = (
        "none"
    )
    score: Annotated[
        Literal["root", "product", "class"],
        Field(description="The root of the class's score times centre-ness, the product itself, or the class's alone."),
    ] = "root"
    activation: Annotated[
        Literal["none", "sigmoid"], Field(description="What still has to be applied to the scores and centre-ness.")
    ] = "sigmoid"
    clip: Annotated[bool, Field(description="Whether boxes are cut at the input's edge before NMS, as torchvision does.")] = False

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Fcos]:  # noqa: ARG003 -- a head looks at what it needs
        """Three outputs for each of five levels, or for all: distances, centre-ness, classes; root or product, 0 or 0.5."""
        found = _classes(outputs)
        return [cls(classes=found, score=score, offset=offset) for score in _SCORES for offset in (0.5, 0.0)] if found else []

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """One a cell."""
        return Candidates(sum(rows * columns for rows, columns in self._found(image, outputs)[1]), self.classes)

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """All levels together; the scores as logits where there is but one factor."""
        (boxes, scores, *centreness), grids = self._found(image, outputs)
        distances = raw_outputs.rows(build, boxes, 4)
        if self.distances != "none":
            distances = build({"relu": "Relu", "exp": "Exp"}[self.distances], distances)
        places, units = (values[None].astype(np.float32) for values in self._places(image, grids))
        if self.in_strides:
            distances = build("Mul", distances, units)
        before, after = build.many("Split", distances, np.array([2, 2]), outputs=2, axis=2)
        corners = build("Concat", build("Sub", places, before), build("Add", places, after), axis=2)
        if self.clip:
            corners = raw_outputs.inside(build, corners, image)
        logits = raw_outputs.rows(build, scores, self.classes)
        if not centreness:
            return Decoded(corners, logits, activation=self.activation)
        factors = [logits, raw_outputs.rows(build, centreness[0], 1)]
        product = build("Mul", *(build("Sigmoid", f) if self.activation == "sigmoid" else f for f in factors))
        return Decoded(corners, build("Sqrt", product) if self.score == "root" else product)

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """The formula, side by side."""
        (boxes, scores, *centreness), grids = self._found(image, raw_outputs.tensors(outputs))
        t = raw_outputs.rows_of([outputs[x.name] for x in boxes], 4)
        if self.distances != "none":
            t = np.exp(t) if self.distances == "exp" else np.maximum(t, 0)
        places, units = self._places(image, grids)
        left, top, right, bottom = np.moveaxis(t * units if self.in_strides else t, -1, 0)
        x, y = places.T
        corners = np.stack([x - left, y - top, x + right, y + bottom], -1)
        if self.clip:
            corners = np.clip(corners, 0, raw_outputs.edge(image))
        found = raw_outputs.probabilities(raw_outputs.rows_of([outputs[x.name] for x in scores], self.classes), self.activation)
        if centreness:
            found = found * raw_outputs.probabilities(
                raw_outputs.rows_of([outputs[x.name] for x in centreness[0]], 1), self.activation
            )
        return Answers(corners.astype(np.float32), (np.sqrt(found) if self.score == "root" else found).astype(np.float32))

    def _places(self, image: Tensor, grids: Sequence[Grid]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of all cells (x, y) in pixels, [cells, 2], and the strides, [cells, 1]."""
        places, units = [], []
        height, width = image.shape[-2:]
        for stride, (rows, columns) in zip(self.strides, grids, strict=True):
            apart = (width // columns, height // rows) if self.stride_from_map else (stride, stride)
            j, i = np.mgrid[0:rows, 0:columns]
            places.append((np.stack([i, j], -1).reshape(-1, 2) + self.offset) * apart)
            units.append(np.full((rows * columns, 1), stride))
        return np.concatenate(places), np.concatenate(units)

    def _found(self, image: Tensor, outputs: tuple[Tensor, ...]) -> tuple[tuple[tuple[Tensor, ...], ...], list[Grid]]:
        """The outputs of each role, and the maps."""
        height, width = image.shape[-2:]
        levels = [(1, (math.ceil(height / stride), math.ceil(width / stride))) for stride in self.strides]
        widths = {role: number or self.classes for role, number in _WIDTHS.items()}
        if self.score == "class":
            del widths["centreness"]
        roles = [Role(role, getattr(self, role), raw_outputs.of_levels(number, levels)) for role, number in widths.items()]
        expected = raw_outputs.expected(widths, levels)
        found = raw_outputs.assigned(self, outputs, roles, expected)
        maps = [raw_outputs.grids(t, number, levels) for t, number in zip(found, widths.values(), strict=True)]
        if maps[0] is None or any(grid != maps[0] for grid in maps):
            raise self.misfit(outputs, expected)
        return found, list(maps[0])


_SCORES: tuple[Literal["root", "product"], ...] = ("root", "product")


def _classes(outputs: tuple[Tensor, ...]) -> int:
    """The number of classes where every level, or all together, has 4 numbers, 1, and as many as classes; 0 where not."""
    if len(outputs) % 3 or not all(raw_outputs.usable(tensor) and len(tensor.shape) in (2, 3) for tensor in outputs):
        return 0
    numbers = [tensor.shape[0] if len(tensor.shape) == 3 else tensor.shape[1] for tensor in outputs]
    rest = [number for number in numbers if number not in (1, 4)]
    return rest[0] if len(set(rest)) == 1 and len(rest) == len(outputs) // 3 else 0
