"""none: no suppression, for heads that give one box a thing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from generator import selection
from generator.detection import Candidates, Decoded
from generator.nms import Nms, Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder


class NoNms(Nms):
    """No suppression: the K best (box, class) pairs above the threshold, as DETR, RT-DETR, YOLOv10 and CenterNet want it."""

    kind: Literal["none"] = "none"

    def keep(self, pairs: list[Pair], boxes: NDArray[np.float32]) -> list[Pair]:
        """All."""
        return pairs

    def append(self, build: Builder, decoded: Decoded, candidates: Candidates) -> None:
        """One TopK over all pairs."""
        self.check(candidates)
        found = selection.by_class(build, selection.foreground(build, decoded, candidates))
        above = build("Greater", found.scores, selection.threshold(build, self, decoded.activation))
        scores = selection.only(build, above, found.scores)
        if not self.multi_label and len(found.classes) > 1:
            scores = selection.best_class(build, scores, len(found.classes))
        selection.top_pairs(build, self, replace(found, scores=scores))
