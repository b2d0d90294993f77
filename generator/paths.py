"""Where things are: the templates (beside the package in a checkout, inside it in a wheel) and the cache."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def templates() -> Path:
    """The folder that the repository is made from."""
    inside = _PACKAGE / "_templates"
    return inside if inside.is_dir() else _PACKAGE.parent / "templates"


def cache() -> Path:
    """`$TRITON_REPO_CACHE`, else `$XDG_CACHE_HOME/triton-repo`, else `~/.cache/triton-repo`. May be deleted at any time."""
    if own := os.environ.get("TRITON_REPO_CACHE"):
        return Path(own).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triton-repo"


def forget(folders: Iterable[Path], seconds: float) -> None:
    """Remove what nothing has touched for so long; what another process takes away meanwhile is passed over."""
    for folder in folders:
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < time.time() - seconds:
                shutil.rmtree(folder, ignore_errors=True)
