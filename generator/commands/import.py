"""triton-repo import: specs from a repository that is there."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("import")
@click.argument("repository", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("specs"), show_default=True, help="Where the specs go."
)
@click.option("--model", "models", multiple=True, help="Only this model; may be said several times.")
def command(repository: Path, output: Path, models: tuple[str, ...]) -> None:
    """Write a spec for each model of a hand-made REPOSITORY; building these gives the same models and configs."""
    from generator import import_repository

    texts = import_repository.specs(repository, output, models)
    import_repository.write(texts)
    for path in texts:
        click.echo(f"  {path}")
    click.echo(f"{len(texts)} specs written; next: triton-repo check {repository}, then triton-repo build {output}/*.yaml -o NEW")
