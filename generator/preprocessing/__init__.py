"""Preprocessing. One file a way of fitting a picture into the model's input, named after the training code it imitates.

Every kind is a resize, then a placement into the canvas: what sticks out is cropped, what is left free is padded.
The work on the server is done by `templates/models/image/model.py`, told what to do by `parameters`; `reference` is an
independent NumPy implementation that `verify` compares it with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import Field, model_validator

from generator.fields import Number
from generator.plugin import Plugin
from generator.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np

#: scale_x, scale_y, offset_x, offset_y, width, height: canvas = original * scale + offset; width and height are the original's.
GEOMETRY = Tensor("geometry", "FP32", (6,))
#: One encoded picture (JPEG or PNG).
ENCODED = Tensor("image", "BYTES", (1,))


#: A value of `parameters`, before it is text.
Said = str | int | bool | tuple[int, ...]
#: A level of a pixel.
Level = Annotated[int, Field(ge=0, le=255)]


@dataclass(frozen=True)
class Imitates:
    """Which training code a preset does the same as, and how far that is known."""

    #: The function or class, with its module.
    code: str
    #: Where its source can be read.
    source: str
    #: The release whose pixels are stored in tests/fixtures/preprocessing; empty where nothing was compared.
    proven: str = ""
    #: The greatest distance from its pixels, in levels of 0 to 255.
    tolerance: float = 0.0
    #: Why the distance is not 0.
    reason: str = ""


@dataclass(frozen=True)
class Misfit:
    """A field that does not go with the canvas; `pipeline.py` adds the line of the YAML."""

    field: str
    what: str
    remedy: str


class Preprocess(Plugin):
    """Encoded picture -> `pixels` UINT8[height, width, 3] and `geometry` FP32[6].

    The graph then normalises: (pixel * scale - mean) / std. A preset is a subclass with other defaults (`preset`), named after
    the training code that it imitates (`imitates`); every field can still be said otherwise.
    """

    #: The defaults that a subclass changes: field -> value.
    preset: ClassVar[dict[str, Any]] = {}
    #: The training code, for a preset.
    imitates: ClassVar[Imitates | None] = None
    #: The folder in templates/models whose files serve this kind.
    template: ClassVar[str] = "image"

    channel_order: Annotated[Literal["RGB", "BGR"], Field(description="Order of the channels the model was trained with.")] = (
        "RGB"
    )
    interpolation: Annotated[Literal["nearest", "linear", "cubic"], Field(description="How pixels are resampled.")] = "linear"
    scale: Annotated[Number, Field(gt=0, description="Pixels are multiplied by this first.")] = 1 / 255
    mean: Annotated[tuple[float, float, float], Field(description="Then this is subtracted, a value a channel.")] = (
        0.0,
        0.0,
        0.0,
    )
    std: Annotated[tuple[float, float, float], Field(description="Then divided by this, a value a channel.")] = (1.0, 1.0, 1.0)
    max_pixels: Annotated[int, Field(gt=0, description="A picture with more pixels is refused before it is decoded.")] = (
        120_000_000
    )
    size: Annotated[
        tuple[Annotated[int, Field(ge=1, le=16384)], Annotated[int, Field(ge=1, le=16384)]] | None,
        Field(description="[height, width] of the canvas, for a model whose input leaves them free."),
    ] = None
    stride: Annotated[int, Field(ge=1, description="Height and width of the canvas must be multiples of this.")] = 1

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Put `preset` into the fields' defaults, so that schema, reference and validation know them."""
        super().__pydantic_init_subclass__(**kwargs)
        changed = vars(cls).get("preset", {})
        for name, value in changed.items():
            cls.model_fields[name].default = value
        if changed:
            cls.model_rebuild(force=True)

    def misfits(self, height: int, width: int) -> Iterator[Misfit]:
        """What this kind cannot do with a canvas of that size."""
        if height % self.stride or width % self.stride:
            up = [-(-side // self.stride) * self.stride for side in (height, width)]
            what = f"the canvas is {height} x {width}; its sides must be multiples of {self.stride}"
            yield Misfit("stride", what, f"use a model of {up[0]} x {up[1]}, or say the stride that it was trained with")

    def outputs(self, height: int, width: int) -> tuple[Tensor, ...]:
        """What the server-side model gives."""
        return (Tensor("pixels", "UINT8", (height, width, 3)), GEOMETRY)

    def parameters(self, height: int, width: int) -> dict[str, str]:
        """`parameters` of config.pbtxt that the server-side model.py reads (Settings in templates/models/image/model.py)."""
        said = {"interpolation": self.interpolation, "channel_order": self.channel_order, "max_pixels": self.max_pixels}
        return {key: _text(value) for key, value in {**said, **self._fit(height, width)}.items()}

    def _fit(self, height: int, width: int) -> dict[str, Said]:
        """The parameters of this kind, for a canvas of that size."""
        raise NotImplementedError

    def reference(self, rgb: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """From a decoded RGB picture [h, w, 3]: pixels [height, width, 3] and geometry [6], in plain NumPy."""
        raise NotImplementedError

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """UINT8 [batch, height, width, 3] -> FP32 [batch, 3, height, width], as training did it."""
        import numpy as np

        scaled = pixels.astype(np.float32) * np.float32(self.scale)
        values = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32)


class Sampled(Preprocess):
    """Kinds that can take their samples in more than one way."""

    antialias: Annotated[bool, Field(description="Average the pixels that a reduction skips, as Pillow does.")] = False
    coordinates: Annotated[
        Literal["half_pixel", "align_corners", "asymmetric"],
        Field(
            description="Where samples are taken, in the words of ONNX Resize: half_pixel (OpenCV, Pillow, PyTorch),"
            " align_corners (Darknet), asymmetric (cv2.warpPerspective: nothing is rounded, edges fade into the padding)."
        ),
    ] = "half_pixel"

    @model_validator(mode="after")
    def _known_together(self) -> Sampled:
        if self.antialias and self.coordinates != "half_pixel":
            raise ValueError(f"antialias goes with coordinates: half_pixel only, found {self.coordinates}; leave one of them out")
        if self.coordinates == "align_corners" and self.interpolation != "linear":
            raise ValueError(f"align_corners goes with interpolation: linear only, found {self.interpolation}; say linear")
        return self


def _text(value: Said) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
