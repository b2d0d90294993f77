"""triton-repo init: the first spec of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from generator.errors import RepositoryError


@click.command("init")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The spec.  [default: NAME.yaml]")
@click.option("--name", help="The served model's name.  [default: from the file's name]")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def command(checkpoint: Path, output: Path | None, name: str | None, force: bool) -> None:
    """Write a commented spec for CHECKPOINT from what `triton-repo inspect` sees in it; nothing of it is run.

    Lines marked FILL IN must be completed before it builds, lines marked CHECK are guesses.
    """
    from generator.first_spec import model_name, write
    from generator.inspection.report import report
    from generator.spec_text import counted

    called = name or (model_name(output) if output else model_name(checkpoint))
    target = output or Path(f"{called}.yaml")
    found = report(checkpoint)
    spec = write(found, called, target.parent)
    labels = target.with_name(f"{called}.labels.txt")
    files = {target: spec.text} | ({labels: "\n".join(spec.labels) + "\n"} if spec.labels else {})
    for path in files:
        _writable(path, force)
    for path, text in files.items():
        _write(path, text)
        click.echo(f"wrote {path}")
    if spec.open:
        click.echo(f"for you to complete, marked FILL IN: {counted(len(spec.open), 'line')}; then: triton-repo build {target}")
    else:
        click.echo(f"next: triton-repo build {target}")


def _writable(path: Path, force: bool) -> None:
    if path.is_dir():
        raise RepositoryError(f"{path} is a folder", "name the file with -o")
    if not path.parent.is_dir():
        raise RepositoryError(f"{path.parent} is not a folder", "make it first")
    if path.exists() and not force:
        raise RepositoryError(f"{path} is there already", "name another with -o, or overwrite it with --force")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RepositoryError(f"{path}: {error.strerror}", "name another file with -o") from None
