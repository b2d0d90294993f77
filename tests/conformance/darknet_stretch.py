"""resize_image of Darknet; AlexeyAB's detector scales boxes by the sides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance import darknet
from conformance.darknet import by
from conformance.pictures import BOX, CASES, Case, moved

ALL = (*CASES[:4], *CASES[-2:-1], Case("exact", 62, 62))
version = darknet.version


def make(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    return by("resize_image", rgb, height, width), moved(BOX, (width / rgb.shape[1], height / rgb.shape[0]), (0, 0))
