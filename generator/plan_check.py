"""The checker's rules on what specs would write, at plan time: before any export begins, and with the line of the YAML."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from generator import check, config, lock, model_config, model_files, paths, preprocess_hint, versions, warmup
from generator.completion import completed, from_signature
from generator.config_serving import labels_file
from generator.draft import Draft, Loc, parent
from generator.errors import RepositoryError, SpecError
from generator.findings import Finding
from generator.folder import FolderModel
from generator.load import line_of
from generator.pipeline import Part, Pipeline
from generator.rules import Model, Signature, Version, World


def judge(specs: Sequence[Pipeline | FolderModel], output: Path) -> list[Finding]:
    """Warnings about the models that the specs would write into `output`. Raises SpecError with every error among them."""
    planned: dict[str, Model] = {}
    servers: dict[str, Version] = {}
    entries = lock.read(output)
    for spec in specs:
        kept = _kept(spec, entries.get(spec.spec.name), output)
        made = _models(spec, kept) if isinstance(spec, Pipeline) else {spec.spec.name: _copied(spec)}
        planned |= made
        servers |= dict.fromkeys(made, spec.spec.serving.server if isinstance(spec, Pipeline) else spec.spec.server)
    # a step may be served by a model that another build put there; what is wrong with that one is not ours to say here
    models = {**_beside(output), **planned}
    found = [
        finding
        for server in sorted(set(servers.values()))
        for finding in check.check(World(models, server=server))
        if servers.get(finding.model) == server
    ]
    # where the cause stands among the errors, its consequence needs no line of its own
    causes = [f for f in found if f.level == "error" and f.rule != "ensemble/step_refused"]
    if errors := causes or [f for f in found if f.level == "error"]:
        raise SpecError("\n".join(dict.fromkeys(map(_message, errors))))
    return found + [hint for spec in specs if isinstance(spec, Pipeline) for hint in preprocess_hint.judge(spec)]


def _message(finding: Finding) -> str:
    return str(finding).replace(": error: ", ": ", 1)


def _beside(output: Path) -> dict[str, Model]:
    try:
        return dict(check.read(output)[0].models)
    except RepositoryError:
        return {}


def _kept(spec: Pipeline | FolderModel, entry: lock.Entry | None, output: Path) -> dict[str, dict[str, Path | None]]:
    """Version -> the files of an earlier build that stay, by their path in the repository."""
    after = versions.of(spec, entry)
    found: dict[str, dict[str, Path | None]] = {str(version): {} for version in (after.kept if after else ())}
    for file in entry.files if entry else ():
        if (number := str(lock.version(file))) in found:
            found[number][file] = output / file
    return found


def _models(pipeline: Pipeline, kept: Mapping[str, Mapping[str, Path | None]]) -> dict[str, Model]:
    parts = {part.name: part for part in (*pipeline.parts, pipeline.served)}
    return {name: _model(pipeline, parts[name], draft, kept) for name, draft in config.drafts(pipeline).items()}


def _copied(model: FolderModel) -> Model:
    """A folder that is there already: its real files, with the config that the spec says."""
    said = model.draft.config if model.draft else model_config.new()
    found = completed(said, model.spec.name, model.files, model.folders)
    signature = functools.cache(lambda version: model_files.signature(found, model.files, version))
    if model.draft is None and (versions := Model(model.spec.name, found, said, folders=model.folders).served):
        from_signature(found, signature(versions[-1]))
    where = _where(model, model.draft or Draft(said))
    return Model(model.spec.name, found, said, model.files, model.folders, model.draft is not None, where, signature)


def _model(pipeline: Pipeline, part: Part, draft: Draft, kept: Mapping[str, Mapping[str, Path | None]]) -> Model:
    version = str(pipeline.spec.serving.version)
    files = _files(pipeline, part, version)
    for earlier in kept.values():
        files |= {name.removeprefix(f"{part.name}/"): path for name, path in earlier.items() if name.startswith(f"{part.name}/")}
    return Model(
        part.name, completed(draft.config, part.name), draft.config, files, frozenset({version, *kept}),
        where=_where(pipeline, draft), signature=_signature(part),
    )  # fmt: skip


def _files(pipeline: Pipeline, part: Part, version: str) -> dict[str, Path | None]:
    """What a build would put into the folder; where the bytes are known already, the file that holds them."""
    files: dict[str, Path | None] = {"config.pbtxt": None, "README.md": None}
    if part.template:
        files[f"{version}/model.py"] = paths.templates() / "models" / part.template / "model.py"
    elif part is not pipeline.served or pipeline.spec.preprocess is None:
        files |= {f"{version}/{name}": None for name in (part.backend or pipeline.spec.target).names()}
    for sample in warmup.samples(pipeline, part):
        files |= {f"warmup/{name}": None for name in sample.files.values()}
    if part is pipeline.served:
        files |= {labels_file(output): path for output, path in pipeline.spec.serving.labels.items()}
    if part.role == "postprocess" and pipeline.spec.postprocess and pipeline.spec.postprocess.named:
        files["labels.txt"] = pipeline.spec.postprocess.labels
    return files


def _signature(part: Part) -> Callable[[int], Signature | None]:
    """The final graph's, which surgery will hold the result against."""
    known = Signature(part.inputs, part.outputs) if part.role in ("model", "head") else None
    return lambda _: known


def _beside_it(draft: Draft, field: str) -> Loc:
    """Where something of the same message was said: a field that is missing has no line of its own."""
    above = parent(field)
    return next((o.loc for path, o in draft.origins.items() if o.loc and above and path.startswith(f"{above}.")), ())


def _where(spec: Pipeline | FolderModel, draft: Draft) -> Callable[[str], str]:
    """The line of the YAML that decided a field; that of the checkpoint where the model did."""

    variant = spec.variant if isinstance(spec, Pipeline) else ""

    def where(field: str) -> str:
        origin = draft.origin(field)
        loc = (origin.loc if origin else ()) or _beside_it(draft, field)
        return f"{spec.path}:{line_of(spec.path, loc or ('checkpoint',), variant)}"

    return where
