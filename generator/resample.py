"""Resizing in plain NumPy, from the definition: what server-side code is held against.

Pixel centres lie at half-integers. nearest takes floor(x * scale); linear and cubic weigh the neighbours by the triangle kernel
and Keys' cubic convolution kernel (Keys 1981, IEEE TASSP 29(6), eq. 15, with a = -0.75 as OpenCV documents for INTER_CUBIC).
With `antialias` the kernel is stretched by the reduction factor and a = -0.5, as Pillow documents for its convolution-based
resampling; weights outside the picture are left out there, and fall on its edge pixels without. OpenCV computes linear
and cubic in fixed point: its pixels lie within one level of these. Pillow's are these.

`align_corners` puts the corner pixels on each other, as Darknet's resize_image (src/image.c) does; `fade` is cv2.warpPerspective
for a scale and an offset (sample places in 32nds of a pixel, a constant border).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def resample(
    rgb: NDArray[np.uint8], size: tuple[int, int], interpolation: str, antialias: bool, coordinates: str = "half_pixel"
) -> NDArray[np.uint8]:
    """[h, w, 3] -> [size[1], size[0], 3], rounded to the nearest level."""
    if (rgb.shape[1], rgb.shape[0]) == size:
        return rgb
    if coordinates == "align_corners":
        columns, rows = _corners(rgb.shape[1], size[0], False), _corners(rgb.shape[0], size[1], True)
    else:
        columns, rows = (_weights(n, m, interpolation, antialias) for n, m in zip(rgb.shape[1::-1], size, strict=True))
    values = np.einsum("xw,hwc->hxc", columns, rgb.astype(np.float64), optimize=True)
    if antialias:  # Pillow rounds between its two passes; columns first, as Pillow before 13 always did
        values = _levels(values)
    return _levels(np.einsum("yh,hxc->yxc", rows, values, optimize=True)).astype(np.uint8)


def fade(n: int, m: int, step: float, start: float, interpolation: str) -> NDArray[np.float64]:
    """[m, n]: pixel x of the m is sampled at x * step + start of the n; a row's sum is what lies inside the picture."""
    reach = {"nearest": 0, "linear": 1, "cubic": 2}[interpolation]
    steps = 32 if reach else 1
    result = np.zeros((m, n))
    for x in range(m):
        place = np.rint((x * step + start) * steps) / steps
        for tap in range(int(np.floor(place)) - reach + (reach > 0), int(np.floor(place)) + reach + 1):
            if 0 <= tap < n:
                result[x, tap] = _kernel(np.array(tap - place), interpolation, -0.75) if reach else 1
    return result


def _corners(n: int, m: int, rows: bool) -> NDArray[np.float64]:
    """[m, n] in single precision. Darknet copies the last column, but gives the last row only the share of the row before it."""
    step = np.float32(n - 1) / np.float32(max(m - 1, 1))
    result = np.zeros((m, n))
    for x in range(m):
        place = np.float32(x) * step
        before = min(int(place), n - 1)
        share = float(place - np.float32(before))
        last = x == m - 1
        result[x, n - 1 if last and not rows else before] = 1 if last and not rows else 1 - share
        if not last and before + 1 < n:
            result[x, before + 1] = share
    return result


def _levels(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.clip(np.floor(values + 0.5), 0, 255))


def _weights(n: int, m: int, interpolation: str, antialias: bool) -> NDArray[np.float64]:
    """[m, n]: what each of the n old pixels gives to each of the m new ones."""
    scale = n / m
    result = np.zeros((m, n))
    if interpolation == "nearest":
        # OpenCV floors the left edge, Pillow the centre. Where that is a whole number the last bit decides: OpenCV multiplies
        # by the inverse of the enlargement, Pillow adds the step up
        place = np.cumsum([0.5 * scale, *[scale] * (m - 1)]) if antialias else np.arange(m) * (1 / (m / n))
        result[np.arange(m), np.minimum(place, n - 1).astype(int)] = 1
        return result
    stretch = max(scale, 1.0) if antialias else 1.0
    reach = stretch * (1 if interpolation == "linear" else 2)
    for x in range(m):
        centre = (x + 0.5) * scale
        taps = np.arange(int(np.floor(centre - reach - 0.5)), int(np.ceil(centre + reach + 0.5)))
        weight = _kernel((taps + 0.5 - centre) / stretch, interpolation, -0.5 if antialias else -0.75)
        inside = (taps >= 0) & (taps < n) if antialias else np.full(len(taps), True)
        np.add.at(result[x], np.clip(taps[inside], 0, n - 1), weight[inside] / weight[inside].sum())
    if antialias:  # Pillow holds weights in 22 binary digits; without that, a pixel half-way between two levels falls either way
        result = np.rint(result * 2**22) / 2**22
    return result


def _kernel(x: NDArray[np.float64], interpolation: str, a: float) -> NDArray[np.float64]:
    d = np.abs(x)
    if interpolation == "linear":
        return np.clip(1 - d, 0, None)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
