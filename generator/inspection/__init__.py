"""What is in a checkpoint, read without running code from it. One file a family of formats, each with `KINDS` and `read`."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from generator.file_kind import FileKind
from generator.pickle_notes import Array
from generator.tensors import Tensor

#: A tensor's name -> its type and shape.
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Group:
    """Named tensors that belong together: a state dict, a module, the initialisers of a graph."""

    #: Where they lie in the file: `model`, `ema.module`; "" at its top.
    path: str
    tensors: Arrays
    #: The class of the pickled object that they belong to.
    module: str = ""

    @property
    def parameters(self) -> int:
        """Numbers in all tensors; two names for one storage count once."""
        stored = {array.storage or name: array.size for name, array in self.tensors.items()}
        return sum(stored.values())

    @property
    def averaged(self) -> bool:
        """By its name, a moving average of the weights."""
        return any("ema" in part.lower().split("_") or "averag" in part.lower() for part in self.path.split("."))

    @property
    def common(self) -> tuple[str, ...]:
        """What every name begins with, up to each of its points: ("module.", "module.net.")."""
        first = next(iter(self.tensors), "")
        points = [at + 1 for at, letter in enumerate(first[:200]) if letter == "."]
        return tuple(first[:at] for at in points if all(name.startswith(first[:at]) for name in self.tensors))


@dataclass(frozen=True)
class Contents:
    """What a reader found. Everything that is not known is left empty."""

    groups: tuple[Group, ...] = ()
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    #: Whatever else the file says of itself, in its order: `producer`, `epoch`, `classes`.
    facts: Mapping[str, str] = field(default_factory=dict)
    #: Names that loading it would import and that are code from elsewhere.
    code: tuple[str, ...] = ()
    #: Labels of the classes, where the file has them.
    labels: tuple[str, ...] = ()
    #: What the file says of its own `checkpoint:` (other files that belong to it, sizes).
    fields: Mapping[str, object] = field(default_factory=dict)


#: Raises CheckpointError.
Reader = Callable[[Path], Contents]


def read(path: Path, kind: FileKind) -> Contents:
    """What is in the file. Raises CheckpointError where it is damaged."""
    reader = _readers().get(kind.kind)
    return reader(path) if reader else Contents()


@functools.cache
def _readers() -> dict[str, Reader]:
    modules: list[ModuleType] = [
        importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__) if info.name != "report"
    ]
    return {kind: module.read for module in modules for kind in getattr(module, "KINDS", ())}
