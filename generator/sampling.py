"""Inputs for a model of which only types and shapes are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from generator.frontends import Arrays, Interface
from generator.tensors import Tensor, numpy_dtype

#: Rows and the length of every other free axis, of each sample.
_SIZES = ((2, 8), (1, 8), (3, 12))


def samples(interface: Interface) -> list[Arrays]:
    """Seeded values: in [0, 1) where there are fractions, 0 to 255 in UINT8, small whole numbers else, both truths, short texts.

    Free axes that are no batch have one length in each sample, so that axes which belong together agree.
    """
    random = np.random.default_rng(0)
    free = any(t.batched or -1 in t.shape for t in interface.inputs)
    wanted = _SIZES if free else _SIZES[:1]
    return [{t.name: values(random, t, rows, length) for t in interface.inputs} for rows, length in wanted]


def values(random: np.random.Generator, tensor: Tensor, rows: int, length: int) -> NDArray[Any]:
    """Of one tensor."""
    shape = [*([rows] if tensor.batched else []), *(length if dim < 0 else dim for dim in tensor.shape)]
    if tensor.dtype == "BYTES":
        return np.full(shape, b"a", dtype=object)
    kind = np.dtype(numpy_dtype(tensor.dtype))
    if kind.kind == "f":
        return np.asarray(random.random(shape)).astype(kind)
    high = 2 if kind.kind == "b" else 256 if kind == np.uint8 else 8
    return np.asarray(random.integers(0, high, shape)).astype(kind)
