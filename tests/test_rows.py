"""Rows that are a set: what is aligned, and what stays wrong."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from generator.rows import aligned


@given(st.integers(1, 30), st.integers(0, 2**31))
def test_any_order_of_the_same_rows_is_brought_back(rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    boxes, scores = random.random((2, rows, 4)), random.random((2, rows, 7)).astype(np.float32)
    order = random.permutation(rows)
    found = {"boxes": boxes[:, order] + 1e-9, "scores": scores[:, order], "other": boxes[:, order]}
    moved = aligned({"boxes": boxes, "scores": scores}, found, [("boxes", "scores")])
    np.testing.assert_allclose(moved["boxes"], boxes, atol=1e-8)
    np.testing.assert_array_equal(moved["scores"], scores)
    assert moved["other"] is found["other"]
    np.testing.assert_array_equal(found["boxes"], boxes[:, order] + 1e-9)  # the given arrays are left alone


def test_a_group_moves_together() -> None:
    """Boxes of one order and scores of another are no answer of the model's."""
    boxes, scores = np.arange(4.0).reshape(1, 4, 1), np.arange(4.0).reshape(1, 4, 1)
    found = {"boxes": boxes, "scores": scores[:, ::-1]}
    moved = aligned({"boxes": boxes, "scores": scores}, found, [("boxes", "scores")])
    assert not all(np.allclose(moved[name], boxes) for name in moved)


def test_another_row_stays_another() -> None:
    expected = np.array([[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]])
    found = np.array([[[3.0, 0.0], [1.0, 0.0], [9.0, 0.0]]])
    moved = aligned({"a": expected}, {"a": found}, [("a",)])["a"]
    assert np.abs(moved - expected).max() == 7
    assert sorted(moved[0, :, 0].tolist()) == [1, 3, 9]


def test_two_rows_that_want_the_same_one_do_not_both_get_it() -> None:
    expected = np.array([[[1.0], [1.1]]])
    found = np.array([[[1.05], [4.0]]])
    moved = aligned({"a": expected}, {"a": found}, [("a",)])["a"]
    assert sorted(moved[0, :, 0].tolist()) == [1.05, 4.0]


def test_what_cannot_be_compared_is_left_for_the_comparison_to_judge() -> None:
    expected = {"a": np.zeros((1, 3, 2)), "b": np.array([[[np.nan], [1.0]]]), "c": np.zeros((1, 3, 2))}
    found = {"a": np.zeros((1, 2, 2)), "b": np.array([[[1.0], [np.nan]]])}
    moved = aligned(expected, found, [("a",), ("b",), ("c",)])
    assert all(moved[name] is found[name] for name in found)
