"""darknet: what Darknet shows to its detectors."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.letterbox import Contained


class Darknet(Contained):
    """Letterbox of Darknet's own detector (`letterbox_image`): corners on corners, grey of one half."""

    kind: Literal["darknet"] = "darknet"
    imitates = Imitates(
        code="letterbox_image in src/image.c, correct_yolo_boxes in src/yolo_layer.c",
        source="https://github.com/pjreddie/darknet/blob/master/src/image.c",
        proven="Darknet f6afaabcdf85",
        tolerance=0.51,
        reason="single precision there, whole levels here",
    )
    preset: ClassVar[dict[str, Any]] = {
        "rounding": "integer",
        "coordinates": "align_corners",
        "geometry": "relative",
        "pad_value": 128,
        "stride": 32,
    }
