"""torchvision_classification: what torchvision's classifiers are evaluated with."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from generator.preprocessing import Imitates
from generator.preprocessing.center_crop import Cropped


class TorchvisionClassification(Cropped):
    """Shorter side to `resize` with Pillow's bilinear, then the middle: torchvision's ImageClassification presets."""

    kind: Literal["torchvision_classification"] = "torchvision_classification"
    imitates = Imitates(
        code="torchvision.transforms._presets.ImageClassification on PIL images",
        source="https://github.com/pytorch/vision/blob/main/torchvision/transforms/_presets.py",
        proven="torchvision 0.28.0, Pillow 12.3.0",
    )
    preset: ClassVar[dict[str, Any]] = {
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }

    resize: Annotated[
        int, Field(ge=1, le=8192, description="Length of the shorter side before the crop; the weights' `resize_size`.")
    ] = 256

    def _short(self, height: int, width: int) -> int:
        return self.resize
