"""Formats told by numbers in their first bytes: safetensors, Darknet weights, PaddlePaddle parameters."""

from __future__ import annotations

import struct

from generator.file_kind import FileKind, Opened

ORDER = 30

#: The safetensors library's own limit of the header.
_HEADER = 100_000_000


def tell(opened: Opened) -> FileKind | None:
    """Small whole numbers where each format has them."""
    if opened.size < 16:
        return None
    (length,) = struct.unpack_from("<Q", opened.head)
    if 2 <= length <= _HEADER and opened.head[8:9] == b"{":
        if length + 8 > opened.size:
            return FileKind("a safetensors file that is cut off", remedy="fetch it again")
        return FileKind("a safetensors file", "safetensors")
    if _darknet(opened):
        return FileKind("Darknet weights", "darknet", field="cfg: the .cfg of its training")
    if opened.head[:16] == bytes(16) and opened.head[20:21] == b"\x08" and 0 < opened.head[16] < 64:
        # version 0, no levels of detail, version 0, then a small TensorDesc (paddle/fluid/framework/lod_tensor.cc)
        return FileKind("parameters of a PaddlePaddle inference model", "paddle", field="model: its .json or .pdmodel")
    return None


def _darknet(opened: Opened) -> bool:
    """major, minor and revision as int32, then images seen: int64 from 0.2 on, int32 before; then whole floats."""
    major, minor, revision = struct.unpack_from("<3i", opened.head)
    if major != 0 or minor not in (1, 2, 3, 4, 5) or not 0 <= revision <= 10:
        return False
    return (opened.size - (20 if minor >= 2 else 16)) % 4 == 0
