"""TorchScript archives: the tensors of the module's pickle, and what its `forward` takes and gives, from its text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from generator import archives, torchscript_signature
from generator.errors import CheckpointError
from generator.inspection import Contents, Group
from generator.pickle_notes import Array, Made, members
from generator.torch_pickle import plain

KINDS = ("torchscript",)

_DEPTH = 40


def read(path: Path) -> Contents:
    """Parameters, buffers and constants; names of inputs (shapes are not in such files). Raises CheckpointError."""
    names = archives.names(path)
    name = next((each for each in names if each.rpartition("/")[2] == "data.pkl" and each.count("/") <= 1), "")
    top = plain(archives.read(path, name)).value
    try:
        taken, given = torchscript_signature.read(path)
    except CheckpointError:
        taken, given = [], None
    facts = {"forward takes": ", ".join(taken) or "nothing that could be read"}
    facts["forward gives"] = f"{given} tensor{'' if given == 1 else 's'}" if given else "a list or a dict, known at run time"
    if isinstance(top, Made):
        facts["class"] = top.name.removeprefix("__torch__.")
    return Contents((Group("", _attributes(top)),), facts=facts)


def _attributes(module: Any) -> dict[str, Array]:
    """A scripted module keeps its parameters and modules as attributes of one object each."""
    found: dict[str, Array] = {}
    level = [("", module)]
    seen: set[int] = set()
    for _ in range(_DEPTH):
        deeper = []
        for prefix, item in level:
            if id(item) in seen:
                continue
            seen.add(id(item))
            for name, value in members(item).items():
                if isinstance(value, Array):
                    found[f"{prefix}{name}"] = value
                elif isinstance(value, Made):
                    deeper.append((f"{prefix}{name}.", value))
        level = deeper
    return found
