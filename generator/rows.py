"""Outputs whose rows are a set: two answers that hold the same rows in another order are the same answer.

Models that choose boxes or queries themselves sort candidates by score. Where two scores agree to the last bits, another order of
the same additions exchanges them, and every number of both rows seems wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
#: Names of outputs [batch, rows, ...] that share one order.
Group = Sequence[str]


def aligned(expected: Arrays, found: Arrays, groups: Sequence[Group]) -> dict[str, NDArray[Any]]:
    """`found` with the rows of each group in the order of `expected`: each row to the nearest that is left.

    Nearness is the largest difference of any number, each output by its own range. Where shapes differ, or values are not
    finite, nothing is moved.
    """
    moved = dict(found)
    for group in groups:
        if not _comparable(expected, found, group):
            continue
        for batch in range(len(expected[group[0]])):
            order = _order(_flat(expected, expected, group, batch), _flat(found, expected, group, batch))
            for name in group:
                moved[name] = moved[name] if moved[name] is not found[name] else found[name].copy()
                moved[name][batch] = found[name][batch][order]
    return moved


def _comparable(expected: Arrays, found: Arrays, group: Group) -> bool:
    return all(
        name in expected
        and name in found
        and expected[name].ndim > 1
        and expected[name].shape == found[name].shape
        and expected[name].shape[:2] == expected[group[0]].shape[:2]
        and bool(np.isfinite(expected[name]).all() and np.isfinite(found[name]).all())
        for name in group
    )


def _flat(values: Arrays, expected: Arrays, group: Group, batch: int) -> NDArray[np.float64]:
    """[rows, numbers], each output in units of its largest expected value."""
    parts = []
    for name in group:
        largest = float(np.abs(expected[name]).max(initial=0.0)) or 1.0
        parts.append(values[name][batch].astype(np.float64).reshape(values[name].shape[1], -1) / largest)
    return np.concatenate(parts, axis=1)


def _order(expected: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each expected row, the found one; rows that are where they belong stay."""
    distance = np.stack([np.abs(found - row).max(axis=1) for row in expected])
    nearest = distance.argmin(axis=1)
    own = np.arange(len(expected))
    nearest = np.where(distance[own, own] <= distance.min(axis=1), own, nearest)
    if len(set(nearest.tolist())) == len(nearest):
        return nearest
    order = np.full(len(expected), -1)
    free = set(range(len(found)))
    for flat in np.argsort(distance, axis=None, kind="stable").tolist():
        row, other = divmod(flat, len(found))
        if order[row] < 0 and other in free:
            order[row] = other
            free.remove(other)
    return order.astype(np.intp)
