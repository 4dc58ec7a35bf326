"""Missing numbers and numbers out of range: against counting one by one, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitor.detector.spec import ChannelQuality, Manifest, QualitySpec
from monitor.processing.checks import WHOLE_SERIES, Check, Problem, QualityRules
from monitor.processing.quality.nan_ratio import NanRatio, limits_of
from monitor.processing.quality.out_of_range import OutOfRange
from tests.helpers import make_artifact
from tests.turns import findings, samples_of, turns_of
from tests.unit.test_quality_episodes import naive

RULES = QualityRules()


@cache
def manifest_of(*channels: ChannelQuality, level: float = 0.0) -> Manifest:
    manifest = make_artifact(channels=[f"c{at}" for at in range(len(channels))]).manifest
    quality = QualitySpec(samples=10_000, channels=channels)
    leveled = tuple(msgspec.structs.replace(each, level=level) for each in manifest.channels)
    return msgspec.structs.replace(manifest, channels=leveled, quality=quality)


def known(
    lowest: float = 18.0, highest: float = 25.0, longest_missing: int = 0, missing: float = 0.0
) -> ChannelQuality:
    return ChannelQuality(
        lowest=lowest, highest=highest, longest_run=1, longest_missing=longest_missing, missing=missing
    )


def counted(series: np.ndarray, marked: np.ndarray, limits: list[tuple[int, int, int]]) -> list[tuple[int, ...]]:
    """Of each channel of each series: record, series, channel, since when, whether it is wrong; by `naive`."""
    found = []
    for row in set(series.tolist()):
        records = np.flatnonzero(series == row)
        for channel, limit in enumerate(limits):
            for _, at, what, since in naive(marked[records, channel], limit):
                offset, start = int(records[at]), int(records[since if what == "wrong" else at])
                found.append((offset, row, channel, start * 1_000_000, what == "wrong"))
    return sorted(found)


def made(check: Check, samples: object, cuts: list[int]) -> list[tuple[int, ...]]:
    found = findings(check, turns_of(samples, cuts))  # type: ignore[arg-type]
    return [(int(at[0]), int(at[2]), int(at[3]), int(at[4]), at[6] > at[7]) for at in found]


@given(st.data())
def test_missing_numbers_are_what_counting_finds_however_the_log_is_cut(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count = data.draw(st.integers(1, 400))
    series, values = rng.integers(0, 2, count), rng.normal(size=(count, 3))
    values[rng.random((count, 3)) < data.draw(st.sampled_from([0.0, 0.05, 0.4]))] = np.nan
    values[count // 4 : count // 2, 1] = np.nan
    values[data.draw(st.integers(0, count)) :][: data.draw(st.integers(0, 120))] = np.nan
    hole = rng.random(count) < 0.1
    values[hole] = np.nan
    check = NanRatio(manifest_of(known(), known(), known(longest_missing=9, missing=0.1)), RULES)
    found = made(check, samples_of(series, values, hole=hole), data.draw(st.lists(st.integers(0, count), max_size=4)))
    limits = [(20, 10, 50), (20, 10, 50), (27, 5, 50)]
    gone = np.array([bool(row.all()) for row in np.isnan(values)])

    def counted_at(records: np.ndarray, marked: np.ndarray, limits: list[tuple[int, int, int]]) -> list[Any]:
        """Of some of the records alone."""
        expected = counted(series[records], marked, limits)
        return [(int(records[at]), row, c, int(records[us // 10**6]) * 10**6, w) for at, row, c, us, w in expected]

    there = np.flatnonzero(~hole & ~gone)
    of_all = counted_at(np.flatnonzero(~hole), gone[~hole, None], limits[:1])
    whole = [(at, row, WHOLE_SERIES, us, wrong) for at, row, _, us, wrong in of_all]
    assert found == sorted(counted_at(there, np.isnan(values[there]), limits) + whole)


def test_where_all_channels_are_missing_the_series_is_named_and_no_channel() -> None:
    values = np.ones((300, 12))
    values[40:200] = np.nan
    values[:250, 3] = np.nan  # before and after, too
    check = NanRatio(manifest_of(*[known()] * 12), RULES)
    found = made(check, samples_of([0] * 300, values), [50, 190])
    assert [(at, channel, wrong) for at, _, channel, _, wrong in found] == [
        (19, 3, True),
        (59, WHOLE_SERIES, True),
        (249, WHOLE_SERIES, False),
        (299, 3, False),
    ]
    text = check.describe(Problem("", 20.0, 19.5, float("nan"), 0, 0))
    assert text == "all 12 channels are missing in 20 samples, with at most 9 others between two"


@given(st.data())
def test_numbers_out_of_range_are_what_counting_finds_however_the_log_is_cut(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count = data.draw(st.integers(1, 500))
    series, values = rng.integers(0, 2, count), rng.uniform(-270.0, 290.0, size=(count, 2))
    values[rng.random((count, 2)) < data.draw(st.sampled_from([0.0, 0.02, 0.4]))] = -9999.0
    values[rng.random((count, 2)) < 0.01] = np.nan
    check = OutOfRange(manifest_of(known(), known(-1.0, 1.0), level=100.0), RULES)
    samples = samples_of(series, values - 100.0)
    found = made(check, samples, data.draw(st.lists(st.integers(0, count), max_size=4)))
    there = values.astype(np.float32)
    marked = np.stack([(there[:, 0] < 18 - 250) | (there[:, 0] > 25 + 250), np.abs(there[:, 1]) > 11], axis=1)
    assert found == counted(series, marked, [(5, 100, 100)] * 2)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.1, 0.3, 0.6, 0.95])
def test_numbers_that_are_missing_independently_open_nothing(share: float) -> None:
    """The chance that an episode grows long enough, at any of its numbers, is at most 1e-9 with a tenfold margin."""
    limits = limits_of(np.array([share]), np.array([0]))
    closely = stats.geom.cdf(limits.gap[0], share)  # another follows with fewer than `gap` between
    assert closely ** (limits.enough[0] - 1) < 1e-8
    values = np.where(np.random.default_rng(0).random(200_000) < share, np.nan, 0.0)
    check = NanRatio(manifest_of(known(missing=share)), RULES)
    assert not findings(check, turns_of(samples_of([0] * len(values), values), [70_000]))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (-9999.0, "; it looks like a number that stands for a missing one (input.missing_values)"),
        (32_767.0, "; it looks like a number that stands for a missing one (input.missing_values)"),
        (21_300.0, "; it looks like another unit: divided by 1,000 it would be within"),
        (-1234.0, ""),
    ],
)
def test_it_says_what_it_reads_and_what_that_looks_like(value: float, said: str) -> None:
    check = OutOfRange(manifest_of(known()), RULES)
    text = check.describe(Problem("c0", 40.0, 10.0, 0.0, 0, 0, value))
    assert text == f"reads {value:.7g}, far from the 18 to 25 of its training data{said}"


def test_a_new_maximum_a_failing_process_and_a_channel_without_a_range_are_not_its_business() -> None:
    values = np.stack([np.full(500, 26.0), np.full(500, 249.0), np.full(500, 9.0)], axis=1)
    check = OutOfRange(manifest_of(known(), known(), known(0.0, 0.0)), RULES)
    assert not findings(check, turns_of(samples_of([0] * 500, values), []))
    unknown = OutOfRange(make_artifact().manifest, RULES)
    assert not findings(unknown, turns_of(samples_of([0] * 500, np.full(500, -9999.0)), []))


def test_missing_says_how_many_and_what_is_usual() -> None:
    usual = NanRatio(manifest_of(known(missing=0.1, longest_missing=3)), RULES)
    text = "is missing in 20 samples, with at most 3 others between two; in its training data 10 % of its numbers are"
    assert usual.describe(Problem("c0", 20.0, 19.5, 0.1, 0, 0)) == text
    unknown = NanRatio(make_artifact().manifest, RULES)
    assert unknown.describe(Problem("value", 20.0, 19.5, float("nan"), 0, 0)) == "is missing in 20 samples in a row"


@pytest.mark.parametrize(("channels", "dead", "said"), [(2, 1, 1), (3, 1, 1), (4, 2, 2), (4, 3, 0)])
def test_a_channel_that_no_sample_carries_is_missing_where_most_others_are_there(
    channels: int, dead: int, said: int
) -> None:
    """As in long form, where readings are joined; of two channels, too."""
    values = np.ones((40, channels), dtype=np.float32)
    values[:, :dead] = np.nan
    samples = replace(samples_of([0] * 40, values), carried=~np.isnan(values))
    check = NanRatio(manifest_of(*[known()] * channels), RULES)
    assert [at[2] for at in made(check, samples, [7])] == [*range(said)]
