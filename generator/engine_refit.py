"""Gives a plan without weights (`strip_plan`) those of the ONNX file that it was built from; in the child process, on a GPU.

Seconds where building takes minutes. Nothing here has been executed: refitting needs a GPU. It follows TensorRT's developer guide
("Weight-Stripped Engine Generation") and its Python API reference (OnnxParserRefitter, ICudaEngine.serialize_with_config).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator import tensorrt_module
from generator.errors import SurgeryError, ToolError

if TYPE_CHECKING:
    import tensorrt


def refit(task: dict[str, Any]) -> dict[str, str]:
    """Read `task["stripped"]`, write `task["plan"]`; what was done, in words. Raises ToolError or SurgeryError."""
    tensorrt_module.use(task["library"])
    import tensorrt as trt

    started, heard = time.monotonic(), tensorrt_module.log()
    tensorrt_module.plugins(task["plugins"], heard)
    engine = _engine(Path(task["stripped"]), heard, task["host_code"])
    refitter = trt.Refitter(engine, heard)
    parser = trt.OnnxParserRefitter(refitter, heard)
    if not parser.refit_from_file(task["onnx"]) or not refitter.refit_cuda_engine():
        raise SurgeryError(f"TensorRT did not refit {task['stripped']} from {task['onnx']}: {_why(parser, heard)}", _ANEW)
    config = engine.create_serialization_config()
    config.clear_flag(trt.SerializationFlag.EXCLUDE_WEIGHTS)
    size = Path(task["plan"]).write_bytes(engine.serialize_with_config(config))
    return {"refitted by": tensorrt_module.version(), "bytes": str(size), "seconds": f"{time.monotonic() - started:.1f}"}


_ANEW = "build the engine again: `triton-repo engines --force`"


def _engine(plan: Path, heard: tensorrt.ILogger, host_code: bool) -> tensorrt.ICudaEngine:
    """`host_code`: the plan carries a runtime of its own, which is run; only one that was asked for so may."""
    import tensorrt as trt

    try:
        runtime = trt.Runtime(heard)
    except TypeError:  # what pybind11 makes of a null pointer
        why = tensorrt_module.reason(heard)
        raise ToolError(f"{tensorrt_module.version()} cannot start here: {why}", tensorrt_module.NO_GPU) from None
    runtime.engine_host_code_allowed = host_code
    engine = runtime.deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        raise SurgeryError(f"{plan}: {tensorrt_module.version()} does not load it: {tensorrt_module.reason(heard)}", _ANEW)
    return engine


def _why(parser: tensorrt.OnnxParserRefitter, heard: tensorrt.ILogger) -> str:
    return " ".join(parser.get_error(0).desc().split())[:400] if parser.num_errors else tensorrt_module.reason(heard)
