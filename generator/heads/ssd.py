"""ssd: the head of SSD and of the face detectors made like it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from generator.anchor_deltas import AnchorHead, Four
from generator.errors import SurgeryError
from generator.fields import SpecFile
from generator.plugin import Model
from generator.raw_outputs import Grid
from generator.tensors import Tensor


class PriorLevel(Model):
    """The priors of one feature map: of each min size a square, with its max size a larger one, and one of each aspect ratio."""

    min_sizes: Annotated[tuple[float, ...], Field(min_length=1, description="Sides of the squares.")]
    max_sizes: Annotated[
        tuple[float, ...], Field(description="For each min size a square of side sqrt(min * max); none: no such squares.")
    ] = ()
    aspect_ratios: Annotated[tuple[float, ...], Field(description="Width / height, besides 1; each turned round as well.")] = ()
    step: Annotated[float | None, Field(gt=0, description="Pixels between cells; left out: input size / map size.")] = None
    map: Annotated[
        tuple[int, int] | None,
        Field(description="Its (rows, columns); left out: those of the output, else the input size / step."),
    ] = None

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.max_sizes and len(self.max_sizes) != len(self.min_sizes):
            raise ValueError(f"{len(self.min_sizes)} min_sizes and {len(self.max_sizes)} max_sizes; say one for each, or none")
        if self.step is None and self.map is None:
            raise ValueError("say the level's `step` in pixels, or its `map: [rows, columns]`")
        return self

    def sizes(self, order: str) -> list[tuple[float, float]]:
        """(width, height) of the priors of a cell."""
        found: list[tuple[float, float]] = []
        for index, low in enumerate(self.min_sizes):
            larger = [(low * self.max_sizes[index]) ** 0.5] * 2 if self.max_sizes else []
            squares = [(low, low)], [(larger[0], larger[1])] if larger else []
            roots = [ratio**0.5 for ratio in self.aspect_ratios]
            turned = [size for root in roots for size in ((low * root, low / root), (low / root, low * root))]
            found += squares[0] + (squares[1] + turned if order == "min_max_ratios" else turned + squares[1])
        return found

    def grid(self, image: Tensor) -> Grid:
        """(rows, columns) where no output says."""
        height, width = image.shape[-2:]
        return self.map or (_ceil(height, self.step), _ceil(width, self.step))


class Ssd(AnchorHead):
    """SSD, RetinaFace, BlazeFace: deltas from priors, with variances; softmax with the background first.

    The priors of cell (i, j) lie around ((i + offset) * step, (j + offset) * step) and have the sizes of their level, sizes of a
    cell next to each other (Liu et al., SSD, arXiv:1512.02325, section 2.2; the order as in Caffe's `PriorBox` and torchvision's
    `DefaultBoxGenerator`). The deltas: see `generator/anchor_deltas.py`.
    """

    kind: Literal["ssd"] = "ssd"
    proven_by: ClassVar[str] = "torchvision's SSD, ssd.pytorch's and OpenCV's priors, RetinaFace's and BlazeFace's own decoding"

    levels: Annotated[tuple[PriorLevel, ...], Field(description="The feature maps in order.")] = ()
    priors: Annotated[
        SpecFile | None,
        Field(description="Instead of levels: a .npy file [boxes, 4] of centres and sizes, as fractions of the input."),
    ] = None
    relative: Annotated[bool, Field(description="Whether min and max sizes are fractions of the input, or pixels of it.")] = False
    order: Annotated[
        Literal["min_max_ratios", "min_ratios_max"], Field(description="Of a cell's priors; Caffe and torchvision: the first.")
    ] = "min_max_ratios"
    offset: Annotated[float, Field(description="Where in its cell a prior lies.")] = 0.5
    clip_priors: Annotated[
        Literal["no", "sizes", "corners"],
        Field(description="What is kept within the input: nothing, the sizes (torchvision's clip) or the corners (Caffe's)."),
    ] = "no"
    activation: Annotated[
        Literal["none", "sigmoid", "softmax"], Field(description="What still has to be applied to the scores.")
    ] = "softmax"
    background: Annotated[int | None, Field(ge=0, description="The class that means nothing; `classes` counts it.")] = 0
    variances: Annotated[Four, Field(description="Each delta is multiplied by its own: x, y, width, height.")] = (
        0.1, 0.1, 0.2, 0.2,
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.levels) == (self.priors is not None):
            raise ValueError("say either `levels:` or a file of `priors:`")
        return self

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Ssd]:  # noqa: ARG003 -- shapes tell
        """The published SSD300, RetinaFace and BlazeFace, by their numbers of boxes."""
        shapes = [tensor.shape for tensor in outputs if len(tensor.shape) == 2]
        rows = {shape[0] for shape in shapes}
        if len(shapes) != len(outputs) or len(rows) != 1:
            return []
        numbers = sorted(shape[1] for shape in shapes)
        if image.shape[-2:] == (300, 300) and rows == {8732} and len(numbers) == 2:
            count = numbers[0] if numbers[1] == 4 else numbers[1]
            return [cls.model_validate({"classes": count, "levels": _ssd300(low)}) for low in (_COCO, _VOC)]
        if numbers == [1, 16] and rows == {896} and image.shape[-1] == image.shape[-2]:
            return [cls.model_validate(_blazeface(image.shape[-1]))]
        if numbers == [2, 4, 10]:
            name = next(tensor.name for tensor in outputs if tensor.shape[1] == 10)
            return [cls.model_validate({**_RETINAFACE, "points": name, "activation": a}) for a in ("softmax", "none")]
        return []

    def files(self) -> list[Path]:
        """The priors."""
        return [self.priors] if self.priors else []

    def levels_of(self, image: Tensor) -> list[tuple[int, Grid]]:
        """Of a file: one level of one prior a cell."""
        if self.priors:
            return [(1, (len(_read(self.priors)), 1))]
        return [(len(level.sizes(self.order)), level.grid(image)) for level in self.levels]

    def anchors(self, image: Tensor, grids: Sequence[Grid]) -> NDArray[np.float64]:
        """The priors."""
        height, width = image.shape[-2:]
        edge = np.array([width, height] * 2, np.float64)
        if self.priors:
            return _read(self.priors) * edge
        found = []
        for level, (rows, columns) in zip(self.levels, grids, strict=True):
            step = (level.step,) * 2 if level.step else (width / columns, height / rows)
            j, i = np.mgrid[0:rows, 0:columns]
            centres = (np.stack([i, j], -1).reshape(-1, 1, 2) + self.offset) * step
            sizes = np.array(level.sizes(self.order)) * (edge[:2] if self.relative else 1)
            if self.clip_priors == "sizes":
                sizes = np.clip(sizes, 0, edge[:2])
            shape = (rows * columns, len(sizes), 2)
            found.append(np.concatenate([np.broadcast_to(centres, shape), np.broadcast_to(sizes, shape)], -1).reshape(-1, 4))
        boxes = np.concatenate(found)
        return _within(boxes, edge) if self.clip_priors == "corners" else boxes


def _within(boxes: NDArray[np.float64], edge: NDArray[np.float64]) -> NDArray[np.float64]:
    half = boxes[:, 2:] / 2
    low, high = np.clip(boxes[:, :2] - half, 0, edge[:2]), np.clip(boxes[:, :2] + half, 0, edge[:2])
    return np.concatenate([(low + high) / 2, high - low], -1)


def _ceil(size: int, step: float | None) -> int:
    return int(-(-size // (step or size)))


def _read(path: Path) -> NDArray[np.float64]:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SurgeryError(f"head ssd: priors: {path} is not a .npy file: {error}", "write it with numpy.save") from None
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.shape[1] != 4 or not np.isfinite(values).all():
        found = f"{values.dtype}{list(values.shape)}" if isinstance(values, np.ndarray) else "an archive"
        raise SurgeryError(f"head ssd: priors: {path} holds {found}; expected finite numbers [boxes, 4]", "correct the file")
    return values.astype(np.float64)


#: Min sizes of SSD300, each the max size of the level before it (Caffe's examples/ssd, ssd_pascal.py and ssd_coco.py).
_COCO, _VOC = (21, 45, 99, 153, 207, 261, 315), (30, 60, 111, 162, 213, 264, 315)
#: biubug6/Pytorch_Retinaface, data/config.py.
_RETINAFACE: dict[str, Any] = {
    "classes": 2, "keypoints": 5,
    "levels": [{"min_sizes": [side, 2 * side], "step": step} for side, step in ((16, 8), (64, 16), (256, 32))],
}  # fmt: skip


def _ssd300(low: Sequence[int]) -> list[dict[str, Any]]:
    ratios, steps = ([2], [2, 3], [2, 3], [2, 3], [2], [2]), (8, 16, 32, 64, 100, 300)
    return [
        {"min_sizes": [low[i]], "max_sizes": [low[i + 1]], "aspect_ratios": ratios[i], "step": step}
        for i, step in enumerate(steps)
    ]


def _blazeface(size: int) -> dict[str, Any]:
    """MediaPipe's short range (128) and back (256) models: anchors as large as the input, deltas in its pixels."""
    levels = [{"min_sizes": [1.0] * count, "step": size / cells} for count, cells in ((2, 16), (6, 8))]
    return {
        "classes": 1, "background": None, "activation": "sigmoid", "size_coding": "linear", "keypoints": 6, "relative": True,
        "variances": [1 / size] * 4, "levels": levels,
    }  # fmt: skip
