"""Passing served files on into new model folders such that a polling server sees what changed, and only that.

tritonserver compares the newest modification time that it finds in a model folder with the newest it saw before, and so for each
version (core, src/model_repository_manager/model_repository_manager.cc, class ModelTimestamp, IsModified and
IsModelVersionModified). So what did not change keeps its times, and what changed must end up newer than anything it replaces: a
roll-back that brought back older times would go unnoticed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from generator.plan import file_digest

#: Nanoseconds by which a folder that would be too old is made newer; some file systems keep whole milliseconds.
_STEP = 10_000_000
#: What a python model's interpreter leaves beside its source.
CACHE = "__pycache__"


def link(old: Path, new: Path) -> None:
    """The same file in another place: a hard link, or a copy with the same times where the file system has none."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)


def same(served: Path, digests: Mapping[str, str], staged: Path) -> None:
    """Put the served file in the place of each staged one that is equal to it. `digests` are those of the served files."""
    for name, digest in digests.items():
        old, new = served / name, staged / name
        if new.is_file() and old.is_file() and file_digest(new) == digest == file_digest(old):
            new.unlink()
            link(old, new)


def times(served: Path, staged: Path) -> None:
    """Give each folder inside the model folder `staged` the time of the served one where the same names lie in both."""
    for folder in sorted((p for p in staged.rglob("*") if p.is_dir()), reverse=True):
        old = served / folder.relative_to(staged)
        if old.is_dir() and {p.name for p in folder.iterdir()} == {p.name for p in old.iterdir()} - {CACHE}:
            state = old.stat()
            os.utime(folder, ns=(state.st_atime_ns, state.st_mtime_ns))


def unchanged(served: Path, staged: Path) -> bool:
    """Are both model folders the same, files and folders? Files that `same` and `link` passed on are known without reading."""
    if not served.is_dir():
        return False
    old, new = _content(served), _content(staged)
    return old == new and all(_equal(served / name, staged / name) for name in new if (staged / name).is_file())


def noticed(served: Path, staged: Path) -> None:
    """Make sure that the model folder `staged` is newer than the one that it replaces, also where a clock was set back."""
    newest = _newest(served) if served.is_dir() else 0
    if _newest(staged) <= newest:
        os.utime(staged, ns=(newest + _STEP, newest + _STEP))


def in_place(staged: Path, served: Path) -> None:
    """Make `served` what `staged` is where two folders cannot be exchanged at once; what was there ends in `staged`.

    The model never vanishes and its config is never without the versions it needs: new version folders come in whole, then the
    other files one by one, the config last of them; what is no longer wanted goes at the end.
    """
    new, old = _content(staged), _content(served)
    files = sorted((name for name in new if (staged / name).is_file()), key=lambda name: (name == "config.pbtxt", name))
    for name in sorted(name for name in new - old if (staged / name).is_dir() and name.rpartition("/")[0] not in new - old):
        (staged / name).rename(served / name)
    for name in files:
        if (staged / name).is_file() and not _equal(served / name, staged / name):
            (staged / name).replace(served / name)
    for name in sorted(old - new, reverse=True):
        path = served / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    noticed(staged, served)


def _content(folder: Path) -> set[str]:
    return {name for p in folder.rglob("*") if CACHE not in (name := p.relative_to(folder).as_posix())}


def _equal(one: Path, other: Path) -> bool:
    return one.is_file() and (one.samefile(other) or file_digest(one) == file_digest(other))


def _newest(folder: Path) -> int:
    return max(p.stat().st_mtime_ns for p in (folder, *folder.rglob("*")))
