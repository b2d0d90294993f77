"""timm: what timm's classifiers are evaluated with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from generator.preprocessing import Imitates, Misfit
from generator.preprocessing.center_crop import Cropped


class Timm(Cropped):
    """Shorter side to the model's size / crop_pct with Pillow's bicubic, then the middle: timm's evaluation transform."""

    kind: Literal["timm"] = "timm"
    imitates = Imitates(
        code='timm.data.create_transform(is_training=False, crop_mode="center")',
        source="https://github.com/huggingface/pytorch-image-models/blob/main/timm/data/transforms_factory.py",
        proven="timm 1.0.31, Pillow 12.3.0",
    )
    preset: ClassVar[dict[str, Any]] = {
        "interpolation": "cubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }

    crop_pct: Annotated[float, Field(gt=0.05, le=1, description="The share of the shorter side that is left by the crop.")] = (
        0.875
    )

    def misfits(self, height: int, width: int) -> Iterator[Misfit]:
        """Also: only square canvases are cropped as timm does it."""
        yield from super().misfits(height, width)
        if height != width:
            yield Misfit("kind", f"timm needs a square canvas, found {height} x {width}", "use a square model, or center_crop")

    def _short(self, height: int, width: int) -> int:
        return math.floor(height / self.crop_pct)
