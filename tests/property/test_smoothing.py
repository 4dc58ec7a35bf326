"""Scores that are means of recent ones: against an oracle that takes one window at a time, whatever the crashes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from unittest import mock

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.detector.following import ScoredWindows
from monitor.detector.memory import Memory
from monitor.detector.smoothing import Smoothing, smoothed
from monitor.detector.spec import SmoothingSpec
from monitor.messages import alerts
from tests.helpers import make_config
from tests.property.test_processor import ARTIFACTS, SCORERS, Life, Rows, Supervisor, brief, lives, oracle, value_of

SPEC = SmoothingSpec(windows=4, usual=0.3)
PLAIN = ARTIFACTS["two channels, filled"]  # some of its windows have no score
_MANIFEST = PLAIN.manifest
ARTIFACT = replace(
    PLAIN, manifest=msgspec.structs.replace(_MANIFEST, score=msgspec.structs.replace(_MANIFEST.score, smoothing=SPEC))
)


class Naive:
    """The mean of one series' last scores, window by window."""

    def __init__(self, spec: SmoothingSpec) -> None:
        self.last = [np.float32(spec.usual)] * spec.windows

    def take(self, score: float) -> np.float32:
        if np.isnan(score):
            return np.float32(np.nan)
        self.last = [np.float32(score), *self.last[:-1]]
        return np.float32(np.sum(self.last, dtype=np.float64) / len(self.last))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.1, 0.7, 2.0, 30.0, np.nan])), max_size=60),
    st.integers(2, 9),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_however_windows_are_handed_over_scores_are_the_same_means(
    windows: list[tuple[int, float]], length: int, cuts: list[int]
) -> None:
    spec = SmoothingSpec(windows=length, usual=0.5)
    row, score = (np.array([each[part] for each in windows]) for part in (0, 1))
    row, score = row.astype(np.int64), score.astype(np.float32)
    follower, naive = Smoothing(spec), [Naive(spec) for _ in range(4)]
    memory, found = Memory.full(4, follower.nothing), [score[:0]]
    for begin, end in pairwise([0, *sorted(min(cut, len(row)) for cut in cuts), len(row)]):
        part = slice(begin, end)
        handed = ScoredWindows(row[part], np.zeros(end - begin, np.int64), score[part], np.ones(end - begin))
        found.append(follower.advance(handed, memory).score)
    expected = np.array([naive[of].take(value) for of, value in zip(row.tolist(), score.tolist(), strict=True)])
    np.testing.assert_array_equal(np.concatenate(found), expected.astype(np.float32))
    np.testing.assert_array_equal(smoothed(score, row, spec), expected.astype(np.float32))
    assert smoothed(score, row, None) is score


class _Smoothed:
    """A scorer of one series' windows, one after the other."""

    def __init__(self) -> None:
        self.naive = Naive(SPEC)

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        return np.array([self.naive.take(score) for score in SCORERS["two channels, filled"](windows).tolist()])


@st.composite
def streams(draw: st.DrawFn) -> Rows:
    """Two series, each in a partition of its own, with larger numbers now and then."""
    rng, size = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), [0.3, 0.3]
    rows: Rows = []
    for _ in range(draw(st.sampled_from([20, 80]))):
        series = int(rng.integers(2))
        if rng.random() < 0.2:
            size[series] = float(rng.choice([0.3, 1.5, 3.0]))
        numbers = rng.normal(size=(1, 2)) * size[series]
        numbers[rng.random((1, 2)) < 0.03] = np.nan
        rows.append((series, b"s%d" % series, value_of(ARTIFACT, numbers)))
    return rows


@settings(max_examples=60)
@given(streams(), st.lists(lives, max_size=5), st.integers(1, 12))
def test_crashes_change_no_mean_and_no_alert(rows: Rows, several: list[Life], poll: int) -> None:
    config = make_config(alerting={"close_after": 2, "update_every": 3}, input={"start": "earliest"})
    limited = {"max_poll_records": poll, "commit_interval_ms": 1, "idle_commit_interval_ms": 0}
    config = config.model_copy(update={"limits": config.limits.model_copy(update=limited)})
    scorer = SCORERS["two channels, filled"]
    with mock.patch.dict(ARTIFACTS, smoothed=ARTIFACT), mock.patch.dict(SCORERS, smoothed=scorer):
        supervisor = Supervisor(rows, config, "smoothed")
        supervisor.live(several)
    expected = []
    for key in (b"s0", b"s1"):
        with mock.patch.dict(ARTIFACTS, smoothed=ARTIFACT), mock.patch.dict(SCORERS, smoothed=_Smoothed()):
            expected += oracle([row for row in rows if row[1] == key], config, "smoothed")
    told = supervisor.told()
    assert brief(told) == expected
    assert len({alert.id for alert in told}) == len(told)
    for alert in told:
        assert alert.data.score.smoothed_over == 4
        assert alert.data.score.window_value is not None


def test_an_alert_names_the_mean_and_its_newest_score() -> None:
    rows = [(0, b"s0", value_of(ARTIFACT, np.full((1, 2), number))) for number in [0.1] * 10 + [4.0] * 30]
    config = make_config(input={"start": "earliest"})
    with mock.patch.dict(ARTIFACTS, smoothed=ARTIFACT), mock.patch.dict(SCORERS, smoothed=ARTIFACT.scorer()):
        supervisor = Supervisor(rows, config, "smoothed")
        supervisor.live([])
    first: alerts.Alert = supervisor.told()[0]
    score = first.data.score
    assert score.window_value is not None
    assert score.window_value > score.value > score.threshold, "it had risen by less than the newest window"
    assert "s0: mean reconstruction error of 4 windows" in first.data.summary
