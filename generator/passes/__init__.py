"""Graph surgery. One file a pass: it changes a model and says whether it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.plugin import Plugin

if TYPE_CHECKING:
    from onnx import ModelProto


class Pass(Plugin):
    """A change of the graph. One that was asked for and changes nothing raises SurgeryError naming what it looked for."""

    def run(self, model: ModelProto) -> ModelProto:
        """The changed model."""
        raise NotImplementedError
