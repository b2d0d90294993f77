"""yolov2: the region head of YOLOv2 and YOLO9000's detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from generator.detection import Answers, Candidates, Decoded, corners
from generator.levels import GridHead, Pack, boxes_first
from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder


class Yolov2(GridHead):
    """YOLOv2: one grid, anchors in cells; scores are objectness times the softmax over the classes.

    For cell (i, j), anchor (pw, ph) and stride s: x = (sigmoid(tx) + i) * s, w = pw * exp(tw) * s, likewise y and h;
    score = sigmoid(to) * softmax(tc) (Redmon and Farhadi, YOLO9000, arXiv:1612.08242, section 2, "Direct location prediction").
    Takes [batch, anchors * (5 + classes), rows, columns], or channels last; of each anchor tx, ty, tw, th, to and classes.
    """

    kind: Literal["yolov2"] = "yolov2"
    sources: ClassVar[tuple[str, ...]] = ("../levels.py",)
    proven_by: ClassVar[str] = "OpenCV's Darknet reader"

    strides: Annotated[tuple[int, ...], Field(min_length=1, max_length=1, description="Input pixels between cells.")] = (32,)
    anchors: Annotated[tuple[tuple[float, float], ...], Field(min_length=1, description="(width, height) in cells.")]
    softmax: Annotated[bool, Field(description="Classes exclude each other; else each has a sigmoid of its own.")] = True

    @property
    def anchors_each(self) -> int:
        """One box for each anchor."""
        return len(self.anchors)

    def packings(self) -> tuple[tuple[Pack, ...], ...]:
        """One tensor."""
        return (({"boxes": 4, "objectness": 1, "scores": self.classes},),)

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """anchors * rows * columns."""
        self.taken(image, outputs)
        return Candidates(self.boxes(image), self.classes)

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Boxes as centres, scores as probabilities."""
        roles = self.gathered(build, image, outputs)
        points, strides = self.cells(image, 0)
        xy, wh = build.many("Split", boxes_first(build, roles["boxes"]), np.array([2, 2]), outputs=2, axis=2)
        centre = build("Add", build("Mul", build("Sigmoid", xy), strides), points)
        size = build("Mul", build("Exp", wh), self._sizes(image))
        scores, axis = roles["scores"].name, roles["scores"].axis
        classes = build("Softmax", scores, axis=axis) if self.softmax else build("Sigmoid", scores)
        product = build("Mul", build("Sigmoid", roles["objectness"].name), classes)
        return Decoded(build("Concat", centre, size, axis=2), product, coding="centre", by_class=axis == 1)

    def _sizes(self, image: Tensor) -> NDArray[np.float32]:
        """[1, boxes, 2]: each box's anchor in pixels."""
        (grid,) = self.grids(image)
        return (np.repeat(np.array(self.anchors), grid.cells, axis=0)[None] * grid.stride).astype(np.float32)

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """The formula above, anchor by anchor."""
        roles, (grid,) = self.arrays(image, outputs), self.grids(image)
        batch, shape = len(roles["boxes"]), (len(self.anchors), grid.rows, grid.columns, -1)
        t = roles["boxes"].reshape(batch, *shape)
        j, i = np.mgrid[0 : grid.rows, 0 : grid.columns]
        centre = (_sigmoid(t[..., :2]) + np.stack([i, j], -1)) * grid.stride
        size = np.array(self.anchors).reshape(-1, 1, 1, 2) * np.exp(t[..., 2:]) * grid.stride
        boxes = corners(np.concatenate([centre, size], -1).reshape(batch, -1, 4).astype(np.float32))
        raised = np.exp(roles["scores"] - roles["scores"].max(-1, keepdims=True))
        classes = raised / raised.sum(-1, keepdims=True) if self.softmax else _sigmoid(roles["scores"])
        return Answers(boxes, (_sigmoid(roles["objectness"]) * classes).astype(np.float32))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))
