"""The config against OpenVINO IR, and against what the OpenVINO backend reads of a config (openvino_backend, src/openvino.cc)."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from generator.errors import CheckpointError
from generator.model_config import data_type
from generator.model_files import openvino, path_of
from generator.rules import Model, Problem, World, listed, rule, tensors

if TYPE_CHECKING:
    from generator.openvino_signature import IrFile
    from generator.tensors import Tensor

_SOURCE = "openvino_backend, src/openvino.cc"
_UTILS = "openvino_backend, src/openvino_utils.cc"
_TYPES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32")
_HINTS = ("LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT")
#: Parameter -> words that it takes besides a number, and whether it takes one; None: any text.
_PARAMETERS: dict[str, tuple[tuple[str, ...], bool] | None] = {
    "INFERENCE_NUM_THREADS": ((), True), "COMPILATION_NUM_THREADS": ((), True), "NUM_STREAMS": (("AUTO", "NUMA"), True),
    "HINT_BF16": (("YES",), False), "PERFORMANCE_HINT": (_HINTS, False), "SKIP_OV_DYNAMIC_BATCHSIZE": None,
    "ENABLE_BATCH_PADDING": None, "RESHAPE_IO_LAYERS": None, "TARGET_DEVICE": None, "CPU_EXTENSION_PATH": None,
}  # fmt: skip
#: OpenVINO of the server's release (server, build.py) -> the newest opset that it reads.
_NEWEST: dict[tuple[int, ...], int] = {(2, 51): 15}
#: The server whose backend first reads TARGET_DEVICE (release 25.10).
_DEVICES = (2, 62)


def _ours(model: Model) -> bool:
    return bool(model.config.backend == "openvino")


def _parameter(model: Model, key: str) -> str:
    return str(model.config.parameters[key].string_value).upper() if key in model.config.parameters else ""


def _found(model: Model) -> Iterator[tuple[int, IrFile]]:
    for version in model.served:
        try:
            found = openvino(model.config, model.files, version)
        except CheckpointError:
            continue  # rule openvino/file says so
        if found is not None:
            yield version, found


@rule("openvino/file", source=f"{_SOURCE}, ModelState::ReadModel")
def file(model: Model, world: World) -> Iterator[Problem]:
    """Each version that is served has its model file, and one that ends in .xml is IR."""
    for version in model.served if _ours(model) else ():
        name = f"{version}/{model.config.default_model_filename}"
        if name not in model.files and name not in model.folders:
            yield Problem("default_model_filename", f"no file {name}", "the model", "add it, or correct the name")
        try:
            found = openvino(model.config, model.files, version)
        except CheckpointError as error:
            where = f"{path_of(model.config, model.files, version)}"
            yield Problem("", where, "OpenVINO IR", f"{error.message}; {error.remedy}")
            continue
        if found is not None and found.version not in (10, 11):
            expected = "version 10 or 11, which OpenVINO 2022 and later read"
            yield Problem("", f"{name} is IR of version {found.version}", expected, "convert the model again")


@rule("openvino/weights", source="openvino, src/frontends/ir, the .bin beside the .xml")
def weights(model: Model, world: World) -> Iterator[Problem]:
    """The weights of IR lie beside it, in a file of the same name that ends in .bin, and are whole."""
    for version, found in _found(model):
        name = f"{version}/{model.config.default_model_filename}".removesuffix(".xml") + ".bin"
        path = model.files.get(name)
        if not found.weights:
            continue
        if name not in model.files:
            yield Problem("", f"no file {name}", f"the weights of {model.config.default_model_filename}", "copy it there")
        elif path is not None and (size := path.stat().st_size) < found.weights:
            yield Problem("", f"{name} of {size} bytes", f"at least {found.weights}", "copy it again, it is cut short")


@rule("openvino/newer", level="warning", source="server, build.py: release 24.10 carries OpenVINO 2024.4")
def newer(model: Model, world: World) -> Iterator[Problem]:
    """The operators of IR are not newer than the server's OpenVINO."""
    limit = _NEWEST.get(world.server)
    for version, found in _found(model) if limit else ():
        if limit and found.opset > limit:
            what, expected = f"version {version}: opset{found.opset}", f"at most opset{limit} on this server"
            yield Problem("", what, expected, "convert it with the server's OpenVINO, or serve it on a newer release")


@rule("openvino/names", source=f"{_SOURCE}, ValidateInputs and ValidateOutputs")
def names(model: Model, world: World) -> Iterator[Problem]:
    """The config has as many inputs as the model, and no input or output that the model has not."""
    for version, inputs, outputs in _sides(model):
        if len(model.config.input) != len(inputs):
            missing = listed(set(inputs) - {tensor.name for tensor in model.config.input}).removeprefix("one of ")
            found, expected = f"{len(model.config.input)} inputs", f"{len(inputs)}, as version {version} has them"
            yield Problem("input", found, expected, f"add {missing}" if missing != "none" else "remove one")
        for path, tensor in tensors(model.config):
            known = inputs if path.startswith("input") else outputs
            if tensor.name not in known:
                yield Problem(f"{path}.name", repr(tensor.name), f"{listed(known)} (version {version})", "correct the name")


@rule("openvino/data_type", source=f"{_UTILS}, ModelConfigDataTypeToOpenVINOElement")
def types(model: Model, world: World) -> Iterator[Problem]:
    """Types are those that the backend carries; others than the model's own are converted."""
    for path, tensor in tensors(model.config) if _ours(model) else ():
        found = data_type(tensor.data_type)
        if tensor.data_type and found.removeprefix("TYPE_") not in _TYPES:
            expected = f"one of {', '.join(f'TYPE_{name}' for name in _TYPES)}"
            yield Problem(f"{path}.data_type", found, expected, "cast it in the graph, or use onnxruntime")


@rule("openvino/dims", source=f"{_UTILS}, CompareDimsSupported")
def dims(model: Model, world: World) -> Iterator[Problem]:
    """Dims are those of the model; the first axis is the batch, whatever its length, where max_batch_size is above 0."""
    batch = model.config.max_batch_size > 0
    reshaped = _parameter(model, "RESHAPE_IO_LAYERS") == "YES"
    for version, inputs, outputs in _sides(model):
        for path, tensor in tensors(model.config):
            real = (inputs if path.startswith("input") else outputs).get(tensor.name)
            said = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
            if real is None or (reshaped and path.startswith("input")) or (not said and not tensor.HasField("reshape")):
                continue
            whole = [*([-1] if real.batched else []), *real.shape]
            if not _fits(whole, said, batch, path.startswith("output")):
                counted = " behind the batch dimension that max_batch_size adds" if batch else ""
                yield Problem(f"{path}.dims", f"{said}{counted}", f"{whole}, as version {version} has it", "correct the dims")


def _fits(whole: list[int], said: list[int], batch: bool, output: bool) -> bool:
    """A free dimension of the model may be said to be any length; a fixed one only of a batched input may be said to be free."""
    own = whole[1:] if batch else whole
    loose = batch and not output
    same = all(real in (-1, one) or (loose and one == -1) for real, one in zip(own, said, strict=False))
    return len(own) == len(said) and same and (bool(whole) or not batch)


def _sides(model: Model) -> Iterator[tuple[int, dict[str, Tensor], dict[str, Tensor]]]:
    for version in model.served if _ours(model) else ():
        found = model.signature(version)
        if found is not None:
            yield version, {t.name: t for t in found.inputs}, {t.name: t for t in found.outputs}


@rule("openvino/instances", source=f"{_SOURCE}, ModelInstanceState::ModelInstanceState")
def instances(model: Model, world: World) -> Iterator[Problem]:
    """The backend has CPU instances only; GPU and NPU of Intel are a TARGET_DEVICE of these."""
    for index, group in enumerate(model.config.instance_group if _ours(model) else ()):
        kind = ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")[group.kind]
        if kind in ("KIND_GPU", "KIND_MODEL"):
            yield Problem(f"instance_group[{index}].kind", kind, "KIND_CPU", "say KIND_CPU")


@rule("openvino/parameter", source=f"{_SOURCE}, ModelState::ParseParameterHelper")
def parameter(model: Model, world: World) -> Iterator[Problem]:
    """Threads, streams and hints have values that the backend understands."""
    for key, takes in _PARAMETERS.items() if _ours(model) else ():
        value = _parameter(model, key)
        if takes is None or not value:
            continue
        if key == "COMPILATION_NUM_THREADS" and _parameter(model, "TARGET_DEVICE") in ("", "CPU"):
            yield Problem(f"parameters[{key}]", repr(value), "nothing: OpenVINO's CPU plugin has no such property", "remove it")
            continue
        words, number = takes
        if value not in words and not (number and value.isascii() and value.isdigit()):
            expected = " or ".join([*words, *(["a number"] if number else [])])
            yield Problem(f"parameters[{key}]", repr(model.config.parameters[key].string_value), expected, "correct it")


@rule("openvino/unknown_parameter", level="warning", source=f"{_SOURCE}, ModelState::ParseParameters")
def unknown_parameter(model: Model, world: World) -> Iterator[Problem]:
    """A key that the backend does not read has no effect; keys are in upper case."""
    for key in sorted(model.config.parameters) if _ours(model) else ():
        if key not in _PARAMETERS:
            close = get_close_matches(key.upper(), _PARAMETERS, 1)
            remedy = f"say {close[0]}" if close else "remove it"
            yield Problem(f"parameters[{key}]", f"{key!r}, which the backend does not read", listed(_PARAMETERS), remedy)
    device = _parameter(model, "TARGET_DEVICE") if _ours(model) else ""
    if device not in ("", "CPU") and () < world.server < _DEVICES:
        expected = f"server {_DEVICES[0]}.{_DEVICES[1]} or later; older ones use the CPU"
        yield Problem("parameters[TARGET_DEVICE]", repr(device), expected, "say serving.server, or leave it out")


@rule("openvino/batch", level="warning", source=f"{_SOURCE}, ProcessRequests and ValidateOutputBatchSize")
def batch(model: Model, world: World) -> Iterator[Problem]:
    """Above 1, max_batch_size is the only number of rows that is always answered."""
    most = model.config.max_batch_size
    if not _ours(model) or most < 2:
        return
    remedy = "say max_batch_size 0 and -1 as the first of the dims, or max_batch_size 1"
    if _parameter(model, "ENABLE_BATCH_PADDING") == "YES":
        found = f"{most} with ENABLE_BATCH_PADDING: after a smaller batch, those of {most} rows fail"
    else:
        found = f"{most}: a batch of any other number of rows fails"
    yield Problem("max_batch_size", found, "0 or 1", remedy)


@rule("openvino/streams", level="warning", source="openvino_backend, README.md, Throughput mode")
def streams(model: Model, world: World) -> Iterator[Problem]:
    """Instances share one compiled model: with one stream they wait for each other."""
    count = sum(max(1, group.count) for group in model.config.instance_group)
    said, hint = _parameter(model, "NUM_STREAMS"), _parameter(model, "PERFORMANCE_HINT")
    if not _ours(model) or count < 2 or "THROUGHPUT" in hint or said in ("AUTO", "NUMA"):
        return
    if not said.isdigit() or int(said) < count:
        found = f"{said or 'not said, which is one'}, with {count} instances"
        yield Problem("parameters[NUM_STREAMS]", found, f"{count}", f"say NUM_STREAMS {count}")
