"""Cells of feature maps, level after level, row after row: where they lie on the model's input, and how wide they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from generator.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.raw_outputs import Grid


def grids(image: Tensor, strides: Sequence[float]) -> tuple[Grid, ...]:
    """(rows, columns) of each level; a cell that the edge cuts counts."""
    height, width = image.shape[-2:]
    return tuple((-int(-height // stride), -int(-width // stride)) for stride in strides)


def count(maps: Sequence[Grid]) -> int:
    """How many there are in all."""
    return sum(rows * columns for rows, columns in maps)


def places(maps: Sequence[Grid], strides: Sequence[float], boxes: int = 1) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Numbers (column, row) [cells * boxes, 2] and strides [cells * boxes, 1]; the boxes of one cell are neighbours."""
    numbers, sizes = [], []
    for (rows, columns), stride in zip(maps, strides, strict=True):
        j, i = np.mgrid[0:rows, 0:columns]
        numbers.append(np.stack([i, j], -1).reshape(-1, 2).repeat(boxes, 0))
        sizes.append(np.full((rows * columns * boxes, 1), stride))
    return np.concatenate(numbers).astype(np.float32), np.concatenate(sizes).astype(np.float32)
