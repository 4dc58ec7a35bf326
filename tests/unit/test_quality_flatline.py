"""Flatline: against runs counted one by one, however the log is cut; and what it says and does not say."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detector.memory import Memory
from monitor.detector.spec import ChannelQuality, Manifest, QualitySpec
from monitor.detector.windows import Windows
from monitor.processing.checks import Problem, QualityRules
from monitor.processing.quality.flatline import Flatline
from tests.helpers import make_artifact
from tests.turns import findings, samples_of, turn_of_windows, turns_of


@cache
def manifest_of(*longest: int, samples: int = 10_000) -> Manifest:
    """Of as many channels, whose longest runs of equal values in training are these; none is known for 0 samples."""
    names = [f"c{at}" for at in range(len(longest))]
    known = [ChannelQuality(lowest=0.0, highest=9.0, longest_run=run) for run in longest]
    quality = QualitySpec(samples=samples, channels=tuple(known)) if samples else None
    return msgspec.structs.replace(make_artifact(channels=names).manifest, quality=quality)


def naive(manifest: Manifest, series: np.ndarray, values: np.ndarray) -> list[tuple[float, ...]]:
    """As the module's docstring says it, sample by sample."""
    found: list[tuple[float, ...]] = []
    known = manifest.quality
    for row in set(series.tolist()):
        for channel in range(values.shape[1]):
            longest = known.channels[channel].longest_run if known else 0
            seen, last, run, since = known.samples if known else 0, float("nan"), 0, 0
            limit, over = 0.0, False
            for offset in np.flatnonzero(series == row).tolist():
                value = float(values[offset, channel])
                if np.isnan(value):
                    continue
                at = offset * 1_000_000
                if value != last:
                    if over:
                        found.append((offset, 0, row, channel, at, at, 1.0, limit))
                    longest, seen = max(longest, min(run, 10 * int(limit)) if over else run), seen + run
                    last, run, since, over = value, 0, at, False
                    silent = longest == 0 or seen < max(100 * longest, 1 if known else 300)
                    limit = np.inf if silent else max(30, 3 * longest)
                run += 1
                if run == limit + 1:
                    found.append((offset, 0, row, channel, since, at, float(run), limit))
                    over = True
    return sorted(found)


@given(st.data(), st.sampled_from([0, 40, 10_000]))
def test_it_is_what_counting_finds_however_the_log_is_cut(data: st.DataObject, known: int) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count, stays = data.draw(st.integers(1, 900)), data.draw(st.sampled_from([0.0, 0.5, 0.95, 0.99]))
    series = rng.integers(0, data.draw(st.integers(1, 3)), count)
    steps = np.where(rng.random((count, 2)) < stays, 0, rng.integers(1, 4, (count, 2)))
    values = np.where(
        rng.random((count, 2)) < data.draw(st.sampled_from([0.0, 0.1])), np.nan, np.cumsum(steps, axis=0) % 7
    )
    for row in range(3):  # each series moves by itself
        values[series == row] = np.where(
            np.isnan(values[series == row]), np.nan, np.cumsum(steps[series == row], axis=0) % 7
        )
    manifest = manifest_of(1, 11, samples=known)
    cuts = data.draw(st.lists(st.integers(0, count), max_size=5))
    made = findings(Flatline(manifest, QualityRules()), turns_of(samples_of(series, values), cuts))
    assert made == naive(manifest, series, values.astype(np.float32))


def test_a_dead_channel_is_named_after_31_equal_samples_and_resolved_when_it_moves() -> None:
    values = np.random.default_rng(0).normal(size=(200, 50))
    values[100:160, 7] = values[99, 7]
    made = findings(
        Flatline(manifest_of(*[1] * 50), QualityRules()), turns_of(samples_of([0] * 200, values), [120, 150])
    )
    assert [(each[0], each[3], each[4] // 1_000_000, each[6]) for each in made] == [(129, 7, 99, 31), (160, 7, 160, 1)]


def test_an_outage_is_learnt_from_but_does_not_blind() -> None:
    """It counts for 300 samples, ten times the limit of 30, so that the next one is named after 901."""
    moves = np.arange(500.0)
    values = np.concatenate([moves, np.full(1000, -1.0), moves, np.full(950, -2.0), moves])
    manifest = manifest_of(1, samples=100_000)
    made = findings(Flatline(manifest, QualityRules()), turns_of(samples_of([0] * len(values), values), [700, 2500]))
    assert [(at[0], at[6], at[7]) for at in made] == [(530, 31, 30), (1500, 1, 30), (2900, 901, 900), (2950, 1, 900)]
    assert made == naive(manifest, np.zeros(len(values), dtype=np.int64), values[:, None])


@pytest.mark.parametrize(
    ("longest", "samples", "found"),
    [(1, 10_000, True), (100, 10_000, True), (102, 10_000, False), (10_000, 10_000, False), (1, 0, False)],
)
def test_it_is_silent_where_too_little_is_known(longest: int, samples: int, found: bool) -> None:
    """A channel must have been seen for 100 times its longest run; here 100 samples more than in training."""
    values = np.append(np.arange(99), np.zeros(5000))
    check = Flatline(manifest_of(longest, samples=samples), QualityRules())
    assert bool(findings(check, turns_of(samples_of([0] * len(values), values), [3000]))) == found


def windows_of(values: np.ndarray) -> Windows:
    """Records of one series that are windows, 100 us apart, each as long as 95 us."""
    numbers, length = np.arange(len(values)), values.shape[1]
    times = 100 * numbers
    last = np.full(len(values), length - 1)
    return Windows(0 * numbers, values.astype(np.float32), times, times + 95, numbers, numbers, last)


def test_records_that_are_windows_follow_each_other() -> None:
    values = np.random.default_rng(1).normal(size=(4, 20, 1)).astype(np.float32)
    values[1:3] = 5.0
    windows, check = windows_of(values), Flatline(manifest_of(1), QualityRules())
    # 31 of the 40 equal ones are over with the 11th of the third window; its samples are 5 us apart
    found = [(2, 10, 0, 0, 100, 250, 31.0, 30.0), (3, 0, 0, 0, 300, 300, 1.0, 30.0)]
    assert findings(check, [turn_of_windows(windows)]) == found
    assert not findings(check, [turn_of_windows(replace(windows, series=np.array([0, 1, 0, 0])))])


def test_it_says_where_and_how_long() -> None:
    manifest = manifest_of(4)
    (channel,) = manifest.channels
    manifest = msgspec.structs.replace(manifest, channels=(msgspec.structs.replace(channel, level=1000.0),))
    values = np.append(np.arange(10), np.full(40, 3.5))
    check = Flatline(manifest, QualityRules())
    made = check.take(next(turns_of(samples_of([0] * 50, values), [])), Memory.full(1, check.nothing))
    assert made is not None
    assert made.observed is not None
    problem = Problem("c0", made.value[0], made.threshold[0], made.usual[0], 0, 0, made.observed[0])
    assert check.describe(problem) == "has been 1003.5 for 31 samples; usually at most 4 in a row are equal"
