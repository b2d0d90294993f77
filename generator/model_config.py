"""The one door to model_config.proto, the schema of config.pbtxt, as the installed tritonclient carries it.

`tritonclient.grpc` imports the whole gRPC stack; the schema is one file of it that needs protobuf only, and is loaded alone.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from google.protobuf.descriptor import Descriptor
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_MODULE = "tritonclient.grpc.model_config_pb2"


@functools.cache
def schema() -> ModuleType:
    """The module protoc made of model_config.proto; its messages are the same classes that tritonclient uses."""
    if _MODULE in sys.modules:
        return sys.modules[_MODULE]
    package = importlib.util.find_spec("tritonclient")
    assert package is not None
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("generator._model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def new(**fields: Any) -> ModelConfig:
    """A ModelConfig."""
    config: ModelConfig = schema().ModelConfig(**fields)
    return config


def descriptor() -> Descriptor:
    """What fields ModelConfig has, and so on down."""
    found: Descriptor = schema().ModelConfig.DESCRIPTOR
    return found


def data_type(number: int) -> str:
    """11 -> TYPE_FP32."""
    name: str = schema().DataType.Name(number)
    return name
