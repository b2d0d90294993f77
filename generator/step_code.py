"""The server-side file of a python step, loaded here: what prepares pictures on the server does so for tests and warm-up."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from generator import pbtxt
from generator.errors import RepositoryError


def load(model_py: Path) -> Any:
    """The file as a module. Raises RepositoryError where it is missing."""
    spec = importlib.util.spec_from_file_location(f"served_{model_py.parent.parent.name}", model_py)
    if spec is None or spec.loader is None or not model_py.is_file():
        raise RepositoryError(f"{model_py} is missing", "build the repository again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    previous, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = previous
    return module


def as_json(config: Path) -> dict[str, Any]:
    """config.pbtxt as Triton hands it to a python model."""
    from google.protobuf import json_format

    found: dict[str, Any] = json_format.MessageToDict(pbtxt.read(config), preserving_proto_field_name=True)
    return found
