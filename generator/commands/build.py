"""triton-repo build: specs -> model repository."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

SPECS = click.argument("specs", nargs=-1, required=True, type=click.Path(path_type=Path))
OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="The model repository.",
)


@click.command("build")
@SPECS
@OUTPUT
def command(specs: tuple[Path, ...], output: Path) -> None:
    """Build a model repository from SPECS: export, graph surgery, configs, ensembles."""
    from generator import engines
    from generator.build import build, plan
    from generator.progress import StepProgress

    started = time.monotonic()
    with StepProgress() as progress:
        planned = plan(specs, output, progress)
    if all(item.fresh for item in planned):
        names = ", ".join(item.pipeline.spec.name for item in planned)
        verb = "is" if len(planned) == 1 else "are"
        click.echo(f"nothing to do: {names} in {output} {verb} up to date ({time.monotonic() - started:.2f} s)")
        return
    for item in planned:
        for warning in item.warnings:
            click.echo(str(warning), err=True)
        if item.fresh:
            click.echo(f"  {item.pipeline.spec.name}: up to date")
    with StepProgress() as progress:
        rows = build(planned, output, progress)
    _table(rows, output, time.monotonic() - started)
    if pending := engines.pending(output):
        click.echo(f"still to be built, on a machine with an NVIDIA GPU: {', '.join(pending)}: {engines.COMMAND} {output}")


def _table(rows: Sequence[tuple[str, int, str]], output: Path, seconds: float) -> None:
    from generator.console import console, table

    files = table(f"{output}: {len(rows)} files in {seconds:.1f} s", "file", "", "bytes", right=1)
    for name, size, status in rows:
        files.add_row(name, status, f"{size:,}")
    console().print(files)
