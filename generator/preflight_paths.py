"""What `check --tensorrt` is asked to judge: repositories, model folders, ONNX files, and the final graphs of specs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator import check, model_config, preflight, preflight_run
from generator.errors import RepositoryError, ToolError
from generator.findings import Finding
from generator.preflight_verdict import Graph, Terms, Verdict
from generator.rules import Model, Rule, World, all_rules, version_of

if TYPE_CHECKING:
    from generator.backends import Order
    from generator.pipeline import Pipeline

#: Findings, and how many models were looked at.
Judged = tuple[list[Finding], int]


def terms(capabilities: Sequence[str], seconds: float) -> Terms:
    """Who judges, and for what. Raises ToolError where there is no parser, or it does not compile for one of the capabilities."""
    by = preflight_run.parser()
    answer = preflight_run.ask(by, preflight_run.Task(""), 120)
    if answer.ended:
        raise ToolError(f"{by.module} {answer.ended}: {answer.words}", f"remove {by.python.parent.parent} and try again")
    offered = answer.found["offered"]
    for one in capabilities if by.rtx else ():
        if one not in offered:
            what = (
                f"--compute-capability: found {one}; TensorRT for RTX {answer.found['version']} compiles for {', '.join(offered)}"
            )
            raise ToolError(what, "name one of these: whether operators are known hardly differs between them")
    return Terms(by, tuple(capabilities) if by.rtx else (preflight_run.HERE,), seconds)


def judge(path: Path, how: Terms, told: Callable[[Verdict], None], **assumed: Any) -> Judged:
    """Everything that `path` names, ordinary rules included where it is a repository or a model folder.

    Raises RepositoryError where it is none of what can be judged, holds no graph, or is not built yet; what `load` raises for
    a spec.
    """
    if path.is_dir():
        return _repository(path, how, told, assumed)
    if not path.is_file():
        raise RepositoryError(f"{path}: no such file or folder", "name a repository, a model folder, an ONNX file or a spec")
    if path.suffix in (".yaml", ".yml"):
        graphs = _of_spec(path)
        if isinstance(graphs, Path):
            return _repository(graphs, how, told, assumed)
    else:
        graphs = [Graph(path.stem, path.name, path)]
    verdicts = [_told(preflight.judge(one, how), told) for one in graphs]
    models = {one.model: _bare(one.model, path) for one in graphs}
    rules = [rule for rule in all_rules() if rule.id.startswith("tensorrt/")]
    return _checked(World(models, **assumed), verdicts, rules), len(models)


def graphs_of(model: Model) -> list[Graph]:
    """Every ONNX file in the version folders of a model, whatever its backend."""
    most = model.config.max_batch_size
    said = {tensor.name: list(tensor.dims) for tensor in model.config.input}
    batch = most if most or model.written else Graph.most
    return [
        Graph(model.name, name, path, batch, said)
        for name, path in sorted(model.files.items())
        if path is not None and name.endswith(".onnx") and "/" in name and version_of(name.split("/")[0]) is not None
    ]


def _repository(path: Path, how: Terms, told: Callable[[Verdict], None], assumed: dict[str, Any]) -> Judged:
    path, only = parted(path)
    world, found = check.read(path, **assumed)
    chosen = [model for model in world.models.values() if only in ("", model.name)]
    graphs = [one for model in chosen for one in graphs_of(model)]
    if not graphs and not world.broken:
        what = f"{path}: {only or 'the repository'} holds no ONNX file, so nothing was judged"
        raise RepositoryError(what, "name the spec that it is built from: its final graph is judged, whatever the target")
    verdicts = [_told(preflight.judge(one, how), told) for one in graphs]
    world = replace(world, models={name: _placed(model) for name, model in world.models.items()})
    more = _checked(world, verdicts, None)
    count = 1 if only else len(world.models) + len(world.broken)
    return [one for one in (*found, *more) if only in ("", one.model)], count


def parted(path: Path) -> tuple[Path, str]:
    """A repository and nothing; of a model folder the repository that it stands in, and its name."""
    return (path.absolute().parent, path.absolute().name) if (path / "config.pbtxt").is_file() else (path, "")


def _checked(world: World, verdicts: Sequence[Verdict], rules: list[Rule] | None) -> list[Finding]:
    by_model: dict[str, list[Any]] = {}
    for verdict in verdicts:
        by_model.setdefault(verdict.graph.model, []).extend(verdict.problems)
    return check.check(replace(world, preflight=by_model), rules)


def _told(verdict: Verdict, told: Callable[[Verdict], None]) -> Verdict:
    told(verdict)
    return verdict


def _placed(model: Model) -> Model:
    """The model with problems of its ONNX files placed at these, not at a line of its config."""
    files = {name: str(path) for name, path in model.files.items() if path is not None and name.endswith(".onnx")}
    return replace(model, where=lambda field: files.get(field.split(": ")[0]) or model.where(field))


def _bare(name: str, path: Path) -> Model:
    return Model(name, model_config.new(), model_config.new(), written=False, where=lambda _: str(path))


def _of_spec(path: Path) -> list[Graph] | Path:
    """The final graphs of its pipelines, from what builds remember; the folder that it copies, where it is such a spec."""
    from generator.build import resolved
    from generator.pipeline import Pipeline

    found = resolved([path])
    graphs = [_final(pipeline) for pipeline in found if isinstance(pipeline, Pipeline)]
    return graphs or next(model.spec.folder for model in found if not isinstance(model, Pipeline))


def _final(pipeline: Pipeline) -> Graph:
    from generator import plan, run, target

    unbuilt = RepositoryError(
        f"{pipeline.path}: {pipeline.spec.name} is not built as it stands", f"triton-repo build {pipeline.path}"
    )
    if pipeline.pending:
        raise unbuilt
    results = {step.name: folder for step in plan.steps(pipeline) if (folder := run.cached(step)) is not None}
    if not {"surgery", *([] if pipeline.spec.precision.trained else ["precision"])} <= results.keys():
        raise unbuilt
    final = target.final(results)
    order = pipeline.order(final, final.parent)
    return Graph(pipeline.spec.name, "final graph", final, order.max_batch_size, said=_profile(pipeline, order))


def _profile(pipeline: Pipeline, order: Order) -> dict[str, Any]:
    """What a target `tensorrt` would derive; nothing where the spec leaves an axis without lengths, for which some are tried."""
    from generator import profiles
    from generator.backends import Unfit

    said, axes = (getattr(order.checkpoint, name, {}) for name in ("inputs", "axes"))
    ranges, values = (getattr(pipeline.spec.target, name, {}) for name in ("ranges", "values"))
    asked = profiles.Asked(order.inputs, order.max_batch_size, order.preferred, said, axes, ranges, values)
    try:
        return {name: one.model_dump() for found in profiles.derive(asked)[:1] for name, one in found.items()}
    except Unfit:
        return {}
