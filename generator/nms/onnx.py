"""onnx: NMS of standard operators, batched, with fixed-size outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from generator import selection
from generator.detection import Candidates, Coding, Decoded
from generator.errors import SurgeryError
from generator.selection import ALL, FLOAT, FLOOR, INT64, LOWEST, Scored
from generator.suppression import Suppressing

if TYPE_CHECKING:
    from generator.builder import Builder, Input


class OnnxNms(Suppressing):
    """Standard ONNX operators: runs on ONNX Runtime and OpenVINO, and with `fixed_shapes` on TensorRT as INMSLayer.

    Boxes with no class above the threshold in any picture of the batch go first, so that all that follows is small.
    NonMaxSuppression then gives (picture, class, box) triples for the whole batch, which are sorted within their pictures.
    Of equal scores the lower class, then the lower box comes first.
    """

    kind: Literal["onnx"] = "onnx"

    fixed_shapes: Annotated[
        bool, Field(description="Only NonMaxSuppression's own result has a size that depends on the data, as TensorRT wants it.")
    ] = False

    def check(self, candidates: Candidates) -> None:
        """`runtime: [iou_threshold]` needs a loop over the pictures."""
        super().check(candidates)
        if self.fixed_shapes and "iou_threshold" in self.runtime:
            raise SurgeryError(
                "NonMaxSuppression takes one IoU threshold a batch; a loop over the pictures has no fixed shapes",
                "leave out fixed_shapes, or iou_threshold in `runtime`",
            )

    def append(self, build: Builder, decoded: Decoded, candidates: Candidates) -> None:
        """The contract's outputs."""
        self.check(candidates)
        found = selection.foreground(build, decoded, candidates)
        limit = selection.threshold(build, self, decoded.activation)
        found = selection.by_class(build, found if self.fixed_shapes else _above(build, found, limit))
        if self.best_only or self.pre_nms_top_k or self.runtime:
            found, limit = self._narrowed(build, found, limit), LOWEST
        kept = self._suppressed(build, found, limit)
        if self.fixed_shapes:
            empty = build("Expand", FLOOR, build("Shape", found.scores))
            scores = build("ScatterND", empty, kept, build("GatherND", found.scores, kept))
            selection.top_pairs(build, self, replace(found, scores=scores), box_first=self.class_agnostic)
        else:
            _listed(build, self, found, kept)

    def _narrowed(self, build: Builder, found: Scored, limit: Input) -> Scored:
        scores = selection.only(build, build("Greater", found.scores, limit), found.scores)
        if self.best_only and len(found.classes) > 1:
            scores = selection.best_class(build, scores, len(found.classes))
        if self.pre_nms_top_k:
            scores = selection.strongest(build, scores, self.pre_nms_top_k)
        return replace(found, scores=scores)

    def _suppressed(self, build: Builder, found: Scored, limit: Input) -> str:
        """The (picture, class, box) triples that are kept, INT64 [kept, 3]; of a picture in the order of classes, then scores."""
        per_class, coding = found.candidates.per_class, found.decoded.coding
        if self.class_agnostic:
            label = build("ArgMax", found.scores, axis=1, keepdims=0)
            boxes = build("GatherND", found.boxes, _last(build, label), batch_dims=2) if per_class else found.boxes
            best = build("ReduceMax", found.scores, np.array([1]), keepdims=1)
            kept = self._select(build, (boxes, best), limit, coding)
            picture, _, box = _columns(build, kept)
            number = _last(build, build("GatherND", label, build("Concat", picture, box, axis=1)))
            return build("Concat", picture, number, box, axis=1)
        if not per_class:
            return self._select(build, (found.boxes, found.scores), limit, coding)
        count = len(found.classes)
        groups = build("Reshape", build("Transpose", found.boxes, perm=[0, 2, 1, 3]), _groups(build, found.boxes, 1, [4]))
        scores = build("Unsqueeze", build("Reshape", found.scores, _groups(build, found.scores, 2, [])), np.array([1]))
        kept = self._select(build, (groups, scores), limit, coding, count)
        group, _, box = _columns(build, kept)
        return build("Concat", build("Div", group, np.array(count)), build("Mod", group, np.array(count)), box, axis=1)

    def _select(self, build: Builder, tensors: tuple[str, str], limit: Input, coding: Coding, groups: int = 1) -> str:
        """NonMaxSuppression of boxes and scores; `groups` are the rows of `boxes` that belong to one picture."""
        most, centre = np.array([self.max_detections]), int(coding == "centre")
        if "iou_threshold" not in self.runtime:
            iou = np.array([self.iou_threshold], np.float32)
            return build("NonMaxSuppression", *tensors, most, iou, np.reshape(limit, 1), center_point_box=centre)
        return _by_picture(build, tensors, (most, np.reshape(limit, 1), centre), groups)


def _above(build: Builder, found: Scored, limit: Input) -> Scored:
    """Without the boxes that have no class above the threshold in any picture; the first box stays, so that some do."""
    above = build("Cast", build("Greater", found.scores, limit), to=FLOAT)  # not UINT8: TensorRT has that at inputs only
    axis = 2 if found.by_class else 1
    hit = build("ReduceMax", above, np.array([0, 3 - axis]), keepdims=0)
    ends = build("Pad", build("Slice", hit, np.array([1]), np.array([ALL])), np.array([1, 0]), np.array(1, np.float32))
    index = build("Squeeze", build("NonZero", ends), np.array([0]))
    extras = {name: build("Gather", values, index, axis=1) for name, values in found.extras.items()}
    boxes, scores = build("Gather", found.boxes, index, axis=1), build("Gather", found.scores, index, axis=axis)
    return replace(found, boxes=boxes, scores=scores, extras=extras)


def _listed(build: Builder, nms: OnnxNms, found: Scored, kept: str) -> None:
    """kept [n, 3] -> the contract's outputs: each picture's scores in a row of their own, of which TopK takes the best."""
    k = nms.max_detections
    picture, label, box = _columns(build, kept)
    pictures = build("Range", np.array(0), build.size(found.scores, 0), np.array(1))
    counts = build("ReduceSum", build("Cast", build("Equal", picture, pictures), to=INT64), np.array([0]), keepdims=0)
    first = build("CumSum", counts, np.array(0), exclusive=1)
    numbers = build("Range", np.array(0), build.size(kept, 0), np.array(1))
    place = build("Sub", numbers, build("Gather", first, _flat(build, picture)))
    width = build("Max", build("ReduceMax", counts, np.array([0]), keepdims=1), np.array([k]))
    empty = build("Expand", FLOOR, build("Concat", build("Shape", counts), width, axis=0))
    slots = build("Concat", picture, build("Unsqueeze", place, np.array([1])), axis=1)
    table = build("ScatterND", empty, slots, build("GatherND", found.scores, build("Concat", picture, label, box, axis=1)))
    top, column = build.many("TopK", table, np.array([k]), outputs=2, axis=1)
    valid = build("Greater", top, LOWEST)
    rows = build("Where", valid, build("Add", column, build("Unsqueeze", first, np.array([1]))), build.size(kept, 0))
    chosen = selection.Chosen(top, valid, _row(build, box, rows), _row(build, label, rows))
    selection.contract(build, nms, found, chosen)


def _row(build: Builder, column: str, index: str) -> str:
    """column [n, 1] at index [batch, k]; n itself is 0."""
    return build("Gather", build("Concat", _flat(build, column), np.array([0]), axis=0), index, axis=0)


def _columns(build: Builder, kept: str) -> list[str]:
    """[n, 3] -> three [n, 1]."""
    return build.many("Split", kept, np.array([1, 1, 1]), outputs=3, axis=1)


def _flat(build: Builder, column: str) -> str:
    return build("Squeeze", column, np.array([1]))


def _last(build: Builder, values: str) -> str:
    return build("Unsqueeze", values, np.array([-1]))


def _groups(build: Builder, values: str, axis: int, end: list[int]) -> str:
    """The shape [-1, size of `axis`, *end]: pictures and classes become one axis."""
    size = build("Unsqueeze", build.size(values, axis), np.array([0]))
    return build("Concat", np.array([-1]), size, np.array(end, np.int64), axis=0)


def _by_picture(build: Builder, tensors: tuple[str, str], fixed: tuple[Input, Input, int], groups: int) -> str:
    """NonMaxSuppression for each of the boxes' rows with its own picture's `iou_threshold`, one after the other."""
    boxes, scores = tensors
    most, limit, centre = fixed

    def one(inner: Builder, at: str, kept: str) -> str:
        row = inner("Unsqueeze", at, np.array([0]))
        iou = inner("Gather", "iou_threshold", inner("Div", row, np.array([groups])), axis=0)
        found = inner(
            "NonMaxSuppression", inner("Gather", boxes, row, axis=0), inner("Gather", scores, row, axis=0), most,
            inner("Reshape", iou, np.array([1])), limit, center_point_box=centre,
        )  # fmt: skip
        return inner("Concat", kept, inner("Add", found, inner("Mul", row, np.array([1, 0, 0]))), axis=0)

    return build.loop(build.size(boxes, 0), one, np.zeros((0, 3), np.int64))
