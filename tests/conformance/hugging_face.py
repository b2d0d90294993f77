"""What the makers of transformers' image processors share."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import BOX, moved


def version() -> str:
    """Of the package, and of what resizes in it."""
    from importlib.metadata import version

    return f"transformers {version('transformers')}, Pillow {version('pillow')}, torchvision {version('torchvision')}"


def make(name: str, rgb: NDArray[np.uint8], size: dict[str, int], turned: bool, pil: bool) -> tuple[Any, tuple[float, ...]]:
    """By the processor `name`; `turned`: in one batch with a wide and a tall picture, so that all is padded to the canvas."""
    processor = getattr(importlib.import_module("transformers"), name + ("Pil" if pil else ""))(size=size)
    others = [np.zeros((150, 300, 3), np.uint8), np.zeros((300, 150, 3), np.uint8)] if turned else []
    given = processor([rgb, *others], return_tensors="pt", input_data_format="channels_last")
    if "pixel_mask" in given:
        mask = np.asarray(given["pixel_mask"][0])
        new = (int(mask.any(axis=0).sum()), int(mask.any(axis=1).sum()))
    else:
        new = (size["width"], size["height"])
    scale = (new[0] / rgb.shape[1], new[1] / rgb.shape[0])  # post_process multiplies relative boxes by the picture's size
    return np.asarray(given["pixel_values"][0]), moved(BOX, scale, (0, 0))
