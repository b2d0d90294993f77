"""triton-repo check: a whole repository judged without a server."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("check")
@click.argument("repository", type=click.Path(path_type=Path))
def command(repository: Path) -> int:
    """Find everything that tritonserver would refuse in REPOSITORY, and what it accepts but users regret; no server needed."""
    from generator import check

    world, found = check.read(repository)
    found += check.check(world)
    for finding in found:
        click.echo(str(finding))
    errors = sum(finding.level == "error" for finding in found)
    click.echo(f"{repository}: {len(world.models)} models, {errors} errors, {len(found) - errors} warnings", err=True)
    return 1 if errors else 0
