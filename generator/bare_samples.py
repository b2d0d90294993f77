"""What a bare model is verified with: samples of the checkpoint's own, and on top of them the values that the spec says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from generator.frontends import Arrays
from generator.tensors import Tensor, numpy_dtype

if TYPE_CHECKING:
    from generator.pipeline import Pipeline


def of(pipeline: Pipeline) -> list[Arrays]:
    """Inputs of the checkpoint by name; runs in a child process. No batch is larger than the server takes.

    Raises SpecError for values that do not fit.
    """
    return said(pipeline, pipeline.spec.checkpoint.samples(pipeline.source), pipeline.source.inputs)


def said(pipeline: Pipeline, samples: list[Arrays], inputs: tuple[Tensor, ...]) -> list[Arrays]:
    """As many samples as `verify.samples` has, its values in place of the seeded ones; all seeded ones where it has none."""
    cut = [_cut(pipeline, sample, inputs) for sample in samples]
    wanted = pipeline.spec.verify.samples
    if not wanted:
        return cut
    known = {tensor.name: tensor for tensor in inputs}
    return [
        {
            **cut[i % len(cut)],
            **{name: _value(pipeline, (i, name), value, known[name]) for name, value in one.items() if name in known},
        }
        for i, one in enumerate(wanted)
    ]


def check(pipeline: Pipeline) -> None:
    """Raise SpecError where `verify.samples` names an input that the model does not have, or is said of an ensemble."""
    names = {tensor.name: tensor for tensor in (*pipeline.source.inputs, *pipeline.raw.inputs)}
    for index, one in enumerate(pipeline.spec.verify.samples):
        if pipeline.spec.preprocess is not None:
            what = "samples are of bare models; this one takes pictures"
            raise pipeline.error(("verify", "samples"), what, "name photos in `images:` instead")
        for name, value in one.items():
            if name not in names:
                loc = ("verify", "samples", index, name)
                raise pipeline.error(loc, f"the model has no input {name!r}", f"it has {', '.join(names)}")
            _value(pipeline, (index, name), value, names[name])


def _cut(pipeline: Pipeline, sample: Arrays, inputs: tuple[Tensor, ...]) -> Arrays:
    if not pipeline.max_batch_size:
        return sample
    batched = {tensor.name for tensor in inputs if tensor.batched}
    return {name: values[: pipeline.max_batch_size] if name in batched else values for name, values in sample.items()}


def _value(pipeline: Pipeline, at: tuple[int, str], value: Any, tensor: Tensor) -> NDArray[Any]:
    loc = ("verify", "samples", *at)
    try:
        found = np.load(_beside(pipeline, value), allow_pickle=False) if _is_file(value) else _array(value, tensor)
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise pipeline.error(
            loc, f"{value!r} is no value for {tensor}: {error}", "write numbers, nested lists or a .npy file"
        ) from None
    dims = (*([-1] if tensor.batched else []), *tensor.shape)
    if found.ndim != len(dims) or any(dim not in (-1, n) for dim, n in zip(dims, found.shape, strict=True)):
        raise pipeline.error(loc, f"its shape is {list(found.shape)}; the model takes {tensor}", "write the batch dimension, too")
    if found.dtype != np.dtype(numpy_dtype(tensor.dtype)):
        raise pipeline.error(loc, f"it is {found.dtype}; the model takes {tensor}", "save it in that type")
    return found


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and value.endswith(".npy")


def _beside(pipeline: Pipeline, value: str) -> Path:
    return pipeline.path.parent / value


def _array(value: Any, tensor: Tensor) -> NDArray[Any]:
    if tensor.dtype == "BYTES":
        texts = np.array(value, dtype=object)
        return np.array([str(text).encode() for text in texts.reshape(-1)], dtype=object).reshape(texts.shape)
    return np.array(value, dtype=numpy_dtype(tensor.dtype))
