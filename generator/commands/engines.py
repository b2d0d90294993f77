"""triton-repo engines: builds the TensorRT engines that a repository asks for, on the GPU host."""

from __future__ import annotations

import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from generator.errors import RepositoryError, ToolError

if TYPE_CHECKING:
    from generator.engine_builders import Container, Package
    from generator.engines import Wanted
    from generator.machine import Machine


@click.command("engines")
@click.argument("repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--model", "models", multiple=True, help="Only the engines of this model; may be said several times.")
@click.option(
    "--with",
    "way",
    type=click.Choice(["package", "container"]),
    help="The Python package `tensorrt`, or trtexec in NVIDIA's container.  [default: the package where it is installed]",
)
@click.option("--force", is_flag=True, help="Build also those that are up to date.")
@click.option("--dry-run", is_flag=True, help="Say what would be built, with the container's command lines; needs no GPU.")
def command(*, repository: Path, models: tuple[str, ...], way: str | None, force: bool, dry_run: bool) -> None:
    """Build the TensorRT engines that REPOSITORY (default: model_repository) asks for, for the GPUs of this machine.

    Engines that are there and fit are left alone. With several GPU types, run it once on a machine of each.
    """
    from generator import engine_builders, engines, machine

    found, here = engines.wanted(repository, models), machine.look()
    reasons = {item.name: "asked for again" if force else engines.stale(item, here) for item in found}
    todo = [item for item in found if reasons[item.name]]
    if not found and not any(repository.glob("*/config.pbtxt")):
        raise RepositoryError(f"{repository}: holds no model folder", "name the folder that holds the model folders")
    if not todo:
        says = "asks for no engine" if not found else f"{_count(len(found))} up to date"
        click.echo(f"nothing to do: {repository}: {says}")
        return
    if dry_run:
        for item in todo:
            _plan(item, reasons[item.name], here, way)
        return
    here = machine.here()
    buildable = [item for item in todo if here.gpu(item.engine.compute_capability)]
    if not buildable:
        _nothing_here(found, todo, here)
    else:
        builder = engine_builders.choose(way)
        for item in buildable:
            builder.check(item, here)
        # a batch system says SIGTERM where a person says ^C; both must take the container, or the child process, down
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        for item in buildable:
            _build(repository, item, builder, here)
    _pending([item for item in todo if item not in buildable], here)


def _count(number: int) -> str:
    return f"{number} engine{'s are' if number > 1 else ' is'}"


def _plan(item: Wanted, why: str, here: Machine, way: str | None) -> None:
    """What would be done, as commands that a shell takes."""
    from generator import engine_trtexec, paths
    from generator.machine import Gpu

    capability = item.engine.compute_capability
    gpu = here.gpu(capability) or Gpu(0, "", capability or "gpu", 0)
    absent = "; there is no such GPU here" if here.gpus and not here.gpu(capability) else ""
    click.echo(f"# {item.name}: {why}; for {_for(item)}{absent}")
    if way == "package":
        click.echo("# by the Python package tensorrt, in this environment: no command line")
        return
    for line in engine_trtexec.commands(item, gpu, item.folder, paths.cache() / "timing"):
        click.echo(shlex.join(line))


def _for(item: Wanted) -> str:
    wanted = item.engine.compute_capability
    return f"compute capability {wanted}" if wanted else "the GPU that builds it"


def _nothing_here(found: list[Wanted], todo: list[Wanted], here: Machine) -> None:
    """What is to be built is for other GPUs. Raises ToolError where all that is asked for is."""
    if any(here.gpu(item.engine.compute_capability) for item in found):
        click.echo("nothing to do here: what is for this machine is up to date")
        return
    wanted = ", ".join(dict.fromkeys(str(item.engine.compute_capability) for item in todo))
    raise ToolError(
        f"the engines that are to be built are for compute capability {wanted}; here is {here}",
        "run `triton-repo engines` on a machine with such a GPU, or correct `compute_capabilities` of the target",
    )


def _build(repository: Path, item: Wanted, builder: Package | Container, here: Machine) -> None:
    """One engine, staged, and put into its place whole."""
    from generator import engine_builders
    from generator.console import console
    from generator.repository import add, staging

    started, out = time.monotonic(), console(stderr=True)
    with staging(repository) as staged, out.status(f"{item.name} ...") as status:
        made = engine_builders.build(item, builder, here, staged, lambda said: status.update(f"{item.name}: {said}"))
        # the provenance goes last: a plan without it is built again
        add(repository, item.model, {f"{item.model}/{item.folder.name}/{name}": staged / name for name in item.files})
    size = item.plan.stat().st_size
    click.echo(
        f"  {item.name}: {size:,} bytes, by TensorRT {made.tensorrt} ({made.built_by}) for {made.gpu} "
        f"({made.compute_capability}) in {time.monotonic() - started:.0f} s"
    )


def _pending(items: list[Wanted], here: Machine) -> None:
    for item in items:
        click.echo(f"  {item.name}: still to be built on a machine with {_for(item)}; here is {here}")
