"""scikit-learn, XGBoost and LightGBM: the class, columns and classes of an estimator; arrays of a pickle by their names."""

from __future__ import annotations

import json
import mmap
import re
import zlib
from pathlib import Path
from typing import Any

from generator import archives
from generator.errors import CheckpointError
from generator.inspection import Contents, Group
from generator.pickle_arrays import array
from generator.pickle_notes import Array, Made, Pickle, members
from generator.torch_pickle import plain

KINDS = ("sklearn", "xgboost", "lightgbm")

_PACKED = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_MOST = 1 << 28
#: LightGBM's text (gbdt_model_text.cpp) and XGBoost's JSON (doc/model.schema) say these.
_LIGHTGBM = ("objective", "num_class", "max_feature_idx", "feature_names")
_XGBOOST = re.compile(rb'"(num_feature|num_class|num_target|name)":"([\w:]+)"')
_UBJSON = re.compile(rb"(num_feature|num_class|num_target|name)SL(\0{7}.)", re.DOTALL)


def read(path: Path) -> Contents:
    """By what the file is: a text, XGBoost's JSON, skops' archive or a pickle. Raises CheckpointError."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
            if head.startswith(b"tree\n"):
                return Contents(facts=_lightgbm(head))
            if head.startswith(b"{"):
                return Contents(facts=_xgboost(path, head))
            if head.startswith(b"PK"):
                return Contents(facts=_skops(path))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                packed = head[:2] in _PACKED
                return _pickled(plain(zlib.decompressobj().decompress(data[:], _MOST) if packed else data))
    except (OSError, ValueError, zlib.error) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}", "save it again") from None


def _lightgbm(head: bytes) -> dict[str, str]:
    said = dict(line.split("=", 1) for line in head.decode("utf-8", "replace").splitlines() if "=" in line)
    return {name: said[name][:80] for name in _LIGHTGBM if name in said}


def _xgboost(path: Path, head: bytes) -> dict[str, str]:
    """Parameters lie at the beginning or at the end of the learner; the trees between are passed over."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        text = file.read() + head
    found = {match[1].decode(): match[2].decode() for match in _XGBOOST.finditer(text)}
    for match in _UBJSON.finditer(text):  # a string: S, then its length (L: eight bytes), then the text
        start, length = match.end(), int.from_bytes(match[2], "big")
        found[match[1].decode()] = text[start : start + length].decode("utf-8", "replace")
    objective = found.pop("name", "")
    return {**found, **({"objective": objective} if ":" in objective else {})}


def _skops(path: Path) -> dict[str, str]:
    try:
        said = json.loads(archives.read(path, "schema.json"))
        content = said["content"]["content"]
        named = {name: entry.get("content") for name, entry in content.items() if isinstance(entry, dict)}
        facts = {"class": f"{said['__module__']}.{said['__class__']}", "skops": str(said.get("_skops_version", ""))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a skops file that is known: {error}", "save it again") from None
    return facts | {name: str(named[name]) for name in ("n_features_in_",) if isinstance(named.get(name), (int, str))}


def _pickled(found: Pickle) -> Contents:
    top = found.value
    facts = {"class": top.name} if isinstance(top, Made) else {}
    said = members(top)
    for name in ("n_features_in_", "_n_features", "n_outputs_", "_sklearn_version", "objective", "n_estimators"):
        held = said.get(name)
        if isinstance(held, (int, str)):
            facts[name] = str(held)
    steps = [step for step in said.get("steps") or [] if isinstance(step, tuple) and len(step) == 2 and isinstance(step[1], Made)]
    if steps:
        facts["steps"] = ", ".join(f"{name}: {step.name.rpartition('.')[2]}" for name, step in steps)
        inner = members(steps[0][1]).get("n_features_in_")
        facts |= {"n_features_in_": str(inner)} if isinstance(inner, int) else {}
    held = _arrays(said)
    return Contents((Group("", held),) if held else (), facts=facts, code=found.globals)


def _arrays(said: dict[Any, Any]) -> dict[str, Array]:
    return {str(name): held for name, value in said.items() if (held := array(value)) is not None}
