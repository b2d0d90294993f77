"""The ImageClassification preset of torchvision, on a PIL image."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import SQUARE, Case

ALL = (*(Case(c.picture, c.height, c.width, {"resize": 73}) for c in SQUARE[:-1]), Case("odd", said={"resize": 45}))


def version() -> str:
    """Of the package, and of Pillow."""
    from importlib.metadata import version

    return f"torchvision {version('torchvision')}, Pillow {version('pillow')}"


def make(rgb: NDArray[np.uint8], height: int, width: int, resize: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width]; classifiers have no boxes."""
    from PIL import Image

    preset = importlib.import_module("torchvision.transforms._presets").ImageClassification
    tensor = preset(crop_size=height, resize_size=resize, antialias=True)(Image.fromarray(rgb))
    return tensor.numpy(), (np.nan,) * 4
