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
from generator.tensors import Tensor, onnx_dtype

if TYPE_CHECKING:
    from onnx import ModelProto

    from generator.builder import Builder

_RANK, _TYPES = 4, ("FP32", "FP16", "UINT8")
#: Where the channels are.
_AXIS = {"NCHW": 1, "NHWC": 3}
Layout = Literal["NHWC", "NCHW"]


class ImageInput(Pass):
    """Scale, mean, std, layout and channel order go into the graph: FP32 [batch, C, H, W] becomes UINT8 [batch, H, W, C].

    The model's own input may also be FP16, or UINT8 levels as they are, which then are only laid out anew.
    """

    kind: Literal["image_input"] = "image_input"
    keeps_results: ClassVar[bool] = True
    input: Annotated[str, Field(description="The input that takes the normalised picture, [batch, channels, height, width].")]
    name: Annotated[str, Field(description="What the new input is called.")] = "pixels"
    dtype: Annotated[Literal["UINT8", "FP32"], Field(description="What travels; UINT8 is a quarter of the bytes.")] = "UINT8"
    layout: Annotated[Layout, Field(description="How the pixels lie in memory.")] = "NHWC"
    model_layout: Annotated[Layout, Field(description="How the model's own input lies in memory.")] = "NCHW"
    size: Annotated[
        tuple[int, int] | None, Field(description="Height and width of a model that leaves them free; left out: they stay free.")
    ] = None
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
        if image.dtype not in _TYPES or len(dims) != _RANK:
            raise SurgeryError(
                f"the input is {image}; expected {', '.join(_TYPES)} [batch, channels, height, width]", "name the picture's input"
            )
        channels = self._channels(image)
        for title, said in (("mean", self.mean), ("std", self.std)):
            if len(said) not in (1, channels):
                raise SurgeryError(
                    f"{title} has {len(said)} numbers, {image} has {channels} channels", "say one, or one a channel"
                )
        if self.swap_channels and channels < 0:
            raise SurgeryError(f"the channels of {image} are free", "swap_channels needs a fixed number")
        sides = self.size or tuple(dims[2:] if self.model_layout == "NCHW" else dims[1:3])
        moved = (dims[0], *sides, channels) if self.layout == "NHWC" else (dims[0], channels, *sides)
        return replace(image, name=self.name, dtype=self.dtype, shape=moved[1:] if image.batched else moved)

    def _channels(self, image: Tensor) -> int:
        dims = (-1, *image.shape) if image.batched else image.shape
        return dims[1 if self.model_layout == "NCHW" else 3]

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
        value = self._laid_out(build, value, old)
        if not build.feed(inside, value):
            raise SurgeryError(
                f"image_input: nothing reads the input {self.input}", "the model ignores its picture: export it again"
            )
        return build.model()

    def _laid_out(self, build: Builder, value: str, old: Tensor) -> str:
        levels = old.dtype == "UINT8"
        if not levels and self.dtype != "FP32":
            value = build("Cast", value, to=onnx_dtype("FP32"))
        if self.layout != self.model_layout:
            value = build("Transpose", value, perm=[0, 3, 1, 2] if self.layout == "NHWC" else [0, 2, 3, 1])
        if self.swap_channels:
            value = build("Gather", value, np.arange(self._channels(old))[::-1].copy(), axis=_AXIS[self.model_layout])
        if levels:
            return value
        value = build("Mul", value, np.float32(self.scale)) if self.scale != 1 else value
        mean, std = self._spread(self.mean), self._spread(self.std)
        value = build("Sub", value, mean) if np.any(mean) else value
        value = build("Div", value, std) if np.any(std != 1) else value
        return value if old.dtype == "FP32" else build("Cast", value, to=onnx_dtype(old.dtype))

    def _spread(self, values: tuple[float, ...]) -> NDArray[np.float32]:
        """One number a channel, along the model's axis of channels."""
        return np.array(values, np.float32).reshape((1, -1, 1, 1) if self.model_layout == "NCHW" else (1, 1, 1, -1))

    def expected(self, before: Run, feeds: Arrays) -> Arrays:
        """What the model said to the same picture, normalised outside."""
        others = {name: values for name, values in feeds.items() if name != self.name}
        given = self._normalised(np.asarray(feeds[self.name]), before.examples[self.input].dtype)
        return before({**others, self.input: given})

    def _normalised(self, pixels: NDArray[np.generic], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
        planes = np.moveaxis(pixels, _AXIS[self.layout], _AXIS[self.model_layout])
        planes = np.flip(planes, _AXIS[self.model_layout]) if self.swap_channels else planes
        if dtype != np.uint8:
            scaled = planes.astype(np.float32) * np.float32(self.scale)
            planes = (scaled - self._spread(self.mean)) / self._spread(self.std)
        return np.ascontiguousarray(planes, dtype=dtype)
