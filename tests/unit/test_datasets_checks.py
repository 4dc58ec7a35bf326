"""What is said of timestamps and of missing numbers, against hand-made cases and NumPy."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.datafiles import SeriesTable, WindowTable
from monitor.errors import DataError
from training.datasets import read
from training.datasets.missing import check as check_missing
from training.datasets.timestamps import check, notes

SECOND = 1_000_000


def times(*seconds: float) -> Any:
    return np.array([round(each * SECOND) for each in seconds], dtype=np.int64)


def table(time_us: Any) -> SeriesTable:
    return SeriesTable(samples=np.zeros((len(time_us), 1), np.float32), channels=("v",), time_us=time_us, series="pump")


def test_order_repeats_and_gaps() -> None:
    #             step:  1  1  0  1  -2  1  1  10  1
    report = check(times(0, 1, 2, 2, 3, 1, 2, 3, 13, 14))
    assert (report.samples, report.steps_back, report.back_at, report.repeats) == (10, 1, (5,), 1)
    assert (report.gaps, report.largest_gap_us, report.step_us) == (1, 10 * SECOND, SECOND)
    assert (report.jitter, report.sampling_rate_hz) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("rate", "tick_us"),
    [(rate, tick) for tick in (1, 1_000) for rate in (0.1, 1.0, 7.0, 128.0, 360.0)] + [(48_000.0, 1)],
)
def test_rates_as_far_as_the_clock_shows_them(rate: float, tick_us: int) -> None:
    exact = np.arange(5_000) * (1e6 / rate)
    report = check((np.rint(exact / tick_us) * tick_us).astype(np.int64))
    assert report.sampling_rate_hz == pytest.approx(rate, rel=1e-3)
    assert report.gaps == 0


def test_an_irregular_series_has_no_rate() -> None:
    steps = np.random.default_rng(0).uniform(0.6, 1.4, size=2_000)
    report = check(times(*np.cumsum(steps)))
    assert report.sampling_rate_hz is None
    assert report.jitter == pytest.approx(0.8 / 12**0.5, rel=0.05)  # of a uniform distribution


def test_series_of_one_time_or_one_sample() -> None:
    for time_us in (times(5), times(5, 5), times(6, 5)):
        report = check(time_us)
        assert (report.step_us, report.gaps, report.sampling_rate_hz) == (0.0, 0, None)


def test_notes_name_series_place_and_rate() -> None:
    odd = table(times(0, 1, 2, 1, 2, 3, 13))
    told = list(notes([table(times(0, 1, 2)), odd], sampling_rate_hz=2.0))
    assert told[0] == "pump: sampled at 1 Hz, but the recipe says 2 Hz"
    assert "of 7 rows time steps back at 1 and repeats at 0; the first at 1970-01-01T00:00:01+00:00" in told[1]
    assert told[1].endswith("; 2 late and repeated samples are left out")
    assert "gaps at 1 rows, the longest 10 s where a step is 1 s" in told[2]
    assert not list(notes([table(times(0, 1, 2))], sampling_rate_hz=1.0))
    assert not list(notes([SeriesTable(samples=np.zeros((2, 1), np.float32), channels=("v",))]))


def test_years_that_can_not_be_are_told_and_times_from_0_are_not() -> None:
    for first_s in (0, 5, 1_764_600_000):
        assert not list(notes([table(times(first_s, first_s + 1, first_s + 2))]))
    for first_s in (-10, 500_000_000, 7_300_000_000):
        (told,) = notes([table(times(first_s, first_s + 1, first_s + 2))])
        assert "is that right?" in told
        assert "input.oldest_time" in told


def test_several_series_taken_for_one_are_told() -> None:
    """Four pumps, one after the other: all but the first come too late."""
    told = list(notes([table(np.tile(times(*range(10)), 4))]))
    assert "time steps back at 3 and repeats at 0" in told[0]
    assert "30 late and repeated samples are left out" in told[0]
    assert "name them with --series-column" in told[1]


@given(st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=50))
def test_any_times_can_be_reported(found: list[int]) -> None:
    time_us = np.array(found, dtype=np.int64)
    report = check(time_us)
    steps = [b - a for a, b in pairwise(found)]
    assert report.steps_back == sum(step < 0 for step in steps)
    assert report.repeats == sum(step == 0 for step in steps)
    assert 0 <= report.gaps <= len(steps)
    assert all(isinstance(note, str) for note in notes([table(time_us)]))


@pytest.mark.data
def test_what_is_known_of_public_series(data_directory: Path) -> None:
    """NAB's machine temperature steps back once by 55 minutes; two of its files repeat 11 times."""

    def report(name: str) -> Any:
        (found,) = read(str(data_directory / name), kind="sliding")
        assert isinstance(found, SeriesTable)
        assert found.time_us is not None
        return check(found.time_us), found.time_us

    machine, time_us = report("nab/data/realKnownCause/machine_temperature_system_failure.csv")
    assert machine.steps_back == 1
    row = machine.back_at[0]
    assert time_us[row - 1] - time_us[row] == 55 * 60 * SECOND
    assert report("nab/data/realKnownCause/ec2_request_latency_system_failure.csv")[0].repeats == 11
    assert report("nab/data/realKnownCause/nyc_taxi.csv")[0].sampling_rate_hz == pytest.approx(1 / 1800)
    skab, _ = report("skab/anomaly-free/anomaly-free.csv")
    assert skab.sampling_rate_hz == 1.0


# missing numbers

NAN = np.nan
SERIES = SeriesTable(
    samples=np.array([[1, 2], [NAN, 3], [NAN, NAN], [4, 5]], np.float32),
    channels=("a", "b"),
    series="pump",
    source="pumps.csv",
)
WINDOWS = WindowTable(
    windows=np.array([[[1], [2]], [[3], [NAN]]], np.float32), channels=("b",), source="beats.csv", series="beats"
)


def test_missing_numbers_are_counted_by_row_and_channel() -> None:
    for policy in ("drop", "fill"):
        found = check_missing([SERIES, WINDOWS], policy)
        assert (found.numbers, found.missing, found.rows) == (12, 4, 3)
        assert found.by_channel == {"a": 2, "b": 2}
    whole = WindowTable(windows=np.zeros((2, 3, 1), np.float32), channels=("b",))
    assert check_missing([whole], "refuse").missing == 0


def test_the_first_missing_number_is_named() -> None:
    with pytest.raises(DataError, match=r"pumps\.csv, series pump, row 2, channel a: a number is missing"):
        check_missing([SERIES], "refuse")
    with pytest.raises(DataError, match=r"beats\.csv, series beats, window 2, sample 2, channel b"):
        check_missing([WINDOWS], "refuse")


@pytest.mark.parametrize("policy", ["refuse", "drop", "fill"])
def test_a_channel_without_a_number_is_refused(policy: Any) -> None:
    empty = SeriesTable(samples=np.array([[1, NAN], [2, NAN]], np.float32), channels=("a", "b"), source="x.csv")
    with pytest.raises(DataError, match=r"x\.csv: channel b has no number at all"):
        check_missing([empty], policy)
