"""One way to print tables: wide enough where nobody looks at a terminal, and never reading markup in names."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table


def console(stderr: bool = False) -> Console:
    """A console whose text is taken as it is; 140 columns where the output is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, markup=False, width=None if stream.isatty() else 140)


def table(title: str, *columns: str, right: int = 0) -> Table:
    """A table with its title on the left; the last `right` columns are aligned to the right."""
    result = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        result.add_column(column, overflow="fold", justify="right" if index >= len(columns) - right else "left")
    return result
