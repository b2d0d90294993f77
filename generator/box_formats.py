"""Boxes that need no anchors: their four numbers in any order, in pixels or as fractions of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from generator.detection import Coding
from generator.raw_outputs import edge
from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder

#: Corners, top left corner and size, centre and size, corners with y first.
Format = Literal["xyxy", "xywh", "cxcywh", "yxyx"]
FormatField = Annotated[
    Format, Field(description="The four numbers: corners; top left corner and size; centre and size; corners with y first.")
]


def decoded(build: Builder, boxes: str, layout: Format, normalised: bool, image: Tensor) -> tuple[str, Coding]:
    """[..., 4] in pixels of the model's input: corners, or centres where they came as such."""
    if layout == "yxyx":
        boxes = build("Gather", boxes, np.array([1, 0, 3, 2]), axis=-1)
    if normalised:
        boxes = build("Mul", boxes, edge(image))
    if layout == "xywh":
        low, size = build.many("Split", boxes, np.array([2, 2]), outputs=2, axis=-1)
        boxes = build("Concat", low, build("Add", low, size), axis=-1)
    return boxes, "centre" if layout == "cxcywh" else "corners"


def reference(boxes: NDArray[np.float32], layout: Format, normalised: bool, image: Tensor) -> NDArray[np.float32]:
    """Corners in pixels of the model's input, in NumPy."""
    height, width = image.shape[-2:]
    a, b, c, d = np.moveaxis(boxes.astype(np.float64), -1, 0)
    x1, y1, x2, y2 = {
        "xyxy": lambda: (a, b, c, d),
        "xywh": lambda: (a, b, a + c, b + d),
        "cxcywh": lambda: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
        "yxyx": lambda: (b, a, d, c),
    }[layout]()
    across, down = (width, height) if normalised else (1, 1)
    return np.asarray(np.stack([x1 * across, y1 * down, x2 * across, y2 * down], -1), np.float32)
