"""shortest_edge: the shorter side to one length, the longer no longer than another, at the top left of the canvas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator.placement import Look, geometry, paste
from generator.preprocessing import Level, Misfit, Preprocess, Said

#: ImageNet's mean colour, (0.485, 0.456, 0.406) * 255 to the nearest level: what is 0 after normalising.
MEAN_COLOUR = (124, 116, 104)


class Edged(Preprocess):
    """What two-stage detectors and DETR share: ratio = min(shortest / min(h, w), longest / max(h, w)), the rest padded."""

    shortest: Annotated[int, Field(ge=1, le=8192, description="Length of the shorter side.")] = 800
    longest: Annotated[
        int, Field(ge=1, le=8192, description="The longer side is at most this long; the canvas must hold it.")
    ] = 1333
    pad_value: Annotated[
        Level | tuple[Level, Level, Level],
        Field(description="Level of the padding; or one a channel, in the order of `channel_order`."),
    ] = 0
    rounding: Annotated[
        Literal["nearest", "half_up", "down", "edge"],
        Field(
            description="How a side becomes whole: nearest, half_up, down; edge rounds the shorter and cuts the longer (DETR)."
        ),
    ] = "down"
    multiple: Annotated[int, Field(ge=1, description="Sides are cut down to a multiple of this after the rounding.")] = 1
    antialias: Annotated[bool, Field(description="Average the pixels that a reduction skips, as Pillow does.")] = False

    def misfits(self, height: int, width: int) -> Iterator[Misfit]:
        """Also: pictures of any shape must find room."""
        yield from super().misfits(height, width)
        if self.shortest > self.longest:
            what = f"shortest is {self.shortest}, longest {self.longest}"
            yield Misfit("shortest", f"{what}; the shorter side cannot be the longer", "exchange them")
        elif min(height, width) < self.longest:
            what = f"longest is {self.longest}, the canvas {height} x {width}: a picture turned the other way has no room"
            fix = f"a model of at least {self.longest} x {self.longest}, or `longest: {min(height, width)}` as in its training"
            yield Misfit("longest", what, f"use {fix}")

    def _fit(self, height: int, width: int) -> dict[str, Said]:
        return {
            "fit": "shortest", "anchor": "top_left", "resize": self.shortest, "longest": self.longest, "rounding": self.rounding,
            "multiple": self.multiple, "pad_value": self.pad_value, "antialias": self.antialias,
        }  # fmt: skip

    def reference(self, rgb: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The canvas filled with `pad_value`, the resized picture at its left top."""
        h, w = rgb.shape[:2]
        nw, nh = (max(1, side // self.multiple * self.multiple) for side in self._whole(w, h))
        pad = self.pad_value if isinstance(self.pad_value, tuple) else (self.pad_value,) * 3
        look = Look(self.interpolation, self.channel_order, pad, self.antialias)
        return paste(rgb, (nw, nh), (0, 0), (height, width), look), geometry(rgb, (nw / w, nh / h), (0, 0))

    def _whole(self, w: int, h: int) -> tuple[int, int]:
        if self.rounding == "edge":
            limited = max(w, h) / min(w, h) * self.shortest > self.longest
            exact = self.longest * min(w, h) / max(w, h) if limited else float(self.shortest)
            side = round(exact)
            if side == min(w, h):
                return w, h
            return (side, int(exact * h / w)) if w < h else (int(exact * w / h), side)
        ratio = min(self.shortest / min(w, h), self.longest / max(w, h))
        if self.rounding == "nearest":
            return max(1, round(w * ratio)), max(1, round(h * ratio))
        more = 0.5 if self.rounding == "half_up" else 0.0
        return max(1, int(w * ratio + more)), max(1, int(h * ratio + more))


class ShortestEdge(Edged):
    """Shorter side to one length, longer side limited, padded right and below; detr, torchvision_detection, mmdet set it up."""

    kind: Literal["shortest_edge"] = "shortest_edge"
