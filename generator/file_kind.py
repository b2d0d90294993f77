"""What a file looks like, told without running anything from it, without heavy libraries, and from bounded reads.

Each file in `generator/file_signs/` knows some formats: its `tell` says which, or nothing. The first that knows wins.
"""

from __future__ import annotations

import functools
import importlib
import mmap
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from generator.errors import CheckpointError

#: As much of a file's beginning as most signs need.
HEAD = 1 << 16


@dataclass(frozen=True, slots=True)
class FileKind:
    """A format: in words, as a `checkpoint.kind` ("" where none takes it), and what to do with a file that is no checkpoint."""

    phrase: str
    kind: str = ""
    remedy: str = ""
    #: More of `checkpoint:` that belongs to it, such as `key: model`.
    field: str = ""

    def __str__(self) -> str:
        said = ", ".join(f"`{text}`" for text in (f"kind: {self.kind}" if self.kind else "", self.field) if text)
        return f"{self.phrase} ({said})" if said else f"{self.phrase}; {self.remedy}" if self.remedy else self.phrase


@dataclass(frozen=True, slots=True)
class Opened:
    """A file (or folder) to be told: its beginning, and its whole content as a memory map."""

    path: Path
    head: bytes
    data: bytes | mmap.mmap
    #: Names of what lies in it, for a folder.
    entries: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)


def looks_like(path: Path) -> str:
    """A short phrase such as "a TorchScript archive (`kind: torchscript`)"; "" where unknown or unreadable."""
    try:
        found = of(path)
    except OSError:
        return ""
    return str(found) if found else ""


def unreadable(path: Path, expected: str, error: BaseException | str) -> CheckpointError:
    """For a file that is not what the spec says: the format it looks like, else what its reader said."""
    try:
        path.open("rb").close()
    except OSError as no:
        return CheckpointError(f"{path}: {no.strerror}", "make it readable")
    kind, _, remedy = looks_like(path).partition("; ")
    if kind and expected not in kind:
        return CheckpointError(f"{path}: not {expected}; it looks like {kind}", remedy or "name the right file, or say that kind")
    return CheckpointError(f"{path}: not {expected}, or cut short: {_line(error)}", "is this the right file? fetch it again")


def _line(error: BaseException | str) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def of(path: Path) -> FileKind | None:
    """The format of a file or a folder; None where it is not known. Raises OSError where it cannot be read."""
    if path.is_dir():
        # a folder with more entries than these is no checkpoint that we know
        entries = tuple(entry.name for entry, _ in zip(sorted(path.iterdir()), range(10_000), strict=False))
        return _tell(Opened(path, b"", b"", entries))
    with path.open("rb") as file:
        head = file.read(HEAD)
        if not head:
            return FileKind("an empty file", remedy="fetch or save it again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _tell(Opened(path, head, data))


def _tell(opened: Opened) -> FileKind | None:
    for tell in _signs():
        found = tell(opened)
        if found is not None:
            return found
    return None


@functools.cache
def _signs() -> tuple[Callable[[Opened], FileKind | None], ...]:
    """`tell` of each file in `file_signs/`, by their `ORDER`: sure signs first, guesses last."""
    from generator import file_signs

    names = [info.name for info in pkgutil.iter_modules(file_signs.__path__)]
    modules = [importlib.import_module(f"{file_signs.__name__}.{name}") for name in names]
    return tuple(module.tell for module in sorted(modules, key=lambda module: (module.ORDER, module.__name__)))
