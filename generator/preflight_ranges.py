"""Sizes for which a graph is compiled: those that a request for an engine names, else what config and graph leave free."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.errors import RepositoryError

if TYPE_CHECKING:
    from onnx import ModelProto

#: Smallest, usual and largest shape.
Range = tuple[list[int], list[int], list[int]]
#: Largest batch where nothing says it.
BATCH = 8
#: What other free axes may be, tried in this order: texts are short, pictures must not vanish in their poolings.
LENGTHS = ((1, 16, 64), (16, 64, 128), (64, 128, 256), (224, 224, 512))


def attempts(model: ModelProto, most: int, said: Mapping[str, Any], fixed: Mapping[str, list[int]]) -> list[dict[str, Range]]:
    """Ranges for each input with a free axis; several where the sizes of an axis are nowhere said.

    `most` is the largest batch (0: the first axis is none); `said` is a profile of engine.json, which wins; `fixed` are shapes
    without the batch that config.pbtxt gives, -1 where they are free there too.
    """
    found = []
    for length in LENGTHS:
        one = {value.name: _range(value, most, length, fixed.get(value.name, [])) for value in model.graph.input}
        free = {value.name: one[value.name] for value in model.graph.input if _free(value)}
        told = {name: _said(given) for name, given in said.items() if name in one}
        free = {name: _alike(model, name, ranges, told) for name, ranges in free.items()}
        free.update({_key(name, said[name]): ranges for name, ranges in told.items()})
        if free not in found:
            found.append(free)
    return found


def requested(folder: Path) -> dict[str, Any]:
    """The first profile of the request for an engine that lies beside a graph (`engine.json`). Raises RepositoryError."""
    path = folder / "engine.json"
    if not path.is_file():
        return {}
    try:
        profiles = json.loads(path.read_text(encoding="utf-8")).get("profiles") or [{}]
        return {str(name): dict(given) for name, given in profiles[0].items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise RepositoryError(f"{path}: not a request for an engine: {error}", "build the repository again") from None


def words(model: ModelProto, ranges: Mapping[str, Range]) -> str:
    """`ids 1x1 to 8x64`, as far as sizes vary."""
    known = {value.name for value in model.graph.input}
    said: Iterable[str] = (
        f"{name} {_shape(low)} to {_shape(high)}" for name, (low, _, high) in ranges.items() if name in known and low != high
    )
    return ", ".join(said)


def _shape(dims: list[int]) -> str:
    return "x".join(map(str, dims))


def _free(value: Any) -> bool:
    """An axis of the graph is free, also where the config leaves it one length: the builder wants a range all the same."""
    return any(not dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)


def _alike(model: ModelProto, name: str, ranges: Range, told: Mapping[str, Range]) -> Range:
    """Axes of one name have one length: that of a request counts for the inputs that a cut made, too."""
    names = {value.name: [dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in model.graph.input}
    known = {
        axis: [shape[place] for shape in said]
        for other, said in told.items()
        for place, axis in enumerate(names[other])
        if axis and len(said[0]) == len(names[other])
    }
    low, usual, high = (
        [known[axis][which] if axis in known else dim for axis, dim in zip(names[name], ranges[which], strict=True)]
        for which in range(3)
    )
    return low, usual, high


def _key(name: str, given: Mapping[str, Any]) -> str:
    """How the child is told that these are values of an input, not its shapes."""
    return f"values of {name}" if given.get("values") else name


def _said(given: Mapping[str, Any]) -> Range:
    return list(given["min"]), list(given["opt"]), list(given["max"])


def _range(value: Any, most: int, length: tuple[int, int, int], fixed: list[int]) -> Range:
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim]
    own = [-1, *fixed] if most and len(fixed) == len(dims) - 1 else fixed
    if len(own) == len(dims):
        dims = [said if dim < 0 else dim for dim, said in zip(dims, own, strict=True)]
    batch = (1, min(4, most), most) if most else length
    first = [batch[place] if dims and dims[0] < 0 else dim for place in range(3) for dim in dims[:1]]
    rest = [[length[place] if dim < 0 else dim for dim in dims[1:]] for place in range(3)]
    low, usual, high = ([*first[place : place + 1], *rest[place]] for place in range(3))
    return low, usual, high
