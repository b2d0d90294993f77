"""Imports the server-side model.py files as the modules they are."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from generator import paths


def load(template: str) -> Any:
    """templates/models/<template>/model.py; the same module each time."""
    name = f"served_{template}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, paths.templates() / "models" / template / "model.py")
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def config(parameters: dict[str, str], height: int, width: int) -> dict[str, Any]:
    """The configuration of an image model as Triton hands it over."""
    given = {key: {"string_value": value} for key, value in parameters.items()}
    return {"parameters": given, "output": [{"name": "pixels", "dims": [str(height), str(width), "3"]}]}
