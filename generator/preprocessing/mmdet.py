"""mmdet: what MMDetection's two-stage detectors were trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.shortest_edge import MEAN_COLOUR, Edged


class Mmdet(Edged):
    """Shorter side 800, longer at most 1333, OpenCV's bilinear, halves rounded up: MMDetection's Resize(keep_ratio=True)."""

    kind: Literal["mmdet"] = "mmdet"
    imitates = Imitates(
        code="mmcv.imrescale, mmdet DetDataPreprocessor (normalise, then pad with 0)",
        source="https://github.com/open-mmlab/mmcv/blob/main/mmcv/image/geometric.py",
        proven="mmcv 2.2.0, mmengine 0.10.7",
        tolerance=0.48,
        reason="the padding, 0 after normalising, is no whole level",
    )
    preset: ClassVar[dict[str, Any]] = {
        "rounding": "half_up",
        "pad_value": MEAN_COLOUR,
        "scale": 1.0,
        "mean": (123.675, 116.28, 103.53),
        "std": (58.395, 57.12, 57.375),
        "stride": 32,
    }
