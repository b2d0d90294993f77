"""stretch: straight to the model's size."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from generator.placement import Look, geometry, paste, warp
from generator.preprocessing import Said, Sampled


class Stretched(Sampled):
    """What resizes to the model's size have in common."""

    def _fit(self, height: int, width: int) -> dict[str, Said]:
        return {"fit": "stretch", "antialias": self.antialias, "coordinates": self.coordinates, "pad_value": 0}

    def reference(self, rgb: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The resized picture is the canvas."""
        h, w = rgb.shape[:2]
        look = Look(self.interpolation, self.channel_order, (0, 0, 0), self.antialias, self.coordinates)
        scale = (width / w, height / h)
        if self.coordinates == "asymmetric":
            return warp(rgb, scale, (0, 0), (height, width), look), geometry(rgb, scale, (0, 0))
        return paste(rgb, (width, height), (0, 0), (height, width), look), geometry(rgb, scale, (0, 0))


class Stretch(Stretched):
    """Resize to the model's size, aspect ratio given up; presets such as torchvision_ssd and rt_detr set it up."""

    kind: Literal["stretch"] = "stretch"
