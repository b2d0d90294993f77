"""Keras' mode "tf"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance import keras_applications
from conformance.pictures import CASES, Case

ALL = (*CASES, Case("tall", said={"interpolation": "linear"}))
version = keras_applications.version


def make(rgb: NDArray[np.uint8], height: int, width: int, **said: Any) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width]; classifiers have no boxes."""
    return keras_applications.make("tf", rgb, height, width, **said)
