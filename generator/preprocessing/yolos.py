"""yolos: what YOLOS was trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.shortest_edge import MEAN_COLOUR, Edged


class Yolos(Edged):
    """DETR's resize with both sides cut down to multiples of 16: YOLOS in transformers."""

    kind: Literal["yolos"] = "yolos"
    imitates = Imitates(
        code="transformers.YolosImageProcessor",
        source="https://github.com/huggingface/transformers/blob/main/src/transformers/models/yolos/image_processing_yolos.py",
        proven="transformers 5.23.0, Pillow 12.3.0, torchvision 0.28.0",
        tolerance=0.48,
        reason="the padding, 0 after normalising, is no whole level",
    )
    preset: ClassVar[dict[str, Any]] = {
        "rounding": "edge",
        "multiple": 16,
        "antialias": True,
        "pad_value": MEAN_COLOUR,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
