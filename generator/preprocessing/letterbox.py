"""letterbox: the whole picture, its aspect ratio kept, the rest padded."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from generator.placement import Look, geometry, middle, paste, warp
from generator.preprocessing import Level, Said, Sampled


class Contained(Sampled):
    """What letterboxes have in common: ratio = min(height / h, width / w), the sides w * ratio and h * ratio made whole."""

    anchor: Annotated[Literal["centre", "top_left"], Field(description="Where the picture lies on the canvas.")] = "centre"
    pad_value: Annotated[
        Level | tuple[Level, Level, Level],
        Field(description="Level of the padding; or one a channel, in the order of `channel_order`."),
    ] = 114
    scale_up: Annotated[bool, Field(description="Whether a small picture is enlarged.")] = True
    rounding: Annotated[
        Literal["nearest", "half_up", "down", "integer"],
        Field(
            description="How a side becomes whole: nearest (halves to the even), half_up, down (a product of floats cut off),"
            " integer (integer division, as C does it)."
        ),
    ] = "nearest"
    geometry: Annotated[
        Literal["resized", "ratio", "relative"],
        Field(
            description="How boxes go back to the picture: resized (where the pixels lie), ratio (one ratio, nothing rounded),"
            " relative (sides as resized, half of the free space not rounded)."
        ),
    ] = "resized"

    @model_validator(mode="after")
    def _enlarges(self) -> Contained:
        if self.rounding == "integer" and not self.scale_up:
            raise ValueError("rounding: integer always enlarges, as Darknet does; say another rounding, or leave scale_up out")
        return self

    def _fit(self, height: int, width: int) -> dict[str, Said]:
        return {
            "fit": "contain", "anchor": self.anchor, "pad_value": self.pad_value, "scale_up": self.scale_up,
            "rounding": self.rounding, "antialias": self.antialias, "coordinates": self.coordinates,
            "geometry": "ratio" if self.coordinates == "asymmetric" else self.geometry,
        }  # fmt: skip

    def reference(self, rgb: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The canvas filled with `pad_value`, the resized picture put on it."""
        h, w = rgb.shape[:2]
        ratio = min(width / w, height / h, np.inf if self.scale_up else 1)
        exact = (w * ratio, h * ratio)
        centred = self.anchor == "centre"
        free = ((width - exact[0]) / 2, (height - exact[1]) / 2) if centred else (0.0, 0.0)
        if self.coordinates == "asymmetric":
            return warp(rgb, (ratio, ratio), free, (height, width), self._look()), geometry(rgb, (ratio, ratio), free)
        size = self._whole(exact, (w, h), (width, height))
        left_top = (middle(width - size[0]), middle(height - size[1])) if centred else (0, 0)
        pixels = paste(rgb, size, left_top, (height, width), self._look())
        if self.geometry == "ratio":
            return pixels, geometry(rgb, (ratio, ratio), free)
        halves = ((width - size[0]) / 2, (height - size[1]) / 2) if centred and self.geometry == "relative" else left_top
        return pixels, geometry(rgb, (size[0] / w, size[1] / h), halves)

    def _look(self) -> Look:
        pad = self.pad_value if isinstance(self.pad_value, tuple) else (self.pad_value,) * 3
        return Look(self.interpolation, self.channel_order, pad, self.antialias, self.coordinates)

    def _whole(self, exact: tuple[float, float], old: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
        if self.rounding == "integer":
            wide = canvas[0] * old[1] < canvas[1] * old[0]
            sides = [canvas[0], old[1] * canvas[0] // old[0]] if wide else [old[0] * canvas[1] // old[1], canvas[1]]
        else:
            add = {"nearest": 0.0, "half_up": 0.5, "down": 0.0}[self.rounding]
            sides = [round(s) if self.rounding == "nearest" else int(np.floor(s + add)) for s in exact]
        return max(1, sides[0]), max(1, sides[1])


class Letterbox(Contained):
    """Aspect ratio kept, the rest padded with grey; the presets ultralytics, yolov5, yolox, darknet and others set it up."""

    kind: Literal["letterbox"] = "letterbox"
