"""yolov5: what YOLOv5, YOLOv6 and YOLOv7 were trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.letterbox import Contained


class Yolov5(Contained):
    """Letterbox of YOLOv5: the pixels of ultralytics, boxes carried back by one ratio and an offset that is not rounded."""

    kind: Literal["yolov5"] = "yolov5"
    imitates = Imitates(
        code="yolov5.utils.augmentations.letterbox(auto=False), yolov5.utils.general.scale_boxes",
        source="https://github.com/ultralytics/yolov5/blob/master/utils/augmentations.py",
        proven="yolov5 7.0.14",
    )
    preset: ClassVar[dict[str, Any]] = {
        "geometry": "ratio",
        "stride": 32,
    }
