"""RTDetrImageProcessor of transformers, by Pillow; its torchvision path lies within a level of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance import hugging_face
from conformance.pictures import CASES

ALL = CASES
version = hugging_face.version


def make(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    return hugging_face.make("RTDetrImageProcessor", rgb, {"height": height, "width": width}, False, True)
