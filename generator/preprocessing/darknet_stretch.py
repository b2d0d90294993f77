"""darknet_stretch: what AlexeyAB's Darknet shows to its detectors."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.stretch import Stretched


class DarknetStretch(Stretched):
    """Stretch by Darknet's `resize_image`, the default of AlexeyAB's Darknet (YOLOv4): corners on corners."""

    kind: Literal["darknet_stretch"] = "darknet_stretch"
    imitates = Imitates(
        code="resize_image in src/image.c",
        source="https://github.com/pjreddie/darknet/blob/master/src/image.c",
        proven="Darknet f6afaabcdf85",
        tolerance=0.51,
        reason="single precision there, whole levels here",
    )
    preset: ClassVar[dict[str, Any]] = {
        "coordinates": "align_corners",
        "stride": 32,
    }
