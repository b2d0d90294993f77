"""What goes through the parity ladder: real pictures, or tensors that the checkpoint accepts, and its own answers to them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generator import bare_samples, compare, feeds, run, sampling, step_code
from generator.compare import Comparison
from generator.errors import VerifyError
from generator.pipeline import Pipeline
from generator.tensors import Tensor, numpy_dtype

Arrays = dict[str, NDArray[Any]]


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


def pictures(pipeline: Pipeline, repository: Path) -> tuple[Sample, Comparison]:
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
    for data, rgb in decoded(pipeline, served):
        encoded.append(data)
        found, place = served.prepare(rgb, settings)
        wanted, wanted_place = spec.preprocess.reference(rgb, height, width)
        a = {"pixels": wanted.astype(np.float32), "geometry": wanted_place}
        b = {"pixels": found.astype(np.float32), "geometry": place}
        result.add(compare.tensors(a, b, spec.verify.bounds.pixels, 0.0))
        pixels.append(found)
        geometry.append(place)
    values = np.stack(pixels)
    raw = {pipeline.raw.inputs[0].name: pipeline.picture.given(spec.preprocess, values)}
    given = {pipeline.model.inputs[0].name: values, **thresholds(pipeline, len(values))}
    places = np.stack(geometry).astype(np.float32)
    return Sample(given, raw, _for_source(pipeline, raw), tuple(encoded), places), result


def decoded(pipeline: Pipeline, served: Any) -> Iterator[tuple[bytes, NDArray[np.uint8]]]:
    """`verify.images`, encoded, and as the server's file `served` decodes them. Raises SpecError for one that it refuses."""
    spec = pipeline.spec
    assert spec.preprocess is not None
    for index, path in enumerate(spec.verify.images):
        data = path.read_bytes()
        try:
            yield data, served.decode(data, spec.preprocess.max_pixels)
        except served.BadImageError as error:
            loc = ("verify", "images", index)
            raise pipeline.error(loc, f"{path}: {error}", "name a JPEG or PNG that the server decodes") from None


def bare(pipeline: Pipeline) -> tuple[list[Sample], list[Arrays], str]:
    """Samples that the checkpoint accepts, its answers, and what computed them."""
    bare_samples.check(pipeline)
    found, framework = _child(pipeline, None)
    half = len(found) // 2
    return [asked_of(pipeline, source, i) for i, source in enumerate(found[:half])], found[half:], framework


def asked(pipeline: Pipeline, samples: Sequence[Sample]) -> tuple[list[Arrays], str]:
    """The checkpoint's own answers."""
    found, framework = _child(pipeline, [sample.source for sample in samples])
    return found[len(samples) :], framework


def thresholds(pipeline: Pipeline, rows: int) -> Arrays:
    """What the spec says for thresholds that are inputs."""
    said = pipeline.spec.nms.values() if pipeline.spec.nms else {}
    return {name: np.full((rows, 1), value, np.float32) for name, value in said.items()}


def lifted(tensors: tuple[Tensor, ...], arrays: Arrays) -> Arrays:
    """Scalars as they are served."""
    single = {tensor.name for tensor in tensors if tensor.shape == (1,) and not tensor.batched}
    return {name: values.reshape(1) if name in single else values for name, values in arrays.items()}


def typed(tensors: tuple[Tensor, ...], arrays: Arrays) -> Arrays:
    """Numbers in the floating-point types that a graph in another precision takes."""
    kinds = {tensor.name: np.dtype(numpy_dtype(tensor.dtype)) for tensor in tensors}
    return {
        name: values.astype(kinds[name]) if name in kinds and kinds[name].kind == values.dtype.kind == "f" else values
        for name, values in arrays.items()
    }


def kinds(tensors: tuple[Tensor, ...]) -> list[tuple[object, ...]]:
    """Types and shapes, without names."""
    return [(t.dtype, t.shape, t.batched) for t in tensors]


def _for_source(pipeline: Pipeline, raw: Arrays) -> Arrays:
    """The checkpoint's inputs: the same, or values of its own where the spec's surgery gave the model others."""
    if kinds(pipeline.operated.inputs) == kinds(pipeline.source.inputs):
        return {tensor.name: values for tensor, values in zip(pipeline.source.inputs, raw.values(), strict=True)}
    return sampling.samples(pipeline.source)[0]


def asked_of(pipeline: Pipeline, source: Arrays, index: int) -> Sample:
    """What the checkpoint was asked, for every graph above it."""
    if kinds(pipeline.raw.inputs) == kinds(pipeline.source.inputs):
        raw = {new.name: source[old.name] for new, old in zip(pipeline.raw.inputs, pipeline.source.inputs, strict=True)}
    else:
        others = bare_samples.said(pipeline, sampling.samples(pipeline.raw), pipeline.raw.inputs)
        raw = others[index % len(others)]
    taken = {tensor.name: raw[tensor.name] for tensor in pipeline.raw.inputs}
    return Sample({**lifted(pipeline.model.inputs, taken), **thresholds(pipeline, _row_count(raw))}, raw, source)


def _row_count(arrays: Arrays) -> int:
    """Rows of the first tensor; a scalar has none."""
    first = next(iter(arrays.values()))
    return len(first) if first.ndim else 0


def _child(pipeline: Pipeline, samples: list[Arrays] | None) -> tuple[list[Arrays], str]:
    """Samples and answers, from a child process; None: it makes the samples."""
    with tempfile.TemporaryDirectory(prefix="triton-repo-") as scratch:
        given, answer = Path(scratch) / "in.npz", Path(scratch) / "out.npz"
        if samples is not None:
            feeds.write(given, samples)
        facts = run.child("source", pipeline, given if samples is not None else None, answer)
        return feeds.read(answer), facts["framework"]
