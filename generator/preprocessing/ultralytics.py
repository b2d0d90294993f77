"""ultralytics: what YOLOv8 and its successors were trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.letterbox import Contained


class Ultralytics(Contained):
    """Letterbox of ultralytics (YOLOv8, 9, 10, 11, 12, 26; RT-DETR there): centred, 114, sides to the nearest pixel."""

    kind: Literal["ultralytics"] = "ultralytics"
    imitates = Imitates(
        code="ultralytics.data.augment.LetterBox(auto=False), ultralytics.utils.ops.scale_boxes",
        source="https://github.com/ultralytics/ultralytics/blob/main/ultralytics/data/augment.py",
        proven="ultralytics 8.4.190",
    )
    preset: ClassVar[dict[str, Any]] = {
        "stride": 32,
    }
