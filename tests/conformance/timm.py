"""The evaluation transform of timm, bicubic, on a PIL image."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import SQUARE, Case

ALL = (*SQUARE[:-2], Case("odd", said={"crop_pct": 0.95}), Case("wide", said={"interpolation": "linear"}))


def version() -> str:
    """Of the package, and of Pillow."""
    from importlib.metadata import version

    return f"timm {version('timm')}, Pillow {version('pillow')}"


def make(rgb: NDArray[np.uint8], height: int, width: int, **said: Any) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width]; classifiers have no boxes."""
    from PIL import Image

    name = {"cubic": "bicubic", "linear": "bilinear"}[said.get("interpolation", "cubic")]
    create = importlib.import_module("timm.data").create_transform
    transform = create((3, height, width), is_training=False, interpolation=name, crop_pct=said.get("crop_pct", 0.875))
    return transform(Image.fromarray(rgb)).numpy(), (np.nan,) * 4
