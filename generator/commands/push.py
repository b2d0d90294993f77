"""triton-repo push: a built repository to the one of a running server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from generator.errors import RepositoryError, ServerError

if TYPE_CHECKING:
    from generator.push import Parcel, Pushed


@click.command("push")
@click.argument("repository", type=click.Path(path_type=Path))
@click.argument("destination")
@click.option("--server", metavar="HOST:PORT", help="gRPC address of the server to roll out on; left out, files only.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=120.0, show_default=True, help="Seconds until the server must be done."
)
@click.option("--unload-retired", is_flag=True, help="Unload models that are gone, on a server with explicit model control.")
def command(repository: Path, destination: str, server: str | None, timeout: float, unload_retired: bool) -> None:
    """Bring the built REPOSITORY to DESTINATION, the repository of a running server, without losing a request.

    DESTINATION is a folder or a URL such as s3://bucket/path (`pip install 'triton-repo-generator[s3]'`). Only what
    REPOSITORY's lock lists is pushed, and models of others there are not touched. With --server, models are loaded on a server
    with explicit model control; of one that polls it is awaited that it has seen them.
    """
    from generator import contract, engines, push

    if server:
        contract.check_url(server)
        if pending := engines.pending(repository):
            raise RepositoryError(
                f"{', '.join(pending)}: still to be built, and no server loads the model before",
                f"{engines.COMMAND} {repository} on the GPU host; or push without --server",
            )
    found = push.parcel(repository)
    done = push.push(found, destination)
    _show(done, destination)
    if server:
        _roll_out(found, done, server, timeout, unload_retired)


def _show(done: Pushed, destination: str) -> None:
    from generator.console import console, table

    rows = [row for row in done.rows if row[2] != "identical"]
    if not rows:
        click.echo(f"nothing to bring: {destination} holds the same")
        return
    files = table(f"{destination}: {len(rows)} of {len(done.rows)} files", "file", "", "bytes", right=1)
    for name, size, status in rows:
        files.add_row(name, status, f"{size:,}")
    console().print(files)


def _roll_out(found: Parcel, done: Pushed, server: str, timeout: float, unload: bool) -> None:
    from generator.rollout import roll_out

    try:
        rolled = roll_out(server, found.served, done.retired, timeout=timeout, unload=unload)
    except ServerError as error:
        raise ServerError(error.message, f"{error.remedy}. {_back(found, done)}") from None
    for name, versions in found.served.items():
        click.echo(f"{name}: version{'s' * (len(versions) > 1)} {', '.join(map(str, versions))} ready")
    if rolled.control == "poll" and any(status == "updated" for _, _, status in done.rows):
        click.echo("the server polls: whether it has seen a version that was replaced in place cannot be told from outside")
    if rolled.still_loaded:
        click.echo(f"still loaded, though gone: {', '.join(rolled.still_loaded)}; --unload-retired unloads them")


def _back(found: Parcel, done: Pushed) -> str:
    """How to undo it."""
    earlier = {name: versions[-1] for name, versions in done.before.items() if versions}
    said = ", ".join(f"`serving.version: {version}` in the spec of {name}" for name, version in earlier.items())
    again = "`triton-repo build` and push again"
    return f"The files are there. To roll back: {said}, {again}" if said else f"The files are there; correct them, {again}"
