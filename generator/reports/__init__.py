"""How the checker's findings are written. One file a format: `write(findings, models) -> text`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence

from generator.findings import Finding

Writer = Callable[[Sequence[Finding], int], str]


def formats() -> list[str]:
    """The formats there are: the files of this folder."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def writer(name: str) -> Writer:
    """The function that writes `name`; it takes the findings and how many models were looked at."""
    write: Writer = importlib.import_module(f"{__name__}.{name}").write
    return write


def split(where: str) -> tuple[str, int]:
    """`path:12` -> (`path`, 12); a folder has line 1."""
    path, colon, line = where.rpartition(":")
    return (path, int(line)) if colon and line.isdigit() else (where, 1)
