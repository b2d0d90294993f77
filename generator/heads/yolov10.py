"""yolov10: the end-to-end output of YOLOv10 and YOLO26."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from generator.box_extras import ExtrasHead
from generator.detection import Answers, Candidates, Decoded, corners
from generator.levels import wholes
from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder


class Yolov10(ExtrasHead):
    """YOLOv10 and YOLO26 end to end: at most one box a thing, chosen by the model itself.

    Takes one [batch, boxes, 6 + extras], or channels first: x1, y1, x2, y2 in pixels, score, class number, behind them key
    points, mask coefficients or an angle (with an angle the box is x and y of the centre, width, height). A box has its score
    for its class and 0 for the others (Wang et al., YOLOv10, arXiv:2405.14458, section 3.1, "Consistent dual assignments").
    """

    kind: Literal["yolov10"] = "yolov10"
    sources: ClassVar[tuple[str, ...]] = ("../levels.py", "../box_extras.py")
    proven_by: ClassVar[str] = "ultralytics 8.4.190 (v10, 26; segment, pose, OBB)"
    needs_nms: ClassVar[bool] = False

    output: Annotated[str | None, Field(description="The output's name; needed only where several have its shape.")] = None

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """As many boxes as the model gives."""
        tensor, axis = self._taken(outputs)
        return Candidates(tensor.shape[-axis], self.classes, extras=self.extras, passed=self.passed(outputs))

    def _taken(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, int]:
        channels = 6 + sum(self.extra_sizes)
        found = wholes([tensor for tensor in outputs if self.output in (None, tensor.name)], channels)
        if len(found) != 1:
            raise self.misfit(
                outputs,
                f"one FP32 [batch, boxes, {channels}], a fixed number of boxes"
                + ("; several fit: say `output`" if found else ""),
            )
        return found[0]

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Scores by class: the box's own where its number is that class, else 0."""
        tensor, axis = self._taken(outputs)
        sizes = [4, 1, 1, *self.extra_sizes]
        boxes, score, label, *behind = build.many("Split", tensor.name, np.array(sizes), outputs=len(sizes), axis=axis)
        if axis == 1:
            boxes = build("Transpose", boxes, perm=[0, 2, 1])
        numbers = np.arange(self.classes, dtype=np.float32).reshape((1, -1, 1) if axis == 1 else (1, 1, -1))
        scores = build("Where", build("Equal", label, numbers), score, 0.0)
        extras = self.append_extras(build, behind, axis)
        return Decoded(boxes, scores, "centre" if self.angle else "corners", by_class=axis == 1, extras=extras)

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """Box by box."""
        tensor, axis = self._taken(tuple(Tensor(name, "FP32", array.shape[1:]) for name, array in outputs.items()))
        rows = outputs[tensor.name] if axis == 2 else outputs[tensor.name].transpose(0, 2, 1)
        scores = np.zeros((*rows.shape[:2], self.classes), np.float32)
        for picture, box in np.ndindex(*rows.shape[:2]):
            number = rows[picture, box, 5]
            if number in range(self.classes):
                scores[picture, box, int(number)] = rows[picture, box, 4]
        boxes = corners(rows[..., :4]) if self.angle else rows[..., :4]
        return Answers(boxes, scores, self.extra_arrays(rows[..., 6:]))
