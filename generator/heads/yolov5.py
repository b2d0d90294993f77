"""yolov5: the anchor head of YOLOv5 and YOLOv7, and their decoded output, which YOLOv6 gives, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from generator.box_extras import ExtrasHead
from generator.detection import Answers, Candidates, Decoded, corners
from generator.levels import GridHead, Pack, bare, boxes_first, cells, wholes
from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder


#: Of YOLOv5 and YOLOv7, as published with their COCO models.
_PUBLISHED = (
    (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326))),
    (((12, 16), (19, 36), (40, 28)), ((36, 75), (76, 55), (72, 146)), ((142, 110), (192, 243), (459, 401))),
)


class Yolov5(GridHead, ExtrasHead):
    """YOLOv5 and YOLOv7 with anchors; without, their decoded output (and YOLOv6's); scores are objectness times class.

    For cell (i, j), anchor (pw, ph) and stride s: x = (2 * sigmoid(tx) - 0.5 + i) * s, w = (2 * sigmoid(tw))^2 * pw, likewise y
    and h; score = sigmoid(to) * sigmoid(tc) (https://docs.ultralytics.com/yolov5/tutorials/architecture_description/, 4.3).
    Takes for each grid [batch, anchors, rows, columns, 5 + classes] or [batch, anchors * (5 + classes), rows, columns]. Decoded:
    one [batch, boxes, 5 + classes], x and y of the centre, width, height in pixels, objectness and classes as probabilities.
    """

    kind: Literal["yolov5"] = "yolov5"
    sources: ClassVar[tuple[str, ...]] = ("../levels.py", "../box_extras.py")
    proven_by: ClassVar[str] = "YOLOv5 (5081342f0), YOLOv7 (a207844) and YOLOv6 (e86a483)"

    anchors: Annotated[
        tuple[Annotated[tuple[tuple[float, float], ...], Field(min_length=1)], ...],
        Field(description="(width, height) in input pixels, for each grid as many; left out where boxes come decoded."),
    ] = ()

    @property
    def anchors_each(self) -> int:
        """One box for each anchor of a grid."""
        return len(self.anchors[0])

    def packings(self) -> tuple[tuple[Pack, ...], ...]:
        """One tensor a grid."""
        return (({"boxes": 4, "objectness": 1, "scores": self.classes, **self._behind()},),)

    def _behind(self) -> dict[str, int]:
        return dict(zip((extra.name for extra in self.extras), self.extra_sizes, strict=True))

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Yolov5]:  # noqa: ARG003 -- shapes tell
        """One decoded output of three boxes a cell, or of one (YOLOv6), or three grids with either's published anchors."""
        shapes, total = [bare(tensor) for tensor in outputs], cells(image)
        if len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][0] in {total, 3 * total}:
            return [cls(classes=shapes[0][1] - 5)] if shapes[0][1] > 5 else []
        width = {shape[3] if len(shape) == 4 else shape[0] // 3 for shape in shapes if len(shape) in {3, 4}}
        whole = len(shapes) == 3 and len(width) == 1 and min(width) > 5
        return [cls(classes=min(width) - 5, anchors=anchors) for anchors in _PUBLISHED] if whole else []

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """anchors * rows * columns over all grids, or as many as come decoded."""
        if not self.anchors:
            tensor, axis = self._decoded(outputs)
            return Candidates(tensor.shape[-axis], self.classes, extras=self.extras, passed=self.passed(outputs))
        if len(self.anchors) != len(self.strides) or len({len(level) for level in self.anchors}) > 1:
            raise self.misfit(outputs, f"anchors for {len(self.strides)} strides, as many for each")
        if self.keypoints or self.angle:
            raise self.misfit(outputs, "no keypoints or angle before decoding")
        self.taken(image, outputs)
        return Candidates(self.boxes(image), self.classes, extras=self.extras, passed=self.passed(outputs))

    def _decoded(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, int]:
        """The tensor and the axis of its channels."""
        channels = 5 + self.classes + sum(self.extra_sizes)
        found = wholes(self.named(outputs), channels)
        if len(found) != 1:
            what = f"one FP32 [batch, boxes, {channels}] decoded, a fixed number of boxes"
            raise self.misfit(
                outputs, f"{what}; {'several fit: name it in `outputs`' if found else 'for raw ones say `anchors`'}"
            )
        return found[0]

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Boxes as centres, scores as probabilities."""
        if not self.anchors:
            return self._split(build, *self._decoded(outputs))
        roles = self.gathered(build, image, outputs)
        points, strides = self.cells(image, -0.5)
        near = build("Sigmoid", boxes_first(build, roles["boxes"]))
        xy, wh = build.many("Split", near, np.array([2, 2]), outputs=2, axis=2)
        centre = build("Add", build("Mul", xy, 2 * strides), points)
        size = build("Mul", build("Mul", wh, wh), 4 * self._sizes(image))
        objectness, scores = (build("Sigmoid", roles[name].name) for name in ("objectness", "scores"))
        axis = roles["scores"].axis
        extras = self.append_extras(build, [roles[e.name].name for e in self.extras], axis)
        boxes = build("Concat", centre, size, axis=2)
        return Decoded(boxes, build("Mul", objectness, scores), "centre", by_class=axis == 1, extras=extras)

    def _split(self, build: Builder, tensor: Tensor, axis: int) -> Decoded:
        sizes = [4, 1, self.classes, *self.extra_sizes]
        boxes, objectness, scores, *behind = build.many("Split", tensor.name, np.array(sizes), outputs=len(sizes), axis=axis)
        boxes = build("Transpose", boxes, perm=[0, 2, 1]) if axis == 1 else boxes
        extras = self.append_extras(build, behind, axis)
        return Decoded(boxes, build("Mul", objectness, scores), "centre", by_class=axis == 1, extras=extras)

    def _sizes(self, image: Tensor) -> NDArray[np.float32]:
        """[1, boxes, 2]: each box's anchor."""
        grids = zip(self.anchors, self.grids(image), strict=True)
        sizes = [np.repeat(np.array(anchors, np.float32), grid.cells, axis=0) for anchors, grid in grids]
        return np.concatenate(sizes)[None]

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """The formula above, grid by grid and anchor by anchor."""
        if not self.anchors:
            return self._decoded_reference(outputs)
        roles, boxes, start = self.arrays(image, outputs), [], 0
        for anchors, grid in zip(self.anchors, self.grids(image), strict=True):
            j, i = np.mgrid[0 : grid.rows, 0 : grid.columns]
            for anchor in anchors:
                s = _sigmoid(roles["boxes"][:, start : start + grid.cells])
                centre = (2 * s[..., :2] - 0.5 + np.stack([i.ravel(), j.ravel()], -1)) * grid.stride
                boxes.append(np.concatenate([centre, (2 * s[..., 2:]) ** 2 * np.array(anchor)], -1))
                start += grid.cells
        scores = _sigmoid(roles["objectness"]) * _sigmoid(roles["scores"])
        extras = {extra.name: roles[extra.name].astype(np.float32) for extra in self.extras}
        return Answers(corners(np.concatenate(boxes, 1).astype(np.float32)), scores.astype(np.float32), extras)

    def _decoded_reference(self, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        tensor, axis = self._decoded(tuple(Tensor(name, "FP32", array.shape[1:]) for name, array in outputs.items()))
        rows = outputs[tensor.name] if axis == 2 else outputs[tensor.name].transpose(0, 2, 1)
        behind = rows[..., 5 + self.classes :]
        return Answers(corners(rows[..., :4]), rows[..., 4:5] * rows[..., 5 : 5 + self.classes], self.extra_arrays(behind))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))
