"""image_input: the graph takes uint8 pixels and normalises them itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from generator.errors import SurgeryError
from generator.passes import Pass
from generator.tensors import Tensor

if TYPE_CHECKING:
    from onnx import ModelProto


class ImageInput(Pass):
    """FP32 [batch, 3, H, W] becomes `pixels` UINT8 [batch, H, W, 3], normalised in the graph: a quarter of the bytes travel."""

    kind: Literal["image_input"] = "image_input"
    input: str
    height: int
    width: int
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def run(self, model: ModelProto) -> ModelProto:
        """Cast, scale, subtract, divide, transpose; identities are left out."""
        from generator.builder import Builder

        build = Builder(model, "image_input")
        pixels = build.replace_input(self.input, Tensor("pixels", "UINT8", (self.height, self.width, 3)))
        planes = build("Transpose", build("Cast", pixels, to=1), perm=[0, 3, 1, 2])
        mean, std = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (self.mean, self.std))
        value = build("Mul", planes, np.float32(self.scale)) if self.scale != 1 else planes
        value = build("Sub", value, mean) if np.any(mean) else value
        value = build("Div", value, std) if np.any(std != 1) else value
        if not build.feed(self.input, value):
            raise SurgeryError(
                f"image_input: nothing reads the input {self.input}", "the model ignores its picture: export it again"
            )
        return build.model()
