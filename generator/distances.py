"""Boxes as distances from a point to their four sides, each the mean of a distribution (generalised focal loss).

With `bins` channels z a side, distance = sum_k k * softmax(z)_k, k = 0 .. bins - 1, in strides
(Li et al., Generalized Focal Loss, arXiv:2006.04388, equation 5); with one channel it is the distance itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from generator.levels import Role, boxes_first

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.builder import Builder

#: Left, top, right, bottom: where they lead from the point.
_WAYS = np.array([-1, -1, 1, 1], np.float32)


def append(build: Builder, role: Role, bins: int, points: NDArray[np.float32], strides: NDArray[np.float32]) -> str:
    """Distances, channels 4 * bins -> corner boxes [batch, boxes, 4]; points and strides [1, boxes, 2] in pixels."""
    distances = boxes_first(build, role) if bins == 1 else _means(build, role, bins)
    leading = np.tile(strides, 2) * _WAYS
    return build("Add", build("Mul", distances, leading), np.tile(points, 2))


def _means(build: Builder, role: Role, bins: int) -> str:
    """[batch, boxes, 4]."""
    if role.axis == 1:
        sides = build("Transpose", build("Reshape", role.name, np.array([0, 4, bins, -1])), perm=[0, 3, 1, 2])
    else:
        sides = build("Reshape", role.name, np.array([0, -1, 4, bins]))
    numbers = np.arange(bins, dtype=np.float32).reshape(bins, 1)
    return build("Squeeze", build("MatMul", build("Softmax", sides, axis=3), numbers), np.array([3]))


def decoded(
    raw: NDArray[np.float64], bins: int, points: NDArray[np.float32], strides: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The same in NumPy: raw [batch, boxes, 4 * bins]."""
    if bins > 1:
        z = raw.reshape(*raw.shape[:2], 4, bins)
        weights = np.exp(z - z.max(-1, keepdims=True))
        raw = (weights * np.arange(bins)).sum(-1) / weights.sum(-1)
    left_top, right_bottom = raw[..., :2] * strides, raw[..., 2:] * strides
    return np.concatenate([points - left_top, points + right_bottom], -1).astype(np.float32)
