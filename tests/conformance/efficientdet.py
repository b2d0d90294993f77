"""ResizePad of the package effdet with its default colour, and the normalisation of its loader."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import BOX, CASES, moved
from conformance.source import find

ALL = CASES


def version() -> str:
    """Of the package, and of Pillow."""
    from importlib.metadata import version

    return f"effdet {version('effdet')}, Pillow {version('pillow')}"


def make(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    import runpy

    from PIL import Image

    file = runpy.run_path(str(find("effdet/data/transforms.py")))
    fill = file["resolve_fill_color"]("mean")
    image, notes = file["ResizePad"]((height, width), fill_color=fill)(Image.fromarray(rgb), {})
    mean, std = (np.array(file[f"IMAGENET_DEFAULT_{name}"], np.float32).reshape(3, 1, 1) * 255 for name in ("MEAN", "STD"))
    tensor = (np.asarray(image).transpose(2, 0, 1).astype(np.float32) - mean) / std
    return tensor, tuple(value * notes["img_scale"] for value in moved(BOX, (1, 1), (0, 0)))
