"""The stand-ins: python-based backends that the local server runs in place of C++ ones (`templates/backends/NAME/model.py`).

A stand-in whose framework is too large for the server's own environment finds it where it is already: the folder is named by the
variable TRITON_REPO_STANDIN_NAME, and the stand-in puts it last on its path, behind the server's own numpy.
"""

from __future__ import annotations

from pathlib import Path

from generator import paths


def names() -> list[str]:
    """The C++ backends that have one."""
    return sorted(path.parent.name for path in (paths.templates() / "backends").glob("*/model.py"))


def variables() -> dict[str, str]:
    """Variable -> folder of packages, for each framework that is there."""
    found = {name: folder() for name, folder in _FRAMEWORKS.items()}
    return {f"TRITON_REPO_STANDIN_{name.upper()}": str(path) for name, path in found.items() if path is not None}


def _pytorch() -> Path | None:
    """Where this interpreter's own torch lies."""
    import importlib.util

    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).parent.parent if spec and spec.origin else None


def _openvino() -> Path | None:
    """The environment that `target: openvino` converts in, where it has been made."""
    from generator.environment import Environment

    made = Environment("openvino")
    return next(made.folder.glob("lib/python3*/site-packages"), None) if made.made else None


#: Backend -> where its framework is, None where it is not.
_FRAMEWORKS = {"openvino": _openvino, "pytorch": _pytorch}
