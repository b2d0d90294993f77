"""triton-repo diff: what a surgery did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from generator.onnx_diff import Diff

DIFFERENT = 2
_COLOURS = {"added": "green", "removed": "red", "changed": "yellow", "renamed": "cyan"}
_SIGNS = {"added": "+", "removed": "-", "changed": "~", "renamed": "="}


@click.command("diff")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the changed neighbourhood: a .png or .svg file.")
@click.option("--json", "as_json", is_flag=True, help="Every difference, as JSON.")
def command(before: Path, after: Path, picture: Path | None, as_json: bool) -> int:
    """Compare two ONNX files: nodes, initialisers, inputs and outputs that were added, removed, changed or renamed.

    Exit code 0: they are equal but for documentation and metadata; 2: they differ; 1: a file cannot be read.
    """
    from generator import diff_picture, graph, onnx_diff

    if picture is not None:
        diff_picture.check(picture)
    found = onnx_diff.diff(graph.load(before), graph.load(after))
    if as_json:
        click.echo(json.dumps({"summary": found.summary(), "differences": onnx_diff.rows(found.entries)}, indent=2))
    else:
        _table(found, f"{before} -> {after}")
    if picture is not None:
        diff_picture.write(found, f"{before.name} -> {after.name}", picture)
        click.echo(f"drawn: {picture}", err=True)
    return 0 if found.equal else DIFFERENT


def _table(found: Diff, title: str) -> None:
    from generator.console import console, table

    if found.entries:
        lines = table(title, "", "", "what", "name", "how")
        for entry in found.entries:
            row = (_SIGNS[entry.status], entry.kind, entry.op, entry.name, "\n".join(entry.details))
            lines.add_row(*row, style=_COLOURS[entry.status])
        console().print(lines)
    click.echo(found.summary())
