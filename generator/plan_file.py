"""A TensorRT plan's first bytes, read without TensorRT: is it one, and which TensorRT wrote it?

The tag at byte 0, the version of the layout at byte 4 and TensorRT's own version at bytes 24 to 27 are those that
`trtexec --getPlanVersionOnly` reads
(https://github.com/NVIDIA/TensorRT/blob/main/samples/common/sampleEngines.cpp, printPlanVersion; the same from 10.0 to 11.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from generator import file_kind
from generator.errors import RepositoryError

_SIZE = 28
_TAG = (0x74727466).to_bytes(4, "little")
#: TensorRT-RTX writes this one in its place (seen: 1.7.1.116).
_RTX_TAG = b"vtrt"
_VERSION = slice(24, 28)
_REMEDY = "build it again: triton-repo engines"


@dataclass(frozen=True)
class Plan:
    """What a plan says of itself: the TensorRT that wrote it, such as 10.5.0.18, and its size in bytes."""

    tensorrt: str
    size: int
    #: Of TensorRT-RTX, which counts versions of its own?
    rtx: bool = False


def read(path: Path) -> Plan:
    """The header of the plan at `path`. Raises RepositoryError for what is no plan of Triton's TensorRT, or cut short."""
    found = header(path)
    if found.rtx:
        raise RepositoryError(
            f"{path}: an engine of TensorRT-RTX {found.tensorrt}, which Triton's tensorrt backend does not load",
            "build it with TensorRT itself: triton-repo engines",
        )
    return found


def header(path: Path) -> Plan:
    """The same, of an engine of TensorRT-RTX, too."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_SIZE)
    except OSError as error:
        raise RepositoryError(f"{path}: {error.strerror}", _REMEDY) from None
    if head[:4] not in (_TAG, _RTX_TAG):
        raise _foreign(path, head)
    if len(head) < _SIZE:
        raise RepositoryError(f"{path}: a TensorRT plan of {size} bytes, cut short", _REMEDY)
    layout = int.from_bytes(head[4:8], "little")
    if layout:
        raise RepositoryError(f"{path}: a TensorRT plan of layout {layout}, which this triton-repo does not know", _REMEDY)
    return Plan(".".join(map(str, head[_VERSION])), size, rtx=head[:4] == _RTX_TAG)


def _foreign(path: Path, head: bytes) -> RepositoryError:
    """Named by what it looks like."""
    kind = file_kind.of(path)
    if kind is not None:
        return RepositoryError(f"{path}: not a TensorRT plan; it looks like {kind.phrase}", _REMEDY)
    begins = head[:4].hex(" ") or "nothing"
    return RepositoryError(f"{path}: not a TensorRT plan: it begins with {begins}, not {_TAG.hex(' ')}", _REMEDY)
