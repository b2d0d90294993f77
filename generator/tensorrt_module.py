"""TensorRT's Python module inside a child process of ours: found, told apart by what it has, and heard.

The module may be `tensorrt` (10 or 11) or another with the same interface, such as `tensorrt_rtx_bindings`. `use` gives it the
name `tensorrt` for this process. What a version does not have is asked for by its name, never by the version's number. Only the
standard library is imported here, so that it works in environments that hold nothing but TensorRT.

Source: https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/index.html
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from generator.errors import ToolError

if TYPE_CHECKING:
    import tensorrt

NO_GPU = "build where there is an NVIDIA GPU and a driver that this TensorRT can use (nvidia-smi shows both)"
_Member = TypeVar("_Member")


class Told:
    """Lines of JSON for the parent, on what was stdout; what the libraries print there goes to stderr."""

    def __init__(self) -> None:
        self._lines: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def __call__(self, **said: Any) -> None:
        """One line."""
        self._lines.write(json.dumps(said) + "\n")
        self._lines.flush()


def use(name: str) -> None:
    """From here on `import tensorrt` gives the module `name`. Raises ToolError."""
    try:
        sys.modules["tensorrt"] = importlib.import_module(name)
    except ImportError as error:
        remedy = 'pip install "triton-repo-generator[tensorrt]", or build in a container: triton-repo engines --with container'
        raise ToolError(f"{sys.executable} cannot import {name}: {error}", remedy) from None


def version() -> str:
    """Module and version, such as `tensorrt 10.13.3.9`."""
    import tensorrt as trt

    return f"{trt.__name__} {trt.__version__}"


def log() -> tensorrt.ILogger:
    """What TensorRT says goes to stderr; its errors are kept for `errors` and `reason`."""
    import tensorrt as trt

    class Log(trt.ILogger):
        """All but the verbose."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(msg.split()))
            if severity != trt.ILogger.Severity.VERBOSE:
                print(f"[{severity.name}] {msg}", file=sys.stderr, flush=True)

    return Log()


def errors(heard: tensorrt.ILogger) -> list[str]:
    """Those that were heard, to read and to clear."""
    found: list[str] = getattr(heard, "errors")  # noqa: B009 -- its class is made once the module is known
    return found


def reason(heard: tensorrt.ILogger) -> str:
    """The first error: others follow from it."""
    return (errors(heard) or ["it gave no reason"])[0][:600]


def plugins(libraries: Iterable[str], heard: tensorrt.ILogger) -> None:
    """Open them as the server does, which registers what they hold, behind TensorRT's own. Raises ToolError."""
    import tensorrt as trt

    if hasattr(trt, "init_libnvinfer_plugins"):
        trt.init_libnvinfer_plugins(heard, "")
    for path in libraries:
        try:
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            remedy = "build it for this machine and this TensorRT, or correct `plugin_libraries:` of the target"
            raise ToolError(f"plugin library {path} cannot be loaded: {error}", remedy) from None


def member(kind: type[_Member], name: str) -> _Member:
    """`kind.NAME` of an enumeration. Raises ToolError where this version has none of that name."""
    known: dict[str, _Member] = getattr(kind, "__members__")  # noqa: B009 -- pybind11's enumerations are no enum.Enum
    if name in known:
        return known[name]
    remedy = f"leave {name.lower()} out of the target, or build with a TensorRT that has it"
    raise ToolError(f"{version()} has no {kind.__name__}.{name}; it has {', '.join(known)}", remedy)


def builder(heard: tensorrt.ILogger) -> tensorrt.Builder:
    """Raises ToolError where TensorRT cannot start, for want of a GPU or of a driver that is new enough."""
    import tensorrt as trt

    try:
        return trt.Builder(heard)
    except TypeError:  # what pybind11 makes of a null pointer
        raise ToolError(f"{version()} cannot start here: {reason(heard)}", NO_GPU) from None


def capability(config: tensorrt.IBuilderConfig, wanted: str | None) -> str:
    """The GPU type that is built for, such as `8.9`: that of the GPU here, or one of TensorRT-RTX's list. Raises ToolError."""
    if hasattr(config, "set_compute_capability"):
        return _named(config, wanted)
    found = at_hand()
    if wanted not in (None, found):
        what = f"the engine is for compute capability {wanted}; the GPU here has {found}"
        raise ToolError(what, "run `triton-repo engines` on a machine that has such a GPU")
    return found


def _named(config: tensorrt.IBuilderConfig, wanted: str | None) -> str:
    """TensorRT-RTX builds for GPU types by their names, here or not."""
    import tensorrt as trt

    names = [name for name in trt.ComputeCapability.__members__ if name[-1].isdigit()]  # SM89, SM120
    known = {f"{name[2:-1]}.{name[-1]}": name for name in names}
    if wanted not in known:
        what = f"{version()} does not build for compute capability {wanted}" if wanted else f"{version()} was told no GPU type"
        raise ToolError(what, f"say one of {', '.join(known)}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(member(trt.ComputeCapability, known[wanted]), 0)
    return wanted


def at_hand() -> str:
    """The first GPU's compute capability, from the driver. Raises ToolError where there is none.

    CUDA Driver API: cuDeviceGetAttribute, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR (75) and _MINOR (76).
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise ToolError("there is no NVIDIA driver here (libcuda.so.1)", NO_GPU) from None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    failed = (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), 0)
        or cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    )
    if failed:
        raise ToolError(f"the NVIDIA driver shows no GPU here (CUDA error {failed})", NO_GPU)
    return f"{major.value}.{minor.value}"
