"""The parity ladder: the same real pictures through the checkpoint, the exported graph, the graph after surgery and the server.

Every rung is held against the checkpoint's own answer, carried on by the NumPy reference of each part (head, NMS, postprocess).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from generator import bare_samples, compare, feeds, graph, lock, plan, run, sampling, step_code
from generator.compare import Comparison
from generator.errors import VerifyError
from generator.pipeline import Pipeline
from generator.rows import aligned
from generator.tensors import Tensor

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


@dataclass(frozen=True)
class Sample:
    """What goes through the ladder at once: encoded pictures (none for a bare model) and their geometry, or tensors.

    `values` is what the final graph takes, by name; `raw` the same for the graph before head, NMS and preprocess came to it,
    `source` for the checkpoint: the same values too, unless the spec's own surgery gave the model other inputs.
    """

    values: Arrays
    raw: Arrays
    source: Arrays
    encoded: tuple[bytes, ...] = ()
    geometry: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 6), np.float32))


def ladder(pipeline: Pipeline, repository: Path, client: triton.InferenceServerClient) -> list[Rung]:
    """Climb every rung. Raises VerifyError where the repository is not the spec's, or there is nothing to compare."""
    entry = lock.read(repository).get(pipeline.spec.name)
    if entry is None:
        raise VerifyError(f"{repository} holds no {pipeline.spec.name}", f"triton-repo build {pipeline.path} -o {repository}")
    made, *passes, _, written = plan.steps(pipeline)
    if entry.steps.get(written.name) != written.parts:
        changed = plan.why_stale(written, entry.steps.get(written.name))
        raise VerifyError(
            f"{repository} was not built from {pipeline.path} as it is now ({changed})",
            f"triton-repo build {pipeline.path} -o {repository}",
        )
    rungs: list[Rung] = []
    if pipeline.spec.preprocess is None:
        samples, answers, framework = _bare(pipeline)
    else:
        sample, pixels = _pictures(pipeline, repository)
        samples, answers, framework = [sample], *_source(pipeline, [sample])
        rungs.append(Rung(pipeline.spec.name, "pixels", "NumPy reference", pixels))
    export = run.ensure(made, pipeline) / "model.onnx"
    rungs.append(Rung(pipeline.spec.name, "exported ONNX", framework, _exported(pipeline, export, samples, answers)))
    if passes:
        edited = run.ensure(passes[0], pipeline, export) / "model.onnx"
        answers, result = _edited(pipeline, edited, samples, answers)
        rungs += [Rung(pipeline.spec.name, "after the passes", framework, result)] if result else []
        framework = framework if result else OPERATED
    expected = [_lifted(pipeline.model.outputs, _reference(pipeline, answer)) for answer in answers]
    for sample, wanted in zip(samples, expected, strict=True):
        _finds_something(pipeline, sample, wanted)
    against = f"{framework} + reference"
    rungs.append(Rung(pipeline.spec.name, "after surgery", against, _final(pipeline, repository, samples, expected)))
    rungs.append(Rung(pipeline.spec.name, "served", against, _all_served(pipeline, client, samples, expected)))
    return rungs


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
    same = _kinds(raw.inputs) == _kinds(own.inputs) and _kinds(raw.outputs) == _kinds(own.outputs)
    if not same or not all(step.compared() for step in pipeline.spec.surgery):
        return found, None
    bounds, result = pipeline.spec.verify.bounds, Comparison()
    renamed = [{new.name: each[old.name] for new, old in zip(raw.outputs, own.outputs, strict=True)} for each in answers]
    for wanted, other in zip(renamed, found, strict=True):
        result.add(compare.tensors(wanted, other, bounds.absolute, bounds.relative))
    return renamed, result


def _kinds(tensors: tuple[Tensor, ...]) -> list[tuple[object, ...]]:
    """Types and shapes, without names."""
    return [(t.dtype, t.shape, t.batched) for t in tensors]


def _pictures(pipeline: Pipeline, repository: Path) -> tuple[Sample, Comparison]:
    """The pixels the served model.py makes, and how far they are from the NumPy reference."""
    spec = pipeline.spec
    if not spec.verify.images:
        raise VerifyError(
            f"{pipeline.path}: verify.images names no picture, so nothing could be compared", "name two or three real ones"
        )
    assert spec.preprocess is not None
    folder = repository / f"{spec.name}_preprocess"
    served = step_code.load(folder / str(spec.serving.version) / "model.py")
    settings = served.Settings.from_config(step_code.as_json(folder / "config.pbtxt"))
    height, width = pipeline.parts[0].outputs[0].shape[:2]
    encoded, pixels, geometry, result = [], [], [], Comparison()
    for path in spec.verify.images:
        encoded.append(path.read_bytes())
        rgb = served.decode(encoded[-1], spec.preprocess.max_pixels)
        found, place = served.prepare(rgb, settings)
        wanted, wanted_place = spec.preprocess.reference(rgb, height, width)
        a = {"pixels": wanted.astype(np.float32), "geometry": wanted_place}
        b = {"pixels": found.astype(np.float32), "geometry": place}
        result.add(compare.tensors(a, b, spec.verify.bounds.pixels, 0.0))
        pixels.append(found)
        geometry.append(place)
    values = np.stack(pixels)
    raw = {pipeline.raw.inputs[0].name: pipeline.picture.given(spec.preprocess, values)}
    given = {pipeline.model.inputs[0].name: values, **_thresholds(pipeline, len(values))}
    places = np.stack(geometry).astype(np.float32)
    return Sample(given, raw, _for_source(pipeline, raw), tuple(encoded), places), result


def _for_source(pipeline: Pipeline, raw: Arrays) -> Arrays:
    """The checkpoint's inputs: the same, or values of its own where the spec's surgery gave the model others."""
    if _kinds(pipeline.operated.inputs) == _kinds(pipeline.source.inputs):
        return {tensor.name: values for tensor, values in zip(pipeline.source.inputs, raw.values(), strict=True)}
    return sampling.samples(pipeline.source)[0]


def _bare(pipeline: Pipeline) -> tuple[list[Sample], list[Arrays], str]:
    """Samples that the checkpoint accepts, its answers, and what computed them."""
    bare_samples.check(pipeline)
    found, framework = _child(pipeline, None)
    half = len(found) // 2
    return [_sample(pipeline, source, i) for i, source in enumerate(found[:half])], found[half:], framework


def _sample(pipeline: Pipeline, source: Arrays, index: int) -> Sample:
    """What the checkpoint was asked, for every graph above it."""
    if _kinds(pipeline.raw.inputs) == _kinds(pipeline.source.inputs):
        raw = {new.name: source[old.name] for new, old in zip(pipeline.raw.inputs, pipeline.source.inputs, strict=True)}
    else:
        others = bare_samples.said(pipeline, sampling.samples(pipeline.raw), pipeline.raw.inputs)
        raw = others[index % len(others)]
    taken = {tensor.name: raw[tensor.name] for tensor in pipeline.raw.inputs}
    return Sample({**_lifted(pipeline.model.inputs, taken), **_thresholds(pipeline, _row_count(raw))}, raw, source)


def _row_count(arrays: Arrays) -> int:
    """Rows of the first tensor; a scalar has none."""
    first = next(iter(arrays.values()))
    return len(first) if first.ndim else 0


def _lifted(tensors: tuple[Tensor, ...], arrays: Arrays) -> Arrays:
    """Scalars as they are served."""
    single = {tensor.name for tensor in tensors if tensor.shape == (1,) and not tensor.batched}
    return {name: values.reshape(1) if name in single else values for name, values in arrays.items()}


def _source(pipeline: Pipeline, samples: Sequence[Sample]) -> tuple[list[Arrays], str]:
    """The checkpoint's own answers."""
    found, framework = _child(pipeline, [sample.source for sample in samples])
    return found[len(samples) :], framework


def _child(pipeline: Pipeline, samples: list[Arrays] | None) -> tuple[list[Arrays], str]:
    """Samples and answers, from a child process; None: it makes the samples."""
    with tempfile.TemporaryDirectory(prefix="triton-repo-") as scratch:
        given, answer = Path(scratch) / "in.npz", Path(scratch) / "out.npz"
        if samples is not None:
            feeds.write(given, samples)
        facts = run.child("source", pipeline, given if samples is not None else None, answer)
        return feeds.read(answer), facts["framework"]


def _exported(pipeline: Pipeline, path: Path, samples: Sequence[Sample], answers: Sequence[Arrays]) -> Comparison:
    bounds, session, result = pipeline.spec.verify.bounds, graph.session(path, optimise=False), Comparison()
    for sample, source in zip(samples, answers, strict=True):
        found = aligned(source, _run(pipeline, session, sample.source), pipeline.spec.checkpoint.unordered())
        result.add(compare.tensors(source, found, bounds.absolute, bounds.relative))
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


def _final(pipeline: Pipeline, repository: Path, samples: Sequence[Sample], expected: Sequence[Arrays]) -> Comparison:
    """The model file of the repository itself, as one batch and row by row."""
    version = repository / pipeline.spec.model_name / str(pipeline.spec.serving.version)
    session, result = graph.session(version / pipeline.spec.target.filename), Comparison()
    for sample, wanted in zip(samples, expected, strict=True):
        result.add(_answer(pipeline, wanted, _run(pipeline, session, sample.values)))
        rows = len(next(iter(sample.values.values()))) if pipeline.batched else 0
        for row in range(rows if rows > 1 else 0):
            result.add(_answer(pipeline, _row(wanted, row), _run(pipeline, session, _row(sample.values, row))))
    return result


def _thresholds(pipeline: Pipeline, rows: int) -> Arrays:
    """What the spec says for thresholds that are inputs."""
    said = pipeline.spec.nms.values() if pipeline.spec.nms else {}
    return {name: np.full((rows, 1), value, np.float32) for name, value in said.items()}


def _answer(pipeline: Pipeline, expected: Arrays, found: Arrays) -> Comparison:
    bounds = pipeline.spec.verify.bounds
    if pipeline.spec.nms is not None:
        return compare.detections(expected, found, bounds, pipeline.spec.nms.score_threshold)
    found = aligned(expected, found, pipeline.spec.checkpoint.unordered())
    return compare.tensors(expected, found, bounds.absolute, bounds.relative)


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
    post, bounds = pipeline.spec.postprocess, pipeline.spec.verify.bounds
    if post is None:
        return _answer(pipeline, expected, _infer(pipeline, client, sample.values))
    wanted = post.reference(expected, sample.geometry)
    data = np.array(sample.encoded, dtype=np.object_).reshape(-1, 1)
    result = Comparison()
    for size in dict.fromkeys((1, min(len(data), pipeline.max_batch_size))):
        for start in range(0, len(data), size):
            rows = data[start : start + size]
            found = _infer(pipeline, client, {pipeline.served.inputs[0].name: rows, **_thresholds(pipeline, len(rows))})
            part = {name: values[start : start + size] for name, values in wanted.items()}
            if pipeline.spec.nms is not None:
                result.add(compare.detections(part, found, bounds, pipeline.spec.nms.score_threshold))
            else:
                result.add(compare.tensors(part, found, bounds.score, 0.0))
    return result


def _infer(pipeline: Pipeline, client: triton.InferenceServerClient, values: Arrays) -> Arrays:
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    requests = []
    for tensor in pipeline.served.inputs:
        data = np.ascontiguousarray(values[tensor.name])
        data = data.reshape(-1, 1) if _single(pipeline, tensor) else data
        requests.append(triton.InferInput(tensor.name, list(data.shape), tensor.dtype))
        requests[-1].set_data_from_numpy(data)
    try:
        answer = client.infer(pipeline.served.name, requests, client_timeout=300)
    except InferenceServerException as error:
        raise VerifyError(f"{pipeline.served.name}: the server answered: {error.message()}", "see the server's log") from None
    found = {t.name: answer.as_numpy(t.name) for t in pipeline.served.outputs}
    single = {tensor.name for tensor in pipeline.served.outputs if _single(pipeline, tensor)}
    return {name: a.reshape(-1) if name in single else a for name, a in found.items() if a is not None}


def _single(pipeline: Pipeline, tensor: Tensor) -> bool:
    """Is it one number a row? Clients see [batch, 1]."""
    return tensor.batched and not tensor.shape and pipeline.max_batch_size > 0


def first_divergence(rungs: Sequence[Rung]) -> Rung | None:
    """The lowest rung that failed."""
    return next((rung for rung in rungs if not rung.result.ok), None)
