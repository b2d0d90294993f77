"""The model's picture input: where its channels lie, its size, the type of its numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from generator.tensors import Tensor, numpy_dtype

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from generator.preprocessing import Preprocess

#: Levels are normalised for the floating-point types; UINT8 models do that themselves.
DTYPES = ("FP32", "FP16", "UINT8")


@dataclass(frozen=True)
class Normalisation:
    """How UINT8 [batch, height, width, 3] becomes a model's own picture: (x * scale - mean) / std, then laid out as `layout`.

    Of a model that takes UINT8 levels only the layout changes.
    """

    layout: Literal["NCHW", "NHWC"]
    dtype: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Picture:
    """An input [batch, 3, height, width] (NCHW) or [batch, height, width, 3] (NHWC)."""

    tensor: Tensor
    layout: Literal["NCHW", "NHWC"]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width; -1 where the model leaves one free."""
        start = 1 if self.layout == "NCHW" else 0
        return self.tensor.shape[start], self.tensor.shape[start + 1]

    def sized(self, height: int, width: int) -> Tensor:
        """The input with that size."""
        shape = (3, height, width) if self.layout == "NCHW" else (height, width, 3)
        return Tensor(self.tensor.name, self.tensor.dtype, shape, self.tensor.batched)

    @property
    def planes(self) -> Tensor:
        """The input as heads think of it, channels first."""
        return Tensor(self.tensor.name, self.tensor.dtype, (3, *self.size), self.tensor.batched)

    def normalised(self, preprocess: Preprocess) -> Normalisation:
        """How a preprocess's pixels become this input."""
        return Normalisation(self.layout, self.tensor.dtype, preprocess.scale, preprocess.mean, preprocess.std)

    def given(self, preprocess: Preprocess, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """UINT8 [batch, height, width, 3] -> what the checkpoint itself takes, as training gave it."""
        import numpy as np

        if self.tensor.dtype == "UINT8":
            return pixels if self.layout == "NHWC" else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        values = preprocess.normalise(pixels)
        values = values if self.layout == "NCHW" else np.ascontiguousarray(values.transpose(0, 2, 3, 1))
        return values.astype(numpy_dtype(self.tensor.dtype))


def read(inputs: tuple[Tensor, ...]) -> Picture | None:
    """The picture input of a model with one input; None where it is none. Three channels first count before three last."""
    if len(inputs) != 1 or not inputs[0].batched or len(inputs[0].shape) != 3 or inputs[0].dtype not in DTYPES:
        return None
    if inputs[0].shape[0] == 3:
        return Picture(inputs[0], "NCHW")
    return Picture(inputs[0], "NHWC") if inputs[0].shape[2] == 3 else None
