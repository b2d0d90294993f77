"""The transform of torchvision's Faster R-CNN, RetinaNet and FCOS, with shorter sides than theirs to keep the file small."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance import torchvision_models
from conformance.pictures import Case

_PHOTO = Case("photo", 448, 448, {"shortest": 267, "longest": 444})
_NAMES = ("tall", "wide", "tiny", "pixel", "exact", "odd", "ramp")
ALL = (
    *(Case(name, said={"shortest": 40, "longest": 64}) for name in _NAMES),
    _PHOTO,
)
version = torchvision_models.version


def make(rgb: NDArray[np.uint8], height: int, width: int, shortest: int, longest: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    transform = importlib.import_module("torchvision.models.detection.transform").GeneralizedRCNNTransform
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    return torchvision_models.run(transform(shortest, longest, mean, std), rgb, True)
