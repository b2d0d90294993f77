"""What strategies that suppress have in common: their settings, and greedy suppression in plain NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from generator.nms import Nms, Pair, corner

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Suppressing(Nms):
    """Greedy suppression: of two boxes that overlap by more than `iou_threshold`, the weaker goes."""

    iou_threshold: Annotated[
        float, Field(ge=0, le=1, description="Of two boxes of one class that overlap by more, the weaker goes.")
    ] = 0.45
    class_agnostic: Annotated[
        bool, Field(description="Whether boxes of different classes suppress each other; each is then kept for its best class.")
    ] = False
    pre_nms_top_k: Annotated[
        int | None, Field(ge=1, description="Look at this many (box, class) pairs of highest score only; left out: at all.")
    ] = None

    @property
    def best_only(self) -> bool:
        """Is a box kept for one class at most?"""
        return self.class_agnostic or not self.multi_label

    def keep(self, pairs: list[Pair], boxes: NDArray[np.float32]) -> list[Pair]:
        """Greedy, strongest first, over the `pre_nms_top_k` strongest; across classes the lower box comes first among equals."""
        if self.class_agnostic:
            pairs = sorted(_best(pairs)[: self.pre_nms_top_k], key=lambda pair: (pair[0], pair[2]))
        kept: list[Pair] = []
        for pair in pairs[: self.pre_nms_top_k]:
            rivals = kept if self.class_agnostic else [other for other in kept if other[1] == pair[1]]
            here = corner(boxes, *pair[1:])
            if all(iou(here, corner(boxes, *other[1:])) <= np.float32(self.iou_threshold) for other in rivals):
                kept.append(pair)
        return kept


def _best(pairs: list[Pair]) -> list[Pair]:
    """The first pair of each box."""
    seen: dict[int, Pair] = {}
    for pair in pairs:
        seen.setdefault(pair[2], pair)
    return list(seen.values())


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.float32:
    """Intersection over union of two corner boxes, in float32; 0 where they do not meet, or one is not a number."""
    left, top = np.maximum(np.minimum(a[:2], a[2:]), np.minimum(b[:2], b[2:]))
    right, bottom = np.minimum(np.maximum(a[:2], a[2:]), np.maximum(b[:2], b[2:]))
    if not (right > left and bottom > top):
        return np.float32(0)
    inner = (right - left) * (bottom - top)
    area_a, area_b = abs((a[2] - a[0]) * (a[3] - a[1])), abs((b[2] - b[0]) * (b[3] - b[1]))
    return np.float32(inner / (area_a + area_b - inner))
