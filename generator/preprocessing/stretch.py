"""stretch: straight to the model's size."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator.preprocessing import Preprocess


class Stretch(Preprocess):
    """Resize to the model's size, aspect ratio given up, as Darknet's and SSD's training does it."""

    kind: Literal["stretch"] = "stretch"
    antialias: Annotated[bool, Field(description="Average the pixels that a reduction skips.")] = False

    def _fit(self) -> dict[str, str | int | bool]:
        return {"fit": "stretch", "antialias": self.antialias}

    def reference(self, rgb: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The resized picture is the canvas."""
        return self._paste(rgb, (width, height), (0, 0), np.zeros((height, width, 3), np.uint8), self.antialias)
