"""LetterBox of the package ultralytics, and what its predictor does afterwards (BGR to RGB, / 255)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import BOX, CASES, Case

#: Beside the common ones: what its options do; and the minimal rectangle of a 16:9 picture, on a canvas of that size.
EXTRA = (
    Case("tiny", said={"scale_up": False}),
    Case("wide", said={"anchor": "top_left"}),
    Case("tall", said={"pad_value": 0}),
)
ALL = (*CASES, *EXTRA)


def version() -> str:
    """Of the package."""
    return f"ultralytics {importlib.import_module('ultralytics').__version__}"


def make(rgb: NDArray[np.uint8], height: int, width: int, **said: Any) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    augment = importlib.import_module("ultralytics.data.augment")
    ops = importlib.import_module("ultralytics.utils.ops")
    centred = said.get("anchor", "centre") == "centre"
    box = augment.LetterBox(
        (height, width), scaleup=said.get("scale_up", True), center=centred, padding_value=said.get("pad_value", 114)
    )
    canvas = box(image=np.ascontiguousarray(rgb[..., ::-1]))
    back = (np.nan,) * 4
    if not said:  # scale_boxes knows the defaults only
        back = tuple(ops.scale_boxes((height, width), np.array([BOX]), rgb.shape[:2])[0])
    return canvas[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 255, back
