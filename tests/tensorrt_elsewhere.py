"""TensorRT-RTX's module without a member, which the variable TENSORRT_LACKS names: `IBuilderConfig.set_compute_capability`.

TensorRT itself builds for the GPU at hand, and a later one may drop the word for what it always does (strongly typed networks).
"""

import importlib
import os

_module = importlib.import_module("tensorrt_rtx_bindings")
_kind, _, _member = os.environ["TENSORRT_LACKS"].partition(".")
delattr(getattr(_module, _kind), _member)
globals().update(
    {name: value for name, value in vars(_module).items() if not name.startswith("_")}, __version__=_module.__version__
)
