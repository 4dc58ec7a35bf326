"""Subsets are disjoint and reproducible; windows lie wholly in theirs; they are the ones the daemon cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.model_selection import train_test_split

from monitor.detector.spec import WindowSpec
from tests.helpers import sliding_windows
from training.windows import splits

_shares = st.floats(0, 0.9)


@given(npst.arrays(np.bool_, st.integers(1, 200)), _shares, _shares, st.integers(0, 2**40))
def test_a_random_split_is_a_partition(normal: np.ndarray, test: float, calibration: float, seed: int) -> None:
    split = splits.random_split(normal, test=test, calibration=calibration, seed=seed)
    splits.check_no_leak(split.fit, split.calibration, split.test)
    assert normal[split.fit].all()
    assert normal[split.calibration].all()
    left_out = np.setdiff1d(np.arange(len(normal)), np.concatenate([split.fit, split.calibration, split.test]))
    assert not normal[left_out].any()
    again = splits.random_split(normal, test=test, calibration=calibration, seed=seed)
    np.testing.assert_array_equal(split.fit, again.fit)
    training = splits.training_rows(len(normal), test=test, seed=seed)
    assert sorted([*training, *split.test]) == list(range(len(normal)))


@given(st.integers(2, 500), st.integers(0, 1000))
def test_the_test_part_is_scikit_learns(rows: int, seed: int) -> None:
    expected = train_test_split(np.arange(rows), test_size=0.2, random_state=seed)
    split = splits.random_split(np.ones(rows, np.bool_), test=0.2, calibration=0.0, seed=seed)
    np.testing.assert_array_equal(split.test, expected[1])
    np.testing.assert_array_equal(split.fit, expected[0])


@given(st.integers(0, 1000), _shares, _shares)
def test_a_split_by_time_is_in_order_and_whole(rows: int, test: float, calibration: float) -> None:
    fit, _, held, tested = splits.time_split(rows, test=test, calibration=calibration)
    assert [*range(rows)[fit], *range(rows)[held], *range(rows)[tested]] == list(range(rows))


def test_a_leak_is_noticed() -> None:
    with pytest.raises(AssertionError, match="two subsets"):
        splits.check_no_leak(np.array([1, 2]), np.array([3, 2]))


@given(st.integers(0, 120), st.integers(1, 20), st.integers(1, 9), st.integers(0, 60), st.integers(0, 120))
def test_windows_lie_in_their_part_and_are_those_cut_offline(
    rows: int, length: int, hop: int, start: int, stop: int
) -> None:
    samples = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    part = slice(start, stop)
    window = WindowSpec(kind="sliding", length=length, hop=hop)
    cut = splits.cut(samples, None, part, window)
    np.testing.assert_array_equal(cut.values, sliding_windows(samples[part], length, hop))
    assert (cut.last - cut.first == length - 1).all()
    assert set(range(rows)[part]).issuperset(set(cut.first) | set(cut.last))
    marked = np.zeros(rows, np.bool_)
    marked[::7] = True
    expected = [marked[first : last + 1].any() for first, last in zip(cut.first, cut.last, strict=True)]
    assert splits.touched(cut, marked).tolist() == expected


def test_gaps_restart_a_series_and_late_samples_are_dropped() -> None:
    samples = np.arange(10, dtype=np.float32)[:, None]
    time_us = np.array([0, 1, 2, 3, 100_000, 100_001, 100_000, 100_002, 100_003, 100_004], dtype=np.int64)
    window = WindowSpec(kind="sliding", length=3, hop=1, max_gap_ms=50.0)
    cut = splits.cut(samples, time_us, slice(0, 10), window)
    assert cut.values[:, :, 0].tolist() == [[0, 1, 2], [1, 2, 3], [4, 5, 7], [5, 7, 8], [7, 8, 9]]
    assert cut.first.tolist() == [0, 1, 4, 5, 7]
    assert cut.last.tolist() == [2, 3, 7, 8, 9]
