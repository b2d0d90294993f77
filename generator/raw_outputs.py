"""Raw outputs of a detector: which is which, and how each lies; brought to rows, [batch, boxes, numbers a box]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator

from generator.errors import SurgeryError
from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder
    from generator.heads import Head

#: Without the batch: flat [n * width]; rows [n, width]; columns [width, n]; maps [a * width, rows, columns]; maps_last
#: [rows, columns, a * width], where a is the number of boxes a cell. Of the two that fit, the one named first is meant.
Layout = Literal["flat", "rows", "columns", "maps", "maps_last"]
#: (rows, columns) of a feature map.
Grid = tuple[int, int]
#: Can an output be what is looked for?
Fits = Callable[[Tensor], bool]


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


#: Names of outputs; one may be said without brackets.
Names = Annotated[tuple[str, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])]


class UnclearError(SurgeryError):
    """An output that may be two things, or a name that no output has."""


@dataclass(frozen=True)
class Role:
    """What some of the outputs are for."""

    #: The head's field that may name them.
    field: str
    names: tuple[str, ...]
    fits: Fits


def assigned(head: Head, outputs: tuple[Tensor, ...], roles: Sequence[Role], expected: str) -> tuple[tuple[Tensor, ...], ...]:
    """The outputs of each role, by name where they are named, else by shape. Raises SurgeryError where that is not clear."""
    known = {tensor.name: tensor for tensor in outputs}
    for role in roles:
        for name in role.names:
            if name not in known:
                raise UnclearError(
                    f"head {head.kind}: {role.field}: no output is called {name!r}; found {', '.join(map(str, outputs))}",
                    "correct the name",
                )
    taken = {name for role in roles for name in role.names}
    found = {role.field: [known[name] for name in role.names] for role in roles}
    for tensor in (t for t in outputs if t.name not in taken):
        fitting = [role.field for role in roles if not role.names and usable(tensor) and role.fits(tensor)]
        if len(fitting) > 1:
            raise UnclearError(
                f"head {head.kind}: by its shape {tensor} may be {' or '.join(fitting)}",
                f"name the outputs in the head's fields: {', '.join(f'{field}: NAME' for field in fitting)}",
            )
        if fitting:
            found[fitting[0]].append(tensor)
    for role in roles:
        if not found[role.field] or not all(usable(t) and role.fits(t) for t in found[role.field]):
            raise head.misfit(outputs, expected)
    return tuple(tuple(found[role.field]) for role in roles)


def usable(tensor: Tensor) -> bool:
    """Does it have a batch, and fixed sizes behind it?"""
    return tensor.batched and len(tensor.shape) > 0 and min(tensor.shape) > 0


def layout(shape: Sequence[int], width: int, per_cell: int = 1) -> Layout | None:
    """How rows of `width` numbers lie in a shape without batch; None: they do not."""
    match len(shape), [*shape]:
        case 1, [count] if count % width == 0:
            return "flat"
        case 2, [_, last] if last == width:
            return "rows"
        case 2, [first, _] if first == width:
            return "columns"
        case 3, [first, _, _] if first == width * per_cell:
            return "maps"
        case 3, [_, _, last] if last == width * per_cell:
            return "maps_last"
    return None


def count(shape: Sequence[int], width: int, per_cell: int = 1) -> int:
    """How many rows; 0 where it has none."""
    return int(np.prod(shape)) // width if layout(shape, width, per_cell) else 0


def grids(tensors: Sequence[Tensor], width: int, levels: Sequence[tuple[int, Grid]]) -> tuple[Grid, ...] | None:
    """The feature map of each level, read from its own tensor or else what was said; None where the tensors do not fit.

    `levels` are boxes a cell and map. All levels may lie in one tensor, one behind the other.
    """
    said = tuple(grid for _, grid in levels)
    if len(tensors) == 1 and len(tensors[0].shape) < 3:
        total = sum(each * rows * columns for each, (rows, columns) in levels)
        return said if count(tensors[0].shape, width) == total else None
    if len(tensors) != len(levels):
        return None
    found = tuple(_grid(t.shape, width, *level) for t, level in zip(tensors, levels, strict=True))
    return tuple(grid for grid in found if grid) if all(found) else None


def _grid(shape: Sequence[int], width: int, per_cell: int, said: Grid) -> Grid | None:
    lies = layout(shape, width, per_cell)
    if lies is None:
        return None
    if lies in ("maps", "maps_last"):
        found = (shape[1], shape[2]) if lies == "maps" else (shape[0], shape[1])
        return found if all(map(_near, found, said)) else None
    return said if count(shape, width) == per_cell * said[0] * said[1] else None


def _near(found: int, said: int) -> bool:
    """Rounding moves a map's size a little; half of it, or twice, is another stride."""
    return abs(found - said) <= 1 or said / 2 < found < said * 2


def of_levels(width: int, levels: Sequence[tuple[int, Grid]]) -> Fits:
    """Can a tensor hold `width` numbers for each box of one of the levels, or of them all?"""
    total = sum(each * rows * columns for each, (rows, columns) in levels)

    def fits(tensor: Tensor) -> bool:
        if len(tensor.shape) < 3 and count(tensor.shape, width) == total:
            return True
        return any(_grid(tensor.shape, width, *level) for level in levels)

    return fits


def expected(widths: Mapping[str, int], levels: Sequence[tuple[int, Grid]]) -> str:
    """In words, what `grids` takes for each role."""
    total = sum(each * rows * columns for each, (rows, columns) in levels)
    cells = sorted({each for each, _ in levels})
    return " and ".join(
        f"{role} [batch, {total}, {width}] or a map [batch, {' or '.join(str(a * width) for a in cells)}, rows, columns] "
        f"for each of {len(levels)} levels"
        for role, width in widths.items()
    )


def rows(build: Builder, tensors: Sequence[Tensor], width: int, per_cell: Sequence[int] = ()) -> str:
    """All of them as one [batch, n, width]; of a map's boxes those of one cell are neighbours, row after row."""
    each = per_cell if len(per_cell) == len(tensors) else [1] * len(tensors)
    return build.joined([_rows(build, t, width, a) for t, a in zip(tensors, each, strict=True)], axis=1)


def _rows(build: Builder, tensor: Tensor, width: int, per_cell: int) -> str:
    match layout(tensor.shape, width, per_cell):
        case "rows":
            return tensor.name
        case "columns":
            return build("Transpose", tensor.name, perm=[0, 2, 1])
        case "maps":
            cells = tensor.shape[1] * tensor.shape[2]
            split = build("Reshape", tensor.name, np.array([-1, per_cell, width, cells]))
            return build("Reshape", build("Transpose", split, perm=[0, 3, 1, 2]), np.array([-1, cells * per_cell, width]))
    return build("Reshape", tensor.name, np.array([-1, count(tensor.shape, width, per_cell), width]))


def rows_of(arrays: Iterable[NDArray[np.float32]], width: int, per_cell: Sequence[int] = ()) -> NDArray[np.float64]:
    """The same in NumPy."""
    parts = list(arrays)
    each = per_cell if len(per_cell) == len(parts) else [1] * len(parts)
    found = []
    for array, a in zip(parts, each, strict=True):
        first = layout(array.shape[1:], width, a) in ("columns", "maps")
        last = np.moveaxis(array, 1, -1) if first else array
        found.append(last.reshape(len(array), -1, width).astype(np.float64))
    return np.concatenate(found, 1)


def tensors(arrays: Mapping[str, NDArray[Any]]) -> tuple[Tensor, ...]:
    """Of arrays with a batch, the tensors that they are values of."""
    kinds = {"int64": "INT64", "int32": "INT32"}
    return tuple(Tensor(name, kinds.get(str(a.dtype), "FP32"), tuple(a.shape[1:])) for name, a in arrays.items())


def inside(build: Builder, corners: str, image: Tensor) -> str:
    """Corner boxes cut at the picture's edge."""
    return build("Min", build("Max", corners, 0.0), edge(image))


def edge(image: Tensor) -> NDArray[np.float32]:
    """(width, height, width, height) of the model's input."""
    return np.array([image.shape[-1], image.shape[-2]] * 2, np.float32)


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def probabilities(x: NDArray[np.float64], activation: Literal["none", "sigmoid", "softmax"]) -> NDArray[np.float64]:
    """The activation applied, over the last axis."""
    if activation == "none":
        return x
    return sigmoid(x) if activation == "sigmoid" else softmax(x)


def softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis."""
    power = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(power / power.sum(-1, keepdims=True))
