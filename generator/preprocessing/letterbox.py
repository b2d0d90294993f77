"""letterbox: the whole picture, its aspect ratio kept, the rest padded."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator.preprocessing import Preprocess


class Letterbox(Preprocess):
    """Aspect ratio kept, padded with grey, as YOLOv5 and ultralytics do it (Darknet's own rounds down and pads with 127)."""

    kind: Literal["letterbox"] = "letterbox"
    anchor: Annotated[Literal["centre", "top_left"], Field(description="Where the picture lies on the canvas.")] = "centre"
    pad_value: Annotated[int, Field(ge=0, le=255, description="Level of the padding.")] = 114
    scale_up: Annotated[bool, Field(description="Whether a small picture is enlarged.")] = True

    def _fit(self) -> dict[str, str | int | bool]:
        return {"fit": "contain", "anchor": self.anchor, "pad_value": self.pad_value, "scale_up": self.scale_up}

    def reference(self, rgb: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The canvas filled with `pad_value`, the resized picture put on it."""
        h, w = rgb.shape[:2]
        ratio = min(width / w, height / h)
        if not self.scale_up:
            ratio = min(ratio, 1)
        size = (max(1, round(w * ratio)), max(1, round(h * ratio)))
        left_top = (0, 0)
        if self.anchor == "centre":
            left_top = (round((width - size[0]) / 2 - 0.1), round((height - size[1]) / 2 - 0.1))
        return self._paste(rgb, size, left_top, np.full((height, width, 3), self.pad_value, np.uint8))
