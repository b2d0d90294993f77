"""YolosImageProcessor of transformers, by Pillow; its torchvision path lies within a level of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance import hugging_face
from conformance.pictures import Case

_PHOTO = Case("photo", 448, 448, {"shortest": 267, "longest": 444})
#: The shorter side has its length already, and the longer is left a pixel too long.
_LONG = Case("wide", 336, 336, {"shortest": 101, "longest": 332})
_NAMES = ("tall", "wide", "tiny", "pixel", "exact", "odd", "ramp")
ALL = (
    *(Case(name, said={"shortest": 40, "longest": 64}) for name in _NAMES),
    _PHOTO,
    _LONG,
)
version = hugging_face.version


def make(rgb: NDArray[np.uint8], height: int, width: int, shortest: int, longest: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    size = {"shortest_edge": shortest, "longest_edge": longest}
    tensor, back = hugging_face.make("YolosImageProcessor", rgb, size, True, True)
    canvas = np.zeros((3, height, width), np.float32)
    canvas[:, : tensor.shape[1], : tensor.shape[2]] = tensor
    return canvas, back
