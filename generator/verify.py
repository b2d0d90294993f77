"""The parity ladder: the same real pictures through the checkpoint, the exported graph, the graph after surgery and the server.

Every rung is held against the checkpoint's own answer, carried on by the NumPy reference of each part (head, NMS, postprocess).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from generator import compare, graph, lock, plan, run, step_code
from generator.compare import Comparison
from generator.errors import VerifyError
from generator.pipeline import Pipeline
from generator.tensors import Tensor, numpy_dtype

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
    """What goes through the ladder: encoded pictures (none for a bare model), the served input, and the pictures' geometry.

    `raw` is the same for the graph before head, NMS and preprocess came to it, `source` for the checkpoint: the same values too,
    unless the spec's own surgery gave the model other inputs.
    """

    encoded: tuple[bytes, ...]
    values: NDArray[Any]
    raw: NDArray[Any]
    source: NDArray[Any]
    geometry: NDArray[np.float32]


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
        sample = _random(pipeline)
    else:
        sample, pixels = _pictures(pipeline, repository)
        rungs.append(Rung(pipeline.spec.name, "pixels", "NumPy reference", pixels))
    source, framework = _source(pipeline, sample)
    export = run.ensure(made, pipeline) / "model.onnx"
    exported = graph.session(export, optimise=False)
    rungs.append(Rung(pipeline.spec.name, "exported ONNX", framework, _exported(pipeline, exported, sample, source)))
    if passes:
        source, result = _edited(pipeline, run.ensure(passes[0], pipeline, export) / "model.onnx", sample, source)
        rungs += [Rung(pipeline.spec.name, "after the passes", framework, result)] if result else []
        framework = framework if result else OPERATED
    expected = _reference(pipeline, source)
    _finds_something(pipeline, sample, expected)
    rungs.append(
        Rung(pipeline.spec.name, "after surgery", f"{framework} + reference", _final(pipeline, repository, sample, expected))
    )
    rungs.append(Rung(pipeline.spec.name, "served", f"{framework} + reference", _served(pipeline, client, sample, expected)))
    return rungs


def _finds_something(pipeline: Pipeline, sample: Sample, expected: Arrays) -> None:
    """Raise VerifyError for photos on which the checkpoint itself finds nothing: no box would be compared."""
    if sample.encoded and "num_dets" in expected and not expected["num_dets"].any():
        raise VerifyError(
            f"{pipeline.path}: verify.images: on none of the {len(sample.encoded)} the checkpoint finds anything; "
            "no box was compared",
            "name photos of what it was trained for, lower nms.score_threshold, or correct preprocess to that of its training",
        )


def _edited(pipeline: Pipeline, path: Path, sample: Sample, source: Arrays) -> tuple[Arrays, Comparison | None]:
    """What the rungs above are held against, and how far the spec's own passes are from the checkpoint.

    Passes that keep results, and inputs and outputs apart from their names, leave the checkpoint's answer as the measure. After
    others it is that of the graph that they made: what they change is the user's will, and the build compared what it could.
    """
    found = graph.run(graph.session(path, optimise=False), {pipeline.raw.inputs[0].name: sample.raw})
    raw, own = pipeline.raw, pipeline.source
    same = _kinds(raw.inputs) == _kinds(own.inputs) and _kinds(raw.outputs) == _kinds(own.outputs)
    if not same or not all(step.compared() for step in pipeline.spec.surgery):
        return found, None
    bounds = pipeline.spec.verify.bounds
    renamed = {new.name: source[old.name] for new, old in zip(raw.outputs, own.outputs, strict=True)}
    return renamed, compare.tensors(renamed, found, bounds.absolute, bounds.relative)


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
    raw = pipeline.picture.given(spec.preprocess, values)
    return Sample(tuple(encoded), values, raw, _for_source(pipeline, raw), np.stack(geometry).astype(np.float32)), result


def _random(pipeline: Pipeline) -> Sample:
    """Seeded values for a bare model: two rows where it has a batch axis; a free dimension gets eight values."""
    values = _values(pipeline, pipeline.raw.inputs)
    return Sample((), values, values, _for_source(pipeline, values), np.zeros((0, 6), np.float32))


def _for_source(pipeline: Pipeline, raw: NDArray[Any]) -> NDArray[Any]:
    """The checkpoint's input: the same, or values of its own where the spec's surgery gave the model another input."""
    same = _kinds(pipeline.operated.inputs) == _kinds(pipeline.source.inputs)
    return raw if same else _values(pipeline, pipeline.source.inputs)


def _values(pipeline: Pipeline, inputs: tuple[Tensor, ...]) -> NDArray[Any]:
    tensor, random = inputs[0], np.random.default_rng(0)
    if len(inputs) != 1 or tensor.dtype not in ("FP32", "FP64", "FP16", "UINT8"):
        raise VerifyError(
            f"{pipeline.spec.name}: only bare models of one floating-point or UINT8 input can be verified so far",
            "build without verify",
        )
    shape = [*([min(2, pipeline.max_batch_size or 2)] if tensor.batched else []), *(8 if d < 0 else d for d in tensor.shape)]
    if tensor.dtype == "UINT8":
        return random.integers(0, 256, shape).astype(np.uint8)
    return random.random(shape).astype(numpy_dtype(tensor.dtype))


def _source(pipeline: Pipeline, sample: Sample) -> tuple[Arrays, str]:
    """The checkpoint's own answer, from a child process."""
    with tempfile.TemporaryDirectory(prefix="triton-repo-") as scratch:
        values, answer = Path(scratch) / "in.npy", Path(scratch) / "out.npz"
        np.save(values, sample.source)
        facts = run.child("source", pipeline, values, answer)
        with np.load(answer) as file:
            return dict(file), facts["framework"]


def _exported(pipeline: Pipeline, session: Any, sample: Sample, source: Arrays) -> Comparison:
    bounds = pipeline.spec.verify.bounds
    found = graph.run(session, {pipeline.source.inputs[0].name: sample.source})
    result = compare.tensors(source, found, bounds.absolute, bounds.relative)
    if pipeline.head is not None and pipeline.spec.nms is not None and not pipeline.spec.surgery and result.ok:
        a, b = _reference(pipeline, source), _reference(pipeline, found)
        boxes = compare.detections(a, b, bounds, pipeline.spec.nms.score_threshold)
        boxes.max_abs = 0.0
        result.add(boxes)
    return result


def _reference(pipeline: Pipeline, raw: Arrays) -> Arrays:
    """Raw outputs -> what the graph after surgery ought to give, in plain NumPy."""
    if pipeline.head is None or pipeline.spec.nms is None or pipeline.candidates is None:
        return raw
    answers = pipeline.head.reference(pipeline.image, raw)
    passed = {tensor.name: raw[tensor.name] for tensor in pipeline.candidates.passed}
    return {**pipeline.spec.nms.reference(answers, pipeline.candidates), **passed}


def _final(pipeline: Pipeline, repository: Path, sample: Sample, expected: Arrays) -> Comparison:
    """The model file of the repository itself, as one batch and picture by picture."""
    version = repository / pipeline.spec.model_name / str(pipeline.spec.serving.version)
    session = graph.session(version / pipeline.spec.target.filename)
    name = pipeline.model.inputs[0].name
    result = _answer(pipeline, expected, graph.run(session, {name: sample.values, **_thresholds(pipeline, len(sample.values))}))
    for row in range(len(sample.values) if pipeline.model.inputs[0].batched else 0):
        found = graph.run(session, {name: sample.values[row : row + 1], **_thresholds(pipeline, 1)})
        result.add(_answer(pipeline, _rows(expected, row), found))
    return result


def _thresholds(pipeline: Pipeline, rows: int) -> Arrays:
    """What the spec says for thresholds that are inputs."""
    said = pipeline.spec.nms.values() if pipeline.spec.nms else {}
    return {name: np.full((rows, 1), value, np.float32) for name, value in said.items()}


def _answer(pipeline: Pipeline, expected: Arrays, found: Arrays) -> Comparison:
    bounds = pipeline.spec.verify.bounds
    if pipeline.spec.nms is not None:
        return compare.detections(expected, found, bounds, pipeline.spec.nms.score_threshold)
    return compare.tensors(expected, found, bounds.absolute, bounds.relative)


def _rows(arrays: Arrays, row: int) -> Arrays:
    return {name: values[row : row + 1] for name, values in arrays.items()}


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
            found = _infer(pipeline, client, data[start : start + size])
            part = {name: values[start : start + size] for name, values in wanted.items()}
            if pipeline.spec.nms is not None:
                result.add(compare.detections(part, found, bounds, pipeline.spec.nms.score_threshold))
            else:
                result.add(compare.tensors(part, found, bounds.score, 0.0))
    return result


def _infer(pipeline: Pipeline, client: triton.InferenceServerClient, values: NDArray[Any]) -> Arrays:
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    tensor, requests = pipeline.served.inputs[0], []
    for name, data in {tensor.name: values, **_thresholds(pipeline, len(values))}.items():
        requests.append(triton.InferInput(name, list(data.shape), tensor.dtype if name == tensor.name else "FP32"))
        requests[-1].set_data_from_numpy(data)
    try:
        answer = client.infer(pipeline.served.name, requests, client_timeout=300)
    except InferenceServerException as error:
        raise VerifyError(f"{pipeline.served.name}: the server answered: {error.message()}", "see the server's log") from None
    found = {t.name: answer.as_numpy(t.name) for t in pipeline.served.outputs}
    return {name: values for name, values in found.items() if values is not None}


def first_divergence(rungs: Sequence[Rung]) -> Rung | None:
    """The lowest rung that failed."""
    return next((rung for rung in rungs if not rung.result.ok), None)
