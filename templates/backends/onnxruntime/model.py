"""A stand-in for Triton's C++ onnxruntime backend, for servers that were built without it.

It is a *python-based backend*: this one file, in the folder `onnxruntime` of the server's backend directory, serves every
model whose config says `backend: "onnxruntime"` or `platform: "onnxruntime_onnx"`, on the CPU. It is no part of a model
repository. It takes the same configs as the C++ backend and refuses the same ones (github.com/triton-inference-server/
onnxruntime_backend, src/onnxruntime.cc and README.md, "Model Config Options"), with messages of its own.

Where it differs: each instance is a process with its own session, so `share_session_between_instances` has no effect;
strings are UTF-8; ragged batches, implicit state, auto-completed configs and the GPU are left to the C++ backend.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

#: ONNX Runtime's name of a tensor type -> config.pbtxt's.
_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
#: `optimization { graph { level } }`, as in ModelState's constructor; any other level enables all.
_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
#: The only `session.` key that the C++ backend hands on. Others have no effect there, and so have none here.
_SESSION_KEY = "session.use_device_allocator_for_initializers"
_SHRINKAGE = "memory.enable_memory_arena_shrinkage"

Feed = dict[str, "np.ndarray[Any, Any]"]


class TritonPythonModel:
    """One instance of one ONNX model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and hold its config against it. Raises TritonModelException, which fails the load."""
        self.name = args["model_name"]
        config = json.loads(args["model_config"])
        if args["model_instance_kind"] == "GPU":
            raise self._refusal(
                "asks for KIND_GPU, and this stand-in runs on the CPU only; say KIND_CPU or KIND_AUTO in instance_group"
            )
        self._announce_ignored(config)
        path = self._model_path(config, os.path.join(args["model_repository"], args["model_version"]))  # noqa: PTH118
        options, self.run_options = self._options(config)
        try:
            self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # every ONNX Runtime exception has a class of its own
            raise self._refusal(f"cannot be loaded by ONNX Runtime {ort.__version__}: {error}") from error
        self.batching = int(config.get("max_batch_size", 0)) > 0
        self._check(config)
        self.inputs = [value.name for value in self.session.get_inputs()]

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
        wanted = [list(requests[index].requested_output_names()) for index in members]
        try:
            results = self._run([feeds[index] for index in members], sorted({name for names in wanted for name in names}))
            return [self._response(result, names) for result, names in zip(results, wanted, strict=True)]
        except Exception as error:
            if len(members) == 1:
                return [_error(error)]
            # one of them is to blame: alone, each gets its own answer
            return [self._answer([index], requests, feeds)[0] for index in members]

    def _run(self, feeds: list[Feed], outputs: list[str]) -> list[Feed]:
        """The outputs of each feed, all computed in one run of the session."""
        if len(feeds) == 1:
            return [dict(zip(outputs, self.session.run(outputs, feeds[0], self.run_options), strict=True))]
        sizes = [feed[self.inputs[0]].shape[0] for feed in feeds]
        together = {name: np.concatenate([feed[name] for feed in feeds]) for name in self.inputs}
        values = self.session.run(outputs, together, self.run_options)
        for name, value in zip(outputs, values, strict=True):
            if value.ndim == 0 or value.shape[0] != sum(sizes):
                raise RuntimeError(f"output '{name}' has shape {list(value.shape)} where a batch of {sum(sizes)} was expected")
        ends = np.cumsum(sizes)
        return [
            {name: value[end - size : end] for name, value in zip(outputs, values, strict=True)}
            for size, end in zip(sizes, ends, strict=True)
        ]

    def _feed(self, request: Any) -> Feed:
        feed: Feed = {}
        for name in self.inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                raise ValueError(f"input '{name}' is missing from the request")
            value = tensor.as_numpy()
            feed[name] = _text(name, value) if value.dtype == np.object_ else value
        return feed

    def _key(self, feed: Feed, index: int) -> Any:
        """Requests of one key can share a run: batching is on, and their tensors differ in the first axis only."""
        if not self.batching or not self.inputs:
            return index
        return tuple((feed[name].dtype.str, feed[name].shape[1:]) for name in self.inputs)

    def _response(self, result: Feed, wanted: list[str]) -> Any:
        # (ascontiguousarray makes a scalar one-dimensional, hence the reshape)
        tensors = [pb_utils.Tensor(name, np.ascontiguousarray(result[name]).reshape(result[name].shape)) for name in wanted]
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _refusal(self, text: str) -> Exception:
        error: Exception = pb_utils.TritonModelException(f"model '{self.name}' {text}")
        return error

    def _announce_ignored(self, config: dict[str, Any]) -> None:
        accelerators = config.get("optimization", {}).get("execution_accelerators", {})
        for kind in ("gpu_execution_accelerator", "cpu_execution_accelerator"):
            for accelerator in accelerators.get(kind, []):
                pb_utils.Logger.log_warn(f"model '{self.name}': {kind} '{accelerator['name']}' is ignored, the stand-in has none")
        for key in config.get("parameters", {}):
            if (key.startswith("session.") and key != _SESSION_KEY) or key == "share_session_between_instances":
                pb_utils.Logger.log_warn(f"model '{self.name}': parameter '{key}' has no effect")
        if config.get("sequence_batching", {}).get("state"):
            raise self._refusal("keeps implicit state (sequence_batching.state), which only the C++ onnxruntime backend does")
        for value in config.get("input", []):
            if value.get("allow_ragged_batch"):
                raise self._refusal(
                    f"allows ragged batches of input '{value['name']}', which only the C++ onnxruntime backend does"
                )

    def _model_path(self, config: dict[str, Any], folder: str) -> str:
        path = os.path.join(folder, config.get("default_model_filename") or "model.onnx")  # noqa: PTH118 -- the server's strings
        if os.path.isdir(path):  # noqa: PTH112
            path = os.path.join(path, "model.onnx")  # noqa: PTH118
        if not os.path.exists(path):  # noqa: PTH110
            raise self._refusal(f"has no file {path}")
        return path

    def _options(self, config: dict[str, Any]) -> tuple[ort.SessionOptions, ort.RunOptions]:
        """The options that the C++ backend reads from `optimization` and `parameters`, under the same names and defaults."""
        given = {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}
        options, run = ort.SessionOptions(), ort.RunOptions()
        options.log_severity_level = run.log_severity_level = 3
        level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
        options.graph_optimization_level = _LEVELS.get(level, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        mode = self._integer(given, "execution_mode")
        if mode not in (0, 1):
            raise self._refusal(f"has parameter execution_mode {mode}; 0 (sequential) or 1 (parallel) is expected")
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL if mode else ort.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = max(0, self._integer(given, "intra_op_thread_count"))
        options.inter_op_num_threads = max(0, self._integer(given, "inter_op_thread_count"))
        options.enable_cpu_mem_arena = self._flag(given, "enable_mem_arena")
        options.enable_mem_pattern = self._flag(given, "enable_mem_pattern")
        if _SESSION_KEY in given:
            options.add_session_config_entry(_SESSION_KEY, given[_SESSION_KEY])
        if _SHRINKAGE in given:
            run.add_run_config_entry(_SHRINKAGE, given[_SHRINKAGE])
        return options, run

    def _integer(self, given: dict[str, str], key: str) -> int:
        try:
            return int(given.get(key) or 0)
        except ValueError:
            raise self._refusal(f"has parameter {key} '{given[key]}'; an integer is expected") from None

    def _flag(self, given: dict[str, str], key: str) -> bool:
        value = given.get(key, "1").lower()
        if value not in ("0", "1", "false", "true"):
            raise self._refusal(f"has parameter {key} '{given[key]}'; 0, 1, false or true is expected")
        return value in ("1", "true")

    def _check(self, config: dict[str, Any]) -> None:
        """Every input of the model is configured, nothing else is, and types and dims agree."""
        actual_inputs = {value.name: value for value in self.session.get_inputs()}
        actual_outputs = {value.name: value for value in self.session.get_outputs()}
        controls = {control["name"] for control in config.get("sequence_batching", {}).get("control_input", [])}
        configured = {value["name"] for value in config.get("input", [])} | controls
        for name in actual_inputs.keys() - configured:
            raise self._refusal(f"has input '{name}', which the config does not name; configured are {sorted(configured)}")
        for name in controls - actual_inputs.keys():
            raise self._refusal(f"has no input '{name}', which sequence_batching names; it has {sorted(actual_inputs)}")
        for role, actual in (("input", actual_inputs), ("output", actual_outputs)):
            for tensor in config.get(role, []):
                if tensor["name"] not in actual:
                    raise self._refusal(f"has no {role} '{tensor['name']}', which the config names; it has {sorted(actual)}")
                self._check_tensor(role, tensor, actual[tensor["name"]])

    def _check_tensor(self, role: str, tensor: dict[str, Any], actual: Any) -> None:
        where = f"{role} '{tensor['name']}'"
        if tensor.get("optional") and self.batching:
            raise self._refusal(f"{where} is optional, which models that batch cannot have; set max_batch_size to 0")
        found = _TYPES.get(actual.type)
        if found is None:
            raise self._refusal(f"{where} is a {actual.type}, which the server cannot carry")
        if found != tensor["data_type"]:
            raise self._refusal(f"{where} is {found} in the model, and the config says {tensor['data_type']}")
        shape = [dim if isinstance(dim, int) else -1 for dim in actual.shape]
        reshape = tensor.get("reshape")
        dims = [int(dim) for dim in (reshape.get("shape", []) if reshape is not None else tensor["dims"])]
        if self.batching:
            if not shape or shape[0] != -1:
                text = f"{where} has shape {shape} in the model, whose first dimension is not free"
                raise self._refusal(f"{text}, so it cannot be batched; set max_batch_size to 0 or export it with a dynamic batch")
            dims = [-1, *dims]
        # a free dimension of an output must be configured as free (onnxruntime_utils.cc, CompareDimsSupported, compare_exact)
        loose = role == "input"
        same = len(shape) == len(dims) and all(a == b or (a == -1 and loose) for a, b in zip(shape, dims, strict=True))
        scalar = not shape and not self.batching and all(dim == 1 for dim in dims)
        if not same and not scalar:
            note = " (the first is the batch, because max_batch_size > 0)" if self.batching else ""
            raise self._refusal(f"{where} has shape {shape} in the model, and the config says {dims}{note}")


def _text(name: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The server's bytes as the str that ONNX Runtime's Python side takes. The C++ backend passes any bytes on."""
    try:
        items = [item.decode() for item in value.reshape(-1)]
    except UnicodeDecodeError as error:
        raise ValueError(f"input '{name}' holds bytes that are not UTF-8: {error.reason}") from None
    text = np.empty(len(items), dtype=np.object_)
    text[:] = items
    return text.reshape(value.shape)


def _error(error: Exception) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(f"onnxruntime: {error}"))
