"""yolov10: models that end in detections, one a thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator import raw_outputs
from generator.detection import Answers, Candidates, Decoded
from generator.heads import Head
from generator.tensors import Tensor

if TYPE_CHECKING:
    from generator.builder import Builder


class Yolov10(Head):
    """YOLOv10, YOLO26 and others that need no NMS: rows of x1, y1, x2, y2, score, class, and what follows.

    One output [batch, rows, 6 + more], corners in pixels of the input, class numbers as they are (Wang et al., YOLOv10,
    arXiv:2405.14458, section 3.1: one-to-one matching). Use `nms: {kind: none}`.
    """

    kind: Literal["yolov10"] = "yolov10"
    proven_by: ClassVar[str] = "ultralytics 8.4.190"
    needs_nms: ClassVar[bool] = False
    sources: ClassVar[tuple[str, ...]] = ("../raw_outputs.py",)

    masks: Annotated[int, Field(ge=0, description="Mask coefficients behind the class.")] = 0
    angle: Annotated[bool, Field(description="Whether an angle (radians) follows, as of oriented boxes.")] = False
    keypoints: Annotated[tuple[int, int] | None, Field(description="Key points behind: [points, 2 or 3 numbers each].")] = None
    prototypes: Annotated[str, Field(description="The output that masks are made of; it goes through as it is.")] = ""

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """One a row."""
        rows = self._rows(outputs)
        passed = tuple(tensor for tensor in outputs if tensor.name == self.prototypes)
        return Candidates(rows.shape[0], self.classes, extras=self._extras(), passed=passed)

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """The score stands at its class, the other classes are 0."""
        sizes = self._sizes()
        boxes, score, label, *rest = build.many("Split", self._rows(outputs).name, np.array(sizes), outputs=len(sizes), axis=2)
        numbers = np.arange(self.classes, dtype=np.float32).reshape(1, 1, -1)
        scores = build("Where", build("Equal", build("Round", label), numbers), score, 0.0)
        extras = {}
        for extra, name in zip(self._extras(), rest, strict=True):
            extras[extra.name] = build("Reshape", name, np.array([0, 0, *extra.shape])) if len(extra.shape) > 1 else name
        return Decoded(boxes, scores, extras=extras)

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """Row by row."""
        rows = outputs[self._rows(raw_outputs.tensors(outputs)).name]
        scores = np.zeros((*rows.shape[:2], self.classes), np.float32)
        for picture, n in np.ndindex(rows.shape[:2]):
            label = int(np.rint(rows[picture, n, 5]))
            if 0 <= label < self.classes:
                scores[picture, n, label] = rows[picture, n, 4]
        ends = np.cumsum(self._sizes())
        extras = {
            extra.name: rows[..., start:end].reshape(*rows.shape[:2], *extra.shape)
            for extra, start, end in zip(self._extras(), ends[2:], ends[3:], strict=False)
        }
        return Answers(rows[..., :4], scores, extras)

    def _extras(self) -> tuple[Tensor, ...]:
        found = [Tensor("masks", "FP32", (self.masks,))] if self.masks else []
        found += [Tensor("angle", "FP32", (1,))] if self.angle else []
        return (*found, *([Tensor("keypoints", "FP32", self.keypoints)] if self.keypoints else []))

    def _sizes(self) -> list[int]:
        return [4, 1, 1, *(int(np.prod(extra.shape)) for extra in self._extras())]

    def _rows(self, outputs: tuple[Tensor, ...]) -> Tensor:
        width = sum(self._sizes())
        left = [tensor for tensor in outputs if tensor.name != self.prototypes]
        wanted = bool(self.prototypes) == (len(left) < len(outputs))
        if not wanted or len(left) != 1 or len(left[0].shape) != 2 or left[0].shape[1] != width or left[0].shape[0] < 1:
            more = f" and one called {self.prototypes!r} (prototypes)" if self.prototypes else ""
            raise self.misfit(outputs, f"[batch, rows, {width}]{more}")
        return left[0]
