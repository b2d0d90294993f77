"""Pictures put onto canvases in plain NumPy, pixel by pixel: what the server-side code is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from generator.resample import fade, resample

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """How pixels are resampled, and what is around them. `pad`: a level a channel, in the order of `channels`."""

    interpolation: str
    channels: Literal["RGB", "BGR"]
    pad: tuple[int, ...]
    antialias: bool = False
    coordinates: str = "half_pixel"


def paste(rgb: Pixels, size: tuple[int, int], left_top: tuple[int, int], canvas: tuple[int, int], look: Look) -> Pixels:
    """[h, w, 3] resized to `size` (width, height), at `left_top` of a canvas (height, width), in the order of channels."""
    resized = resample(rgb, size, look.interpolation, look.antialias, look.coordinates)
    resized = resized[:, :, ::-1] if look.channels == "BGR" else resized
    rows, columns = np.arange(canvas[0]) - left_top[1], np.arange(canvas[1]) - left_top[0]
    inside = ((rows >= 0) & (rows < size[1]))[:, None] & ((columns >= 0) & (columns < size[0]))[None, :]
    source = resized[np.clip(rows, 0, size[1] - 1)[:, None], np.clip(columns, 0, size[0] - 1)[None, :]]
    return np.asarray(np.where(inside[..., None], source, np.array(look.pad, np.uint8)))


def warp(rgb: Pixels, scale: tuple[float, float], offset: tuple[float, float], canvas: tuple[int, int], look: Look) -> Pixels:
    """canvas[i] = picture[(i - offset) / scale], bilinear, fading into the padding beyond the outermost pixels."""
    picture = rgb[:, :, ::-1] if look.channels == "BGR" else rgb
    # inverted by the determinant, as cv2.invert does: where a place is a tie, the last bit decides
    over = 1 / (scale[0] * scale[1])
    columns = fade(rgb.shape[1], canvas[1], scale[1] * over, -(offset[0] * scale[1]) * over, look.interpolation)
    rows = fade(rgb.shape[0], canvas[0], scale[0] * over, -(offset[1] * scale[0]) * over, look.interpolation)
    values = np.einsum("yh,xw,hwc->yxc", rows, columns, picture.astype(np.float64), optimize=True)
    covered = rows.sum(axis=1)[:, None] * columns.sum(axis=1)[None, :]
    values += (1 - covered)[:, :, None] * np.array(look.pad, np.float64)
    levels: Pixels = np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
    return levels


def middle(free: int) -> int:
    """Left or top of what is centred: a padding's odd pixel goes to the other side, a crop's corner to the even neighbour."""
    return free // 2 if free > 0 else round(free / 2)


def geometry(rgb: Pixels, scale: tuple[float, float], offset: tuple[float, float]) -> NDArray[np.float32]:
    """FP32 [6] as `generator.preprocessing.GEOMETRY` has it."""
    return np.array([*scale, *offset, rgb.shape[1], rgb.shape[0]], np.float32)
