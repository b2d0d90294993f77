"""image_input: the graph takes uint8 pixels and normalises them itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from generator.errors import SurgeryError
from generator.passes import Pass
from generator.tensors import Tensor, onnx_dtype

if TYPE_CHECKING:
    from onnx import ModelProto

    from generator.builder import Builder


class ImageInput(Pass):
    """The picture input becomes `pixels` UINT8 [batch, H, W, 3], normalised in the graph: a quarter of the bytes travel."""

    kind: Literal["image_input"] = "image_input"
    input: str
    height: int
    width: int
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    #: What the model takes: FP32 and FP16 values, or UINT8 levels as they are.
    dtype: str = "FP32"
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def run(self, model: ModelProto) -> ModelProto:
        """Transpose, then cast, scale, subtract, divide in FP32; identities are left out, and all for a UINT8 model."""
        from generator.builder import Builder

        build = Builder(model, "image_input")
        pixels = build.replace_input(self.input, Tensor("pixels", "UINT8", (self.height, self.width, 3)))
        value = pixels if self.dtype == "UINT8" else self._normalised(build, pixels)
        if self.dtype == "UINT8" and self.layout == "NCHW":
            value = build("Transpose", pixels, perm=[0, 3, 1, 2])
        if not build.feed(self.input, value):
            raise SurgeryError(
                f"image_input: nothing reads the input {self.input}", "the model ignores its picture: export it again"
            )
        return build.model()

    def _normalised(self, build: Builder, pixels: str) -> str:
        value, channels = build("Cast", pixels, to=onnx_dtype("FP32")), (1, 1, 1, 3)
        if self.layout == "NCHW":
            value, channels = build("Transpose", value, perm=[0, 3, 1, 2]), (1, 3, 1, 1)
        mean, std = (np.array(v, np.float32).reshape(channels) for v in (self.mean, self.std))
        value = build("Mul", value, np.float32(self.scale)) if self.scale != 1 else value
        value = build("Sub", value, mean) if np.any(mean) else value
        value = build("Div", value, std) if np.any(std != 1) else value
        return value if self.dtype == "FP32" else build("Cast", value, to=onnx_dtype(self.dtype))
