"""yolov8: the anchor-free head of YOLOv8, YOLOv9, YOLO11 and YOLO12, raw or decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from generator import distances
from generator.box_extras import ExtrasHead
from generator.detection import Activation, Answers, Candidates, Decoded, corners
from generator.levels import GridHead, Pack, bare, cells, wholes
from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder


class Yolov8(GridHead, ExtrasHead):
    """YOLOv8, v9, 11, 12: distances from the cell's centre to the box's sides, each the mean of a distribution; or decoded.

    For cell (i, j), stride s and distances (l, t, r, b): x1 = (i + 0.5 - l) * s, x2 = (i + 0.5 + r) * s, likewise y1 and y2;
    score = sigmoid(class) (Li et al., Generalized Focal Loss, arXiv:2006.04388, section 3.2, over the points of Tian et al.,
    FCOS, arXiv:1904.01355). Raw, for each grid: [batch, 4 * reg_max + classes, rows, columns], or boxes and classes apart.
    Decoded: one [batch, 4 + classes + extras, boxes], x and y of the centre, width, height in pixels, classes as probabilities,
    behind them key points, mask coefficients or an angle.
    """

    kind: Literal["yolov8"] = "yolov8"
    sources: ClassVar[tuple[str, ...]] = ("../levels.py", "../distances.py", "../box_extras.py")
    proven_by: ClassVar[str] = "ultralytics 8.4.190 (v8, v9, 11, 12, 26; decoded, pose, segment, OBB) and YOLOv6 (e86a483)"

    reg_max: Annotated[int, Field(ge=1, description="Channels a side in raw outputs; with 1 they are the distances.")] = 16
    decoded: Annotated[bool | None, Field(description="Whether boxes come decoded; left out, the shapes tell.")] = None
    activated: Annotated[bool, Field(description="Raw classes are probabilities already.")] = False
    scores_first: Annotated[bool, Field(description="Raw tensors hold classes before boxes, as YOLOv6's export does.")] = False

    @property
    def activation(self) -> Activation:
        """What raw classes still need."""
        return "none" if self.activated else "sigmoid"

    def packings(self) -> tuple[tuple[Pack, ...], ...]:
        """Together, or apart."""
        boxes, scores = {"boxes": 4 * self.reg_max}, {"scores": self.classes}
        both = ({**scores, **boxes},) if self.scores_first else ({**boxes, **scores},)
        return both, ((scores, boxes) if self.scores_first else (boxes, scores))

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Yolov8]:  # noqa: ARG003 -- shapes tell
        """One decoded output of all cells, or a tensor for each of three grids."""
        shapes, total = [bare(tensor) for tensor in outputs], cells(image)
        if len(shapes) == 1 and len(shapes[0]) == 2 and total in shapes[0] and shapes[0][1] == total:
            return [cls(classes=shapes[0][0] - 4)] if shapes[0][0] > 4 else []
        channels = {shape[0] for shape in shapes if len(shape) == 3}
        whole = len(shapes) == 3 and len(channels) == 1 and min(channels) > 64
        return [cls(classes=min(channels) - 64, activated=done) for done in (False, True)] if whole else []

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """rows * columns over all grids, or as many as come decoded."""
        found = self._decoded(image, outputs)
        if found is None and self.extras:
            raise self.misfit(outputs, f"{self._expected()}, as keypoints, masks and angle are taken from decoded outputs only")
        return Candidates(
            found[0].shape[-found[1]] if found else self.boxes(image),
            self.classes,
            extras=self.extras,
            passed=self.passed(outputs),
        )

    def _decoded(self, image: Tensor, outputs: tuple[Tensor, ...]) -> tuple[Tensor, int] | None:
        """The decoded tensor and the axis of its channels; None where the raw outputs are there."""
        found = [] if self.decoded is False else wholes(self.named(outputs), 4 + self.classes + sum(self.extra_sizes))
        raw = self._expected() if self.decoded else self.fit(image, outputs)
        if not found and isinstance(raw, str):
            raise self.misfit(outputs, raw if self.decoded is not None else f"{raw}; or decoded {self._expected()}")
        if found and not isinstance(raw, str):
            raise self.misfit(outputs, "either raw or decoded outputs; both fit: say `decoded`")
        if len(found) > 1:
            raise self.misfit(outputs, f"{self._expected()}; several fit: name it in `outputs`")
        return found[0] if found else None

    def _expected(self) -> str:
        return f"one FP32 [batch, {4 + self.classes + sum(self.extra_sizes)}, boxes], a fixed number of boxes"

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Raw: boxes as corners, scores before the sigmoid. Decoded: boxes as centres, scores as they are."""
        found = self._decoded(image, outputs)
        if found:
            return self._split(build, *found)
        roles = self.gathered(build, image, outputs)
        boxes = distances.append(build, roles["boxes"], self.reg_max, *self.cells(image, 0.5))
        scores = roles["scores"]
        return Decoded(boxes, scores.name, activation=self.activation, by_class=scores.axis == 1)

    def _split(self, build: Builder, tensor: Tensor, axis: int) -> Decoded:
        sizes = [4, self.classes, *self.extra_sizes]
        boxes, scores, *behind = build.many("Split", tensor.name, np.array(sizes), outputs=len(sizes), axis=axis)
        boxes = build("Transpose", boxes, perm=[0, 2, 1]) if axis == 1 else boxes
        return Decoded(boxes, scores, "centre", by_class=axis == 1, extras=self.append_extras(build, behind, axis))

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """The formula above."""
        found = self._decoded(image, tuple(Tensor(name, "FP32", array.shape[1:]) for name, array in outputs.items()))
        if found:
            tensor, axis = found
            rows = outputs[tensor.name] if axis == 2 else outputs[tensor.name].transpose(0, 2, 1)
            centred, given, behind = np.split(rows, [4, 4 + self.classes], axis=2)
            return Answers(corners(centred), given, self.extra_arrays(behind))
        roles = self.arrays(image, outputs)
        boxes = distances.decoded(roles["boxes"], self.reg_max, *self.cells(image, 0.5))
        scores = roles["scores"] if self.activated else 1 / (1 + np.exp(-roles["scores"]))
        return Answers(boxes, scores.astype(np.float32))
