"""efficientdet: what EfficientDet in PyTorch was trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.letterbox import Contained
from generator.preprocessing.shortest_edge import MEAN_COLOUR


class Efficientdet(Contained):
    """Letterbox of effdet (EfficientDet): Pillow's bilinear, top left, ImageNet's mean colour around it."""

    kind: Literal["efficientdet"] = "efficientdet"
    imitates = Imitates(
        code="effdet.data.transforms.ResizePad, boxes divided by its scale",
        source="https://github.com/rwightman/efficientdet-pytorch/blob/master/effdet/data/transforms.py",
        proven="effdet 0.4.1, Pillow 12.3.0",
    )
    preset: ClassVar[dict[str, Any]] = {
        "anchor": "top_left",
        "rounding": "down",
        "geometry": "ratio",
        "antialias": True,
        "pad_value": MEAN_COLOUR,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "stride": 128,
    }
