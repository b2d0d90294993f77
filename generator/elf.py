"""Shared libraries, told from their first bytes (System V ABI, "ELF Header")."""

from __future__ import annotations

import struct
from pathlib import Path

_SHARED = 3  # ET_DYN
#: e_machine -> as `uname -m` says it.
_MACHINES = {62: "x86_64", 183: "aarch64"}


def machine(path: Path) -> str:
    """For which kind of processor the library is made. Raises ValueError for anything but a 64-bit shared library of Linux."""
    with path.open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise ValueError(f"{path} is no shared library: it begins with {head[:8]!r}, not with \\x7fELF; name a .so file")
    kind, number = struct.unpack("<HH", head[16:20])
    if head[4] != 2 or kind != _SHARED or number not in _MACHINES:
        raise ValueError(f"{path} is no 64-bit shared library for x86_64 or aarch64; link it with -shared for such a machine")
    return _MACHINES[number]
