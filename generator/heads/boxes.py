"""boxes: outputs that are boxes already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from generator import box_formats, raw_outputs
from generator.box_formats import Format, FormatField
from generator.detection import Answers, Candidates, Decoded
from generator.errors import SurgeryError
from generator.heads import Head
from generator.raw_outputs import Names, Role, UnclearError
from generator.tensors import Tensor

if TYPE_CHECKING:
    from generator.builder import Builder


class Boxes(Head):
    """Boxes that the model has decoded itself, with class scores, with or without objectness.

    One output of 4, objectness if any, and the classes in a row, two (4; the rest) or three. With objectness a score is
    objectness times the class's (Redmon et al., YOLO, arXiv:1506.02640, section 2). The formats are what their names say.
    """

    kind: Literal["boxes"] = "boxes"
    proven_by: ClassVar[str] = "torchvision's `box_convert` (but `yxyx`), torch's sigmoid and softmax"
    sources: ClassVar[tuple[str, ...]] = ("../raw_outputs.py", "../box_formats.py")

    boxes: Annotated[Names, Field(max_length=1, description="The output with the boxes; left out: found by shape.")] = ()
    scores: Annotated[Names, Field(max_length=1, description="The output with the scores, likewise.")] = ()
    objectness: Annotated[
        bool, Field(description="Whether there is objectness: before the classes, or an output of its own.")
    ] = False
    format: FormatField = "xyxy"
    normalised: Annotated[bool, Field(description="Whether boxes are fractions of the input, or pixels of it.")] = False
    activation: Annotated[
        Literal["none", "sigmoid", "softmax"],
        Field(description="What still has to be applied to the scores; objectness then gets a sigmoid."),
    ] = "none"
    background: Annotated[int | None, Field(ge=0, description="The class that means nothing; `classes` counts it.")] = None
    channels_first: Annotated[bool, Field(description="Whether outputs are [batch, numbers, boxes].")] = False
    per_class: Annotated[
        bool, Field(description="Whether every class has its own box: [batch, boxes, classes, 4] or [batch, boxes, classes * 4].")
    ] = False

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.background is not None and self.background >= self.classes:
            raise ValueError(
                f"background is {self.background}; `classes: {self.classes}` counts it, so say at most {self.classes - 1}"
            )
        if self.per_class and (self.channels_first or self.objectness):
            raise ValueError("boxes of each class come without objectness and channels last; leave `per_class` or the other out")
        return self

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Boxes]:  # noqa: ARG003 -- shapes tell
        """Boxes and scores apart, or in rows that are no YOLO's cells; shapes tell neither the format nor its unit."""
        shapes = [tensor.shape for tensor in outputs if raw_outputs.usable(tensor)]
        if len(shapes) != len(outputs) or any(len(shape) != 2 for shape in shapes) or len(shapes) not in (1, 2):
            return []
        found = _apart(*shapes) if len(shapes) == 2 else _together(shapes[0], image)
        known: tuple[Format, ...] = ("xyxy", "cxcywh")
        return [
            cls(classes=count, objectness=objectness, channels_first=first, format=form, normalised=unit)
            for count, objectness, first in found
            for form in known
            for unit in (False, True)
        ]

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """One a row."""
        found = self._found(outputs)
        return Candidates(self._count(found[0], self._width(0, len(found))), self.classes, self.background, self.per_class)

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Scores stay as they lie; boxes that lie channels first are turned."""
        found = self._found(outputs)
        parts = [self._matrix(build, tensor, self._width(i, len(found))) for i, tensor in enumerate(found)]
        sizes = [4 * (self.classes if self.per_class else 1), *([1] if self.objectness else []), self.classes]
        axis = 1 if self.channels_first else 2
        pieces = self._pieces(build, parts, sizes, axis)
        boxes = build("Transpose", pieces[0], perm=[0, 2, 1]) if self.channels_first else pieces[0]
        if self.per_class:
            boxes = build("Reshape", boxes, np.array([0, 0, self.classes, 4]))
        boxes, coding = box_formats.decoded(build, boxes, self.format, self.normalised, image)
        scores, activation = pieces[-1], self.activation
        if activation == "softmax":
            scores, activation = build("Softmax", scores, axis=axis), "none"
        if self.objectness:
            objectness = pieces[1] if self.activation == "none" else build("Sigmoid", pieces[1])
            scores = build("Mul", objectness, build("Sigmoid", scores) if activation == "sigmoid" else scores)
            activation = "none"
        return Decoded(boxes, scores, coding, activation, by_class=self.channels_first)

    def _pieces(self, build: Builder, parts: list[str], sizes: list[int], axis: int) -> list[str]:
        """Boxes, objectness if any, scores."""
        if len(parts) == len(sizes):
            return parts
        if len(parts) == 1:
            return build.many("Split", parts[0], np.array(sizes), outputs=len(sizes), axis=axis)
        return [parts[0], *build.many("Split", parts[1], np.array(sizes[1:]), outputs=2, axis=axis)]

    def _matrix(self, build: Builder, tensor: Tensor, width: int) -> str:
        """[batch, rows, width], or channels first [batch, width, rows]."""
        if len(tensor.shape) == 2:
            return tensor.name
        rows = self._count(tensor, width)
        return build("Reshape", tensor.name, np.array([-1, width, rows] if self.channels_first else [-1, rows, width]))

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """The columns, taken apart."""
        found = self._found(raw_outputs.tensors(outputs))
        parts = []
        for i, tensor in enumerate(found):
            values, width = outputs[tensor.name], self._width(i, len(found))
            flat = values.reshape(len(values), width, -1) if self.channels_first else values.reshape(len(values), -1, width)
            parts.append(np.swapaxes(flat, 1, 2) if self.channels_first else flat)
        table, four = np.concatenate(parts, -1).astype(np.float64), 4 * (self.classes if self.per_class else 1)
        boxes = table[..., :four].reshape(*table.shape[:2], self.classes, 4) if self.per_class else table[..., :4]
        scores = raw_outputs.probabilities(table[..., four + self.objectness :], self.activation)
        if self.objectness:
            objectness = table[..., 4:5]
            scores = scores * (objectness if self.activation == "none" else raw_outputs.sigmoid(objectness))
        corners = box_formats.reference(boxes.astype(np.float32), self.format, self.normalised, image)
        return Answers(corners, scores.astype(np.float32))

    def _width(self, part: int, parts: int) -> int:
        """Numbers a row in one of the outputs."""
        four, one = 4 * (self.classes if self.per_class else 1), int(self.objectness)
        return {1: (four + one + self.classes,), 2: (four, one + self.classes), 3: (four, one, self.classes)}[parts][part]

    def _count(self, tensor: Tensor, width: int) -> int:
        """Rows of `width` numbers; 0: it has none. Axes of length 1 beside them do not count."""
        shape = list(tensor.shape)
        if self.per_class and len(shape) == 3 and shape[1:] == [self.classes, 4] and width == 4 * self.classes:
            return shape[0]
        if len(shape) == 1:
            return shape[0] if width == 1 else 0
        if len(shape) == 3 and 1 in shape[:2] and not self.channels_first:
            shape.remove(1)
        if len(shape) != 2 or shape[0 if self.channels_first else 1] != width:
            return 0
        return shape[1 if self.channels_first else 0]

    def _found(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One, two or three outputs: boxes, objectness, scores."""
        fields = {1: ("boxes",), 2: ("boxes", "scores"), 3: ("boxes", "objectness", "scores")}
        unclear: UnclearError | None = None
        for parts in (1, 2, 3) if self.objectness else (1, 2):
            widths = [self._width(i, parts) for i in range(parts)]
            names = [self.boxes, *([()] if parts == 3 else []), *([self.scores] if parts > 1 else [])]
            if self.scores and parts == 1:
                continue
            roles = [Role(f, n, self._holds(w)) for f, n, w in zip(fields[parts], names, widths, strict=True)]
            try:
                found = raw_outputs.assigned(self, outputs, roles, self._expected())
            except UnclearError as error:
                unclear = error
            except SurgeryError:
                continue
            else:
                if (
                    all(len(t) == 1 for t in found)
                    and len({self._count(t[0], w) for t, w in zip(found, widths, strict=True)}) == 1
                ):
                    return tuple(tensors[0] for tensors in found)
        raise unclear or self.misfit(outputs, self._expected())

    def _holds(self, width: int) -> raw_outputs.Fits:
        return lambda tensor: self._count(tensor, width) > 0

    def _expected(self) -> str:
        options = []
        for parts in (1, 2, 3) if self.objectness else (1, 2):
            widths = [self._width(i, parts) for i in range(parts)]
            options.append(
                " and ".join(f"[batch, {w}, boxes]" if self.channels_first else f"[batch, boxes, {w}]" for w in widths)
            )
        return ", or ".join(options)


def _apart(first: tuple[int, ...], second: tuple[int, ...]) -> list[tuple[int, bool, bool]]:
    """(classes, objectness, channels first) of two outputs, one of four numbers a box."""
    found = []
    for boxes, scores in ((first, second), (second, first)):
        if boxes[1] == 4 and boxes[0] == scores[0]:
            found.append((scores[1], False, False))
        if boxes[0] == 4 and boxes[1] == scores[1]:
            found.append((scores[0], False, True))
    return list(dict.fromkeys(found))


def _together(shape: tuple[int, ...], image: Tensor) -> list[tuple[int, bool, bool]]:
    """The same of one output, which lies along its longer side; none where the rows are a YOLO's cells, once or thrice."""
    boxes, width, first = max(shape), min(shape), shape[1] > shape[0]
    cells = sum((image.shape[-1] // stride) * (image.shape[-2] // stride) for stride in (8, 16, 32))
    if boxes in (cells, 3 * cells) or boxes == width:
        return []
    return [(width - 4 - one, bool(one), first) for one in (0, 1) if width - 4 - one > 0]
