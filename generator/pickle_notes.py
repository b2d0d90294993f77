"""What a described pickle is made of: names, calls that were not made, tensors by type and shape; and how to look into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle would import: `collections.OrderedDict`."""

    name: str


@dataclass(slots=True, eq=False)
class Made:
    """What calling `name` would have made; `state` and what was put into it are kept."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Array:
    """A tensor or an array: its type as Triton says it ("" where unknown) and its shape."""

    dtype: str
    shape: tuple[int, ...]
    #: What it is stored in, which two tied tensors share; "" where it is stored inline.
    storage: str = ""

    @property
    def size(self) -> int:
        """Number of values."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size


@dataclass(frozen=True, slots=True)
class Pickle:
    """One pickle described. `globals`: every name that loading it would import, in the order of the file."""

    value: Any
    globals: tuple[str, ...]
    #: "" where it was read to its end, else why not.
    broken: str = ""


def plain(key: Any) -> bool:
    """Can it be a key here? A nested tuple is not: hashing it recurses in C."""
    scalars = (str, int, float, bytes, bool, type(None), Global, Made)
    return isinstance(key, scalars) or (isinstance(key, tuple) and all(isinstance(item, scalars) for item in key))


def walk(value: Any, depth: int, most: int = 100_000) -> Iterator[tuple[tuple[str, ...], Any]]:
    """`value` and what its mappings hold under names, nearest first, each object once."""
    seen: set[int] = set()
    level: list[tuple[tuple[str, ...], Any]] = [((), value)]
    for _ in range(depth + 1):
        deeper: list[tuple[tuple[str, ...], Any]] = []
        for path, item in level:
            if id(item) in seen or len(seen) > most:
                continue
            seen.add(id(item))
            yield path, item
            deeper += [((*path, str(key)), inner) for key, inner in members(item).items() if isinstance(inner, (dict, Made))]
        level = deeper


def members(value: Any) -> dict[Any, Any]:
    """What it holds by name: a mapping's items, an object's attributes and items."""
    if isinstance(value, Made):
        return {**(value.state if isinstance(value.state, dict) else {}), **value.items}
    return value if isinstance(value, dict) else {}
