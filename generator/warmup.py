"""Warm-up from real samples: what each instance runs before the server says that its model is ready.

`model_warmup` in config.pbtxt names files in the model folder's `warmup/`; each holds one row, without the batch dimension, and
the server repeats it `batch_size` times (core, src/backend_model_instance.cc, GenerateWarmupData). Strings lie in Triton's
serialised form, each with its length in front as four bytes, little-endian.
"""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from generator.fields import SpecFile
from generator.plugin import Model
from generator.tensors import Tensor, config_dtype, numpy_dtype

if TYPE_CHECKING:
    from generator.draft import Draft, Loc
    from generator.pipeline import Part, Pipeline


class Warmup(Model):
    """What the server runs before a model is ready."""

    images: Annotated[
        tuple[SpecFile, ...], Field(description="Pictures for an ensemble: each goes through the steps and warms them up.")
    ] = ()
    inputs: Annotated[
        dict[str, SpecFile],
        Field(description="For a bare model: input -> .npy file with one row, or for BYTES a text file, an element a line."),
    ] = Field(default_factory=dict)
    batch_sizes: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(description="Left out: 1 and max_batch_size.")
    ] = ()
    count: Annotated[int, Field(ge=1, le=1000, description="How often each sample runs.")] = 1

    def files(self) -> list[Path]:
        """Everything it reads."""
        return [*self.images, *self.inputs.values()]


@dataclass(frozen=True)
class Sample:
    """One entry of `model_warmup`: for each input the file in `warmup/`."""

    name: str
    batch_size: int
    files: dict[str, str]


def samples(pipeline: Pipeline, part: Part) -> list[Sample]:
    """What warms `part` up; empty where nothing was asked for, or its inputs have no size of their own.

    Raises SpecError, with the line, for what does not fit the model.
    """
    wanted = pipeline.spec.serving.warmup
    if wanted is None or part.role in ("ensemble", "head"):  # what a head takes, only the step before it knows
        return []
    _fits(pipeline, wanted)
    if any(dim < 0 for tensor in part.inputs for dim in tensor.shape) and pipeline.spec.preprocess:
        return []  # what a step before it makes of the picture is not known before it has run
    size = pipeline.batch_size(part.role)
    own_axis = pipeline.batched and not size  # the batch is an axis like any other: the file holds one row
    sizes = (1,) if own_axis else wanted.batch_sizes or tuple(dict.fromkeys((1, max(1, size))))
    rows = len(wanted.images) if pipeline.spec.preprocess else 1
    return [
        Sample(f"sample{row}_batch{batch}", batch, {tensor.name: f"{tensor.name}.{row}" for tensor in part.inputs})
        for row in range(rows)
        for batch in sizes
    ]


def configure(pipeline: Pipeline, part: Part, draft: Draft) -> None:
    """Add `model_warmup` to a part's config."""
    from generator.draft import Origin

    wanted = pipeline.spec.serving.warmup
    for sample in samples(pipeline, part):
        assert wanted is not None
        entry = draft.config.model_warmup.add(name=sample.name, batch_size=sample.batch_size, count=wanted.count)
        for tensor in part.inputs:
            row = entry.inputs[tensor.name]
            row.data_type = config_dtype(tensor.dtype)
            row.dims.extend(_dims(tensor, wanted, pipeline, pipeline.batch_size(part.role)))
            row.input_data_file = sample.files[tensor.name]
        draft.note("model_warmup", Origin("spec", ("serving", "warmup")))


def _dims(tensor: Tensor, wanted: Warmup, pipeline: Pipeline, size: int) -> list[int]:
    """Fixed dims: a free one is as long as the sample's. Where max_batch_size `size` is 0 the first axis is among them."""
    own = pipeline.network.own_name
    shape = tensor.shape if pipeline.spec.preprocess else _row(tensor, wanted.inputs[own(tensor.name)])[0]
    return [1, *shape] if tensor.batched and not size else list(shape) or [1]


def write(pipeline: Pipeline, onnx: Path, staged: Path) -> None:
    """The files, into the `warmup/` of each staged model folder."""
    wanted = pipeline.spec.serving.warmup
    if wanted is None:
        return
    rows = _pictures(pipeline, wanted, onnx, staged) if pipeline.spec.preprocess else [_bare(pipeline, wanted)]
    for part in pipeline.parts:
        names = {name for sample in samples(pipeline, part) for name in sample.files.values()}
        for number, row in enumerate(rows):
            for tensor in part.inputs:
                if f"{tensor.name}.{number}" in names:
                    folder = staged / part.name / "warmup"
                    folder.mkdir(exist_ok=True)
                    (folder / f"{tensor.name}.{number}").write_bytes(row[part.own_name(tensor.name)])


def _pictures(pipeline: Pipeline, wanted: Warmup, onnx: Path, staged: Path) -> list[dict[str, bytes]]:
    """Every tensor of the ensemble for each picture, as its own steps make it."""
    import numpy as np

    from generator import graph, step_code, weight_files

    folder = staged / f"{pipeline.spec.name}_preprocess"
    code = step_code.load(folder / str(pipeline.spec.serving.version) / "model.py")
    settings = code.Settings.from_config(step_code.as_json(folder / "config.pbtxt"))
    image, (pixels, geometry) = pipeline.parts[0].inputs[0], pipeline.parts[0].outputs
    with tempfile.TemporaryDirectory(prefix="oracle-", dir=weight_files.scratch()) as scratch:
        session = graph.session(pipeline.spec.precision.oracle(onnx, Path(scratch)), optimise=True)
    rows = []
    for path in wanted.images:
        canvas, place = code.prepare(code.decode(path.read_bytes(), settings.max_pixels), settings)
        said = pipeline.spec.nms.values() if pipeline.spec.nms else {}
        thresholds = {name: np.full((1, 1), value, np.float32) for name, value in said.items()}
        outputs = session.run(None, {pixels.name: np.asarray(canvas)[None], **thresholds})
        row = {image.name: serialised([path.read_bytes()]), pixels.name: np.ascontiguousarray(canvas).tobytes()}
        row |= {geometry.name: np.asarray(place, np.float32).tobytes()} | {k: v.tobytes() for k, v in thresholds.items()}
        names = [output.name for output in session.get_outputs()]
        rows.append(row | {name: value[0].tobytes() for name, value in zip(names, outputs, strict=True)})
    return rows


def _bare(pipeline: Pipeline, wanted: Warmup) -> dict[str, bytes]:
    return {tensor.name: _row(tensor, wanted.inputs[tensor.name])[1] for tensor in pipeline.network.plain().inputs}


def _row(tensor: Tensor, path: Path) -> tuple[tuple[int, ...], bytes]:
    """Shape and bytes of one row. Raises ValueError where the file does not hold one of that type and shape."""
    if tensor.dtype == "BYTES":
        elements = path.read_bytes().splitlines()
        count = math.prod(dim for dim in tensor.shape if dim > 0)
        if len(elements) % count or (len(elements) != count and -1 not in tensor.shape):
            raise ValueError(f"{path} has {len(elements)} lines; expected {count}, an element a line, for {tensor}")
        shape = [dim if dim > 0 else len(elements) // count for dim in tensor.shape]
        return tuple(shape), serialised(elements)
    return _array(tensor, path)


def _array(tensor: Tensor, path: Path) -> tuple[tuple[int, ...], bytes]:
    import numpy as np

    try:
        values: Any = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy file: {error}; write it with numpy.save") from None
    found = f"{values.dtype}{list(values.shape)}"
    fits = len(values.shape) == len(tensor.shape) and all(a in (-1, b) for a, b in zip(tensor.shape, values.shape, strict=True))
    if not fits or values.dtype != np.dtype(numpy_dtype(tensor.dtype)):
        wanted = f"{numpy_dtype(tensor.dtype)}{list(tensor.shape)}"
        raise ValueError(f"{path} holds {found}; expected one row, {wanted}, for {tensor}")
    return tuple(values.shape), np.ascontiguousarray(values).tobytes()


def serialised(elements: list[bytes]) -> bytes:
    """A BYTES tensor as the server reads it: each element with its length in front (KServe binary data extension)."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def _fits(pipeline: Pipeline, wanted: Warmup) -> None:
    for loc, what, remedy in _misfits(pipeline, wanted):
        raise pipeline.error(("serving", "warmup", *loc), what, remedy)


def _misfits(pipeline: Pipeline, wanted: Warmup) -> Iterator[tuple[Loc, str, str]]:
    names = {tensor.name: tensor for tensor in pipeline.network.plain().inputs}
    if pipeline.spec.preprocess:
        if not wanted.images or wanted.inputs:
            yield ("images",), "an ensemble is warmed up with pictures", "say `images: [a.jpg]`, and no `inputs`"
        return
    if wanted.images:
        yield ("images",), f"{pipeline.spec.name} is served bare and takes no pictures", "say `inputs: {NAME: row.npy}`"
    for name in names:
        if name not in wanted.inputs:
            yield ("inputs",), f"found nothing for the input {name!r}", f"say `inputs: {{{name}: row.npy}}`"
    for name, path in wanted.inputs.items():
        if name not in names:
            yield ("inputs", name), f"the model has no input {name!r}", f"it has {', '.join(names)}"
            continue
        try:
            _row(names[name], path)
        except ValueError as error:
            yield ("inputs", name), str(error), "write one row, without the batch dimension"
