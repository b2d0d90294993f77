"""Taking away a version that a server may be loading at this moment.

The python backend never answers for a model whose version folder vanishes between the server's decision to load it and the
interpreter's first look at model.py: that load hangs, and with it every later poll (tritonserver 2.51, the folder gone 10 ms
after the load began; under load the gap is some tenths of a second). So a version goes in two steps: first a config whose version
policy names the versions that stay, by which the server rolls back already, and the folder only `GRACE` seconds later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from generator import carry, pbtxt
from generator.completion import completed
from generator.errors import RepositoryError
from generator.rules import Model

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Seconds in which a load that has begun gets as far as opening its files.
GRACE = 3.0
_CONFIG = "config.pbtxt"


def model(name: str, config: str, folders: Iterable[str]) -> Model | None:
    """What the server makes of a config and the folders beside it; None for a config that cannot be read."""
    try:
        said = pbtxt.parse(config)
    except RepositoryError:
        return None
    return Model(name, completed(said, name), said, folders=frozenset(folders))


def versions(old: Model | None, new: Model | None) -> tuple[int, ...]:
    """The versions that a server may be loading by the old config and folders, and that the new ones no longer have."""
    if old is None or new is None or not new.served:
        return ()
    return tuple(version for version in old.served if version not in new.versions)


def hangs(old: Model | None) -> bool:
    """Does the model run in a backend that never answers when its files are gone?"""
    return old is not None and old.config.backend == "python"


def config(new: Model) -> str:
    """The new config with a version policy that names the versions which will be served."""
    said = type(new.said)()
    said.CopyFrom(new.said)
    said.version_policy.specific.versions[:] = new.served
    return pbtxt.text(said)


def bridge(served: Path, staged: Path, between: Path) -> bool:
    """Make `between` the model folder for the first step: all of `staged` and, not served, what leaves. False: none is needed."""
    old, new = _on_disk(served), _on_disk(staged)
    gone = versions(old, new)
    if not gone or not hangs(old) or new is None:
        return False
    for top, folders in ((staged, [staged]), (served, [served / str(version) for version in gone])):
        for folder in folders:
            for path in (p for p in folder.rglob("*") if p.is_file() and carry.CACHE not in p.parts):
                carry.link(path, between / path.relative_to(top))
    (between / _CONFIG).unlink()
    (between / _CONFIG).write_text(config(new), encoding="utf-8")
    carry.times(served, between)
    return True


def may_hang(served: Path) -> bool:
    """Would a load of this model folder hang if it vanished now?"""
    return hangs(_on_disk(served))


def _on_disk(folder: Path) -> Model | None:
    path = folder / _CONFIG
    if not path.is_file():
        return None
    try:
        return model(folder.name, pbtxt.source(path), (p.name for p in folder.iterdir() if p.is_dir()))
    except RepositoryError:
        return None
