"""picodet: what PicoDet and PP-YOLOE were trained with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates
from generator.preprocessing.stretch import Stretched


class Picodet(Stretched):
    """Stretch of PaddleDetection's PicoDet: OpenCV's cubic, ImageNet's mean and std."""

    kind: Literal["picodet"] = "picodet"
    imitates = Imitates(
        code="ppdet.data.transform.operators.Resize(keep_ratio=False, interp=2), NormalizeImage, Permute",
        source="https://github.com/PaddlePaddle/PaddleDetection/blob/develop/ppdet/data/transform/operators.py",
        proven="paddledet 2.6.0",
    )
    preset: ClassVar[dict[str, Any]] = {
        "interpolation": "cubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "stride": 32,
    }
