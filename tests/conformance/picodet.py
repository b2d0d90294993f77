"""Resize, NormalizeImage and Permute of PaddleDetection (the package paddledet; paddle itself is not needed for them)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import BOX, CASES, moved
from conformance.source import functions

ALL = CASES


def version() -> str:
    """Of the package."""
    from importlib.metadata import version

    return f"paddledet {version('paddledet')}"


def make(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    from collections.abc import Sequence
    from numbers import Integral, Number

    import cv2

    known = {
        "cv2": cv2, "np": np, "Integral": Integral, "Number": Number, "Sequence": Sequence, "uuid": __import__("uuid"),
        "register_op": lambda cls: cls, "serializable": lambda cls: cls,
    }  # fmt: skip
    file = "ppdet/data/transform/operators.py"
    names = ["BaseOperator", "Resize", "NormalizeImage", "Permute"]
    ops = functions(file, names, known)
    sample = {"image": rgb.copy()}
    for step in (
        ops["Resize"]([height, width], keep_ratio=False, interp=2),
        ops["NormalizeImage"](mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], is_scale=True),
        ops["Permute"](),
    ):
        sample = step(sample)
    scale_y, scale_x = (float(value) for value in np.asarray(sample["scale_factor"]))
    return sample["image"], moved(BOX, (scale_x, scale_y), (0, 0))
