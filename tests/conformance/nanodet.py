"""ShapeTransform and _normalize of NanoDet (its checkout in CONFORMANCE_SOURCES/nanodet), as its configs set them up."""

from __future__ import annotations

import runpy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import BOX, CASES
from conformance.source import find

ALL = CASES


def version() -> str:
    """Of the checkout."""
    commit = (find("nanodet/nanodet/data/transform/warp.py").parents[3] / "COMMIT").read_text()
    return f"NanoDet {commit.strip()[:12]}"


def make(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    warp = runpy.run_path(str(find("nanodet/nanodet/data/transform/warp.py")))
    return finish(rgb, warp["ShapeTransform"](False)({"img": np.ascontiguousarray(rgb[..., ::-1])}, (width, height)))


def finish(rgb: NDArray[np.uint8], meta: dict[str, Any]) -> tuple[Any, tuple[float, ...]]:
    """Normalised as its configs say, and the box taken back by the inverse of its matrix, as its head does."""
    warp = runpy.run_path(str(find("nanodet/nanodet/data/transform/warp.py")))
    color = runpy.run_path(str(find("nanodet/nanodet/data/transform/color.py")))
    tensor = color["_normalize"](meta["img"].astype(np.float32) / 255, [103.53, 116.28, 123.675], [57.375, 57.12, 58.395])
    back = warp["warp_boxes"](np.array([BOX]), np.linalg.inv(meta["warp_matrix"]), rgb.shape[1], rgb.shape[0])[0]
    return tensor.transpose(2, 0, 1), tuple(back)
