"""image_input: the graph takes pixels as they are and normalises them itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from generator.errors import SurgeryError
from generator.fields import Number
from generator.nearest import missing
from generator.passes import Arrays, Known, Pass, Run
from generator.tensors import Tensor, numpy_dtype, onnx_dtype

if TYPE_CHECKING:
    from onnx import ModelProto

_RANK = 4


class ImageInput(Pass):
    """Scale, mean, std, layout and channel order go into the graph: FP32 [batch, C, H, W] becomes UINT8 [batch, H, W, C]."""

    kind: Literal["image_input"] = "image_input"
    keeps_results: ClassVar[bool] = True
    input: Annotated[
        str, Field(description="The input that takes the normalised picture, FP32 [batch, channels, height, width].")
    ]
    name: Annotated[str, Field(description="What the new input is called.")] = "pixels"
    dtype: Annotated[Literal["UINT8", "FP32"], Field(description="What travels; UINT8 is a quarter of the bytes.")] = "UINT8"
    layout: Annotated[Literal["NHWC", "NCHW"], Field(description="How the pixels lie in memory.")] = "NHWC"
    swap_channels: Annotated[bool, Field(description="RGB arrives and the model was trained on BGR, or the other way round.")] = (
        False
    )
    scale: Annotated[Number, Field(gt=0, description="(x * scale - mean) / std; may be written `1/255`.")] = 1.0
    mean: Annotated[tuple[Number, ...], Field(min_length=1, description="One number, or one a channel in the model's order.")] = (
        0.0,
    )
    std: Annotated[tuple[Number, ...], Field(min_length=1, description="One number, or one a channel.")] = (1.0,)

    @field_validator("std")
    @classmethod
    def _divides(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if min(std) <= 0:
            raise ValueError("each must be greater than 0")
        return std

    def interface(self, known: Known) -> Known:
        """The new input in the place of the old one."""
        names = [t.name for t in known.inputs]
        if self.input not in names:
            raise missing("input", self.input, names)
        if self.name != self.input and self.name in names:
            raise SurgeryError(f"there is an input {self.name!r} already", "say another `name:`")
        new = self._pixels(known.inputs[names.index(self.input)])
        return replace(known, inputs=tuple(new if t.name == self.input else t for t in known.inputs))

    def _pixels(self, image: Tensor) -> Tensor:
        dims = (-1, *image.shape) if image.batched else image.shape
        if image.dtype != "FP32" or len(dims) != _RANK:
            raise SurgeryError(f"the input is {image}; expected FP32[batch, channels, height, width]", "name the picture's input")
        channels = dims[1]
        for title, said in (("mean", self.mean), ("std", self.std)):
            if len(said) not in (1, channels):
                raise SurgeryError(
                    f"{title} has {len(said)} numbers, {image} has {channels} channels", "say one, or one a channel"
                )
        if self.swap_channels and channels < 0:
            raise SurgeryError(f"the channels of {image} are free", "swap_channels needs a fixed number")
        moved = (dims[0], *dims[2:], channels) if self.layout == "NHWC" else dims
        return replace(image, name=self.name, dtype=self.dtype, shape=moved[1:] if image.batched else moved)

    def run(self, model: ModelProto) -> ModelProto:
        """Cast, transpose, swap, scale, subtract, divide; what would do nothing is left out."""
        from generator.builder import Builder
        from generator.graph import interface

        old = next((t for t in interface(model)[0] if t.name == self.input), None)
        if old is None:
            raise missing("input", self.input, [t.name for t in interface(model)[0]])
        build = Builder(model, "image_input")
        if self.name == self.input:
            build.rename(self.input, f"{self.input}_normalised")
        inside = f"{self.input}_normalised" if self.name == self.input else self.input
        value = build.replace_input(inside, self._pixels(old))
        value = build("Cast", value, to=onnx_dtype("FP32")) if self.dtype != "FP32" else value
        value = build("Transpose", value, perm=[0, 3, 1, 2]) if self.layout == "NHWC" else value
        if self.swap_channels:
            value = build("Gather", value, np.arange(old.shape[0 if old.batched else 1])[::-1].copy(), axis=1)
        mean, std = (np.array(v, np.float32).reshape(1, -1, 1, 1) for v in (self.mean, self.std))
        value = build("Mul", value, np.float32(self.scale)) if self.scale != 1 else value
        value = build("Sub", value, mean) if np.any(mean) else value
        value = build("Div", value, std) if np.any(std != 1) else value
        if not build.feed(inside, value):
            raise SurgeryError(
                f"image_input: nothing reads the input {self.input}", "the model ignores its picture: export it again"
            )
        return build.model()

    def expected(self, before: Run, feeds: Arrays) -> Arrays:
        """What the model said to the same picture, normalised outside."""
        others = {name: values for name, values in feeds.items() if name != self.name}
        return before({**others, self.input: self._normalised(np.asarray(feeds[self.name]))})

    def _normalised(self, pixels: NDArray[np.generic]) -> NDArray[np.float32]:
        planes = pixels.astype(numpy_dtype("FP32"))
        planes = planes.transpose(0, 3, 1, 2) if self.layout == "NHWC" else planes
        planes = planes[:, ::-1] if self.swap_channels else planes
        mean, std = (np.array(v, np.float32).reshape(1, -1, 1, 1) for v in (self.mean, self.std))
        return np.ascontiguousarray((planes * np.float32(self.scale) - mean) / std, dtype=np.float32)
