"""triton-repo plan: a dry run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from generator.commands.build import OUTPUT, SPECS


@click.command("plan")
@SPECS
@OUTPUT
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def command(specs: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Show every step with its key, stale or fresh and why, and every tensor between the models. Writes nothing."""
    from generator.build import plan

    planned = plan(specs, output)
    described = [_described(item) for item in planned]
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    for item in described:
        _show(item)
        for warning in item["warnings"]:
            click.echo(warning, err=True)


def _described(item: Any) -> dict[str, Any]:
    """The plan of one pipeline as plain data."""
    pipeline = item.pipeline
    if getattr(pipeline, "pending", False):
        return {"pipeline": pipeline.spec.name, "spec": str(pipeline.path), "max_batch_size": None, "versions": None,
                "shared_config": {}, "warnings": [], "steps": _steps(item), "models": [], "edges": []}  # fmt: skip
    parts = [*pipeline.parts, *(part for part in [pipeline.served] if part not in pipeline.parts)]
    return {
        "pipeline": pipeline.spec.name,
        "spec": str(pipeline.path),
        "max_batch_size": pipeline.max_batch_size,
        "versions": item.versions and _numbers(item.versions),
        "shared_config": item.shared,
        "warnings": [str(finding) for finding in item.warnings],
        "steps": _steps(item),
        "models": [
            {"model": part.name, "inputs": [_tensor(t) for t in part.inputs], "outputs": [_tensor(t) for t in part.outputs]}
            for part in parts
        ],
        "edges": [
            {"from": e.source or "request", "to": e.target or "response", "tensor": e.key, **_tensor(e.produced)}
            for e in pipeline.edges
        ],
    }


def _steps(item: Any) -> list[dict[str, Any]]:
    return [
        {"step": step.name, "key": step.key, "stale": bool(why), "why": why or "fresh"}
        for step, why in zip(item.steps, item.stale, strict=True)
    ]


def _tensor(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape), "text": str(tensor).split(" ", 1)[1]}


def _numbers(versions: Any) -> dict[str, Any]:
    return {"write": versions.written, "keep": versions.kept, "retire": versions.retired}


def _versions(said: dict[str, Any]) -> str:
    """Which version folders a build writes, keeps and takes away."""
    verbs = {"write": (said["write"],), "keep": said["keep"], "retire": said["retire"]}
    return "versions: " + "; ".join(f"{verb} {', '.join(map(str, which))}" for verb, which in verbs.items() if which)


def _show(item: dict[str, Any]) -> None:
    from generator.console import console, table

    out = console()
    size = "" if item["max_batch_size"] is None else f", max_batch_size {item['max_batch_size']}"
    steps = table(f"{item['pipeline']} ({item['spec']}){size}", "step", "key", "state")
    for step in item["steps"]:
        steps.add_row(step["step"], step["key"][:16], f"stale: {step['why']}" if step["stale"] else "fresh")
    out.print(steps)
    if item["versions"]:
        out.print(_versions(item["versions"]))
    for model, fields in item["shared_config"].items():
        out.print(f"{model}: kept versions will be served with the new {', '.join(fields)}")
    if not item["models"]:
        return
    edges = table("", "from", "to", "tensor", "type and shape")
    for edge in item["edges"]:
        edges.add_row(edge["from"], edge["to"], edge["tensor"], edge["text"])
    for model in item["models"] if not item["edges"] else ():
        for direction, ends in (("inputs", ("request", model["model"])), ("outputs", (model["model"], "response"))):
            for tensor in model[direction]:
                edges.add_row(*ends, tensor["name"], tensor["text"])
    out.print(edges)
