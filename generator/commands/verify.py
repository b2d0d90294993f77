"""triton-repo verify: served equals trained, or which rung broke it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from generator.commands.build import SPECS
from generator.errors import VerifyError

if TYPE_CHECKING:
    import tritonclient.grpc as triton

    from generator.verify import Rung


@click.command("verify")
@SPECS
@click.option("-r", "--repository", type=click.Path(path_type=Path), default=Path("model_repository"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Every number, as JSON.")
def command(specs: tuple[Path, ...], repository: Path, as_json: bool) -> None:
    """Run real pictures through checkpoint, exported ONNX, ONNX after surgery and a real server; name the first that differs."""
    from generator import verify
    from generator.build import resolved
    from generator.pipeline import Pipeline

    models = resolved(specs)
    pipelines = [model for model in models if isinstance(model, Pipeline)]
    rungs: list[Rung] = []
    copied = [model.spec.name for model in models if not isinstance(model, Pipeline)]
    with _served(repository, strict=not copied) as (client, left_out):
        for pipeline in pipelines:
            click.echo(f"  {pipeline.spec.name} ...", err=True)
            rungs += verify.ladder(pipeline, repository, left_out.get(pipeline.served.name) or client)
        for name in (name for name in copied if name not in left_out):
            if isinstance(client, str) or not client.is_model_ready(name):
                raise VerifyError(f"{name}: the server did not load it", "triton-repo check says why, or the server's log")
    if as_json:
        click.echo(json.dumps([{**asdict(rung), "ok": None if rung.unseen else rung.result.ok} for rung in rungs], indent=2))
    elif rungs:
        _table(rungs)
    for pipeline in pipelines:
        broken = verify.first_divergence([r for r in rungs if r.pipeline == pipeline.spec.name])
        if broken is not None:
            problems = "; ".join(dict.fromkeys(broken.result.problems)) or "nothing was compared"
            raise VerifyError(
                f"{pipeline.spec.name}: the first rung that diverges is '{broken.name}' (against {broken.against}): {problems}",
                "the step between this rung and the one before it changed the answer",
            )
    if not as_json:
        unseen = {rung.pipeline: rung.unseen for rung in rungs if rung.unseen}
        operated = {rung.pipeline for rung in rungs if rung.against.startswith(verify.OPERATED)}
        _last(pipelines=[p.spec.name for p in pipelines], copied=copied, left_out=left_out, unseen=unseen, operated=operated)


def _last(
    *, pipelines: list[str], copied: list[str], left_out: dict[str, str], unseen: dict[str, str], operated: set[str]
) -> None:
    """What was shown, and what was not, each in a line of its own."""
    if loaded := [name for name in copied if name not in left_out]:
        click.echo(f"loaded: {', '.join(loaded)}: served as they are; there is no checkpoint to compare them with")
    for name in (name for name in copied if name in left_out):
        click.echo(f"not loaded: {name}: {left_out[name]}")
    for graph, held in (("was trained", False), ("the graph that `surgery:` made", True)):
        names = [name for name in pipelines if (name in operated) == held]
        if served := [name for name in names if name not in unseen]:
            click.echo(f"verified: {', '.join(served)}: what is served equals {graph if held else f'what {graph}'}")
        if graphs := [name for name in names if name in unseen]:
            click.echo(f"verified up to the graph: {', '.join(graphs)}: it equals {graph if held else f'what {graph}'}")
    for name, why in unseen.items():
        click.echo(f"not seen: {name} was not served here: {why}")


@contextlib.contextmanager
def _served(repository: Path, *, strict: bool) -> Iterator[tuple[triton.InferenceServerClient | str, dict[str, str]]]:
    """A client of a server with every model that can be loaded here, and of each other model why not.

    Where nothing can be loaded no server is started, and the reason stands in the client's place.
    """
    import tritonclient.grpc as triton

    from generator import loadable
    from generator.server import Server

    found = loadable.of(repository)
    if found.left_out and not found.load:
        yield found.reasons(), found.left_out
        return
    with (
        Server(repository, strict=strict, **found.server_options()) as server,
        triton.InferenceServerClient(server.grpc_url) as client,
    ):
        yield client, found.left_out


def _table(rungs: list[Rung]) -> None:
    from generator.console import console, table

    numbers = ("values", "max abs", "max rel", "boxes", "missed", "score diff", "")
    ladder = table("parity ladder", "pipeline", "rung", "against", *numbers, right=len(numbers))
    for rung in rungs:
        r = rung.result
        boxes = (f"{r.matched}/{r.boxes}", str(r.missed), f"{r.score:.1e}") if r.boxes else ("", "", "")
        ladder.add_row(
            rung.pipeline,
            rung.name,
            rung.against,
            f"{r.compared:,}",
            f"{r.max_abs:.1e}",
            f"{r.max_rel:.1e}",
            *boxes,
            "not seen" if rung.unseen else "ok" if r.ok else "DIVERGES",
        )
    console().print(ladder)
