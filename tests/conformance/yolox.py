"""preproc of YOLOX 0.3.0 (its sdist below CONFORMANCE_SOURCES); its boxes are divided by the ratio that preproc gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import BOX, CASES, moved
from conformance.source import functions

ALL = CASES


def version() -> str:
    """Of the sdist."""
    return "YOLOX 0.3.0"


def make(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    import cv2

    preproc = functions("yolox-0.3.0/yolox/data/data_augment.py", ["preproc"], {"cv2": cv2, "np": np})["preproc"]
    tensor, ratio = preproc(rgb[..., ::-1], (height, width))
    return tensor, moved(BOX, (ratio, ratio), (0, 0))
