"""center_crop: the shorter side to one length, then the middle cut out."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator.placement import Look, geometry, middle, paste
from generator.preprocessing import Level, Preprocess, Said


class Cropped(Preprocess):
    """What centre crops have in common; `_short` says the length of the shorter side."""

    antialias: Annotated[bool, Field(description="Average the pixels that a reduction skips.")] = True
    pad_value: Annotated[Level, Field(description="Level where the resized picture is smaller than the crop.")] = 0

    def _short(self, height: int, width: int) -> int:
        raise NotImplementedError

    def _fit(self, height: int, width: int) -> dict[str, Said]:
        short = self._short(height, width)
        return {"fit": "cover", "resize": short, "antialias": self.antialias, "pad_value": self.pad_value}

    def reference(self, rgb: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The longer side is rounded down, the crop's corner to the nearest pixel."""
        (h, w), short = rgb.shape[:2], self._short(height, width)
        size = (int(short * w / h), short) if h <= w else (short, int(short * h / w))
        left_top = (middle(width - size[0]), middle(height - size[1]))
        look = Look(self.interpolation, self.channel_order, (self.pad_value,) * 3, self.antialias)
        return paste(rgb, size, left_top, (height, width), look), geometry(rgb, (size[0] / w, size[1] / h), left_top)


class CenterCrop(Cropped):
    """Resize of the shorter side, then centre crop, as torchvision's classification presets do (`antialias` as on PIL images)."""

    kind: Literal["center_crop"] = "center_crop"
    resize: Annotated[int, Field(ge=1, le=8192, description="Length of the shorter side before the crop.")]

    def _short(self, height: int, width: int) -> int:
        return self.resize
