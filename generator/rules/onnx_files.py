"""The config against the ONNX file, as the onnxruntime backend holds them together when an instance is made."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from generator.errors import CheckpointError
from generator.model_config import data_type
from generator.model_files import onnx, path_of
from generator.onnx_signature import External
from generator.rules import Model, Problem, World, listed, rule, tensors
from generator.tensors import Tensor, config_dtype

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelInput

    from generator.rules import Signature

_BACKEND = "onnxruntime_backend, src/onnxruntime.cc"
#: ONNX Runtime of the server's release -> the newest opset and IR version that it reads (onnxruntime, docs/Versioning.md).
_NEWEST: dict[tuple[int, ...], tuple[int, int]] = {(2, 51): (21, 10)}


def _signatures(model: Model) -> Iterator[tuple[int, Signature]]:
    if model.config.backend == "onnxruntime":
        for version in model.served:
            found = model.signature(version)
            if found is not None:
                yield version, found


@rule("onnx/file", source=f"{_BACKEND}, ModelState::LoadModel")
def file(model: Model, world: World) -> Iterator[Problem]:
    """Each version that is served has its ONNX file, and that is one."""
    if model.config.backend != "onnxruntime":
        return
    name = model.config.default_model_filename
    for version in model.served:
        planned = f"{version}/{name}" in model.files or f"{version}/{name}" in model.folders
        if not planned:
            yield Problem("default_model_filename", f"no file {version}/{name}", "the ONNX model", "add it, or correct the name")
        try:
            onnx(model.config, model.files, version)
        except CheckpointError as error:
            yield Problem(
                "", f"{path_of(model.config, model.files, version)}", "an ONNX model", f"{error.message}; {error.remedy}"
            )


@rule("onnx/external_data", source="onnxruntime, core/framework/tensorprotoutils.cc, GetExtDataFromTensorProto")
def external_data(model: Model, world: World) -> Iterator[Problem]:
    """Weights that lie outside the ONNX file are in files beside it or below, and these are long enough."""
    for version in model.served:
        try:
            found = onnx(model.config, model.files, version)
        except CheckpointError:
            continue
        last: dict[str, External] = {}
        for outer in sorted(found.external, key=lambda outer: outer.end) if found else ():
            last[outer.location] = outer
        for outer in last.values():
            yield from _outer(model, version, outer)


def _outer(model: Model, version: int, last: External) -> Iterator[Problem]:
    """One file, held against the tensor that ends last in it."""
    own = path_of(model.config, model.files, version)
    folder = next(posixpath.dirname(name) for name, path in model.files.items() if path == own)
    name = posixpath.normpath(posixpath.join(folder, last.location))
    if not last.location or posixpath.isabs(last.location) or not name.startswith(f"{folder}/"):
        what = f"{version}: tensor {last.name} lies in {last.location!r}"
        yield Problem("", what, "a file in the folder of the ONNX file", "put it there, and name it without `..`")
    elif name not in model.files:
        yield Problem("", f"no file {name}", f"the external data of version {version}, tensor {last.name}", "copy it there")
    elif (path := model.files[name]) is not None and (size := path.stat().st_size) < last.end:
        found = f"{name} of {size} bytes"
        yield Problem("", found, f"at least {last.end}, where tensor {last.name} ends", "copy it again, it is cut short")


@rule("onnx/names", source=f"{_BACKEND}, ValidateInputs and ValidateOutputs")
def names(model: Model, world: World) -> Iterator[Problem]:
    """The config has every input of the file, and no input or output that the file has not."""
    for version, found in _signatures(model):
        controls = sum(bool(item.control) for item in model.config.sequence_batching.control_input)
        extra = controls + len(model.config.sequence_batching.state) + len(model.config.batch_input)
        expected = len(model.config.input) + extra
        inputs, outputs = ({tensor.name: tensor for tensor in side} for side in (found.inputs, found.outputs))
        if expected != len(inputs) and not any(tensor.name not in inputs for tensor in model.config.input):
            missing = listed(set(inputs) - {tensor.name for tensor in model.config.input}).removeprefix("one of ")
            yield Problem("input", f"{expected} inputs", f"{len(inputs)}, as version {version} has them", f"add {missing}")
        for path, tensor in tensors(model.config):
            known = inputs if path.startswith("input") else outputs
            if tensor.name and tensor.name not in known:
                yield Problem(f"{path}.name", repr(tensor.name), f"{listed(known)} (version {version})", "correct the name")


@rule("onnx/data_type", source=f"{_BACKEND}, ValidateInputs and ValidateOutputs")
def types(model: Model, world: World) -> Iterator[Problem]:
    """Types are those of the file."""
    for version, path, tensor, real in _pairs(model):
        wanted = config_dtype(real.dtype)
        if tensor.data_type and data_type(tensor.data_type) != wanted:
            expected = f"{wanted}, as version {version} has it"
            yield Problem(f"{path}.data_type", data_type(tensor.data_type), expected, "correct the type, or cast in the graph")


@rule("onnx/dims", source="onnxruntime_backend, src/onnxruntime_utils.cc, CompareDimsSupported")
def dims(model: Model, world: World) -> Iterator[Problem]:
    """Dims are those of the file without its batch; free ones of an input may be fixed, those of an output may not."""
    batch = model.config.max_batch_size > 0
    for version, path, tensor, real in _pairs(model):
        whole = [*([-1] if real.batched else []), *real.shape]
        shape = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
        if not shape and not tensor.HasField("reshape"):
            continue  # the backend fills them in, or io/dims speaks
        if batch and not real.batched:
            found = f"{model.config.max_batch_size}, and {real.name} of version {version} is {whole}"
            remedy = "say max_batch_size 0, or export the model with a dynamic batch"
            yield Problem("max_batch_size", found, "a model whose first dimension is free", remedy)
            return
        said = [-1, *shape] if batch else shape
        exact = path.startswith("output")
        if not whole and all(dim == 1 for dim in shape):
            continue
        ragged = path.startswith("input") and tensor.allow_ragged_batch
        fits = len(said) == len(whole) and all(_takes(a, b, exact) for a, b in zip(whole, said, strict=True))
        if not ragged and not fits:
            yield _unlike(path, said, whole, f"version {version}", batch)


def _takes(real: int, said: int, exact: bool) -> bool:
    return real == said or (real == -1 and not exact)


def _unlike(path: str, said: Sequence[int], whole: Sequence[int], version: str, batch: bool) -> Problem:
    counted = " with the batch dimension that max_batch_size adds" if batch else ""
    remedy = "leave the batch dimension out of dims" if batch and len(said) == len(whole) + 1 else "correct the dims"
    return Problem(f"{path}.dims", f"{list(said)}{counted}", f"{list(whole)}, as {version} has it", remedy)


def _pairs(model: Model) -> Iterator[tuple[int, str, ModelInput, Tensor]]:
    for version, found in _signatures(model):
        inputs, outputs = ({tensor.name: tensor for tensor in side} for side in (found.inputs, found.outputs))
        for path, tensor in tensors(model.config):
            real = (inputs if path.startswith("input") else outputs).get(tensor.name)
            if real is not None:
                yield version, path, tensor, real


@rule("onnx/optional", source=f"{_BACKEND}, ValidateInputs")
def optional(model: Model, world: World) -> Iterator[Problem]:
    """Models that batch have no optional inputs on this backend."""
    if model.config.backend == "onnxruntime" and model.config.max_batch_size:
        for index, tensor in enumerate(model.config.input):
            if tensor.optional:
                yield Problem(f"input[{index}].optional", "true with max_batch_size above 0", "false", "remove it")


@rule("onnx/newer", level="warning", source="onnxruntime, docs/Versioning.md; server, release 24.10 carries onnxruntime 1.19")
def newer(model: Model, world: World) -> Iterator[Problem]:
    """Opset and IR version are not newer than the server's ONNX Runtime reads."""
    limits = _NEWEST.get(world.server)
    if limits is None or model.config.backend != "onnxruntime":
        return
    for version in model.served:
        try:
            found = onnx(model.config, model.files, version)
        except CheckpointError:
            continue
        if found is not None and (found.opset > limits[0] or found.ir_version > limits[1]):
            what = f"version {version}: opset {found.opset}, IR version {found.ir_version}"
            expected = f"at most opset {limits[0]} and IR version {limits[1]} on this server"
            yield Problem("", what, expected, "export it with a lower opset, or serve it on a newer release")
