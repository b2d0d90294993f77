"""What the target of a pipeline is made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: Steps that give the final graph, the last first.
_GRAPHS = ("precision", "surgery")
#: Head and NMS as a graph of their own, among what the step "target" made.
HEAD = "head.onnx"


def final(results: Mapping[str, Path]) -> Path:
    """The final graph among the folders of a pipeline's steps."""
    return next(results[name] for name in _GRAPHS if name in results) / "model.onnx"
