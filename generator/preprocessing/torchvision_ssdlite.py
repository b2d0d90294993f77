"""torchvision_ssdlite: what torchvision's SSDlite was trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.stretch import Stretched


class TorchvisionSsdlite(Stretched):
    """Stretch of torchvision's ssdlite320_mobilenet_v3_large: bilinear without antialiasing, levels of -1 to 1."""

    kind: Literal["torchvision_ssdlite"] = "torchvision_ssdlite"
    imitates = Imitates(
        code="torchvision.models.detection.transform.GeneralizedRCNNTransform as ssdlite320_mobilenet_v3_large sets it up",
        source="https://github.com/pytorch/vision/blob/main/torchvision/models/detection/ssdlite.py",
        proven="torchvision 0.28.0",
        tolerance=0.77,
        reason="floats there; whole levels by OpenCV's fixed point here",
    )
    preset: ClassVar[dict[str, Any]] = {
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
