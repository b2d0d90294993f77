"""imrescale of mmcv and the pre-processor of mmengine, as MMDetection's two-stage configs set them up."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import BOX, Case, moved

_PHOTO = Case("photo", 448, 448, {"shortest": 267, "longest": 444})
_NAMES = ("tall", "wide", "tiny", "pixel", "exact", "odd", "ramp")
ALL = (
    *(Case(name, said={"shortest": 40, "longest": 64}) for name in _NAMES),
    _PHOTO,
)


def version() -> str:
    """Of the packages."""
    from importlib.metadata import version

    return f"mmcv {version('mmcv-lite')}, mmengine {version('mmengine')}"


def make(rgb: NDArray[np.uint8], height: int, width: int, shortest: int, longest: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back (by new / old sides, as Resize records them)."""
    torch, mmcv = importlib.import_module("torch"), importlib.import_module("mmcv")
    prepare = importlib.import_module("mmengine.model").ImgDataPreprocessor(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32
    )
    others = [np.zeros((150, 300, 3), np.uint8), np.zeros((300, 150, 3), np.uint8)]
    resized = [mmcv.imrescale(np.ascontiguousarray(image[..., ::-1]), (longest, shortest)) for image in (rgb, *others)]
    given = prepare({"inputs": [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in resized]})
    scale = (resized[0].shape[1] / rgb.shape[1], resized[0].shape[0] / rgb.shape[0])
    return given["inputs"][0].numpy(), moved(BOX, scale, (0, 0))
