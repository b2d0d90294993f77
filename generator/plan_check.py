"""The checker's rules on what specs would write, at plan time: before any export begins, and with the line of the YAML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from generator import check, config, paths
from generator.completion import completed
from generator.draft import Draft
from generator.errors import RepositoryError, SpecError
from generator.findings import Finding
from generator.load import line_of
from generator.pipeline import Part, Pipeline
from generator.rules import Model, Signature, World


def judge(pipelines: Sequence[Pipeline], output: Path) -> list[Finding]:
    """Warnings about the models that `pipelines` would write into `output`. Raises SpecError with every error among them."""
    planned = {name: model for pipeline in pipelines for name, model in _models(pipeline).items()}
    # a step may be served by a model that another build put there; what is wrong with that one is not ours to say here
    models = {**_beside(output), **planned}
    found = [
        finding
        for server in {pipeline.spec.serving.server for pipeline in pipelines}
        for finding in check.check(World(models, server=server))
        if finding.model in planned
    ]
    if errors := [f for f in found if f.level == "error"]:
        raise SpecError("\n".join(dict.fromkeys(map(_message, errors))))
    return found


def _message(finding: Finding) -> str:
    return str(finding).replace(": error: ", ": ", 1)


def _beside(output: Path) -> dict[str, Model]:
    try:
        return dict(check.read(output)[0].models)
    except RepositoryError:
        return {}


def _models(pipeline: Pipeline) -> dict[str, Model]:
    parts = {part.name: part for part in (*pipeline.parts, pipeline.served)}
    return {name: _model(pipeline, parts[name], draft) for name, draft in config.drafts(pipeline).items()}


def _model(pipeline: Pipeline, part: Part, draft: Draft) -> Model:
    version = str(pipeline.spec.serving.version)
    return Model(
        part.name, completed(draft.config, part.name), draft.config, _files(pipeline, part, version), frozenset({version}),
        where=_where(pipeline, draft), signature=_signature(part),
    )  # fmt: skip


def _files(pipeline: Pipeline, part: Part, version: str) -> dict[str, Path | None]:
    """What a build would put into the folder; where the bytes are known already, the file that holds them."""
    files: dict[str, Path | None] = {"config.pbtxt": None, "README.md": None}
    if part.template:
        files[f"{version}/model.py"] = paths.templates() / "models" / part.template / "model.py"
    elif part is pipeline.model:
        files[f"{version}/{pipeline.spec.target.filename}"] = None
    if part.role == "postprocess" and pipeline.spec.postprocess and pipeline.spec.postprocess.labels:
        files["labels.txt"] = pipeline.spec.postprocess.labels
    return files


def _signature(part: Part) -> Callable[[int], Signature | None]:
    """The final graph's, which surgery will hold the result against."""
    known = Signature(part.inputs, part.outputs) if part.role == "model" else None
    return lambda _: known


def _where(pipeline: Pipeline, draft: Draft) -> Callable[[str], str]:
    def where(field: str) -> str:
        origin = draft.origin(field)
        loc = origin.loc if origin else ()
        return f"{pipeline.path}:{line_of(pipeline.path, loc or ('checkpoint',))}"

    return where
