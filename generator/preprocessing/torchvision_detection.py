"""torchvision_detection: what torchvision's Faster R-CNN, RetinaNet and FCOS were trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.shortest_edge import MEAN_COLOUR, Edged


class TorchvisionDetection(Edged):
    """Shorter side 800, longer at most 1333, bilinear without antialiasing: torchvision's GeneralizedRCNNTransform."""

    kind: Literal["torchvision_detection"] = "torchvision_detection"
    imitates = Imitates(
        code="torchvision.models.detection.transform.GeneralizedRCNNTransform",
        source="https://github.com/pytorch/vision/blob/main/torchvision/models/detection/transform.py",
        proven="torchvision 0.28.0",
        tolerance=0.77,
        reason="floats there; whole levels by OpenCV's fixed point here",
    )
    preset: ClassVar[dict[str, Any]] = {
        "pad_value": MEAN_COLOUR,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "stride": 32,
    }
