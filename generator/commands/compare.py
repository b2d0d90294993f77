"""triton-repo compare: the targets of one checkpoint side by side, and which of them is best on this machine."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from generator.commands.bench import concurrency_levels
from generator.errors import SpecError

if TYPE_CHECKING:
    from generator.contest import Entrant
    from generator.pipeline import Pipeline


@click.command("compare")
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("-r", "--repository", type=click.Path(path_type=Path), default=Path("model_repository"), show_default=True)
@click.option(
    "--concurrency", default="1,4", show_default=True, callback=concurrency_levels, help="Requests in flight, a level each."
)
@click.option("--rounds", type=click.IntRange(2), default=5, show_default=True, help="How often each target has its turn.")
@click.option("--json", "as_json", is_flag=True, help="Every number, as JSON.")
def command(spec: Path, repository: Path, concurrency: tuple[int, ...], rounds: int, as_json: bool) -> None:
    """Serve SPEC and its `variants:` side by side, verify each, and measure them in turns with perf_analyzer.

    Throughput and latency are compared round by round, since a machine's speed drifts. A target whose answers are not what was
    trained cannot win.
    """
    import tritonclient.grpc as triton

    from generator import contest, perf_analyzer, verify
    from generator.console import console
    from generator.server import Server

    tool, notes = perf_analyzer.find(), console(stderr=True)
    pipelines, left = _entrants(spec, repository)
    for name, why in left.items():
        notes.print(f"left out: {name}: {why}")
    names = {name for pipeline in pipelines for name in [*(part.name for part in pipeline.parts), pipeline.served.name]}
    server = Server(repository, model_control="explicit", load=sorted(names))
    with server, triton.InferenceServerClient(server.grpc_url) as client, notes.status("verifying ...") as status:
        entrants = {}
        for pipeline in pipelines:
            status.update(f"verifying {pipeline.served.name} ...")
            served = verify.ladder(pipeline, repository, client)[-1]
            said = pipeline.spec
            entrants[said.name] = (pipeline, contest.Entrant(said.name, said.target.kind, said.precision.kind, served))
        race = contest.Race(client, server.grpc_url, tool, concurrency, rounds)
        race.run(entrants, lambda name, level, n: status.update(f"{name}: {level} in flight, round {n} of {rounds} ..."))
    found = [entrant for _, entrant in entrants.values()]
    if as_json:
        click.echo(json.dumps({"entrants": [e.to_dict() for e in found], "left_out": left}, indent=2))
        return
    for level in concurrency:
        _table(found, level)
    _winner(found, concurrency)


def _entrants(spec: Path, repository: Path) -> tuple[list[Pipeline], dict[str, str]]:
    """Those that can be served here, and why others cannot. Raises SpecError where there are not two."""
    from generator import loadable, verify
    from generator.build import resolved
    from generator.pipeline import Pipeline

    pipelines = [one for one in resolved([spec]) if isinstance(one, Pipeline)]
    for pipeline in pipelines if len(pipelines) > 1 else ():
        verify.require(pipeline, repository)
    aside = loadable.of(repository).left_out
    left = {one.spec.name: aside[one.served.name] for one in pipelines if one.served.name in aside}
    there = [pipeline for pipeline in pipelines if pipeline.spec.name not in left]
    if len(there) < 2:
        found = f"{there[0].spec.name} alone" if there else "none"
        why = "".join(f"; {name}: {reason}" for name, reason in left.items())
        raise SpecError(f"{spec}: to compare there is {found}{why}", "say others under `variants:`")
    return there, left


def _table(entrants: Sequence[Entrant], level: int) -> None:
    from generator.console import console, table

    first = entrants[0]
    columns = ("target", "precision", "parity", "infer/s", "x the first", "p50 ms", "x the first")
    out = table(f"{level} in flight, medians of {len(first.p50_ms[level])} rounds in turns", "model", *columns, right=4)
    for entrant in entrants:
        out.add_row(
            entrant.name, entrant.target, entrant.precision, _parity(entrant),
            f"{statistics.median(entrant.throughput[level]):.1f}", _ratios(entrant.ratios(first, level)),
            f"{statistics.median(entrant.p50_ms[level]):.1f}", _ratios(entrant.ratios(first, level, latency=True)),
        )  # fmt: skip
    console().print(out)


def _parity(entrant: Entrant) -> str:
    result = entrant.rung.result
    seen = f"{result.matched}/{result.boxes} boxes, score {result.score:.1e}" if result.boxes else f"max abs {result.max_abs:.1e}"
    return f"ok, {seen}" if result.ok else f"DIVERGES, {seen}"


def _ratios(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def _winner(entrants: Sequence[Entrant], levels: Sequence[int]) -> None:
    from generator import contest

    for what, level, latency in (("throughput", levels[-1], False), ("latency", levels[0], True)):
        found = contest.verdict(entrants, level, latency)
        if found is None:
            click.echo(f"{what}: no winner: fewer than two serve what was trained")
            continue
        best, times = found.best, f"{found.ratio:.2f} times as fast"
        ahead = f"ahead of {found.second.name} in {found.won} of {found.rounds} rounds, {times}"
        open_ = "leads, too close to call" if found.decidable else "leads, but so few rounds prove nothing; --rounds 5 can"
        said = "wins on this machine" if found.clear else open_
        click.echo(f"{what}, {level} in flight: {best.name} ({best.target}, {best.precision}) {said}: {ahead}")
