"""retinanet: the anchor head of RetinaNet and EfficientDet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator.anchor_deltas import AnchorHead
from generator.plugin import Model
from generator.raw_outputs import Grid
from generator.tensors import Tensor


class AnchorLevel(Model):
    """The anchors of one feature map."""

    stride: Annotated[float, Field(gt=0, description="Pixels between cells.")]
    sizes: Annotated[tuple[float, ...], Field(min_length=1, description="Sides of the anchors of aspect ratio 1, in pixels.")]


def _published(base: float = 4) -> tuple[AnchorLevel, ...]:
    octaves = [2 ** (k / 3) for k in range(3)]
    return tuple(AnchorLevel(stride=s, sizes=tuple(base * s * o for o in octaves)) for s in (8, 16, 32, 64, 128))


class Retinanet(AnchorHead):
    """RetinaNet and EfficientDet: deltas from anchors over a feature pyramid; sigmoid.

    An anchor of size s and aspect ratio r (height / width) is s / sqrt(r) wide and s * sqrt(r) high, and lies around
    (i + offset) * stride (Lin et al., RetinaNet, arXiv:1708.02002, section 4; the rounding of half sizes to whole pixels and
    an offset of 0: torchvision's `AnchorGenerator`). EfficientDet (arXiv:1911.09070; automl's `efficientdet/tf2/anchors.py`):
    `coding: yxhw`, `offset: 0.5`, `order: sizes_first`, ratios as pairs [1, 1], [1.4, 0.7], [0.7, 1.4], no size limit.
    The deltas: see `generator/anchor_deltas.py`.
    """

    kind: Literal["retinanet"] = "retinanet"
    proven_by: ClassVar[str] = "torchvision's RetinaNet; effdet's EfficientDet"

    levels: Annotated[
        tuple[AnchorLevel, ...],
        Field(
            min_length=1, description="The feature maps in order; the paper's: strides 8 to 128, sizes 4, 5.04 and 6.35 strides."
        ),
    ] = _published()
    aspect_ratios: Annotated[
        tuple[float | tuple[float, float], ...],
        Field(min_length=1, description="Height / width, or [width, height] as multiples of the size."),
    ] = (0.5, 1.0, 2.0)
    order: Annotated[
        Literal["ratios_first", "sizes_first"],
        Field(description="What changes slowest among a cell's anchors; torchvision, MMDetection: ratios; Detectron2: sizes."),
    ] = "ratios_first"
    rounded: Annotated[bool, Field(description="Whether half sizes are rounded to whole pixels, as torchvision does.")] = False
    offset: Annotated[float, Field(description="Where in its cell an anchor lies.")] = 0.0
    stride_from_map: Annotated[
        bool, Field(description="Whether cells lie input size // map size pixels apart, as in torchvision, or a stride.")
    ] = False
    size_limit: Annotated[
        float | None, Field(gt=0, description="The largest logarithm; greater ones are cut; torchvision's is log(1000 / 16).")
    ] = math.log(1000 / 16)

    @classmethod
    def fits(cls, image: Tensor, outputs: tuple[Tensor, ...], classes: int) -> list[Retinanet]:  # noqa: ARG003 -- shapes tell
        """Nine anchors a cell over five levels: those of MMDetection, Detectron2, torchvision and EfficientDet."""
        width = {2: 1, 3: 9}.get(len(outputs[0].shape), 0) if outputs else 0
        if not width or any(len(tensor.shape) != len(outputs[0].shape) for tensor in outputs):
            return []
        numbers = {tensor.shape[0] if width == 9 else tensor.shape[1] for tensor in outputs} - {4 * width}
        count = numbers.pop() if len(numbers) == 1 else 0
        return [cls.model_validate({"classes": count // width, **form}) for form in _FORMS] if count and not count % width else []

    def levels_of(self, image: Tensor) -> list[tuple[int, Grid]]:
        """Maps of input size / stride, rounded up."""
        height, width = image.shape[-2:]
        return [
            (len(level.sizes) * len(self.aspect_ratios), (math.ceil(height / level.stride), math.ceil(width / level.stride)))
            for level in self.levels
        ]

    def anchors(self, image: Tensor, grids: Sequence[Grid]) -> NDArray[np.float64]:
        """The anchors, those of a cell next to each other."""
        found = []
        height, width = image.shape[-2:]
        for level, (rows, columns) in zip(self.levels, grids, strict=True):
            j, i = np.mgrid[0:rows, 0:columns]
            stride = (width // columns, height // rows) if self.stride_from_map else (level.stride, level.stride)
            centres = (np.stack([i, j], -1).reshape(-1, 1, 2) + self.offset) * stride
            sizes = self._sizes(level)
            shape = (rows * columns, len(sizes), 2)
            found.append(np.concatenate([np.broadcast_to(centres, shape), np.broadcast_to(sizes, shape)], -1).reshape(-1, 4))
        return np.concatenate(found)

    def _sizes(self, level: AnchorLevel) -> NDArray[np.float64]:
        pairs = [r if isinstance(r, tuple) else (1 / math.sqrt(r), math.sqrt(r)) for r in self.aspect_ratios]
        if self.order == "ratios_first":
            sizes = np.array([(w * s, h * s) for w, h in pairs for s in level.sizes])
        else:
            sizes = np.array([(w * s, h * s) for s in level.sizes for w, h in pairs])
        return np.round(sizes / 2) * 2 if self.rounded else sizes


_STRIDES = (8, 16, 32, 64, 128)
#: torchvision cuts sizes to whole pixels before it makes anchors of them.
_WHOLE = [{"stride": s, "sizes": [int(4 * s * 2 ** (k / 3)) for k in range(3)]} for s in _STRIDES]
_FORMS: tuple[dict[str, Any], ...] = (
    {},
    {"order": "sizes_first"},
    {"levels": _WHOLE, "rounded": True, "stride_from_map": True, "clip": True},
    {
        "order": "sizes_first", "coding": "yxhw", "offset": 0.5, "size_limit": None,
        "aspect_ratios": [[1.0, 1.0], [1.4, 0.7], [0.7, 1.4]],
    },
)  # fmt: skip
