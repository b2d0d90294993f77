"""What `torch.save` wrote, described without torch: its pickle in either format, the state dicts and the modules in it."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from typing import Any

from generator.pickle_arrays import BUILDERS, array
from generator.pickle_notes import Array, Made, Pickle, members, walk
from generator.pickle_reader import Source, read

#: The first pickle of a file that torch before 1.6 wrote (torch/serialization.py, MAGIC_NUMBER).
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
#: How deep state dicts lie inside checkpoints, and modules inside modules.
_DEPTH = 4
_MODULES_DEPTH = 30
#: Modules that hold each other twice, thirty deep, are more than can be looked at.
_MOST_MODULES = 50_000

#: What torch.load imports with weights_only=True (torch/_weights_only_unpickler.py); everything else is code from elsewhere.
_SAFE = re.compile(
    r"collections\.(OrderedDict|Counter)|builtins\.(set|bytearray|complex)|_codecs\.encode"
    r"|torch\.(cuda\.)?(sparse\.)?(BFloat16|Bool|Byte|Char|Double|Float|Half|Int|Long|Short|Complex(Double|Float))(Storage|Tensor)"
    r"|torch\.(QInt32|QInt8|QUInt2x4|QUInt4x2|QUInt8)Storage|torch\.storage\.(Untyped|Typed)Storage"
    r"|torch\.(Size|Tensor|device|bool|(b?float|u?int|qint|quint|bits|complex)\d\w*|per_(tensor|channel)_\w+)"
    r"|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state|qtensor|sparse_tensor|nested_tensor"
    r"|wrapper_subclass|device_tensor_from_cpu_tensor|device_tensor_from_numpy|meta_tensor_no_storage)"
)


@dataclass(frozen=True, slots=True)
class StateDict:
    """Named tensors inside a file, and the keys under which they lie."""

    path: tuple[str, ...]
    tensors: dict[str, Array]
    #: The class whose pickled object they belong to; "" for a plain state dict.
    module: str = ""


def legacy(data: bytes | mmap.mmap) -> Pickle | None:
    """The checkpoint's own pickle in torch's older format: behind a magic number, a version and the machine's properties."""
    source = Source(data)
    if read(source).value != LEGACY_MAGIC:
        return None
    for _ in range(2):
        read(source)
    return read(source, BUILDERS)


def plain(data: bytes | mmap.mmap) -> Pickle:
    """A pickle that starts at the first byte."""
    return read(Source(data), BUILDERS)


def state_dicts(value: Any) -> list[StateDict]:
    """Every mapping of names to tensors and every module, nearest first; what lies inside one already found is not repeated."""
    found: list[StateDict] = []
    for path, item in walk(value, _DEPTH):
        if any(path[: len(other.path)] == other.path for other in found):
            continue
        if is_module(item):
            found.append(StateDict(path, dict(_parameters(item)), item.name))
        elif isinstance(item, dict) and (tensors := _tensors(item)):
            found.append(StateDict(path, tensors))
    return found


def is_module(value: Any) -> bool:
    """Is it a pickled torch.nn.Module? Each has a dict of modules and one of parameters."""
    return isinstance(value, Made) and {"_modules", "_parameters"} <= members(value).keys()


def runs(names: tuple[str, ...]) -> tuple[str, ...]:
    """Of the names that a pickle would import, those that weights_only loading refuses: code from elsewhere."""
    return tuple(name for name in names if not _SAFE.fullmatch(name))


def _tensors(mapping: dict[Any, Any]) -> dict[str, Array]:
    """The tensors of a mapping that is a state dict: texts to tensors, and little else."""
    found = {key: held for key, value in mapping.items() if isinstance(key, str) and (held := array(value)) is not None}
    return found if 2 * len(found) > len(mapping) or any("." in key for key in found) else {}


def _parameters(module: Made) -> list[tuple[str, Array]]:
    """Parameters and buffers with their full names, as `state_dict()` would name them: a module under two names twice."""
    found: list[tuple[str, Array]] = []
    level: list[tuple[str, Made]] = [("", module)]
    visited = 0
    for _ in range(_MODULES_DEPTH):
        deeper: list[tuple[str, Made]] = []
        for prefix, item in level[: _MOST_MODULES - visited]:
            held = members(item)
            for group in ("_parameters", "_buffers"):
                named = members(held.get(group))
                found += [(f"{prefix}{key}", value) for key, value in named.items() if isinstance(value, Array)]
            inner = members(held.get("_modules"))
            deeper += [(f"{prefix}{key}.", child) for key, child in inner.items() if isinstance(child, Made)]
        visited += len(level)
        level = deeper[:_MOST_MODULES]
        if visited >= _MOST_MODULES:
            break
    return found
