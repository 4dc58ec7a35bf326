"""Drift: against days counted one by one, however the log is cut; and how often it opens without drift."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from monitor.detector.incidents import Policy, Status, steps
from monitor.detector.spec import ChannelQuality, Manifest, QualitySpec, ScalingSpec
from monitor.processing.checks import Problem, QualityRules
from monitor.processing.quality.drift import Drift
from tests.helpers import make_artifact
from tests.turns import findings, samples_of, turns_of

DAY_US = 86_400_000_000


@cache
def manifest_of(low: float | None = -1.645, high: float | None = 1.645, kind: str = "none") -> Manifest:
    manifest = make_artifact(channels=("a", "b")).manifest
    channel = ChannelQuality(lowest=-9.0, highest=9.0, longest_run=1, low=low, high=high)
    scaling = ScalingSpec(kind=kind, offset=(0.0, 0.0), scale=(1.0, 1.0))  # type: ignore[arg-type]
    quality = QualitySpec(samples=10_000, channels=(channel, channel))
    return msgspec.structs.replace(manifest, quality=quality, scaling=scaling)


def naive(series: np.ndarray, values: np.ndarray, time_us: np.ndarray) -> list[tuple[float, ...]]:
    """Of each day of a series, once the next has begun: record, series, most days in a row that a channel differs."""
    found = []
    for row in set(series.tolist()):
        records = np.flatnonzero(series == row)
        records = records[np.diff(time_us[records] // (DAY_US // 96), prepend=-1) != 0]
        days = time_us[records] // DAY_US
        in_a_row = [0, 0]
        for day, then in pairwise(np.unique(days).tolist()):
            for channel in (0, 1):
                numbers = values[records[days == day], channel]
                numbers = numbers[~np.isnan(numbers)]
                if len(numbers) >= 10:
                    differs = max((numbers < -1.645).sum(), (numbers > 1.645).sum()) > len(numbers) / 2
                    in_a_row[channel] = in_a_row[channel] + 1 if differs else 0
            found.append((int(records[np.flatnonzero(days == then)[0]]), row, max(in_a_row)))
    return sorted(found)


@given(st.data())
def test_days_are_what_counting_finds_however_the_log_is_cut(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count = data.draw(st.integers(1, 400))
    series, values = rng.integers(0, 2, count), rng.normal(size=(count, 2)) + 1.7
    values[rng.random((count, 2)) < 0.2] = np.nan
    time_us = np.cumsum(rng.integers(0, data.draw(st.sampled_from([1, 60])), count)) * 60_000_000
    samples = samples_of(series, values, time_us)
    cuts = data.draw(st.lists(st.integers(0, count), max_size=5))
    made = findings(Drift(manifest_of(), QualityRules()), turns_of(samples, cuts))
    assert [(at[0], at[2], at[6]) for at in made] == naive(series, values.astype(np.float32), time_us)


def opened(values: np.ndarray, a_day: int, manifest: Manifest | None = None) -> int:
    """How many incidents a series opens of `a_day` samples a day."""
    check = Drift(manifest or manifest_of(), QualityRules())
    time_us = np.arange(len(values)) * (DAY_US // a_day)
    made = findings(check, turns_of(samples_of([0] * len(values), values, time_us), range(10_000, len(values), 10_000)))
    policy = Policy(open_after=check.policy.open_after, close_after=check.policy.close_after, update_every=0)
    return len(steps(np.array([at[6] > at[7] for at in made], dtype=np.int8), policy)[Status.FIRING])


@pytest.mark.parametrize("hours", [0.0, 6.0, 24.0])
def test_without_drift_nothing_opens_in_100_years(hours: float) -> None:
    """Numbers that stay together for hours, to a day and night, as those of training did; a sample each hour."""
    rng, count = np.random.default_rng(7), 50 * 365 * 24
    values = rng.normal(size=(count, 2))
    if hours:
        keeps = float(np.exp(-1 / hours))
        noise = values * np.sqrt(1 - keeps**2)

        values = lfilter([1.0], [1.0, -keeps], noise, axis=0)
    assert opened(values, 24) == 0


def test_days_that_are_of_one_value_each_open_as_seldom_as_said() -> None:
    """The worst that a day can do: all of it beyond, on one day of ten. Seven in a row are one in ten million."""
    day = np.random.default_rng(8).normal(size=(10_000, 2))
    assert opened(np.repeat(day, 24, axis=0), 24) == 0


def test_a_week_that_differs_opens_and_an_anomaly_of_days_does_not() -> None:
    values = np.random.default_rng(9).normal(size=(30 * 24, 2))
    values[5 * 24 : 11 * 24, 0] += 4.0
    assert opened(values, 24) == 0
    values[11 * 24 : 12 * 24, 0] += 4.0
    assert opened(values, 24) == 1


@pytest.mark.parametrize(
    "manifest", [manifest_of(None, None), manifest_of(kind="window"), make_artifact(channels="ab").manifest]
)
def test_it_is_silent_where_levels_do_not_matter_or_are_not_known(manifest: Manifest) -> None:
    assert opened(np.full((30 * 24, 2), 5.0), 24, manifest) == 0
    assert opened(np.full((30 * 24, 2), 5.0), 24) == 1


def test_it_advises_retraining() -> None:
    text = Drift(manifest_of(), QualityRules()).describe(Problem("", 7.0, 6.5, 0.0, 0, 0, 1.0))
    assert text == (
        "channel 'b' has differed from its training data for 7 days: it was mostly outside -1.645 to 1.645, which held "
        "90 % of that; retraining is advised"
    )
