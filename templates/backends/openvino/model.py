"""A stand-in for Triton's C++ OpenVINO backend, for servers that were built without it.

It is a *python-based backend*: this one file, in the folder `openvino` of the server's backend directory, serves every model
whose config says `backend: "openvino"`, on the CPU. It is no part of a model repository. It reads the same files (IR, ONNX and
what else OpenVINO reads), takes the same configs and parameters as the C++ backend, refuses the same ones, and answers and fails
as that does (github.com/triton-inference-server/openvino_backend, src/openvino.cc), with messages of its own:

- above 0, `max_batch_size` is the number of rows that the model is compiled for. Fewer fail, or are filled up with zeros where
  ENABLE_BATCH_PADDING is YES. Then the C++ backend never forgets how many rows it filled up last, so that a full batch that
  comes after fails (ProcessRequests, `batch_pad_size_`). So it does here.
- with `max_batch_size: 0` the first axis is one like any other, and any number of rows is taken.

Nothing sets the precision but HINT_BF16, here as there.

Where it differs: each instance is a process with a compiled model and threads of its own; configs are not completed; a device is
there only where this machine has it. The package openvino is in the folder that TRITON_REPO_STANDIN_OPENVINO names.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

#: config.pbtxt's name of a type -> OpenVINO's (openvino_utils.cc, ModelConfigDataTypeToOpenVINOElement); no others.
_TYPES = {
    "TYPE_BOOL": "boolean",
    "TYPE_UINT8": "u8",
    "TYPE_UINT16": "u16",
    "TYPE_UINT32": "u32",
    "TYPE_UINT64": "u64",
    "TYPE_INT8": "i8",
    "TYPE_INT16": "i16",
    "TYPE_INT32": "i32",
    "TYPE_INT64": "i64",
    "TYPE_FP16": "f16",
    "TYPE_FP32": "f32",
}
#: Parameters that are on with `yes`, in any case, and off with all else.
_SWITCHES = ("SKIP_OV_DYNAMIC_BATCHSIZE", "ENABLE_BATCH_PADDING", "RESHAPE_IO_LAYERS")
_HINTS = ("LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT")
_FOLDER = "TRITON_REPO_STANDIN_OPENVINO"


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and hold its config against it. Raises TritonModelException, which fails the load."""
        self.name, self.config = args["model_name"], json.loads(args["model_config"])
        self.most = int(self.config.get("max_batch_size", 0))
        self.given = {key: value.get("string_value", "") for key, value in self.config.get("parameters", {}).items()}
        self.on = {key: self.given.get(key, "").lower() == "yes" for key in _SWITCHES}
        #: Rows that were filled up last; never set back to 0, as in the C++ backend.
        self.padded = 0
        if args["model_instance_kind"] != "CPU":
            raise self._refusal("asks for KIND_GPU, and the OpenVINO backend has CPU instances only; say KIND_CPU")
        path = self._path(os.path.join(args["model_repository"], args["model_version"]))  # noqa: PTH118 -- the server's strings
        self._check_types()
        properties = self._properties()
        self.ov = self._openvino()
        model = self._read(path)
        self._check_count(model)
        model = self._fitted(model, "input")
        if self.most:
            model = self._done("cannot be set to max_batch_size rows", lambda: self._of_batch(model))
        model = self._fitted(model, "output")
        self.outputs = [tensor["name"] for tensor in self.config["output"]]
        self.request = self._compiled(model, properties).create_infer_request()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one execution, all in one inference; without batches, one after the other."""
        if not self.most:
            return [self._answered([request])[0] for request in requests]
        return self._answered(requests)

    def _answered(self, requests: list[Any]) -> list[Any]:
        try:
            feeds = [self._feed(request) for request in requests]
            rows = [next(iter(feed.values())).shape[0] if self.most else 1 for feed in feeds]
            self._judge(rows)
            self._set(feeds)
            self.request.infer()
            found = {name: self._output(name) for name in self.outputs}
        except Exception as error:  # all requests of the execution get it, as in the C++ backend
            return [_error(error) for _ in requests]
        ends = np.cumsum(rows)
        places = [slice(end - count, end) if self.most else slice(None) for count, end in zip(rows, ends, strict=True)]
        return [self._response(request, found, place) for request, place in zip(requests, places, strict=True)]

    def _judge(self, rows: list[int]) -> None:
        """The batch is counted request by request, and judged at each: so in ProcessRequests."""
        total = 0
        for count in rows if self.most else []:
            total += count
            if total == self.most:
                continue
            if not self.on["ENABLE_BATCH_PADDING"]:
                text = f"requests of {self.most} rows are expected, and {total} came"
                raise ValueError(f"{text}; the parameter ENABLE_BATCH_PADDING 'YES' fills up what is missing")
            self.padded = self.most - total
        if total > max(self.most, 1):
            raise ValueError(f"a batch of {total} rows; at most {self.most} are taken")

    def _feed(self, request: Any) -> dict[str, Any]:
        feed = {}
        for tensor in self.config["input"]:
            found = pb_utils.get_input_tensor_by_name(request, tensor["name"])
            if found is None:
                raise ValueError(f"input '{tensor['name']}' is missing from the request")
            feed[tensor["name"]] = found.as_numpy()
        return feed

    def _set(self, feeds: list[dict[str, Any]]) -> None:
        for name in feeds[0]:
            value = np.concatenate([feed[name] for feed in feeds]) if len(feeds) > 1 else feeds[0][name]
            if self.padded and self.most:
                whole = np.zeros((self.most, *value.shape[1:]), value.dtype)
                whole[: len(value)] = value
                value = whole
            self.request.set_tensor(name, self.ov.Tensor(np.ascontiguousarray(value).reshape(value.shape)))

    def _output(self, name: str) -> Any:
        """All rows of an output that the backend hands out."""
        found = np.array(self.request.get_tensor(name).data)
        if not self.most:
            return found
        if found.ndim == 0 or found.shape[0] not in (self.most, self.most - self.padded):
            raise RuntimeError(f"output '{name}' has shape {list(found.shape)} where a batch of {self.most} was expected")
        return found[: self.most - self.padded]

    def _response(self, request: Any, found: dict[str, Any], place: slice) -> Any:
        tensors = []
        for name in request.requested_output_names():
            value = found[name]
            if self.most and place.stop > len(value):
                text = f"output '{name}' has {len(value)} rows left of {place.stop}, as an earlier batch was filled up"
                return _error(RuntimeError(f"{text}; the OpenVINO backend fails so on full batches"))
            part = value[place] if self.most else value
            # (ascontiguousarray makes a scalar one-dimensional, hence the reshape)
            tensors.append(pb_utils.Tensor(name, np.ascontiguousarray(part).reshape(part.shape)))
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _refusal(self, text: str) -> Exception:
        error: Exception = pb_utils.TritonModelException(f"model '{self.name}' {text}")
        return error

    def _done(self, what: str, work: Any) -> Any:
        """What OpenVINO makes, or its reason."""
        try:
            return work()
        except Exception as error:
            raise self._refusal(f"{what}: OpenVINO {self.ov.get_version().split('-')[0]}: {_reason(error)}") from error

    def _openvino(self) -> Any:
        """The package, behind the server's own numpy on the path."""
        if (folder := os.environ.get(_FOLDER)) and folder not in sys.path:
            sys.path.append(folder)
        try:
            import openvino
        except ImportError as error:
            text = f"needs the package openvino, which the server's Python does not find ({error})"
            raise self._refusal(f"{text}; `triton-repo build` of a spec with `target: {{kind: openvino}}` installs it") from error
        return openvino

    def _path(self, folder: str) -> str:
        path = os.path.join(folder, self.config.get("default_model_filename") or "model.xml")  # noqa: PTH118
        if not os.path.exists(path):  # noqa: PTH110
            raise self._refusal(f"has no file {path}")
        return path

    def _check_types(self) -> None:
        for role in ("input", "output"):
            for tensor in self.config.get(role, []):
                if tensor["data_type"] not in _TYPES:
                    text = f"{role} '{tensor['name']}' is {tensor['data_type']}"
                    raise self._refusal(f"{text}, which the OpenVINO backend does not carry")

    def _read(self, path: str) -> Any:
        self.core = self.ov.Core()
        if extension := self.given.get("CPU_EXTENSION_PATH"):
            self._done("has a CPU_EXTENSION_PATH that cannot be loaded", lambda: self.core.add_extension(extension))
        return self._done("cannot be read", lambda: self.core.read_model(path))

    def _check_count(self, model: Any) -> None:
        found = [port.get_any_name() for port in model.inputs]
        if len(found) != len(self.config.get("input", [])):
            said = [tensor["name"] for tensor in self.config.get("input", [])]
            raise self._refusal(f"has {len(found)} inputs, {found}, and the config has {len(said)}, {said}")

    def _fitted(self, model: Any, role: str) -> Any:
        """The model with the types (and for RESHAPE_IO_LAYERS the shapes) of the config; both are held together first."""
        from openvino.preprocess import PrePostProcessor

        ports = {port.get_any_name(): port for port in getattr(model, f"{role}s")}
        steps = PrePostProcessor(model)
        for tensor in self.config.get(role, []):
            name = tensor["name"]
            if name not in ports:
                raise self._refusal(f"has no {role} '{name}', which the config names; it has {sorted(ports)}")
            info = getattr(steps, role)(name).tensor()
            info.set_element_type(getattr(self.ov.Type, _TYPES[tensor["data_type"]]))
            shape = ports[name].get_partial_shape()
            if role == "input" and self.on["RESHAPE_IO_LAYERS"]:
                info.set_shape(self._wanted(shape, tensor))
            else:
                self._compare(role, tensor, shape)
            if role == "input" and self.most:
                info.set_layout(self.ov.Layout("N..."))
        return self._done(f"does not take the config's {role}s", steps.build)

    def _dims(self, tensor: dict[str, Any]) -> list[int]:
        reshape = tensor.get("reshape")
        return [int(dim) for dim in (reshape.get("shape", []) if reshape is not None else tensor["dims"])]

    def _wanted(self, shape: Any, tensor: dict[str, Any]) -> Any:
        for index, dim in enumerate(self._dims(tensor), int(self.most > 0)):
            shape[index] = self.ov.Dimension(dim) if dim > 0 else self.ov.Dimension.dynamic()
        return shape

    def _compare(self, role: str, tensor: dict[str, Any], shape: Any) -> None:
        """openvino_utils.cc, CompareDimsSupported: free dims of an input may be said to be anything, those of an output, too."""
        dims = [self.most, *self._dims(tensor)] if self.most else self._dims(tensor)
        exact = role == "output" or not self.most
        fits = shape.rank.is_static and len(shape) == len(dims)
        for index in range(len(dims) if fits else 0):
            if exact or (index and dims[index] != -1):
                fits = fits and _takes(shape[index], dims[index])
        if not fits:
            note = " (the first is max_batch_size)" if self.most else ""
            raise self._refusal(f"{role} '{tensor['name']}' has shape {shape} in the model, and the config says {dims}{note}")

    def _of_batch(self, model: Any) -> Any:
        self.ov.set_batch(model, self.most)
        return model

    def _compiled(self, model: Any, properties: dict[str, str]) -> Any:
        """On TARGET_DEVICE, with the parameters that the backend hands on."""
        device = self.given.get("TARGET_DEVICE", "").upper() or "CPU"
        self.core.available_devices  # noqa: B018 -- loads the plugins, which refuse what they do not know at once
        for key, value in properties.items():
            self._done(
                f"has parameter {key} '{value}', which {device} refuses", lambda k=key, v=value: self._set_property(device, k, v)
            )
        joins = self.most > 0 and not self.on["SKIP_OV_DYNAMIC_BATCHSIZE"]
        settings = {"ALLOW_AUTO_BATCHING": "YES" if joins else "NO"}
        return self._done(f"cannot be compiled for {device}", lambda: self.core.compile_model(model, device, settings))

    def _set_property(self, device: str, key: str, value: str) -> None:
        self.core.set_property(device, {"INFERENCE_PRECISION_HINT": "bf16"} if key == "HINT_BF16" else {key: value})

    def _properties(self) -> dict[str, str]:
        """What is handed to OpenVINO. An unknown key is passed over, as in the C++ backend; an empty value, too."""
        found = {}
        for key in ("INFERENCE_NUM_THREADS", "COMPILATION_NUM_THREADS", "HINT_BF16", "NUM_STREAMS", "PERFORMANCE_HINT"):
            value = self.given.get(key, "").upper()
            if not value:
                continue
            number = value.isascii() and value.isdigit()
            right = {"HINT_BF16": value == "YES", "PERFORMANCE_HINT": value in _HINTS}
            if key == "NUM_STREAMS":
                right[key] = number or value in ("AUTO", "NUMA")
            if not right.get(key, number):
                expected = {"HINT_BF16": "YES", "NUM_STREAMS": "AUTO, NUMA or a number", "PERFORMANCE_HINT": ", ".join(_HINTS)}
                raise self._refusal(f"has parameter {key} '{self.given[key]}'; {expected.get(key, 'a number')} is expected")
            found[key] = value
        return found


def _takes(real: Any, said: int) -> bool:
    """openvino_utils.cc, doesMatch: of a dimension with bounds, the bounds themselves do not count."""
    if real.is_static:
        return bool(real.get_length() == said)
    most = real.get_max_length()
    return most < 0 or real.get_min_length() < said < most


def _reason(error: BaseException) -> str:
    """The last line that says something: the first ones name OpenVINO's own sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or [type(error).__name__])[-1]


def _error(error: Exception) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(f"openvino: {_reason(error)}"))
