"""A super-resolution network whose upscale factor is an input: the factory of examples/super_resolution.yaml.

float32 [batch, 1, height, width] of brightness in 0..1 and float32 [2], the factors of height and width, in;
float32 [batch, 1, height * factor, width * factor] out. Bicubic first, then a few convolutions that add what it lost, as in
Dong et al., "Image Super-Resolution Using Deep Convolutional Networks" (arXiv:1501.00092), with the residual of
Kim et al. (arXiv:1511.04587), for which one network serves every factor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@torch.library.custom_op("super_resolution::resize_bicubic", mutates_args=())
def resize_bicubic(image: Tensor, scales: Tensor) -> Tensor:
    """PyTorch's bicubic upsampling by factors that are a tensor: no exporter of torch knows that one."""
    return functional.interpolate(image, scale_factor=scales.tolist(), mode="bicubic", align_corners=False)


@resize_bicubic.register_fake
def _(image: Tensor, scales: Tensor) -> Tensor:  # noqa: ARG001 - values are not known here
    """What the exporter may know: height and width depend on values."""
    size = torch.library.get_ctx()
    return image.new_empty((image.shape[0], image.shape[1], size.new_dynamic_size(), size.new_dynamic_size()))


def translations() -> dict[Any, Callable[..., Any]]:
    """The operator in ONNX: PyTorch's bicubic has a = -0.75 and half-pixel centres."""
    from onnxscript import opset18 as op

    def resize(image: Any, scales: Any) -> Any:
        ones = op.Constant(value_floats=[1.0, 1.0])
        return op.Resize(
            image, None, op.Concat(ones, scales, axis=0),
            mode="cubic", cubic_coeff_a=-0.75, coordinate_transformation_mode="half_pixel",
        )  # fmt: skip

    return {torch.ops.super_resolution.resize_bicubic.default: resize}


class SuperResolution(nn.Module):
    """Bicubic upsampling and what `depth` convolutions of 3x3 add to it."""

    def __init__(self, width: int = 32, depth: int = 5) -> None:
        super().__init__()
        inner = [nn.Conv2d(width, width, 3, padding=1) for _ in range(depth - 2)]
        layers = [nn.Conv2d(1, width, 3, padding=1), *inner, nn.Conv2d(width, 1, 3, padding=1)]
        self.layers = nn.ModuleList(layers)

    def forward(self, image: Tensor, scales: Tensor) -> Tensor:
        """Brightness in 0..1 [batch, 1, height, width] and the factors [2] -> the larger picture."""
        large: Tensor = resize_bicubic(image, scales)
        return large + self.added(large)

    def added(self, large: Tensor) -> Tensor:
        """What bicubic upsampling lost."""
        for layer in self.layers[:-1]:
            large = functional.relu(layer(large))
        added: Tensor = self.layers[-1](large)
        return added
