"""detr: the set-prediction heads of DETR, Deformable DETR, DINO and RT-DETR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator import box_formats, raw_outputs
from generator.box_formats import FormatField
from generator.detection import Answers, Candidates, Decoded
from generator.heads import Head
from generator.raw_outputs import Names, Role
from generator.tensors import Tensor

if TYPE_CHECKING:
    from generator.builder import Builder


class Detr(Head):
    """DETR and its kin: a box and class scores from each query; no NMS needed.

    DETR: softmax over the classes and, last, "no object" (Carion et al., arXiv:2005.12872, section 3); with
    `multi_label: false` in `nms` a query is kept for its best class only, as its own post-processing does. Deformable DETR
    (arXiv:2010.04159), DINO and RT-DETR (arXiv:2304.08069): `activation: sigmoid`, the K best pairs of query and class. An
    RT-DETR export with its post-processing inside gives `labels`, `boxes` and `scores`: `postprocessed: true`.
    """

    kind: Literal["detr"] = "detr"
    needs_nms: ClassVar[bool] = False
    proven_by: ClassVar[str] = "transformers' post-processing of DETR, Deformable DETR and RT-DETR"
    sources: ClassVar[tuple[str, ...]] = ("../raw_outputs.py", "../box_formats.py")

    boxes: Annotated[Names, Field(max_length=1, description="The output with the boxes; left out: found by shape.")] = ()
    scores: Annotated[Names, Field(max_length=1, description="The output with the scores, likewise.")] = ()
    labels: Annotated[Names, Field(max_length=1, description="With `postprocessed`, the output with the classes, likewise.")] = ()
    activation: Annotated[
        Literal["none", "sigmoid", "softmax"], Field(description="What still has to be applied to the scores.")
    ] = "softmax"
    no_object: Annotated[
        bool | None,
        Field(description="Whether the last class, which `classes` counts, means nothing; left out: with softmax it does."),
    ] = None
    format: FormatField = "cxcywh"
    normalised: Annotated[bool, Field(description="Whether boxes are fractions of the input, or pixels of it.")] = True
    postprocessed: Annotated[
        bool, Field(description="Whether each box comes with one score and the number of its class; `activation` then is none.")
    ] = False

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Detr]:  # noqa: ARG003 -- a head looks at what it needs
        """[queries, 4] and [queries, classes] of at most 1000, softmax or sigmoid; or, of known classes, three lists."""
        shapes = {tensor.shape for tensor in outputs if raw_outputs.usable(tensor)}
        lists = [shape for shape in shapes if len(shape) == 1]
        if len(outputs) == 3 and len(lists) == 1 and (*lists[0], 4) in shapes and any(t.dtype in _WHOLE for t in outputs):
            said = {"postprocessed": True, "activation": "none", "format": "xyxy", "normalised": False}
            return [cls.model_validate({"classes": classes, **said})] if classes else []
        queries = {tensor.shape[0] for tensor in outputs if len(tensor.shape) == 2}
        if len(outputs) != 2 or len(shapes) != 2 or len(queries) != 1 or max(queries) > _QUERIES or min(queries) < 1:
            return []
        counts = [t.shape[1] for t in outputs if len(t.shape) == 2 and t.shape[1] != 4]
        known: tuple[Literal["softmax", "sigmoid"], ...] = ("softmax", "sigmoid")
        return [cls(classes=count, activation=activation) for count in counts for activation in known]

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """One a query."""
        boxes = self._found(outputs)["boxes"]
        return Candidates(boxes.shape[0], self.classes, self.classes - 1 if self._no_object else None)

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Boxes as centres where they are, scores as logits where they are."""
        found = self._found(outputs)
        boxes, coding = box_formats.decoded(build, found["boxes"].name, self.format, self.normalised, image)
        scores = found["scores"].name
        if self.postprocessed:
            here = build("Equal", build("Unsqueeze", self._numbers(build, found["labels"]), _LAST), np.arange(self.classes))
            return Decoded(boxes, build("Where", here, build("Unsqueeze", scores, _LAST), 0.0), coding)
        if self.activation == "softmax":
            return Decoded(boxes, build("Softmax", scores, axis=2), coding)
        return Decoded(boxes, scores, coding, self.activation)

    def _numbers(self, build: Builder, labels: Tensor) -> str:
        return labels.name if labels.dtype == "INT64" else build("Cast", labels.name, to=7)

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """Each query's box and probabilities."""
        found = self._found(raw_outputs.tensors(outputs))
        boxes = box_formats.reference(outputs[found["boxes"].name], self.format, self.normalised, image)
        scores = outputs[found["scores"].name].astype(np.float64)
        if self.postprocessed:
            labels = outputs[found["labels"].name].astype(int)
            spread = np.zeros((*labels.shape, self.classes))
            for at in np.argwhere((labels >= 0) & (labels < self.classes)):
                spread[(*at, labels[tuple(at)])] = scores[tuple(at)]
            return Answers(boxes, spread.astype(np.float32))
        return Answers(boxes, raw_outputs.probabilities(scores, self.activation).astype(np.float32))

    @property
    def _no_object(self) -> bool:
        return self.activation == "softmax" if self.no_object is None else self.no_object

    def _found(self, outputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Role -> output, of as many queries all."""
        if self.postprocessed:
            shapes: dict[str, tuple[int, ...]] = {"boxes": (4,), "scores": (), "labels": ()}
            expected = "boxes [batch, K, 4], scores [batch, K] FP32 and labels [batch, K] INT64"
        else:
            shapes = {"boxes": (4,), "scores": (self.classes,)}
            expected = f"boxes [batch, queries, 4] and scores [batch, queries, {self.classes}]"
        roles = [Role(role, getattr(self, role), _like(rest, role == "labels")) for role, rest in shapes.items()]
        found = raw_outputs.assigned(self, outputs, roles, expected)
        if any(len(tensors) != 1 for tensors in found) or len({tensors[0].shape[0] for tensors in found}) != 1:
            raise self.misfit(outputs, expected)
        return {role: tensors[0] for role, tensors in zip(shapes, found, strict=True)}


#: More queries than any published model has.
_QUERIES = 1000
_WHOLE = ("INT32", "INT64")
_LAST = np.array([-1])


def _like(rest: tuple[int, ...], whole: bool) -> raw_outputs.Fits:
    """A list of numbers, or of `rest` of them each."""
    return lambda tensor: len(tensor.shape) == 1 + len(rest) and tensor.shape[1:] == rest and (tensor.dtype in _WHOLE) == whole
