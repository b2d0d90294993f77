"""What the makers of torchvision's detectors share: GeneralizedRCNNTransform itself."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.pictures import BOX


def version() -> str:
    """Of the package."""
    from importlib.metadata import version

    return f"torchvision {version('torchvision')}"


def run(transform: Any, rgb: NDArray[np.uint8], turned: bool) -> tuple[Any, tuple[float, ...]]:
    """`turned`: in one batch with a wide and a tall picture, so that all is padded to the canvas."""
    torch = importlib.import_module("torch")
    resize_boxes = importlib.import_module("torchvision.models.detection.transform").resize_boxes
    others = [np.zeros((150, 300, 3), np.uint8), np.zeros((300, 150, 3), np.uint8)] if turned else []
    images = [torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255) for image in (rgb, *others)]
    given, _ = transform.eval()(images)
    back = resize_boxes(torch.tensor([BOX]), given.image_sizes[0], rgb.shape[:2])[0]
    return given.tensors[0].numpy(), tuple(back.tolist())
