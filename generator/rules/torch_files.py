"""The config against a TorchScript file, as the pytorch backend holds them together when an instance is made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from generator import torchscript_signature
from generator.errors import CheckpointError
from generator.model_config import data_type
from generator.model_files import path_of
from generator.rules import Model, Problem, World, listed, rule, tensors

_BACKEND = "pytorch_backend, src/pt/model_state.cc"
_INSTANCE = "pytorch_backend, src/pt/model_instance_state.cc"
#: The backend looks at the first `__` of a name.
_ORDINAL = re.compile(r"(?:(?!__).)*__(\d+)\Z")
#: src/libtorch_utils.cc, ModelConfigDataTypeToTorchType; strings are lists.
_CARRIED = ("BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")
#: What ParseParameters reads as a boolean, and as a number.
_FLAGS = (
    "DISABLE_OPTIMIZED_EXECUTION", "ENABLE_CACHE_CLEANING", "INFERENCE_MODE", "DISABLE_CUDNN", "ENABLE_TENSOR_FUSER",
    "ENABLE_WEIGHT_SHARING", "ENABLE_JIT_PROFILING", "ENABLE_JIT_EXECUTOR",
)  # fmt: skip
_NUMBERS = ("INTRA_OP_THREAD_COUNT", "INTER_OP_THREAD_COUNT")
_BOOLEANS = ("true", "on", "1", "false", "off", "0")


def _ours(model: Model) -> bool:
    return model.config.backend == "pytorch" and model.config.platform in ("pytorch_libtorch", "libtorch")


@rule("pytorch/file", source=f"{_BACKEND}, ModelState::LoadModel")
def file(model: Model, world: World) -> Iterator[Problem]:
    """Each version that is served has its TorchScript file, and that is one."""
    if not _ours(model) or model.config.runtime:
        return
    name = model.config.default_model_filename
    for version in model.served:
        if f"{version}/{name}" not in model.files:
            yield Problem(
                "default_model_filename", f"no file {version}/{name}", "the TorchScript model", "add it, or correct the name"
            )
            continue
        path = path_of(model.config, model.files, version)
        try:
            if path is not None:
                torchscript_signature.read(path)
        except CheckpointError as error:
            yield Problem("", error.message, "a TorchScript archive", error.remedy)


def _read(model: Model) -> Iterator[tuple[list[str], list[str], int | None]]:
    """Of each version's file: arguments of `forward`, their kinds, and how many results there are."""
    for version in model.served if _ours(model) else ():
        path = path_of(model.config, model.files, version)
        try:
            if path is not None:
                yield torchscript_signature.read(path)[0], torchscript_signature.kinds(path), torchscript_signature.read(path)[1]
        except CheckpointError:
            continue


@rule("pytorch/names", source=f"{_INSTANCE}, ValidateInputs, ValidateOutputs and ProcessRequests")
def names(model: Model, world: World) -> Iterator[Problem]:
    """Names by index lead to an argument or a result that is there, and to each argument one."""
    for arguments, kinds, outputs in _read(model):
        inputs = [tensor.name for tensor in model.config.input]
        places = [_ORDINAL.match(name) for name in inputs]
        by_index = not set(inputs) <= set(arguments) and all(places)
        for index, place in enumerate(places if by_index and not _dictionary(kinds) else ()):
            taken = [int(other[1]) for other in places[:index] if other]
            if place and (int(place[1]) >= len(arguments) or int(place[1]) in taken):
                expected = f"{listed(arguments)}, or NAME__0 to NAME__{len(arguments) - 1} by position, each once"
                yield Problem(f"input[{index}].name", repr(inputs[index]), expected, "correct the name")
        given = [_ORDINAL.match(tensor.name) for tensor in model.config.output]
        for index, tensor in enumerate(model.config.output):
            at = int(found[1]) if all(given) and (found := given[index]) else index
            if outputs is not None and at >= outputs:
                what = f"{tensor.name!r}, result {at} of {outputs}"
                yield Problem(f"output[{index}].name", what, f"NAME__0 to NAME__{outputs - 1}", "correct the name, or remove it")


@rule("pytorch/order", source=f"{_INSTANCE}, GetNamingConvention", level="warning")
def order(model: Model, world: World) -> Iterator[Problem]:
    """Names that say no position: the server then goes by the order of the whole config, without looking at names."""
    files = list(_read(model))
    for role, said in (("input", model.config.input), ("output", model.config.output)) if _ours(model) else ():
        loose = [i for i, tensor in enumerate(said) if not _ORDINAL.match(tensor.name)]
        named = all(_dictionary(k) or {tensor.name for tensor in said} <= set(a) for a, k, _ in files)
        if not loose or len(said) < 2 or (role == "input" and named):
            continue
        found = f"{said[loose[0]].name!r}, so that the order of all {len(said)} {role}s in the config decides"
        expected = "NAME__INDEX for each" + (", or the names of the arguments of forward" if role == "input" else "")
        yield Problem(f"{role}[{loose[0]}].name", found, expected, f"say {role.upper()}__0, {role.upper()}__1 by position")


@rule("pytorch/inputs", source=f"{_INSTANCE}, ValidateInputs")
def inputs(model: Model, world: World) -> Iterator[Problem]:
    """`forward` takes tensors, lists or one dictionary, and as many as the config gives it."""
    for arguments, kinds, _ in _read(model):
        for name, kind in zip(arguments, kinds, strict=True):
            if not _dictionary(kinds) and kind != "Tensor" and not kind.startswith("List["):
                found = f"forward takes {name}: {kind}"
                yield Problem("input", found, "Tensor, List[str] or a single Dict[str, Tensor]", "change the model's forward")
        sequence = model.config.sequence_batching
        expected = len(model.config.input) + len(model.config.batch_input) + len(sequence.control_input) + len(sequence.state)
        if not _dictionary(kinds) and arguments and len(arguments) != expected:
            found = f"{expected} with controls and states"
            yield Problem("input", found, f"{len(arguments)}: {', '.join(arguments)}", "name each argument of forward")


def _dictionary(kinds: Sequence[str]) -> bool:
    """Keys of a dictionary are its names."""
    return len(kinds) == 1 and kinds[0].startswith("Dict[")


@rule("pytorch/types", source="pytorch_backend, src/libtorch_utils.cc, ModelConfigDataTypeToTorchType")
def types(model: Model, world: World) -> Iterator[Problem]:
    """Every tensor is of a type that PyTorch and the backend have in common; strings have one dimension."""
    for path, tensor in tensors(model.config) if _ours(model) else ():
        name = data_type(tensor.data_type).removeprefix("TYPE_")
        dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
        if name not in (*_CARRIED, "STRING", "INVALID"):
            yield Problem(f"{path}.data_type", f"TYPE_{name}", f"{listed(_CARRIED)} or STRING", "convert it in the model")
        elif name == "STRING" and len(dims) + (model.config.max_batch_size > 0) > 1:
            found = f"{list(dims)}{' and a batch' if model.config.max_batch_size else ''}"
            yield Problem(f"{path}.dims", found, "one dimension: strings are a List[str]", "say max_batch_size 0 and dims [ -1 ]")


@rule("pytorch/controls", source=f"{_INSTANCE}, ValidateBooleanSequenceControl and GetNamingConvention")
def controls(model: Model, world: World) -> Iterator[Problem]:
    """Controls and states of a sequence are called NAME__INDEX; with states, so is every input and output."""
    sequence = model.config.sequence_batching
    names = [(f"sequence_batching.control_input[{i}].name", each.name) for i, each in enumerate(sequence.control_input)]
    for i, state in enumerate(sequence.state):
        above = f"sequence_batching.state[{i}]"
        names += [(f"{above}.input_name", state.input_name), (f"{above}.output_name", state.output_name)]
    names += [(f"{path}.name", tensor.name) for path, tensor in tensors(model.config)] if sequence.state else []
    for path, name in names if _ours(model) else ():
        if not _ORDINAL.match(name):
            yield Problem(path, repr(name), "NAME__INDEX, its position among the arguments or results", "correct the name")


@rule(
    "pytorch/parameters", source=f"{_BACKEND}, ModelState::ParseParameters, and backend_common.cc of triton's backend repository"
)
def parameters(model: Model, world: World) -> Iterator[Problem]:
    """Parameters that the backend reads have values that it can read."""
    said = model.config.parameters
    for key in sorted(set(said) & {*_FLAGS, *_NUMBERS}) if _ours(model) else ():
        value = said[key].string_value
        if key in _FLAGS and value.lower() not in _BOOLEANS:
            yield Problem(f"parameters[{key}]", repr(value), listed(_BOOLEANS), "correct the value")
        elif key in _NUMBERS and not re.match(r"\s*[+-]?\d", value):
            yield Problem(f"parameters[{key}]", repr(value), "a number", "correct the value")
