"""yolox: what YOLOX was trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.letterbox import Contained


class Yolox(Contained):
    """Letterbox of YOLOX: top left, 114, sides cut off, BGR levels of 0 to 255 as they are."""

    kind: Literal["yolox"] = "yolox"
    imitates = Imitates(
        code="yolox.data.data_augment.preproc, boxes divided by its ratio",
        source="https://github.com/Megvii-BaseDetection/YOLOX/blob/main/yolox/data/data_augment.py",
        proven="YOLOX 0.3.0",
    )
    preset: ClassVar[dict[str, Any]] = {
        "anchor": "top_left",
        "rounding": "down",
        "geometry": "ratio",
        "channel_order": "BGR",
        "scale": 1.0,
        "stride": 32,
    }
