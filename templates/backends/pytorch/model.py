"""A stand-in for Triton's C++ pytorch backend, for servers that were built without it.

It is a *python-based backend*: this one file, in the folder `pytorch` of the server's backend directory, serves every TorchScript
model whose config says `backend: "pytorch"` or `platform: "pytorch_libtorch"`, on the CPU. It is no part of a model repository.
torch is found in the folder that the variable TRITON_REPO_STANDIN_PYTORCH names; it goes last on the path, behind the server's
own NumPy. It takes the same configs as the C++ backend and refuses the same ones (github.com/triton-inference-server/
pytorch_backend, README.md, src/pt/model_state.cc and src/pt/model_instance_state.cc), with messages of its own.

Where it differs: each instance is a process with its own weights and threads, so ENABLE_WEIGHT_SHARING has no effect and thread
counts are each model's own; without a count, instances share the cores; requests of other shapes than the first are run apart;
one that fails does not fail the others; strings are UTF-8. Implicit state, ragged batches, batch inputs and outputs, AOTInductor
packages and the GPU are left to the C++ backend.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import warnings
import zipfile
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

#: torch's name of a type -> config.pbtxt's (src/libtorch_utils.cc, ConvertTorchTypeToDataType); other types do not travel.
_TYPES = {
    "torch.bool": "TYPE_BOOL",
    "torch.uint8": "TYPE_UINT8",
    "torch.int8": "TYPE_INT8",
    "torch.int16": "TYPE_INT16",
    "torch.int32": "TYPE_INT32",
    "torch.int64": "TYPE_INT64",
    "torch.float16": "TYPE_FP16",
    "torch.float32": "TYPE_FP32",
    "torch.float64": "TYPE_FP64",
}
_VARIABLE = "TRITON_REPO_STANDIN_PYTORCH"
#: ParseBoolValue of the server's backend_common.cc.
_BOOLEANS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
#: What concerns GPUs and shared weights alone.
_NO_EFFECT = ("DISABLE_CUDNN", "ENABLE_CACHE_CLEANING", "ENABLE_WEIGHT_SHARING")
_FLAGS = (
    *_NO_EFFECT,
    "DISABLE_OPTIMIZED_EXECUTION",
    "INFERENCE_MODE",
    "ENABLE_JIT_PROFILING",
    "ENABLE_JIT_EXECUTOR",
    "ENABLE_TENSOR_FUSER",
)
_THREADS = ("INTRA_OP_THREAD_COUNT", "INTER_OP_THREAD_COUNT")
#: As std::stoi reads it: what follows the number is passed over.
_INTEGER = re.compile(r"\s*[+-]?\d+")
#: Name in the config -> a tensor, or a list of str.
Feed = dict[str, Any]


class TritonPythonModel:
    """One instance of one TorchScript model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and hold its config against it. Raises TritonModelException, which fails the load."""
        self.name = args["model_name"]
        config = json.loads(args["model_config"])
        if args["model_instance_kind"] == "GPU":
            raise self._refusal(
                "asks for KIND_GPU, and this stand-in runs on the CPU only; say KIND_CPU or KIND_AUTO in instance_group"
            )
        self.batching = int(config.get("max_batch_size", 0)) > 0
        self._left_out(config)
        path = self._model_path(config, os.path.join(args["model_repository"], args["model_version"]))  # noqa: PTH118
        flags, threads = self._parameters(config)
        for role in ("input", "output"):
            for tensor in config.get(role, []):
                self._check_tensor(role, tensor)
        self.torch = self._torch(path)
        self._options(config, flags, threads)
        try:
            self.module: Any = self.torch.jit.load(path, map_location="cpu")
        except Exception as error:  # torch's errors have no class in common
            raise self._refusal(f"cannot be loaded by torch {self.torch.__version__}: {error}") from error
        self._check(config)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one execution, those of like shape in one run; each gets its own response or error."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[Any, list[int]] = {}
        feeds: list[Feed] = []
        for index, request in enumerate(requests):
            feed: Feed = {}
            try:
                feed = self._feed(request)
                groups.setdefault(self._key(feed, index), []).append(index)
            except Exception as error:  # one request's fault must stay that request's answer
                responses[index] = _error(error)
            feeds.append(feed)
        for members in groups.values():
            for index, response in zip(members, self._answer(members, requests, feeds), strict=True):
                responses[index] = response
        return responses

    def _answer(self, members: list[int], requests: list[Any], feeds: list[Feed]) -> list[Any]:
        try:
            results = self._run([feeds[index] for index in members])
            return [
                self._response(result, list(requests[index].requested_output_names()))
                for result, index in zip(results, members, strict=True)
            ]
        except Exception as error:
            if len(members) == 1:
                return [_error(error)]
            # one of them is to blame: alone, each gets its own answer
            return [self._answer([index], requests, feeds)[0] for index in members]

    def _run(self, feeds: list[Feed]) -> list[dict[str, np.ndarray[Any, Any]]]:
        """The outputs of each feed, all computed in one run."""
        together = {name: self._joined([feed[name] for feed in feeds]) for name in feeds[0]}
        found = self._forward(together)
        for name, index in self.outputs.items():
            if index >= len(found):
                raise RuntimeError(f"output '{name}' is not there: the model gives {len(found)}")
        values = {name: self._array(name, found[index]) for name, index in self.outputs.items()}
        if len(feeds) == 1:
            return [values]
        sizes = [len(next(iter(feed.values()))) for feed in feeds]
        for name, value in values.items():
            if value.shape[0] != sum(sizes):
                raise RuntimeError(f"output '{name}' has shape {list(value.shape)} where a batch of {sum(sizes)} was expected")
        ends = np.cumsum(sizes)
        return [{name: value[end - size : end] for name, value in values.items()} for size, end in zip(sizes, ends, strict=True)]

    def _joined(self, values: list[Any]) -> Any:
        if len(values) == 1:
            return values[0]
        return [text for each in values for text in each] if isinstance(values[0], list) else self.torch.cat(values)

    def _forward(self, given: Feed) -> list[Any]:
        """The module's results in order (ModelInstanceState::Execute)."""
        with self.torch.inference_mode(self.inference), self.torch.no_grad():
            if self.dictionary:
                result = self.module(given)
            else:
                result = self.module(*(given[name] for name, _ in sorted(self.inputs.items(), key=lambda item: item[1])))
        if isinstance(result, tuple):
            return list(result)
        if isinstance(result, self.torch.Tensor) or _is_text(result):
            return [result]
        raise TypeError(f"the model returns {type(result).__name__}; a tensor, a list of str or a tuple of those is expected")

    def _array(self, name: str, value: Any) -> np.ndarray[Any, Any]:
        wanted = self.types[name]
        if _is_text(value):
            return np.array([text.encode() for text in value], dtype=np.object_)
        if not isinstance(value, self.torch.Tensor):
            raise TypeError(f"output '{name}' is {type(value).__name__}; a tensor or a list of str is expected")
        found = _TYPES.get(str(value.dtype), str(value.dtype))
        if found != wanted:
            raise TypeError(f"output '{name}' is {found} in the model, and the config says {wanted}")
        if not value.dim():
            raise TypeError(f"output '{name}' is a scalar, which is not supported")
        array: np.ndarray[Any, Any] = value.detach().contiguous().numpy()
        return array

    def _feed(self, request: Any) -> Feed:
        feed: Feed = {}
        for name in self.inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                raise ValueError(f"input '{name}' is missing from the request")
            value = tensor.as_numpy()
            feed[name] = _text(name, value) if value.dtype == np.object_ else self.torch.from_numpy(value)
        return feed

    def _key(self, feed: Feed, index: int) -> Any:
        """Requests of one key can share a run: batching is on, and their tensors differ in the first axis only."""
        if not self.batching or not feed:
            return index
        return tuple("text" if isinstance(value, list) else (value.dtype, value.shape[1:]) for value in feed.values())

    def _response(self, result: dict[str, np.ndarray[Any, Any]], wanted: list[str]) -> Any:
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(name, result[name]) for name in wanted])

    def _refusal(self, text: str) -> Exception:
        error: Exception = pb_utils.TritonModelException(f"model '{self.name}' {text}")
        return error

    def _left_out(self, config: dict[str, Any]) -> None:
        """What only the C++ backend does."""
        if config.get("sequence_batching", {}).get("state"):
            raise self._refusal("keeps implicit state (sequence_batching.state), which only the C++ pytorch backend does")
        for kind in ("batch_input", "batch_output"):
            if config.get(kind):
                raise self._refusal(f"has a {kind}, which only the C++ pytorch backend fills")
        for value in config.get("input", []):
            if value.get("allow_ragged_batch"):
                raise self._refusal(f"allows ragged batches of input '{value['name']}', which only the C++ pytorch backend does")

    def _model_path(self, config: dict[str, Any], folder: str) -> str:
        path = os.path.join(folder, config.get("default_model_filename") or "model.pt")  # noqa: PTH118 -- the server's strings
        if not os.path.exists(path):  # noqa: PTH110
            raise self._refusal(f"has no file {path}")
        return path

    def _torch(self, path: str) -> Any:
        """torch, and torchvision where the model calls its operators, which the C++ backend carries, too."""
        folder = os.environ.get(_VARIABLE, "")
        if folder and folder not in sys.path:
            sys.path.append(folder)
        try:
            import torch
        except ImportError as error:
            where = f"{_VARIABLE} names {folder}" if folder else f"{_VARIABLE} names no folder"
            raise self._refusal(f"needs torch, which is not there ({where}): {error}") from None
        with contextlib.suppress(zipfile.BadZipFile, ImportError):
            with zipfile.ZipFile(path) as archive:
                sources = [archive.read(name) for name in archive.namelist() if name.endswith(".py")]
            if any(b"ops.torchvision" in source for source in sources):
                __import__("torchvision")
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch

    def _parameters(self, config: dict[str, Any]) -> tuple[dict[str, bool], dict[str, int]]:
        """What ModelState::ParseParameters reads, as far as it is there."""
        given = {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}
        flags = {key: self._flag(key, given[key]) for key in _FLAGS if key in given}
        threads = {key: self._integer(key, given[key]) for key in _THREADS if key in given}
        for key in _NO_EFFECT:
            if key in flags:
                pb_utils.Logger.log_warn(f"model '{self.name}': parameter '{key}' has no effect")
        return flags, threads

    def _options(self, config: dict[str, Any], flags: dict[str, bool], threads: dict[str, int]) -> None:
        """The parameters brought into effect, with the backend's defaults."""
        jit, torch = self.torch._C, self.torch
        jit._set_graph_executor_optimize(not flags.get("DISABLE_OPTIMIZED_EXECUTION", False))
        self.inference = flags.get("INFERENCE_MODE", True)
        for key, switch in (
            ("ENABLE_JIT_PROFILING", jit._jit_set_profiling_mode),
            ("ENABLE_JIT_EXECUTOR", jit._jit_set_profiling_executor),
            ("ENABLE_TENSOR_FUSER", jit._jit_set_texpr_fuser_enabled),
        ):
            if key in flags:
                switch(flags[key])
        instances = sum(int(group.get("count", 1)) for group in config.get("instance_group", [])) or 1
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(threads.get("INTRA_OP_THREAD_COUNT") or max(1, cores // instances))
        if count := threads.get("INTER_OP_THREAD_COUNT"):
            torch.set_num_interop_threads(count)

    def _integer(self, key: str, value: str) -> int:
        """0 for one that the C++ backend passes over."""
        if not (found := _INTEGER.match(value)):
            raise self._refusal(f"has parameter {key} '{value}'; an integer is expected")
        return max(0, int(found[0]))

    def _flag(self, key: str, value: str) -> bool:
        if value.lower() not in _BOOLEANS:
            raise self._refusal(f"has parameter {key} '{value}'; {', '.join(_BOOLEANS)} is expected")
        return _BOOLEANS[value.lower()]

    def _check(self, config: dict[str, Any]) -> None:
        """ModelInstanceState::ValidateInputs and ValidateOutputs: kinds of arguments, their number, names and types."""
        arguments = [each for each in self.module.forward.schema.arguments if each.type.kind() != "ClassType"]
        kinds = [each.type.kind() for each in arguments]
        inputs, outputs = config.get("input", []), config.get("output", [])
        sequence = config.get("sequence_batching", {})
        controls = [each["name"] for each in sequence.get("control_input", [])]
        self.dictionary = kinds == ["DictType"]
        for kind, argument in zip(kinds, arguments, strict=True):
            if not self.dictionary and kind not in ("TensorType", "ListType"):
                what = f"takes '{argument.name}', which is a {argument.type}"
                raise self._refusal(f"{what}; tensors, lists of str or a single Dict[str, Tensor] are expected")
        if not self.dictionary and len(arguments) != len(inputs) + len(controls):
            raise self._refusal(f"takes {len(arguments)} inputs, and the config names {len(inputs) + len(controls)}")
        for role, tensors in (("input", inputs), ("output", outputs)):
            if not tensors:
                raise self._refusal(f"has no {role} in its config; one at least is expected")
        known = [argument.name for argument in arguments]
        names = [tensor["name"] for tensor in inputs]
        self.inputs = {name: known.index(name) for name in names} if set(names) <= set(known) else self._places("input", names)
        for name in controls:
            if _index(name) is None:
                raise self._refusal(f"control input '{name}' does not follow the <name>__<index> naming convention")
            self.inputs[name] = _index(name) or 0
        if not self.dictionary and sorted(self.inputs.values()) != list(range(len(arguments))):
            raise self._refusal(f"inputs {sorted(self.inputs)} do not name each of its {len(arguments)} arguments once, by index")
        self.outputs = self._places("output", [tensor["name"] for tensor in outputs])
        self.types = {tensor["name"]: tensor["data_type"] for tensor in outputs}

    def _places(self, role: str, names: list[str]) -> dict[str, int]:
        """By the index in every name; where one has none, all by their order in the config, with a warning."""
        found = {name: index for name in names if (index := _index(name)) is not None}
        if len(found) == len(names):
            return found
        text = f"{role}s {', '.join(names)} do not all follow the <name>__<index> naming convention: the config's order holds"
        pb_utils.Logger.log_warn(f"model '{self.name}': {text}")
        return {name: place for place, name in enumerate(names)}

    def _check_tensor(self, role: str, tensor: dict[str, Any]) -> None:
        where, dtype = f"{role} '{tensor['name']}'", tensor["data_type"]
        if dtype not in (*_TYPES.values(), "TYPE_STRING"):
            raise self._refusal(f"{where} is {dtype}, which the pytorch backend does not carry")
        shape = tensor.get("reshape")
        dims = shape.get("shape", []) if shape is not None else tensor["dims"]
        if dtype == "TYPE_STRING" and len(dims) + self.batching > 1:
            raise self._refusal(f"{where} is TYPE_STRING with {len(dims) + self.batching} dimensions; one is all a List[str] has")


def _index(name: str) -> int | None:
    """What follows the first `__`, where that is digits alone."""
    _, found, digits = name.partition("__")
    if not found or (digits and not (digits.isascii() and digits.isdigit())):
        return None
    return int(digits or 0)


def _is_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _text(name: str, value: np.ndarray[Any, Any]) -> list[str]:
    """The server's bytes as the str that torch's Python side takes. The C++ backend passes any bytes on."""
    try:
        return [item.decode() for item in value.reshape(-1)]
    except UnicodeDecodeError as error:
        raise ValueError(f"input '{name}' holds bytes that are not UTF-8: {error.reason}") from None


def _error(error: Exception) -> Any:
    last = (str(error).strip().splitlines() or [type(error).__name__])[-1]  # torch's own reason stands below its stack
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(f"pytorch: {last}"))
