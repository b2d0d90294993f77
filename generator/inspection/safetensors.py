"""safetensors: the header alone. Source: the format's own description, github.com/huggingface/safetensors#format."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generator.errors import CheckpointError
from generator.inspection import Contents, Group
from generator.pickle_notes import Array

KINDS = ("safetensors",)

#: The safetensors library's own limit.
_MOST = 100_000_000
_DTYPES = {
    "F64": "FP64", "F32": "FP32", "F16": "FP16", "BF16": "BF16", "I64": "INT64", "I32": "INT32", "I16": "INT16", "I8": "INT8",
    "U64": "UINT64", "U32": "UINT32", "U16": "UINT16", "U8": "UINT8", "BOOL": "BOOL",
}  # fmt: skip


def read(path: Path) -> Contents:
    """Tensors and metadata."""
    said = header(path)
    metadata = said.pop("__metadata__", {})
    facts = {str(k): str(v)[:80] for k, v in metadata.items()} if isinstance(metadata, dict) else {}
    return Contents((Group("", tensors(path, said)),), facts=facts)


def header(path: Path) -> dict[str, Any]:
    """The JSON at the beginning. Raises CheckpointError."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_MOST, path.stat().st_size):
                raise ValueError("its header is longer than the file")
            said = json.loads(file.read(length))
        if not isinstance(said, dict):
            raise ValueError("its header is no mapping")
    except (OSError, ValueError, struct.error, RecursionError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or cut off: {error}", "fetch it again") from None
    return said


def _start(path: Path) -> int:
    """Where the tensors begin: offsets count from there."""
    with path.open("rb") as file:
        return 8 + int(struct.unpack("<Q", file.read(8))[0])


def tensors(path: Path, said: Mapping[str, Any]) -> dict[str, Array]:
    """The tensors that a header names. Raises CheckpointError for one that has no type or shape, or ends behind the file."""
    found, behind = {}, path.stat().st_size - _start(path)
    for name, entry in said.items():
        try:
            shape = tuple(int(extent) for extent in entry["shape"])
            found[name] = Array(_DTYPES.get(entry["dtype"], str(entry["dtype"])), shape)
            end = int(entry["data_offsets"][1])
        except (TypeError, KeyError, ValueError, IndexError):
            raise CheckpointError(f"{path}: tensor {name!r} has no type, shape or place", "save it again") from None
        if end > behind:
            raise CheckpointError(f"{path}: it is cut off: tensor {name!r} ends behind it", "fetch it again")
    return found
