"""Exports that have to come before the plan: of checkpoints that do not say their inputs and outputs beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from generator import disk, learned, plan, run
from generator.pipeline import Pipeline
from generator.plan import Step


def known(pipeline: Pipeline) -> Pipeline:
    """With what an earlier export told, where there is one."""
    if not pipeline.pending or (folder := run.cached(plan.export_step(pipeline))) is None:
        return pipeline
    return _with(pipeline, folder)


def learn(pipeline: Pipeline, progress: Callable[[Step, str], None]) -> Pipeline:
    """Exported now, where it has to be. Raises what the export raises."""
    pipeline = known(pipeline)
    if not pipeline.pending:
        return pipeline
    step = plan.export_step(pipeline)
    pipeline.spec.checkpoint.prepare()
    disk.check([pipeline])
    progress(step, "")
    folder = run.ensure(step, pipeline)
    progress(step, "; ".join(said(run.facts(folder))))
    return _with(pipeline, folder)


def said(facts: dict[str, str]) -> list[str]:
    """What a step tells, each in a few words."""
    words = {key: learned.parsed(value).kind if key == learned.HEAD else value for key, value in facts.items()}
    return [f"{key} {value}" for key, value in words.items()]


def _with(pipeline: Pipeline, folder: Path) -> Pipeline:
    return replace(pipeline, learned=learned.read(folder / "model.onnx", run.facts(folder).get(learned.HEAD, "")))
