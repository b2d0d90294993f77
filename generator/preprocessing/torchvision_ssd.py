"""torchvision_ssd: what torchvision's SSD300 was trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.stretch import Stretched


class TorchvisionSsd(Stretched):
    """Stretch of torchvision's ssd300_vgg16: bilinear without antialiasing, its mean taken off levels of 0 to 255."""

    kind: Literal["torchvision_ssd"] = "torchvision_ssd"
    imitates = Imitates(
        code="torchvision.models.detection.transform.GeneralizedRCNNTransform as ssd300_vgg16 sets it up",
        source="https://github.com/pytorch/vision/blob/main/torchvision/models/detection/ssd.py",
        proven="torchvision 0.28.0",
        tolerance=0.77,
        reason="floats there; whole levels by OpenCV's fixed point here",
    )
    preset: ClassVar[dict[str, Any]] = {
        "mean": (0.48235, 0.45882, 0.40784),
        "std": (1 / 255, 1 / 255, 1 / 255),
    }
