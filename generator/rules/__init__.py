"""What tritonserver refuses at load, and what it accepts but users regret. One file a topic, one function a rule.

A rule looks at one model (and, through the `World`, at the others) and yields a `Problem` for each place that is wrong.
It reads nothing but what it is given; `Model.files` says which files lie in the folder and where their bytes can be read.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from generator.findings import Level

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from generator.tensors import Tensor

Version = tuple[int, ...]


class Problem(NamedTuple):
    """One mistake: the field's path in the config ("" for the whole model), what is there, what should be, what to do."""

    field: str
    found: str
    expected: str
    remedy: str


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs that a model file really has; `Tensor.batched` is True where the first axis is free."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def _nowhere(path: str) -> str:
    return path


def _unknown(version: int) -> Signature | None:
    return None


@dataclass(frozen=True)
class Model:
    """One model folder as the checker sees it; at plan time, the folder that a build would write."""

    #: The folder's name.
    name: str
    #: What the server works with: as written, then completed as the server completes it.
    config: ModelConfig
    #: As written; an empty message where there is no config.pbtxt.
    said: ModelConfig
    #: Every file by its path in the folder, `/` between parts; None: not there yet, a build would write it.
    files: Mapping[str, Path | None] = field(default_factory=dict)
    #: Every folder in it by its path, so that an empty version folder counts.
    folders: frozenset[str] = frozenset()
    #: None where there is no config.pbtxt.
    written: bool = True
    #: Field path -> `file:line` of the place where it was said.
    where: Callable[[str], str] = _nowhere
    #: Version -> what the model file of that version takes and gives; None: not known.
    signature: Callable[[int], Signature | None] = _unknown

    @property
    def versions(self) -> tuple[int, ...]:
        """The version folders, ascending: names that are numbers above 0 (model_repository.md, "Model Versions")."""
        return tuple(sorted(int(name) for name in self.folders if name.isascii() and name.isdigit() and not name.startswith("0")))


@dataclass(frozen=True)
class World:
    """All models of a repository, and what is assumed of the server that will load them."""

    models: Mapping[str, Model]
    #: Folders whose config cannot be read at all; they have findings of their own.
    broken: frozenset[str] = frozenset()
    #: The oldest server it must load on, such as (2, 51); empty: any that knows the installed schema.
    server: Version = ()
    #: How many GPUs the server sees; None: not known, so GPU instances are not refused.
    gpus: int | None = None
    #: Does the server forbid itself to complete configs (--disable-auto-complete-config)?
    strict: bool = False


@dataclass(frozen=True)
class Rule:
    """A function with its name, its level, and the place upstream that it follows."""

    id: str
    level: Level
    source: str
    find: Callable[[Model, World], Iterator[Problem]]

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (self.find.__doc__ or "").strip().splitlines()[0]


def rule(name: str, *, source: str, level: Level = "error") -> Callable[[Callable[[Model, World], Iterator[Problem]]], Rule]:
    """Make a function a rule. `source` is the upstream document or file and function that states it."""
    return lambda find: Rule(name, level, source, find)


@functools.cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule of every file in this folder, by name."""
    found = []
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        found += [value for value in vars(module).values() if isinstance(value, Rule)]
    return tuple(sorted(found, key=lambda r: r.id))
