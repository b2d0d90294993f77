"""The parity ladder: the same real pictures through the checkpoint, the exported graph, the graph after surgery and the server.

Every rung is held against the checkpoint's own answer, carried on by the NumPy reference of each part (head, NMS, postprocess).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from generator import compare, graph, lock, plan, run, weight_files
from generator.bounds import Bounds
from generator.compare import Comparison
from generator.errors import VerifyError
from generator.ladder_samples import Sample, asked, bare, kinds, lifted, pictures, thresholds, typed
from generator.pipeline import Pipeline
from generator.plan import Step
from generator.rows import aligned

if TYPE_CHECKING:
    import tritonclient.grpc as triton

Arrays = dict[str, NDArray[Any]]
#: The measure where the spec's own passes changed results, inputs or outputs.
OPERATED = "graph after the passes"


@dataclass(frozen=True)
class Rung:
    """A step of the ladder and what was found on it."""

    pipeline: str
    name: str
    against: str
    result: Comparison
    #: Why nothing was compared on it, where it cannot be climbed here; such a rung has not failed, and proves nothing.
    unseen: str = ""


def ladder(pipeline: Pipeline, repository: Path, client: triton.InferenceServerClient | str) -> list[Rung]:
    """Climb every rung; the served one through `client`, or not, for the reason that is given in its place.

    Raises VerifyError where the repository is not the spec's, or there is nothing to compare.
    """
    made, *others, _ = require(pipeline, repository)
    steps = {step.name: step for step in others}
    rungs: list[Rung] = []
    if pipeline.spec.preprocess is None:
        samples, answers, framework = bare(pipeline)
    else:
        sample, pixels = pictures(pipeline, repository)
        samples, answers, framework = [sample], *asked(pipeline, [sample])
        rungs.append(Rung(pipeline.spec.name, "pixels", "NumPy reference", pixels))
    export = run.ensure(made, pipeline) / "model.onnx"
    rungs.append(Rung(pipeline.spec.name, "exported ONNX", framework, _exported(pipeline, export, samples, answers)))
    before = export
    if "passes" in steps:
        before = edited = run.ensure(steps["passes"], pipeline, export) / "model.onnx"
        answers, result = _edited(pipeline, edited, samples, answers)
        rungs += [Rung(pipeline.spec.name, "after the passes", framework, result)] if result else []
        framework = framework if result else OPERATED
    expected = [lifted(pipeline.model.outputs, _reference(pipeline, answer)) for answer in answers]
    for sample, wanted in zip(samples, expected, strict=True):
        _finds_something(pipeline, sample, wanted)
    against = f"{framework} + reference"
    operated = run.ensure(steps["surgery"], pipeline, before) / "model.onnx"
    said, final = pipeline.spec, _in_repository(pipeline, repository)
    surgery = operated if "precision" in steps else final or operated
    result = _graph(pipeline, graph.session(surgery), samples, expected, said.verify.bounds)
    rungs.append(Rung(said.name, "after surgery", against, result))
    if "precision" in steps:
        held = final or run.ensure(steps["precision"], pipeline, operated) / "model.onnx"
        given = [replace(sample, values=typed(pipeline.model.inputs, sample.values)) for sample in samples]
        with tempfile.TemporaryDirectory(prefix="oracle-", dir=weight_files.scratch()) as scratch:
            oracle = said.precision.oracle(held, Path(scratch))
            # optimised, its weights would be cast beforehand and held in FP32
            result = _graph(pipeline, graph.session(oracle, optimise=oracle == held), given, expected, pipeline.bounds)
        rungs.append(Rung(said.name, f"in {said.precision.kind}", against, result))
    if isinstance(client, str):
        return [*rungs, Rung(pipeline.spec.name, "served", against, Comparison(), client)]
    rungs.append(Rung(pipeline.spec.name, "served", against, _all_served(pipeline, client, samples, expected)))
    return rungs


def require(pipeline: Pipeline, repository: Path) -> tuple[Step, ...]:
    """The steps of a pipeline that `repository` was built from as it is now. Raises VerifyError where it was not."""
    remedy = f"triton-repo build {pipeline.path} -o {repository}"
    entry = lock.read(repository).get(pipeline.spec.name)
    if entry is None:
        raise VerifyError(f"{repository} holds no {pipeline.spec.name}", remedy)
    steps = plan.steps(pipeline)
    if entry.steps.get(steps[-1].name) != steps[-1].parts:
        changed = plan.why_stale(steps[-1], entry.steps.get(steps[-1].name))
        raise VerifyError(f"{repository} was not built from {pipeline.path} as it is now ({changed})", remedy)
    return steps


def _finds_something(pipeline: Pipeline, sample: Sample, expected: Arrays) -> None:
    """Raise VerifyError for photos on which the checkpoint itself finds nothing: no box would be compared."""
    if sample.encoded and "num_dets" in expected and not expected["num_dets"].any():
        raise VerifyError(
            f"{pipeline.path}: verify.images: on none of the {len(sample.encoded)} the checkpoint finds anything; "
            "no box was compared",
            "name photos of what it was trained for, lower nms.score_threshold, or correct preprocess to that of its training",
        )


def _edited(
    pipeline: Pipeline, path: Path, samples: Sequence[Sample], answers: list[Arrays]
) -> tuple[list[Arrays], Comparison | None]:
    """What the rungs above are held against, and how far the spec's own passes are from the checkpoint.

    Passes that keep results, and inputs and outputs apart from their names, leave the checkpoint's answer as the measure. After
    others it is that of the graph that they made: what they change is the user's will, and the build compared what it could.
    """
    session = graph.session(path, optimise=False)
    found = [_run(pipeline, session, sample.raw) for sample in samples]
    raw, own = pipeline.raw, pipeline.source
    same = kinds(raw.inputs) == kinds(own.inputs) and kinds(raw.outputs) == kinds(own.outputs)
    if not same or not all(step.compared() for step in pipeline.spec.surgery):
        return found, None
    bounds, result = pipeline.spec.verify.bounds, Comparison()
    renamed = [{new.name: each[old.name] for new, old in zip(raw.outputs, own.outputs, strict=True)} for each in answers]
    for wanted, other in zip(renamed, found, strict=True):
        result.add(compare.tensors(wanted, other, bounds.absolute, bounds.relative, bounds.of_largest))
    return renamed, result


def _exported(pipeline: Pipeline, path: Path, samples: Sequence[Sample], answers: Sequence[Arrays]) -> Comparison:
    bounds, session, result = pipeline.spec.verify.bounds, graph.session(path, optimise=False), Comparison()
    for sample, source in zip(samples, answers, strict=True):
        found = aligned(source, _run(pipeline, session, sample.source), pipeline.spec.checkpoint.unordered())
        result.add(compare.tensors(source, found, bounds.absolute, bounds.relative, bounds.of_largest))
        if pipeline.head is not None and pipeline.spec.nms is not None and not pipeline.spec.surgery and result.ok:
            a, b = _reference(pipeline, source), _reference(pipeline, found)
            boxes = compare.detections(a, b, bounds, pipeline.spec.nms.score_threshold)
            boxes.max_abs = 0.0
            result.add(boxes)
    return result


def _run(pipeline: Pipeline, session: Any, values: Arrays) -> Arrays:
    """The graph's answer. Raises VerifyError where it refuses what the checkpoint took."""
    try:
        return graph.run(session, values)
    except Exception as error:
        given = ", ".join(f"{name} {list(array.shape)}" for name, array in values.items())
        said = (str(error).splitlines() or [""])[0]
        raise VerifyError(
            f"{pipeline.spec.name}: ONNX Runtime does not run the graph with {given}, which the checkpoint takes: {said[:300]}",
            "axes of one name must have one length in every input; another length may have been fixed by the export",
        ) from None


def _reference(pipeline: Pipeline, raw: Arrays) -> Arrays:
    """Raw outputs -> what the graph after surgery ought to give, in plain NumPy."""
    if pipeline.head is None or pipeline.spec.nms is None or pipeline.candidates is None:
        return raw
    answers = pipeline.head.reference(pipeline.image, raw)
    passed = {tensor.name: raw[tensor.name] for tensor in pipeline.candidates.passed}
    return {**pipeline.spec.nms.reference(answers, pipeline.candidates), **passed}


def _in_repository(pipeline: Pipeline, repository: Path) -> Path | None:
    """The final graph itself, where the target keeps it beside what it serves."""
    return pipeline.spec.target.graph(repository / pipeline.spec.model_name / str(pipeline.spec.serving.version))


def _graph(pipeline: Pipeline, session: Any, samples: Sequence[Sample], expected: Sequence[Arrays], bounds: Bounds) -> Comparison:
    """A graph with everything in it, as one batch and row by row."""
    result = Comparison()
    for sample, wanted in zip(samples, expected, strict=True):
        result.add(_answer(pipeline, wanted, _run(pipeline, session, sample.values), bounds))
        rows = len(next(iter(sample.values.values()))) if pipeline.batched else 0
        for row in range(rows if rows > 1 else 0):
            result.add(_answer(pipeline, _row(wanted, row), _run(pipeline, session, _row(sample.values, row)), bounds))
    return result


def _answer(pipeline: Pipeline, expected: Arrays, found: Arrays, bounds: Bounds) -> Comparison:
    if pipeline.spec.nms is not None:
        return compare.detections(expected, found, bounds, pipeline.spec.nms.score_threshold)
    found = aligned(expected, found, pipeline.spec.checkpoint.unordered())
    return compare.tensors(expected, found, bounds.absolute, bounds.relative, bounds.of_largest)


def _row(arrays: Arrays, row: int) -> Arrays:
    return {name: values[row : row + 1] for name, values in arrays.items()}


def _all_served(
    pipeline: Pipeline, client: triton.InferenceServerClient, samples: Sequence[Sample], expected: Sequence[Arrays]
) -> Comparison:
    result = Comparison()
    for sample, wanted in zip(samples, expected, strict=True):
        result.add(_served(pipeline, client, sample, wanted))
    return result


def _served(pipeline: Pipeline, client: triton.InferenceServerClient, sample: Sample, expected: Arrays) -> Comparison:
    """Over gRPC: a request a picture, and requests of as many pictures as a batch takes."""
    post, bounds = pipeline.spec.postprocess, pipeline.bounds
    if post is None:
        return _answer(pipeline, expected, _infer(pipeline, client, sample.values), bounds)
    wanted = post.reference(expected, sample.geometry)
    data = np.array(sample.encoded, dtype=np.object_).reshape(-1, 1)
    result = Comparison()
    for size in dict.fromkeys((1, min(len(data), pipeline.max_batch_size))):
        for start in range(0, len(data), size):
            rows = data[start : start + size]
            found = _infer(pipeline, client, {pipeline.served.inputs[0].name: rows, **thresholds(pipeline, len(rows))})
            part = {name: values[start : start + size] for name, values in wanted.items()}
            if pipeline.spec.nms is not None:
                result.add(compare.detections(part, found, bounds, pipeline.spec.nms.score_threshold))
            else:
                result.add(compare.tensors(part, found, bounds.score, 0.0))
    return result


def _infer(pipeline: Pipeline, client: triton.InferenceServerClient, values: Arrays) -> Arrays:
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    requests, own, values = [], pipeline.served.own_name, typed(pipeline.model.inputs, values)
    for tensor in pipeline.served.inputs:
        data = np.ascontiguousarray(values[own(tensor.name)])
        data = data.reshape(-1, 1) if tensor.single(pipeline.max_batch_size) else data
        requests.append(triton.InferInput(tensor.name, list(data.shape), tensor.dtype))
        requests[-1].set_data_from_numpy(data)
    try:
        answer = client.infer(pipeline.served.name, requests, client_timeout=300)
    except InferenceServerException as error:
        raise VerifyError(f"{pipeline.served.name}: the server answered: {error.message()}", "see the server's log") from None
    found = {own(t.name): answer.as_numpy(t.name) for t in pipeline.served.outputs}
    single = {own(tensor.name) for tensor in pipeline.served.outputs if tensor.single(pipeline.max_batch_size)}
    return {name: a.reshape(-1) if name in single else a for name, a in found.items() if a is not None}


def first_divergence(rungs: Sequence[Rung]) -> Rung | None:
    """The lowest rung that failed."""
    return next((rung for rung in rungs if not rung.unseen and not rung.result.ok), None)
