"""fp32: as trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from generator.precisions import Precision

if TYPE_CHECKING:
    from onnx import ModelProto


class Fp32(Precision):
    """Single precision throughout, as the checkpoint was trained."""

    kind: Literal["fp32"] = "fp32"

    def apply(self, model: ModelProto) -> ModelProto:
        """Nothing to do."""
        return model
