"""Preprocessing. One file a way of fitting a picture into the model's input, named after the training code it imitates.

Every kind is a resize, then a placement into the canvas: what sticks out is cropped, what is left free is padded.
The work on the server is done by `templates/models/image/model.py`, told what to do by `parameters`; `reference` is an
independent NumPy implementation that `verify` compares it with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import Field

from generator.fields import Number
from generator.plugin import Plugin
from generator.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np

#: scale_x, scale_y, offset_x, offset_y, width, height: canvas = original * scale + offset; width and height are the original's.
GEOMETRY = Tensor("geometry", "FP32", (6,))
#: One encoded picture (JPEG or PNG).
ENCODED = Tensor("image", "BYTES", (1,))


class Preprocess(Plugin):
    """Encoded picture -> `pixels` UINT8[height, width, 3] and `geometry` FP32[6].

    The graph then normalises: (pixel * scale - mean) / std.
    """

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

    def outputs(self, height: int, width: int) -> tuple[Tensor, ...]:
        """What the server-side model gives."""
        return (Tensor("pixels", "UINT8", (height, width, 3)), GEOMETRY)

    def parameters(self, height: int, width: int) -> dict[str, str]:
        """`parameters` of config.pbtxt that the server-side model.py reads (Settings in templates/models/image/model.py)."""
        said = {"interpolation": self.interpolation, "channel_order": self.channel_order, "max_pixels": self.max_pixels}
        return {
            key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in {**said, **self._fit()}.items()
        }

    def _fit(self) -> dict[str, str | int | bool]:
        """The parameters of this kind."""
        raise NotImplementedError

    def reference(self, rgb: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """From a decoded RGB picture [h, w, 3]: pixels [height, width, 3] and geometry [6], in plain NumPy."""
        raise NotImplementedError

    def _paste(
        self,
        rgb: NDArray[np.uint8],
        size: tuple[int, int],
        left_top: tuple[int, int],
        canvas: NDArray[np.uint8],
        antialias: bool = False,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Resize to `size` (width, height) and put it at `left_top` of the canvas, pixel by pixel of the canvas."""
        import numpy as np

        from generator.resample import resample

        resized = resample(rgb, size, self.interpolation, antialias)
        rows, columns = np.arange(canvas.shape[0]) - left_top[1], np.arange(canvas.shape[1]) - left_top[0]
        inside = ((rows >= 0) & (rows < size[1]))[:, None] & ((columns >= 0) & (columns < size[0]))[None, :]
        source = resized[np.clip(rows, 0, size[1] - 1)[:, None], np.clip(columns, 0, size[0] - 1)[None, :]]
        canvas = np.where(inside[..., None], source, canvas)
        h, w = rgb.shape[:2]
        geometry = np.array([size[0] / w, size[1] / h, *left_top, w, h], np.float32)
        return (canvas[:, :, ::-1] if self.channel_order == "BGR" else canvas), geometry

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """UINT8 [batch, height, width, 3] -> FP32 [batch, 3, height, width], as training did it."""
        import numpy as np

        scaled = pixels.astype(np.float32) * np.float32(self.scale)
        values = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32)
