"""rt_detr: what RT-DETR and D-FINE were trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.stretch import Stretched


class RtDetr(Stretched):
    """Stretch with Pillow's bilinear, levels of 0 to 1: RT-DETR in transformers and in its authors' repository."""

    kind: Literal["rt_detr"] = "rt_detr"
    imitates = Imitates(
        code="transformers.RTDetrImageProcessor",
        source="https://github.com/huggingface/transformers/blob/main/src/transformers/models/rt_detr/image_processing_rt_detr.py",
        proven="transformers 5.23.0, Pillow 12.3.0, torchvision 0.28.0",
    )
    preset: ClassVar[dict[str, Any]] = {
        "antialias": True,
        "stride": 32,
    }
