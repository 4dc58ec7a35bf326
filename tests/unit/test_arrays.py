"""Rows of structs of arrays are chosen and joined in all columns alike."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detector.arrays import (
    BoolArray,
    Float32Array,
    Int64Array,
    StructOfArrays,
    aligned_empty,
    grown,
    is_aligned,
    stable_order,
)
from monitor.detector.windows import Samples, Tails


@dataclass(frozen=True, slots=True)
class Points(StructOfArrays):
    at: Int64Array
    values: Float32Array
    odd: BoolArray | None = None


@dataclass(frozen=True, slots=True)
class Weighed(StructOfArrays):
    points: Points
    weight: Float32Array


def points(count: int, *, odd: bool = False) -> Points:
    at = np.arange(count, dtype=np.int64)
    return Points(at, np.stack([at, -at], axis=1).astype(np.float32), at % 2 == 1 if odd else None)


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([3, 0, 3]), np.array([True, False, True, False])])
@pytest.mark.parametrize("odd", [False, True])
def test_rows_are_chosen_in_every_column(rows: slice | np.ndarray, odd: bool) -> None:
    found, at = points(4, odd=odd)[rows], np.arange(4)[rows]
    assert (type(found), len(found), found.at.tolist()) == (Points, len(at), at.tolist())
    assert found.values[:, 1].tolist() == (-at).tolist()
    assert (None if found.odd is None else found.odd.tolist()) == ((at % 2 == 1).tolist() if odd else None)


def test_a_column_may_be_such_a_struct() -> None:
    found = Weighed(points(4), np.arange(4, dtype=np.float32))[2:]
    assert (len(found), found.points.at.tolist(), found.weight.tolist()) == (2, [2, 3], [2.0, 3.0])


def test_parts_are_joined() -> None:
    joined = Points.concatenate([points(2), points(0), points(3)])
    assert joined.at.tolist() == [0, 1, 0, 1, 2]
    assert (joined.values.shape, joined.values.dtype) == ((5, 2), np.dtype(np.float32))
    assert joined.odd is None


def test_a_column_that_is_left_out_of_a_part_is_zero_there() -> None:
    joined = Points.concatenate([points(2), points(3, odd=True)])
    assert joined.odd is not None
    assert (joined.odd.dtype, joined.odd.tolist()) == (np.dtype(np.bool_), [False, False, False, True, False])


def test_samples_that_say_nothing_of_it_carry_all_channels() -> None:
    one, many = np.zeros(1, dtype=np.int64), np.zeros(2, dtype=np.int64)
    whole = Samples(one, np.zeros((1, 2), np.float32), one, one, one > 0, one, one)
    carried = np.array([[True, False], [False, True]])
    partial = Samples(many, np.zeros((2, 2), np.float32), many, many, many > 0, many, many, carried=carried)
    joined = Samples.concatenate([whole, partial])
    assert joined.carried is not None
    assert joined.carried.tolist() == [[True, True], [True, False], [False, True]]
    assert joined.hole is None


def test_room_is_filled() -> None:
    column = grown(np.ones((2, 3), dtype=np.int64), 4, -7)
    assert (column.dtype, column.tolist()) == (np.dtype(np.int64), [[1] * 3] * 2 + [[-7] * 3] * 2)


@pytest.mark.parametrize("shape", [(1, 3, 1), (1024, 140, 1)])
def test_jax_does_not_copy_what_is_aligned(shape: tuple[int, ...]) -> None:
    array = aligned_empty(shape)
    assert array.shape == shape
    assert array.dtype == np.float32
    assert is_aligned(array)
    assert jax.device_put(array).unsafe_buffer_pointer() == array.ctypes.data


def test_what_is_not_aligned_is_known() -> None:
    array = aligned_empty((2, 32, 1))
    assert is_aligned(array[1:])
    assert not is_aligned(array[:, ::2])
    assert not is_aligned(aligned_empty((8, 3, 1))[1:])


@given(st.lists(st.integers(0, 4), max_size=6), st.randoms(use_true_random=False))
def test_the_tails_of_some_series_bring_their_samples(counts: list[int], random: Random) -> None:
    kept, samples = np.array(counts, dtype=np.int64), sum(counts)
    each = np.arange(samples, dtype=np.int64)
    tails = Tails(kept + 5, kept + 1, kept + 2, kept, each[:, None].astype(np.float32), each + 100, each + 200)
    rows = random.sample(range(len(counts)), len(counts))
    found = tails[np.array(rows, dtype=np.int64)]
    firsts = np.cumsum(kept) - kept
    expected = [int(firsts[row]) + at for row in rows for at in range(counts[row])]
    assert (found.kept.tolist(), found.index.tolist()) == (kept[rows].tolist(), (kept[rows] + 5).tolist())
    assert found.values[:, 0].tolist() == expected
    assert (found.time_us.tolist(), found.offset.tolist()) == (
        [at + 100 for at in expected],
        [at + 200 for at in expected],
    )


@given(
    st.lists(st.integers(0, 3) | st.integers(0, 2**32 - 1), max_size=40), st.sampled_from([1, 1 << 16, (1 << 16) + 1])
)
def test_a_stable_order_is_that_of_a_stable_sort(numbers: list[int], factor: int) -> None:
    found = np.array(numbers, dtype=np.int64) * factor % 2**32
    assert stable_order(found).tolist() == np.argsort(found, kind="stable").tolist()
