"""imrescale and impad of mmcv and the pre-processor of mmengine, as MMDetection's RTMDet config sets them up."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance import mmdet
from conformance.pictures import BOX, SQUARE, moved

ALL = SQUARE
version = mmdet.version


def make(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Any, tuple[float, ...]]:
    """The tensor [3, height, width] and the box carried back."""
    torch, mmcv = importlib.import_module("torch"), importlib.import_module("mmcv")
    prepare = importlib.import_module("mmengine.model").ImgDataPreprocessor(
        mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=False
    )
    resized = mmcv.imrescale(np.ascontiguousarray(rgb[..., ::-1]), (width, height))
    canvas = mmcv.impad(resized, shape=(height, width), pad_val=(114, 114, 114))
    given = prepare({"inputs": [torch.from_numpy(np.ascontiguousarray(canvas.transpose(2, 0, 1)))]})
    scale = (resized.shape[1] / rgb.shape[1], resized.shape[0] / rgb.shape[0])
    return given["inputs"][0].numpy(), moved(BOX, scale, (0, 0))
