"""What tritonserver refuses at load, and what it accepts but users regret. One file a topic, one function a rule.

A rule looks at one model (and, through the `World`, at the others) and yields a `Problem` for each place that is wrong.
It reads nothing but what it is given; `Model.files` says which files lie in the folder and where their bytes can be read.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from generator.findings import Level

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInput

    from generator.machine import Machine
    from generator.tensors import Tensor

Version = tuple[int, ...]
#: Path in a model folder -> where its bytes are; None: a build would write it.
Files = Mapping[str, Path | None]


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
    files: Files = field(default_factory=dict)
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
        """The versions that lie in the folder, ascending, as the server counts them."""
        return tuple(sorted(number for name in self.folders if (number := version_of(name)) is not None))

    @property
    def served(self) -> tuple[int, ...]:
        """The versions that its version policy has the server load, ascending."""
        policy, found = self.config.version_policy, self.versions
        kind = policy.WhichOneof("policy_choice")
        if kind == "specific":
            # one that is said twice is loaded whether it is there or not: the server takes its first mention for a folder
            said = list(policy.specific.versions)
            return tuple(sorted({version for version in said if version in found or said.count(version) > 1}))
        if kind == "all":
            return found
        count = policy.latest.num_versions if kind == "latest" else 1
        return found[-count:] if count else ()


#: Sub-folders of a model that hold no version (core, src/constants.h).
NO_VERSIONS = ("warmup", "initial_state", "configs")
_NUMBER = re.compile(r"\s*([+-]?\d+)")


def version_of(folder: str) -> int | None:
    """The version that the server reads out of a sub-folder's name; None where it passes over it.

    As core's src/model_repository_manager/model_lifecycle.cc, VersionsToLoad: no leading zeros, then std::stoll, which reads
    the number a name begins with.
    """
    if "/" in folder or folder in NO_VERSIONS or (len(folder) > 1 and folder.startswith("0")):
        return None
    number = _NUMBER.match(folder)
    return int(number[1]) if number else None


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
    #: The backends that the server has; None: not known, so none is refused.
    backends: frozenset[str] | None = None
    #: Does the server forbid itself to complete configs (--disable-auto-complete-config)?
    strict: bool = False
    #: The GPUs of this machine, where it is the one that serves; None: not judged.
    machine: Machine | None = None
    #: Model -> the oldest server that must load it, as its spec said; `server` counts where it is said.
    servers: Mapping[str, Version] = field(default_factory=dict)
    #: Model -> rule and problem of its ONNX files, where TensorRT's parser was asked (`check --tensorrt`).
    preflight: Mapping[str, Sequence[tuple[str, Problem]]] = field(default_factory=dict)


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


def tensors(config: ModelConfig) -> Iterator[tuple[str, ModelInput]]:
    """Field path and message of every input, then of every output."""
    for index, tensor in enumerate(config.input):
        yield f"input[{index}]", tensor
    for index, tensor in enumerate(config.output):
        yield f"output[{index}]", tensor


def completable(model: Model, world: World) -> bool:
    """May the backend still fill in what inputs and outputs leave out? Then their absence is no mistake."""
    if world.strict:
        return False
    if model.config.backend != "python":
        return model.config.backend in ("onnxruntime", "tensorrt", "tensorflow", "openvino")
    return any("auto_complete_config" in text(model, name) for name in model.files if name.endswith(".py"))


def text(model: Model, name: str) -> str:
    """The text of a file in the model folder; empty where it is not there yet or is none."""
    path = model.files.get(name)
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path else ""
    except OSError:
        return ""


def listed(names: Iterable[str], nothing: str = "none") -> str:
    """`one of a, b`, for what was expected."""
    found = sorted(names)
    return f"one of {', '.join(found)}" if found else nothing


@functools.cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule of every file in this folder, by name."""
    found = []
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        found += [value for value in vars(module).values() if isinstance(value, Rule)]
    return tuple(sorted(found, key=lambda r: r.id))
