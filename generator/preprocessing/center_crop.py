"""center_crop: the shorter side to one length, then the middle cut out."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator.preprocessing import Preprocess


class CenterCrop(Preprocess):
    """Resize of the shorter side, then centre crop, as torchvision's classification presets do (`antialias` as on PIL images)."""

    kind: Literal["center_crop"] = "center_crop"
    resize: Annotated[int, Field(ge=1, le=8192, description="Length of the shorter side before the crop.")]
    antialias: Annotated[bool, Field(description="Average the pixels that a reduction skips.")] = True
    pad_value: Annotated[int, Field(ge=0, le=255, description="Level where the resized picture is smaller than the crop.")] = 0

    def _fit(self) -> dict[str, str | int | bool]:
        return {"fit": "cover", "resize": self.resize, "antialias": self.antialias, "pad_value": self.pad_value}

    def reference(self, rgb: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The longer side is rounded down, the crop's corner to the nearest pixel."""
        h, w = rgb.shape[:2]
        size = (int(self.resize * w / h), self.resize) if h <= w else (self.resize, int(self.resize * h / w))
        left_top = (round((width - size[0]) / 2), round((height - size[1]) / 2))
        return self._paste(rgb, size, left_top, np.full((height, width, 3), self.pad_value, np.uint8), self.antialias)
