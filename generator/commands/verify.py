"""triton-repo verify: served equals trained, or which rung broke it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from generator.commands.build import SPECS
from generator.errors import VerifyError

if TYPE_CHECKING:
    from generator.verify import Rung


@click.command("verify")
@SPECS
@click.option("-r", "--repository", type=click.Path(path_type=Path), default=Path("model_repository"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Every number, as JSON.")
def command(specs: tuple[Path, ...], repository: Path, as_json: bool) -> None:
    """Run real pictures through checkpoint, exported ONNX, ONNX after surgery and a real server; name the first that differs."""
    import tritonclient.grpc as triton

    from generator import verify
    from generator.build import resolved
    from generator.pipeline import Pipeline
    from generator.server import Server

    models = resolved(specs)
    pipelines = [model for model in models if isinstance(model, Pipeline)]
    rungs: list[Rung] = []
    copied = [model.spec.name for model in models if not isinstance(model, Pipeline)]
    with Server(repository, strict=not copied) as server, triton.InferenceServerClient(server.grpc_url) as client:
        for pipeline in pipelines:
            click.echo(f"  {pipeline.spec.name} ...", err=True)
            rungs += verify.ladder(pipeline, repository, client)
        for name in copied:
            if not client.is_model_ready(name):
                raise VerifyError(f"{name}: the server did not load it", "triton-repo check says why, or the server's log")
    if as_json:
        click.echo(json.dumps([{**asdict(rung), "ok": rung.result.ok} for rung in rungs], indent=2))
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
    if copied and not as_json:
        click.echo(f"loaded: {', '.join(copied)}: served as they are; there is no checkpoint to compare them with")
    operated = {rung.pipeline for rung in rungs if rung.against.startswith(verify.OPERATED)}
    trained = [p.spec.name for p in pipelines if p.spec.name not in operated]
    if trained and not as_json:
        click.echo(f"verified: {', '.join(trained)}: what is served equals what was trained")
    if operated and not as_json:
        click.echo(f"verified: {', '.join(sorted(operated))}: what is served equals the graph that `surgery:` made")


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
            "ok" if r.ok else "DIVERGES",
        )
    console().print(ladder)
