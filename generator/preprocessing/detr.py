"""detr: what DETR and its relatives were trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.shortest_edge import MEAN_COLOUR, Edged


class Detr(Edged):
    """Shorter side 800, longer at most 1333, Pillow's bilinear, padded with what normalises to 0: DETR in transformers."""

    kind: Literal["detr"] = "detr"
    imitates = Imitates(
        code="transformers.DetrImageProcessor (ConditionalDetr, DeformableDetr alike)",
        source="https://github.com/huggingface/transformers/blob/main/src/transformers/models/detr/image_processing_detr.py",
        proven="transformers 5.23.0, Pillow 12.3.0, torchvision 0.28.0",
        tolerance=0.48,
        reason="the padding, 0 after normalising, is no whole level",
    )
    preset: ClassVar[dict[str, Any]] = {
        "rounding": "edge",
        "antialias": True,
        "pad_value": MEAN_COLOUR,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
