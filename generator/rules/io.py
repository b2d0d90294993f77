"""Inputs and outputs: names, types, dims, reshape, formats (core, src/model_config_utils.cc, ValidateIOShape and its callers)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from generator.rules import Model, Problem, World, completable, rule, tensors

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelInput

_SHAPE = "core, src/model_config_utils.cc, ValidateIOShape"
_INPUT = "core, src/model_config_utils.cc, ValidateModelInput"
_FORMATS = {1: "FORMAT_NHWC", 2: "FORMAT_NCHW"}
PLAN = "tensorrt_plan"


@rule("max_batch_size/negative", source="core, src/model_config_utils.cc, ValidateModelConfig")
def max_batch_size(model: Model, world: World) -> Iterator[Problem]:
    """max_batch_size is 0 or more."""
    if model.config.max_batch_size < 0:
        yield Problem("max_batch_size", str(model.config.max_batch_size), "0 or more", "0 says that the model does not batch")


@rule("io/name", source=_SHAPE)
def name(model: Model, world: World) -> Iterator[Problem]:
    """Every input and output has a name."""
    for path, tensor in tensors(model.config):
        if not tensor.name:
            yield Problem(f"{path}.name", "nothing", "the tensor's name", "say `name`")


@rule("io/data_type", source=_SHAPE)
def data_type(model: Model, world: World) -> Iterator[Problem]:
    """Every input and output has a data type, where the backend does not fill it in."""
    for path, tensor in tensors(model.config):
        if tensor.name and tensor.data_type == 0 and not completable(model, world):
            yield Problem(f"{path}.data_type", "none", "a type, such as TYPE_FP32", "say `data_type`")


@rule("io/dims", source=_SHAPE)
def dims(model: Model, world: World) -> Iterator[Problem]:
    """Every input and output has dims, each 1 or more, or -1 for one that is free at run time."""
    for path, tensor in tensors(model.config):
        if not tensor.dims and not completable(model, world):
            expected = (
                "at least one dimension, the batch dimension not counted" if model.config.max_batch_size else "at least one"
            )
            yield Problem(f"{path}.dims", "none", expected, "say `dims: [ 1 ]` for one value")
        for index, dim in enumerate(tensor.dims):
            if dim < 1 and dim != -1:
                yield Problem(f"{path}.dims[{index}]", str(dim), "1 or more, or -1 for a free one", "correct the dimension")


@rule("io/reshape", source=_SHAPE)
def reshape(model: Model, world: World) -> Iterator[Problem]:
    """A reshape keeps the number of elements, and the free dimensions in their order."""
    for path, tensor in tensors(model.config):
        if tensor.HasField("reshape"):
            yield from _reshape(f"{path}.reshape", tensor, model.config.max_batch_size)


def _reshape(path: str, tensor: ModelInput, batch: int) -> Iterator[Problem]:
    shape = tensor.reshape.shape
    if not shape and batch == 0:
        yield Problem(
            f"{path}.shape",
            "an empty shape and max_batch_size 0",
            "at least one dimension",
            "the server has no scalars: say [ 1 ]",
        )
        return
    bad = [index for index, dim in enumerate(shape) if dim < 1 and dim != -1]
    for index in bad:
        yield Problem(f"{path}.shape[{index}]", str(shape[index]), "1 or more, or -1 for a free one", "correct the dimension")
    if bad or any(dim < 1 and dim != -1 for dim in tensor.dims):
        return
    empty_for_one = not shape and _chunks(tensor.dims) == [1]
    if _chunks(tensor.dims) != _chunks(shape) and not empty_for_one:
        found = f"{list(shape)} for dims {list(tensor.dims)}"
        yield Problem(f"{path}.shape", found, "as many elements, and -1 at the same places among them", "correct one of them")


def _chunks(shape: Sequence[int]) -> list[int]:
    """Element counts between the free dimensions: [2, 4, -1, 6] -> [8, 6]; nothing at all for no dimension."""
    if not shape:
        return [0]
    cuts = [-1, *(index for index, dim in enumerate(shape) if dim == -1), len(shape)]
    return [math.prod(shape[a + 1 : b]) for a, b in itertools.pairwise(cuts)]


@rule("io/format", source=_INPUT)
def image_format(model: Model, world: World) -> Iterator[Problem]:
    """FORMAT_NHWC and FORMAT_NCHW are for three dims."""
    for index, tensor in enumerate(model.config.input):
        if tensor.format in _FORMATS and len(tensor.dims) != 3:
            found = f"{_FORMATS[tensor.format]} with {len(tensor.dims)} dims"
            yield Problem(f"input[{index}].format", found, "three dims", "correct the dims, or leave the format out")


@rule("io/shape_tensor", source=_INPUT)
def shape_tensor(model: Model, world: World) -> Iterator[Problem]:
    """Shape tensors exist in TensorRT plans only."""
    for path, tensor in tensors(model.config):
        if tensor.is_shape_tensor and model.config.platform != PLAN:
            found = f"true on platform {model.config.platform!r}"
            yield Problem(f"{path}.is_shape_tensor", found, f"platform {PLAN!r}", "leave is_shape_tensor out")


@rule("io/non_linear", source="core, src/model_config_utils.cc, ValidateNonLinearFormatIO")
def non_linear(model: Model, world: World) -> Iterator[Problem]:
    """Non-linear formats exist in TensorRT plans only, for three dims, and not for shape tensors."""
    for path, tensor in tensors(model.config):
        if not tensor.is_non_linear_format_io:
            continue
        field = f"{path}.is_non_linear_format_io"
        if model.config.platform != PLAN:
            yield Problem(field, f"true on platform {model.config.platform!r}", f"platform {PLAN!r}", "leave it out")
        elif len(tensor.dims) != 3:
            yield Problem(field, f"true with {len(tensor.dims)} dims", "three dims", "correct the dims, or leave it out")


@rule("io/labels", source="core, src/model.cc, Model::Init (LabelProvider::AddLabels)")
def labels(model: Model, world: World) -> Iterator[Problem]:
    """A labels file that an output names lies in the model folder, one an output."""
    seen: set[str] = set()
    for index, tensor in enumerate(model.config.output):
        path = f"output[{index}].label_filename"
        if not tensor.label_filename:
            continue
        if tensor.label_filename not in model.files:
            missing = f"no file {tensor.label_filename!r}"
            yield Problem(path, missing, "the file, beside config.pbtxt", "add it, or correct the name")
        if tensor.name in seen:
            yield Problem(path, f"labels for {tensor.name!r} again", "one file an output", "remove the second output")
        seen.add(tensor.name)


@rule("cache/decoupled", source="core, src/model_config_utils.cc, ValidateModelConfig")
def cache(model: Model, world: World) -> Iterator[Problem]:
    """The response cache does not go with decoupled answers or sequences."""
    if not model.config.response_cache.enable:
        return
    if model.config.model_transaction_policy.decoupled:
        yield Problem("response_cache.enable", "true on a decoupled model", "one of the two", "turn the cache off")
    if model.config.HasField("sequence_batching"):
        yield Problem("response_cache.enable", "true with sequence_batching", "one of the two", "turn the cache off")
