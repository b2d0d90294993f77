"""Zip archives read with limits: the list of what is in them, and one small member at a time."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from generator.errors import CheckpointError

#: A list of contents longer than this is no checkpoint's (about half a million members).
_LIST = 1 << 25
#: A pickle or a JSON text inside a checkpoint that is longer than this is not read.
MEMBER = 1 << 26


def names(path: Path) -> list[str]:
    """What is in the archive. Raises CheckpointError where it is none, is cut off, or lists too much."""
    with _opened(path) as archive:
        return archive.namelist()


def read(path: Path, name: str, most: int = MEMBER) -> bytes:
    """One member, unpacked; never more than `most` bytes of it. Raises CheckpointError."""
    try:
        with _opened(path) as archive, archive.open(name) as file:
            content = file.read(most + 1)
    except (KeyError, NotImplementedError, RuntimeError, zlib.error, EOFError, zipfile.BadZipFile, OSError) as error:
        raise CheckpointError(f"{path}: {name} inside it cannot be read: {error}", "fetch it again") from None
    if len(content) > most:
        raise CheckpointError(f"{path}: {name} inside it is longer than {most:,} bytes", "this is no usual checkpoint")
    return content


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        if _listed(path) > _LIST:
            raise CheckpointError(f"{path}: its list of contents is longer than {_LIST:,} bytes", "this is no usual checkpoint")
        return zipfile.ZipFile(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}", "name a readable file") from None
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError) as error:
        raise CheckpointError(f"{path}: a zip archive that is cut off or damaged: {error}", "fetch it again") from None


def _listed(path: Path) -> int:
    """Bytes of the central directory, as the end of the archive says (APPNOTE.TXT 4.3.14 and 4.3.16)."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = file.seek(max(0, size - (1 << 16) - 22 - 20 - 56))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise zipfile.BadZipFile("its end is missing")
    (length,) = struct.unpack_from("<L", tail, at + 12)
    wide = tail.rfind(b"PK\x06\x06", 0, at)
    if length == 0xFFFFFFFF and wide >= 0:
        (length,) = struct.unpack_from("<Q", tail, wide + 40)
    return int(length) if start + at >= int(length) else _LIST + 1
