"""What the target of a pipeline is asked to make, and what of its graphs it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from generator.backends import Order
from generator.pipeline import Pipeline

#: Steps that give the final graph, the last first.
_GRAPHS = ("precision", "surgery")
#: Head and NMS as a graph of their own, among what the step "target" made.
HEAD = "head.onnx"


def order(pipeline: Pipeline, graph: Path, made: Path) -> Order:
    """For `convert` and `artefact` of the spec's target."""
    return pipeline.order(graph, made)


def final(results: Mapping[str, Path]) -> Path:
    """The final graph among the folders of a pipeline's steps."""
    return next(results[name] for name in _GRAPHS if name in results) / "model.onnx"
