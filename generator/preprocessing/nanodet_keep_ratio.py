"""nanodet_keep_ratio: what NanoDet was trained with where its config keeps the ratio."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.letterbox import Contained


class NanodetKeepRatio(Contained):
    """Letterbox of NanoDet (keep_ratio: True): centred by a fraction of a pixel, black around it."""

    kind: Literal["nanodet_keep_ratio"] = "nanodet_keep_ratio"
    imitates = Imitates(
        code="nanodet.data.transform.warp.warp_and_resize(keep_ratio=True) of its 0.x releases",
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
        "pad_value": 0,
        "geometry": "ratio",
    }
