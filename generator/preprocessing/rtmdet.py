"""rtmdet: what RTMDet was trained with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from generator.preprocessing import Imitates, Misfit
from generator.preprocessing.letterbox import Contained


class Rtmdet(Contained):
    """Letterbox of MMDetection's RTMDet: top left, 114, halves rounded up, BGR."""

    kind: Literal["rtmdet"] = "rtmdet"
    imitates = Imitates(
        code="mmcv.imrescale, mmdet Pad(size=(640, 640), pad_val=dict(img=(114, 114, 114)))",
        source="https://github.com/open-mmlab/mmdetection/blob/main/configs/rtmdet/rtmdet_l_8xb32-300e_coco.py",
        proven="mmcv 2.2.0, mmengine 0.10.7",
    )
    preset: ClassVar[dict[str, Any]] = {
        "anchor": "top_left",
        "rounding": "half_up",
        "channel_order": "BGR",
        "scale": 1.0,
        "mean": (103.53, 116.28, 123.675),
        "std": (57.375, 57.12, 58.395),
        "stride": 32,
    }

    def misfits(self, height: int, width: int) -> Iterator[Misfit]:
        """Also: its Resize takes the longer side for the longer one, whichever way the picture is turned."""
        yield from super().misfits(height, width)
        if height != width:
            yield Misfit("kind", f"rtmdet needs a square canvas, found {height} x {width}", "use a square model, or letterbox")
