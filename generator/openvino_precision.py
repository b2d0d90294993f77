"""float32 on OpenVINO: what a server must be started with, for the backend has no parameter for it.

OpenVINO's CPU plugin computes in bfloat16 wherever the CPU has instructions for it, unless it is told otherwise, and the backend
does not tell it otherwise (HINT_BF16 is YES or nothing). A layer of the IR that is marked `precise` stays in float32, but layers
that the plugin replaces by its own lose the mark. Without those instructions everything is float32: two variables hide them, one
from OpenVINO (tried with 2026.4), one from oneDNN below it (tried with 2024.4); both want the same value (openvino#36980).
"""

from __future__ import annotations

from pathlib import Path

_LIMIT = "AVX512_CORE_VNNI"
VARIABLES = {"ONEDNN_MAX_CPU_ISA": _LIMIT, "OV_CPU_MAX_ISA": _LIMIT}
#: The mark as the IR has it, and where the first layer ends at the latest.
_MARK, _HEAD = b'"precise"', 65536


def variables(repository: Path) -> dict[str, str]:
    """The variables, where a model of the repository is IR that wants float32; else none."""
    return dict(VARIABLES) if any(map(_wants, repository.glob("*/*/*.xml"))) else {}


def _wants(model: Path) -> bool:
    try:
        with model.open("rb") as file:
            return _MARK in file.read(_HEAD)
    except OSError:
        return False
