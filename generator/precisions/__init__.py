"""Precisions. One file a precision, written into the ONNX itself (TensorRT 11 knows strongly typed networks only)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.plugin import Plugin

if TYPE_CHECKING:
    from onnx import ModelProto


class Precision(Plugin):
    """How the numbers inside the graph are held."""

    def apply(self, model: ModelProto) -> ModelProto:
        """The model in this precision, inputs and outputs unchanged."""
        raise NotImplementedError
