"""letterbox of the package yolov5, and what its detect.py does afterwards (BGR to RGB, / 255)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import BOX, CASES, Case
from conformance.source import functions

ALL = (*CASES, Case("tiny", said={"scale_up": False}))


def version() -> str:
    """Of the package."""
    from importlib.metadata import version

    return f"yolov5 {version('yolov5')}"


def make(rgb: NDArray[np.uint8], height: int, width: int, **said: Any) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    import cv2

    letterbox = functions("yolov5/utils/augmentations.py", ["letterbox"], {"cv2": cv2, "np": np})["letterbox"]
    after = functions("yolov5/utils/general.py", ["scale_boxes", "clip_boxes"], {"np": np, "torch": __import__("torch")})
    canvas = letterbox(rgb[..., ::-1], (height, width), auto=False, scaleup=said.get("scale_up", True))[0]
    back = (np.nan,) * 4
    if not said:
        back = tuple(after["scale_boxes"]((height, width), np.array([BOX]), rgb.shape[:2])[0])
    return canvas[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 255, back
