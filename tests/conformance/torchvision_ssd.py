"""The transform that torchvision's own ssd300_vgg16 carries, its size set to the canvas."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance import torchvision_models
from conformance.pictures import CASES, Case

ALL = (*CASES[:7], Case("photo", 300, 300))
version = torchvision_models.version


def make(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    build = importlib.import_module("torchvision.models.detection").ssd300_vgg16
    transform = build(weights=None, weights_backbone=None).transform
    assert transform.fixed_size == (300, 300)
    transform.fixed_size = (width, height)
    return torchvision_models.run(transform, rgb, False)
