"""Non-maximum suppression. One file a strategy, all with the four outputs of the EfficientNMS contract.

`num_dets [batch, 1] INT32`, `det_boxes [batch, K, 4] FP32` (x1, y1, x2, y2 in input pixels), `det_scores [batch, K] FP32`,
`det_classes [batch, K] INT32`; rows from `num_dets` on are zero (TensorRT plugin/efficientNMSPlugin/README.md). What else a head
gives for each box follows as `det_NAME [batch, K, ...]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generator.detection import Answers, Candidates, Decoded
from generator.errors import SurgeryError
from generator.plugin import Plugin
from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder

#: A detection on its way: score, class, box.
Pair = tuple[float, int, int]


class Nms(Plugin):
    """What every strategy takes: a score threshold, and K, the most boxes a picture keeps."""

    #: The TensorRT plugin node that it puts into the graph; empty for standard operators only.
    plugin: ClassVar[str] = ""

    score_threshold: Annotated[float, Field(ge=0, le=1, description="Boxes at or below this score are dropped.")] = 0.25
    max_detections: Annotated[int, Field(ge=1, description="K: rows in the fixed-size outputs.")] = 100
    multi_label: Annotated[bool, Field(description="Whether a box may be kept for several classes, or for its best only.")] = True
    runtime: Annotated[
        tuple[Literal["score_threshold", "iou_threshold"], ...],
        Field(
            description="Thresholds that each request brings, as FP32 [batch, 1] inputs of these names; "
            "the values said above are then what `verify`, `bench` and `infer` send."
        ),
    ] = ()

    @model_validator(mode="after")
    def _has_them(self) -> Self:
        if missing := [name for name in self.runtime if name not in type(self).model_fields]:
            raise ValueError(f"runtime: nms kind {self.kind} has no {missing[0]}; take it out, or use another kind")
        return self

    def inputs(self) -> tuple[Tensor, ...]:
        """What the model takes besides the picture."""
        return tuple(Tensor(name, "FP32", (1,)) for name in self.runtime)

    def values(self) -> dict[str, float]:
        """What is sent for them where nobody says otherwise."""
        return {name: float(getattr(self, name)) for name in self.runtime}

    def outputs(self, candidates: Candidates) -> tuple[Tensor, ...]:
        """The contract's four tensors, and the extras of the head."""
        k = self.max_detections
        return (
            Tensor("num_dets", "INT32", (1,)),
            Tensor("det_boxes", "FP32", (k, 4)),
            Tensor("det_scores", "FP32", (k,)),
            Tensor("det_classes", "INT32", (k,)),
            *(Tensor(f"det_{extra.name}", extra.dtype, (k, *extra.shape)) for extra in candidates.extras),
        )

    def served(self, candidates: Candidates) -> tuple[Tensor, ...]:
        """All that the model gives: the outputs, and what goes through."""
        return (*self.outputs(candidates), *candidates.passed)

    def check(self, candidates: Candidates) -> None:
        """Raise SurgeryError where there are fewer candidates than K, or the strategy cannot do what is asked."""
        if self.max_detections > candidates.pairs:
            raise SurgeryError(
                f"max_detections is {self.max_detections}, the model has {candidates.boxes} boxes x "
                f"{candidates.pairs // candidates.boxes} classes = {candidates.pairs} candidates",
                f"say at most {candidates.pairs}",
            )

    def append(self, build: Builder, decoded: Decoded, candidates: Candidates) -> None:
        """Add the strategy to the graph and make its outputs the graph's."""
        raise NotImplementedError

    def reference(self, answers: Answers, candidates: Candidates) -> dict[str, NDArray[np.generic]]:
        """The same in plain NumPy, pair by pair: what `keep` leaves, strongest first; of equal ones the lower class, then box."""
        batch, k = len(answers.boxes), self.max_detections
        types = {"INT32": np.int32, "FP32": np.float32}
        found = {t.name: np.zeros((batch, *t.shape), types[t.dtype]) for t in self.outputs(candidates)}
        for b in range(batch):
            boxes = answers.boxes[b]
            kept = self.keep(self._pairs(answers.scores[b], candidates.background), boxes)[:k]
            found["num_dets"][b] = len(kept)
            for row, (score, label, box) in enumerate(kept):
                found["det_scores"][b, row], found["det_classes"][b, row] = -score, label
                found["det_boxes"][b, row] = corner(boxes, label, box)
                for name, values in answers.extras.items():
                    found[f"det_{name}"][b, row] = values[b, box]
        return dict(found)

    def keep(self, pairs: list[Pair], boxes: NDArray[np.float32]) -> list[Pair]:
        """Of one picture's pairs (minus score, class, box), sorted, those that are kept, in the order of the answer."""
        raise NotImplementedError

    def _pairs(self, scores: NDArray[np.float32], background: int | None) -> list[Pair]:
        """Above the threshold, strongest first. NaN is above nothing."""
        above = np.where(scores > np.float32(self.score_threshold), scores, -1).astype(np.float32)
        if background is not None:
            above[:, background] = -1
        if not self.multi_label and above.size:
            above[np.arange(above.shape[1])[None, :] != above.argmax(1)[:, None]] = -1
        return sorted((-float(above[i, c]), int(c), int(i)) for i, c in np.argwhere(above >= 0))


def corner(boxes: NDArray[np.float32], label: int, box: int) -> NDArray[np.float32]:
    """One box of [boxes, 4], or of [boxes, classes, 4]."""
    return np.asarray(boxes[box] if boxes.ndim == 2 else boxes[box, label])
