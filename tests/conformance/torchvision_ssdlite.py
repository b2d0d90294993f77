"""The transform that torchvision's own ssdlite320_mobilenet_v3_large carries, its size set to the canvas."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance import torchvision_models
from conformance.pictures import CASES, Case

ALL = (*CASES[:3], Case("photo", 320, 320))
version = torchvision_models.version


def make(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    build = importlib.import_module("torchvision.models.detection").ssdlite320_mobilenet_v3_large
    transform = build(weights=None, weights_backbone=None).transform
    assert transform.fixed_size == (320, 320)
    transform.fixed_size = (width, height)
    return torchvision_models.run(transform, rgb, False)
