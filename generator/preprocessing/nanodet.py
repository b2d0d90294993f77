"""nanodet: what NanoDet-Plus was trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.stretch import Stretched


class Nanodet(Stretched):
    """Stretch of NanoDet (keep_ratio: False): cv2.warpPerspective, whose pixels lie half a step beside those of cv2.resize."""

    kind: Literal["nanodet"] = "nanodet"
    imitates = Imitates(
        code="nanodet.data.transform.warp.ShapeTransform, nanodet.data.transform.color",
        source="https://github.com/RangiLyu/nanodet/blob/main/nanodet/data/transform/warp.py",
        proven="NanoDet be9b4a9001d7",
    )
    preset: ClassVar[dict[str, Any]] = {
        "coordinates": "asymmetric",
        "channel_order": "BGR",
        "scale": 1.0,
        "mean": (103.53, 116.28, 123.675),
        "std": (57.375, 57.12, 58.395),
        "stride": 32,
    }
