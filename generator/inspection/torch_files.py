"""torch.save's files: state dicts, checkpoints with several, whole modules, ultralytics' checkpoints."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generator import archives
from generator.errors import CheckpointError
from generator.inspection import Contents, Group
from generator.pickle_notes import Made, Pickle, members
from generator.torch_pickle import legacy, plain, runs, state_dicts

KINDS = ("state_dict", "pickled", "ultralytics")

#: Entries beside the weights that say something of the training, where they are plain values.
_TOLD = (
    "epoch", "global_step", "step", "iter", "best_acc", "best_acc1", "best_fitness", "acc", "arch", "model_name", "architecture",
    "num_classes", "version", "date", "pytorch-lightning_version", "license",
)  # fmt: skip
_LONGEST = 80


def read(path: Path) -> Contents:
    """Every state dict and module in it, what it says of its training, and what loading would import."""
    found = pickle(path)
    groups = tuple(Group(".".join(each.path), each.tensors, each.module) for each in state_dicts(found.value))
    facts, labels = _facts(found.value), _labels(found)
    if found.broken:
        facts["read until"] = found.broken
    return Contents(groups, facts=facts, code=runs(found.globals), labels=labels)


def pickle(path: Path) -> Pickle:
    """The checkpoint's pickle, described. Raises CheckpointError where the file is none of torch's."""
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                names = archives.names(path)
                name = next((each for each in names if each.rpartition("/")[2] == "data.pkl" and each.count("/") <= 1), "")
                return plain(archives.read(path, name))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return legacy(data) or plain(data)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {getattr(error, 'strerror', None) or error}", "name a readable file") from None


def _facts(value: Any) -> dict[str, str]:
    said = {str(key): _short(held) for key, held in members(value).items() if key in _TOLD and _is_plain(held)}
    for name in ("hyper_parameters", "args", "train_args", "config", "cfg"):
        inner = members(members(value).get(name))
        if inner:
            said[name] = _short(", ".join(f"{key}={held}" for key, held in list(inner.items())[:8] if _is_plain(held)))
    return {key: text for key, text in said.items() if text}


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _labels(found: Pickle) -> tuple[str, ...]:
    """ultralytics keeps `names` in the model; others `classes` or `class_names` beside the weights."""
    top = members(found.value)
    holders = [top, *(members(held) for held in top.values() if isinstance(held, Made))]
    for holder in holders:
        for key in ("names", "classes", "class_names", "CLASSES", "idx_to_class"):
            names = _names(holder.get(key))
            if names:
                return names
    return ()


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, Mapping) and value and all(isinstance(key, int) for key in value):
        value = [value[key] for key in sorted(value)]
    return tuple(value) if isinstance(value, list) and value and all(isinstance(each, str) for each in value) else ()
