"""Raw outputs of heads that predict in the cells of several grids: which tensor is what, found by shapes, and all levels as one.

A head says what it may get as packings: each a tuple of packs, a pack being what lies behind one another in the channels of one
tensor, by role and channels: `({"boxes": 64, "scores": 80},)`, or `({"boxes": 64}, {"scores": 80})` where they come apart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from generator.heads import Head
from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder

#: Role -> channels, in the order of the channels.
Pack = Mapping[str, int]
Shape = tuple[int, ...]
#: How a tensor of one level may lie, `c` channels for each of `a` anchors of a grid of `r` rows and `w` columns: channels first,
#: then channels last; and one tensor of all levels. Where several fit, the first.
LEVEL = ("c r w", "c n", "r w c", "a r w c", "n c")
WHOLE = ("c N", "N c")


@dataclass(frozen=True)
class Grid:
    """One level: its cells, and how far apart they are in pixels of the model's input."""

    rows: int
    columns: int
    stride: int

    @property
    def cells(self) -> int:
        """How many."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Taken:
    """The tensors of one pack: one a level, or one of all; and how they lie."""

    pack: Pack
    form: str
    tensors: tuple[Tensor, ...]

    @property
    def axis(self) -> int:
        """Of the channels, when all levels are one: 1 in [batch, channels, boxes], 2 in [batch, boxes, channels]."""
        return 2 if self.form.endswith("c") else 1


@dataclass(frozen=True)
class Role:
    """A role's tensor in the graph, all levels as one: [batch, channels, boxes] with `axis` 1, else [batch, boxes, channels]."""

    name: str
    axis: int


def bare(tensor: Tensor) -> Shape:
    """Its shape without the batch axis, which may be a fixed 1."""
    return tensor.shape[1:] if not tensor.batched and tensor.shape[:1] == (1,) else tensor.shape


def cells(image: Tensor, strides: Sequence[int] = (8, 16, 32)) -> int:
    """How many cells grids of these strides have in all."""
    return sum(math.ceil(image.shape[-2] / stride) * math.ceil(image.shape[-1] / stride) for stride in strides)


class GridHead(Head):
    """A head that predicts boxes in every cell of every grid; they come grid by grid, anchor by anchor, row by row."""

    strides: Annotated[tuple[int, ...], Field(min_length=1, description="Input pixels between the cells of each grid.")] = (
        8, 16, 32,
    )  # fmt: skip
    outputs: Annotated[
        tuple[str, ...],
        Field(
            description="Names of the raw outputs to take, level by level; needed only where shapes do not tell them apart. "
            "What is not taken is dropped."
        ),
    ] = ()

    @property
    def steps(self) -> tuple[int, ...]:
        """The strides."""
        return self.strides

    @property
    def anchors_each(self) -> int:
        """Boxes a cell."""
        return 1

    def packings(self) -> tuple[tuple[Pack, ...], ...]:
        """What it may get; the first that fits is taken."""
        raise NotImplementedError

    def grids(self, image: Tensor) -> tuple[Grid, ...]:
        """One for each stride; a last cell may reach over the edge."""
        height, width = image.shape[-2:]
        return tuple(Grid(math.ceil(height / s), math.ceil(width / s), s) for s in self.steps)

    def boxes(self, image: Tensor) -> int:
        """How many a picture."""
        return self.anchors_each * sum(grid.cells for grid in self.grids(image))

    def taken(self, image: Tensor, outputs: Sequence[Tensor]) -> tuple[Taken, ...]:
        """Which tensor is what. Raises SurgeryError with the shapes found and expected where none fits, or several do."""
        found = self.fit(image, outputs)
        if isinstance(found, str):
            raise self.misfit(tuple(outputs), found)
        return found

    def named(self, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Those that `outputs` names, else all. Raises SurgeryError where a name is not there."""
        if missing := set(self.outputs) - {tensor.name for tensor in outputs}:
            raise self.misfit(tuple(outputs), f"outputs named {', '.join(sorted(missing))}")
        return tuple(tensor for tensor in outputs if not self.outputs or tensor.name in self.outputs)

    def fit(self, image: Tensor, outputs: Sequence[Tensor]) -> tuple[Taken, ...] | str:
        """Which tensor is what, or what was expected instead."""
        if min(image.shape[-2:]) < 1:
            return f"raw outputs of an input of fixed size, not {image}"
        ways = next(_ways(self, image, self.named(outputs)), [])
        if len(ways) < 2:
            return ways[0] if ways else self.expected(image)
        for way in ways:
            if [t.name for level in zip(*(take.tensors for take in way), strict=True) for t in level] == list(self.outputs):
                return way
        return f"shapes that tell them apart ({self.expected(image)}); say their names in `outputs`, level by level"

    def expected(self, image: Tensor) -> str:
        """What it takes, in words."""
        ways = [" and ".join(self._wanted(pack) for pack in packs) for packs in self.packings()]
        joined = f"[batch, {self.boxes(image)}, {_channels(self.packings()[0][0])}] of all"
        sizes = ", ".join(f"{grid.rows}x{grid.columns}" for grid in self.grids(image))
        return f"FP32, for each grid ({sizes}) {', or '.join(ways)}, channels first or last; or {joined}"

    def _wanted(self, pack: Pack) -> str:
        a, c = self.anchors_each, _channels(pack)
        apart = f" or [batch, {a}, rows, columns, {c}]" if a > 1 else ""
        return f"[batch, {a * c}, rows, columns]{apart} ({' + '.join(pack)})"

    def gathered(self, build: Builder, image: Tensor, outputs: Sequence[Tensor]) -> dict[str, Role]:
        """In the graph: every role, all levels as one."""
        roles: dict[str, Role] = {}
        for take in self.taken(image, outputs):
            parts = [self._flat(build, take, tensor, grid) for tensor, grid in _pairs(take, self.grids(image))]
            whole, sizes = build.joined(parts, axis=3 - take.axis), list(take.pack.values())
            names = build.many("Split", whole, np.array(sizes), outputs=len(sizes), axis=take.axis) if len(sizes) > 1 else [whole]
            roles.update({role: Role(name, take.axis) for role, name in zip(take.pack, names, strict=True)})
        return roles

    def _flat(self, build: Builder, take: Taken, tensor: Tensor, grid: Grid | None) -> str:
        """[batch, channels, boxes] or [batch, boxes, channels]."""
        if grid is None:
            return tensor.name
        a, c, n = self.anchors_each, _channels(take.pack), grid.cells
        if a == 1 or take.form in ("a r w c", "n c"):
            return build("Reshape", tensor.name, np.array([-1, a * n, c] if take.axis == 2 else [-1, c, n]))
        if take.axis == 2:
            cells = build("Transpose", build("Reshape", tensor.name, np.array([-1, n, a, c])), perm=[0, 2, 1, 3])
            return build("Reshape", cells, np.array([-1, a * n, c]))
        cells = build("Transpose", build("Reshape", tensor.name, np.array([-1, a, c, n])), perm=[0, 2, 1, 3])
        return build("Reshape", cells, np.array([-1, c, a * n]))

    def arrays(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
        """In NumPy: every role, all levels as one [batch, boxes, channels]."""
        tensors = [Tensor(name, "FP32", array.shape[1:]) for name, array in outputs.items()]
        roles: dict[str, NDArray[np.float64]] = {}
        for take in self.taken(image, tensors):
            parts = [self._boxes_first(take.form, outputs[t.name], grid) for t, grid in _pairs(take, self.grids(image))]
            whole = np.concatenate(parts, 1).astype(np.float64)
            edges = np.cumsum(list(take.pack.values()))[:-1]
            roles.update(zip(take.pack, np.split(whole, edges, axis=2), strict=True))
        return roles

    def _boxes_first(self, form: str, values: NDArray[np.float32], grid: Grid | None) -> NDArray[np.float32]:
        batch, a = len(values), self.anchors_each
        if grid is None or form in ("n c", "c n"):
            return values if form.endswith("c") else values.swapaxes(1, 2)
        if form == "c r w":
            values = values.reshape(batch, a, -1, grid.rows, grid.columns).transpose(0, 1, 3, 4, 2)
        if form == "r w c":
            values = values.reshape(batch, grid.rows, grid.columns, a, -1).transpose(0, 3, 1, 2, 4)
        return values.reshape(batch, a * grid.cells, -1)

    def cells(self, image: Tensor, offset: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """[1, boxes, 2]: where each box's cell plus `offset` lies, and its stride, both in input pixels."""
        points, strides = [], []
        for grid in self.grids(image):
            y, x = np.divmod(np.arange(grid.cells), grid.columns)
            points.append(np.tile((np.stack([x, y], -1) + offset) * grid.stride, (self.anchors_each, 1)))
            strides.append(np.full_like(points[-1], grid.stride))
        return np.concatenate(points)[None].astype(np.float32), np.concatenate(strides)[None].astype(np.float32)


def wholes(outputs: Sequence[Tensor], channels: int) -> list[tuple[Tensor, int]]:
    """The outputs FP32 [batch, channels, boxes] or [batch, boxes, channels], each with the axis of its channels."""
    shapes = [(tensor, bare(tensor)) for tensor in outputs if tensor.dtype == "FP32"]
    return [(t, 1 + (shape[0] != channels)) for t, shape in shapes if len(shape) == 2 and min(shape) > 0 and channels in shape]


def boxes_first(build: Builder, role: Role) -> str:
    """[batch, boxes, channels]."""
    return role.name if role.axis == 2 else build("Transpose", role.name, perm=[0, 2, 1])


def _channels(pack: Pack) -> int:
    return sum(pack.values())


def _pairs(take: Taken, grids: Sequence[Grid]) -> Iterator[tuple[Tensor, Grid | None]]:
    """Each tensor with its level; one of all levels with None."""
    yield from zip(take.tensors, [None] if take.form in WHOLE else grids, strict=True)


def _ways(head: GridHead, image: Tensor, outputs: Sequence[Tensor]) -> Iterator[list[tuple[Taken, ...]]]:
    """For each packing and layout that fits, every assignment of tensors, channels first and one layout for all packs first."""
    grids = head.grids(image)
    for packs in head.packings():
        layouts = [*itertools.product(LEVEL, repeat=len(packs)), *itertools.product(WHOLE, repeat=len(packs))]
        for forms in sorted(layouts, key=lambda forms: len(set(forms))):
            slots = [_shapes(head, pack, form, grids, image) for pack, form in zip(packs, forms, strict=True)]
            found = list(itertools.islice(_assigned([s for pack in slots for s in pack], outputs), 1000))
            if found:
                yield [_grouped(packs, forms, [len(s) for s in slots], way) for way in found]


def _shapes(head: GridHead, pack: Pack, form: str, grids: Sequence[Grid], image: Tensor) -> list[tuple[str | int, ...]]:
    """What each tensor of a pack must be; channels, which must be said, as text."""
    a, c = head.anchors_each, _channels(pack)
    if form in WHOLE:
        return [tuple(str(c) if letter == "c" else head.boxes(image) for letter in form.split())]
    whole = c if form.startswith("a") or form in ("n c", "c n") else a * c
    return [
        tuple(str(whole) if letter == "c" else sizes[letter] for letter in form.split())
        for sizes in ({"r": g.rows, "w": g.columns, "a": a, "n": a * g.cells} for g in grids)
    ]


def _fits(shape: Shape, wanted: tuple[str | int, ...]) -> bool:
    """A dimension left open fits any size, but channels must be there."""
    return len(shape) == len(wanted) and all(
        found == int(want) or (found < 0 and isinstance(want, int)) for found, want in zip(shape, wanted, strict=True)
    )


def _assigned(slots: list[tuple[str | int, ...]], outputs: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Every way to give each slot an output of its own."""
    if not slots:
        yield ()
        return
    for tensor in outputs:
        if tensor.dtype == "FP32" and _fits(bare(tensor), slots[0]):
            for rest in _assigned(slots[1:], [t for t in outputs if t is not tensor]):
                yield (tensor, *rest)


def _grouped(packs: tuple[Pack, ...], forms: tuple[str, ...], counts: list[int], way: tuple[Tensor, ...]) -> tuple[Taken, ...]:
    ends = list(itertools.accumulate(counts))
    return tuple(
        Taken(pack, form, way[end - count : end]) for pack, form, count, end in zip(packs, forms, counts, ends, strict=True)
    )
