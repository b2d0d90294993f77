"""The process that parses one ONNX file with NVIDIA's parser and compiles another; without the package `generator`.

`python -I preflight_child.py TASK.json`, with an interpreter that has `tensorrt` or `tensorrt_rtx_bindings`. The answer is
written as JSON to the file that the task names; before it, a word beside it says what is being done, so that who finds this
process dead knows. Some graphs end it: an assertion in a library is no exception of Python's.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

#: Values of an input that TensorRT takes for a shape.
_SHAPE_VALUES = (1, 8, 64)


def main(task: dict[str, Any]) -> None:
    """Parse `parse`; where nothing is refused, compile `compile` for each of `capabilities`."""
    answer, stage = Path(task["answer"]), Path(task["answer"] + ".stage")
    stage.write_text("loading", encoding="utf-8")
    work = _Work(importlib.import_module(task["module"]), task["plugins"])
    found: dict[str, Any] = {"version": work.trt.__version__, "offered": work.offered(), "compiled": {}}
    if task["parse"]:
        stage.write_text("parsing", encoding="utf-8")
        found.update(work.parsed(task["parse"]))
        _tell(answer, found)
    for capability in task["capabilities"] if task["compile"] and not found.get("errors") else ():
        stage.write_text(f"compiling for {capability}", encoding="utf-8")
        found["compiled"][capability] = work.compiled(task["compile"], capability, task["ranges"])
        _tell(answer, found)
    _tell(answer, found)


def _tell(answer: Path, found: dict[str, Any]) -> None:
    """Whole or not at all: this process may be ended at any moment."""
    staging = Path(f"{answer}.part")
    staging.write_text(json.dumps(found), encoding="utf-8")
    staging.replace(answer)


class _Work:
    def __init__(self, trt: Any, plugins: list[str]) -> None:
        self.trt = trt
        self.said: list[str] = []
        self.logger = _logger(trt, self.said)
        trt.init_libnvinfer_plugins(self.logger, "")
        self.builder = trt.Builder(self.logger)
        for library in plugins:
            self.builder.get_plugin_registry().load_library(library)

    def offered(self) -> list[str]:
        """Compute capabilities that this build compiles for without their GPU: `8.9`."""
        names = [] if not hasattr(self.trt, "ComputeCapability") else list(self.trt.ComputeCapability.__members__)
        numbers = [match[1] for name in names if (match := re.fullmatch(r"SM(\d+)", name))]
        return [f"{number[:-1]}.{number[-1]}" for number in sorted(numbers, key=int)]

    def parsed(self, path: str) -> dict[str, Any]:
        network, _, errors = self._read(path)
        return {
            "errors": errors,
            "layers": network.num_layers,
            "inputs": {t.name: _type(t) for t in map(network.get_input, range(network.num_inputs))},
            "outputs": {t.name: _type(t) for t in map(network.get_output, range(network.num_outputs))},
        }

    def _read(self, path: str) -> tuple[Any, Any, list[dict[str, Any]]]:
        """A strongly typed network (TensorRT 11 has no other), the parser, which holds its weights, and what it refused."""
        self.said.clear()
        strong = getattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        network = self.builder.create_network(0 if strong is None else 1 << int(strong))
        parser = self.trt.OnnxParser(network, self.logger)
        done = parser.parse_from_file(path)
        errors = [_error(parser.get_error(i)) for i in range(parser.num_errors)]
        if not done and not errors:
            errors = [{"node": -1, "name": "", "op": "", "code": "", "reason": " / ".join(self.said)[-600:]}]
        return network, parser, errors

    def compiled(self, path: str, capability: str, attempts: list[dict[str, Any]]) -> dict[str, Any]:
        """Bytes, seconds and number of the first of `attempts` (ranges by input) that compiles; else what the last one said."""
        refused: list[str] = []
        for number, ranges in enumerate(attempts):
            network, parser, errors = self._read(path)
            if errors:
                return {"refused": [error["reason"] for error in errors]}
            self.said.clear()
            began = time.monotonic()
            plan = self.builder.build_serialized_network(network, self._config(network, capability, ranges))
            if plan is not None:
                return {"bytes": plan.nbytes, "seconds": round(time.monotonic() - began, 2), "attempt": number}
            refused = list(self.said) or ["no reason given"]
            del parser
        return {"refused": refused}

    def _config(self, network: Any, capability: str, ranges: dict[str, list[list[int]]]) -> Any:
        config, profile = self.builder.create_builder_config(), self.builder.create_optimization_profile()
        if self.offered():
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(self.trt.ComputeCapability, f"SM{capability.replace('.', '')}"), 0)
        for tensor in map(network.get_input, range(network.num_inputs)):
            if tensor.is_shape_tensor:
                count = tensor.shape[0] if len(tensor.shape) else 1
                profile.set_shape_input(
                    tensor.name, *ranges.get(f"values of {tensor.name}", [[n] * count for n in _SHAPE_VALUES])
                )
            elif -1 in tuple(tensor.shape):
                profile.set_shape(tensor.name, *ranges[tensor.name])
        config.add_optimization_profile(profile)
        return config


def _logger(trt: Any, said: list[str]) -> Any:
    """Keeps what is said at level ERROR and above."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                said.append(message)

    return Logger()


def _type(tensor: Any) -> list[Any]:
    return [str(tensor.dtype).rpartition(".")[2], list(tensor.shape)]


def _error(error: Any) -> dict[str, Any]:
    code = str(error.code()).rpartition(".")[2]
    return {"node": error.node(), "name": error.node_name(), "op": error.node_operator(), "code": code, "reason": error.desc()}


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
