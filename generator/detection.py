"""What a detector head hands to an NMS strategy: in the graph by tensor names, in NumPy by arrays, at plan time by counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Corners are x1, y1, x2, y2; centre is x, y of the centre, width, height. Pixels of the model's input, either way.
Coding = Literal["corners", "centre"]
#: What turns scores into probabilities; it never changes their order.
Activation = Literal["none", "sigmoid"]


@dataclass(frozen=True)
class Candidates:
    """How many boxes a picture has before suppression, known before anything is built."""

    boxes: int
    classes: int
    #: The class that means "nothing here"; its scores never make a detection, and other classes keep their numbers.
    background: int | None = None
    #: Has every class a box of its own, [batch, boxes, classes, 4]?
    per_class: bool = False
    #: What else belongs to each box and follows it through the selection; shapes without batch and boxes. One that is called
    #: `keypoints`, [points, 2 or more], has x and y in pixels of the model's input first, and is carried back to the picture.
    extras: tuple[Tensor, ...] = ()
    #: Raw outputs that go through as they are, such as the prototypes of masks.
    passed: tuple[Tensor, ...] = ()

    @property
    def pairs(self) -> int:
        """(box, class) pairs a picture: the most there could be of detections."""
        return self.boxes * (self.classes - (self.background is not None))


@dataclass(frozen=True)
class Decoded:
    """Names of tensors in the graph."""

    #: [batch, boxes, 4], or [batch, boxes, classes, 4] where every class has its own.
    boxes: str
    #: [batch, boxes, classes], or [batch, classes, boxes] with `by_class`.
    scores: str
    coding: Coding = "corners"
    activation: Activation = "none"
    by_class: bool = False
    #: Name -> [batch, boxes, ...].
    extras: Mapping[str, str] = field(default_factory=dict)
    #: Where the boxes are deltas from anchors without variances, as the fused decoder of EfficientNMS_TRT takes them:
    #: the deltas' name, and anchors [1, boxes, 4] as centres.
    deltas: tuple[str, NDArray[np.float32]] | None = None


@dataclass(frozen=True)
class Answers:
    """The same in NumPy, as a reference gives it: corners and probabilities always."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    extras: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre boxes [..., 4] -> corner boxes."""
    half = boxes[..., 2:] / 2
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)
