"""A threshold that follows: against an oracle that takes one window at a time, and however windows are handed over."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.detector.following import COUNTS, Following, FollowingRules, ScoredWindows
from monitor.detector.memory import Memory

DAY_MS, STEP_MS = 9_600, 100
STATIC = 2.0
Window = tuple[int, int, float]  # series, when it ends in us, score


@dataclass
class Naive:
    """One series, by float64, window by window: `times` the static threshold are in force."""

    rules: FollowingRules
    static: float = STATIC
    day_ms: int = DAY_MS
    times: float = 1.0
    relearnt: float = 1.0
    last_ms: int | None = None
    over_ms: int = 0
    under_ms: int = 0
    counts: dict[int, int] = field(default_factory=dict)  # ms by quarter of an octave over the threshold

    @property
    def step_ms(self) -> int:
        return self.day_ms // 96

    def take(self, end_us: int, score: float) -> float:
        """The threshold for the next window, times the static one."""
        if math.isnan(score):
            return 1.0
        end_ms = end_us // 1000 if self.last_ms is None else max(end_us // 1000, self.last_ms)
        held = 0 if self.last_ms is None else min(end_ms - self.last_ms, self.step_ms)
        if self.last_ms is not None:
            passed = end_ms // self.step_ms - self.last_ms // self.step_ms
            if passed:
                self.begin(passed)
        self.last_ms = end_ms
        ratio, times = score / self.static, self.times
        quarter = min(COUNTS - 1, math.ceil(math.log2(ratio) * 4 - 1e-9) - 1) if ratio > 0 else -1
        if quarter >= 0:
            self.counts[quarter] = self.counts.get(quarter, 0) + held
        self.over_ms = self.over_ms + held if ratio > self.relearnt else 0
        self.under_ms = self.under_ms + held if ratio <= 1 else 0
        return times

    def begin(self, steps: int) -> None:
        left = math.prod([math.exp(-1 / 96)] * steps) if steps < 40 * 96 else 0
        self.counts = {quarter: math.floor(ms * left) for quarter, ms in self.counts.items()}
        if self.rules.relearn_after_ms and self.over_ms >= self.rules.relearn_after_ms:
            usual = self.over_usual((1 - self.rules.quantile) * sum(self.counts.values()))
            self.relearnt, self.over_ms = max(self.relearnt, usual), 0
        elif self.rules.relearn_after_ms and self.under_ms >= self.rules.relearn_after_ms:
            self.relearnt = 1.0
        exceeded = self.over_usual((1 - self.rules.quantile) * self.day_ms) if self.rules.raises else 1.0
        self.times = max(self.relearnt, exceeded)

    def over_usual(self, allowed: float) -> float:
        high, median = self.exceeded(allowed), self.exceeded(sum(self.counts.values()) / 2)
        return high * high / min(high, median)

    def exceeded(self, allowed: float) -> float:
        above = 0
        for quarter in range(COUNTS - 1, -1, -1):
            ms = self.counts.get(quarter, 0)
            if above + ms > allowed:
                low, high = 2 ** (quarter / 4), 2 ** ((quarter + 1) / 4)
                return high - (high - low) * (allowed - above) / ms
            above += ms
        return 1.0


rules = st.builds(
    FollowingRules,
    quantile=st.sampled_from([0.9, 0.95]),
    raises=st.sampled_from([True, True, False]),
    relearn_after_ms=st.sampled_from([0, 1_500]),
    memory_ms=st.just(DAY_MS),
)


@st.composite
def streams(draw: st.DrawFn) -> list[Window]:
    """Windows of three series whose times go on, now and then with a pause, and whose scores shift for a while."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    every_ms = draw(st.sampled_from([3, 40, 130]))
    found, now_ms, level = [], [0, 7, 1_000_000], [0.5, 0.5, 0.5]
    for _ in range(draw(st.integers(0, 300))):
        series = int(rng.integers(3))
        now_ms[series] += int(rng.integers(every_ms * 2)) + (5_000 if rng.random() < 0.01 else 0)
        if rng.random() < 0.02:
            level[series] = float(rng.choice([0.5, 0.9, 3.0, 40.0]))
        score = float(np.float32(STATIC * level[series] * rng.lognormal(0, 0.3)))
        found.append((series, now_ms[series] * 1000 + 250, math.nan if rng.random() < 0.03 else score))
    return found


def handed_over(windows: list[Window], rows: list[int]) -> ScoredWindows:
    """With the series' rows in the memory."""
    return ScoredWindows(
        row=np.array([rows[series] for series, _, _ in windows], dtype=np.int64),
        end_us=np.array([end_us for _, end_us, _ in windows], dtype=np.int64),
        score=np.array([score for *_, score in windows], dtype=np.float32),
        threshold=np.full(len(windows), STATIC),
    )


@settings(max_examples=200, deadline=None)
@given(rules, streams(), st.lists(st.integers(0, 300), max_size=6), st.permutations([0, 2, 3]))
def test_any_chunking_gives_the_oracles_thresholds(
    rules: FollowingRules, windows: list[Window], cuts: list[int], rows: list[int]
) -> None:
    oracle = [Naive(rules) for _ in range(3)]
    expected = [STATIC * oracle[series].take(end_us, score) for series, end_us, score in windows]
    following = Following(rules)
    memory = Memory.full(5, following.nothing)
    found: list[float] = []
    for begin, end in pairwise([0, *sorted(min(cut, len(windows)) for cut in cuts), len(windows)]):
        if end - begin == 1:  # from what a checkpoint holds of it
            memory = Memory.of(np.frombuffer(memory.table().tobytes(), memory.layout).copy())
        made = following.advance(handed_over(windows[begin:end], rows), memory)
        assert made.static is not None
        np.testing.assert_array_equal(made.static, STATIC)
        found += made.threshold.tolist()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    at_once = following.advance(handed_over(windows, rows), Memory.full(5, following.nothing))
    np.testing.assert_array_equal(at_once.threshold, found)


def steady(levels: list[tuple[int, float]]) -> tuple[ScoredWindows, np.ndarray]:
    """A window each minute, for so many hours at so many times the threshold; and the hours."""
    ratio = np.concatenate([np.full(hours * 60, level) for hours, level in levels])
    minutes = np.arange(len(ratio), dtype=np.int64)
    none = np.zeros(len(ratio), dtype=np.int64)
    scores = (ratio * STATIC).astype(np.float32)
    return ScoredWindows(none, minutes * 60_000_000, scores, np.full(len(ratio), STATIC)), minutes / 60


def followed(rules: FollowingRules, levels: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    windows, hours = steady(levels)
    following = Following(rules)
    return following.advance(windows, Memory.full(1, following.nothing)).threshold / STATIC, hours


def test_what_is_shorter_than_the_share_of_a_day_raises_nothing() -> None:
    times, _ = followed(FollowingRules(quantile=0.9), [(30, 0.5), (2, 10.0), (30, 0.5)])
    np.testing.assert_array_equal(times, 1.0)


def test_what_lasts_raises_it_and_a_day_later_it_is_back() -> None:
    times, hours = followed(FollowingRules(quantile=0.9), [(30, 0.5), (10, 3.0), (60, 0.5)])
    first = hours[times > 1][0]
    assert 30 + 2.4 < first < 30 + 3.1, "a tenth of an exponentially decaying day"
    assert 2.8 < times[hours < 40][-1] < 3.4, "over what is usual now"
    last = hours[times > 1][-1]
    assert 40 + 24 < last < 40 + 34


def test_what_is_usual_now_may_vary() -> None:
    """A few times a day it is over the threshold, not as often as over its 0.95 quantile: 72 minutes of each."""
    windows, hours = steady([(24, 0.5), (96, 3.0)])
    windows.score[:] *= np.random.default_rng(0).lognormal(0, 0.2, len(hours)).astype(np.float32)
    following = Following(FollowingRules())
    found = windows.score > following.advance(windows, Memory.full(1, following.nothing)).threshold
    assert found[(hours > 24) & (hours < 25)].all(), "at first it is an incident"
    assert found[hours > 48].sum() / 3 < 8


def test_a_lasting_shift_becomes_the_new_normal_and_is_forgotten_when_it_is_over() -> None:
    hour = 3_600_000
    rules = FollowingRules(raises=False, relearn_after_ms=48 * hour)
    times, hours = followed(rules, [(5, 0.5), (60, 3.0), (40, 0.5), (1, 3.0), (60, 0.5)])
    np.testing.assert_array_equal(times[hours < 5 + 48], 1.0)
    np.testing.assert_array_less(3.0, times[(hours > 5 + 48.5) & (hours < 106 + 47)])
    np.testing.assert_array_equal(times[hours > 106 + 49], 1.0)


def test_time_that_goes_back_moves_nothing() -> None:
    windows, _ = steady([(10, 3.0)])
    following = Following(FollowingRules())
    expected = following.advance(windows, Memory.full(1, following.nothing)).threshold
    back = windows[np.repeat(np.arange(600), 2)]
    back.end_us[1::2] -= 30_000_000
    found = following.advance(back, Memory.full(1, following.nothing)).threshold
    np.testing.assert_allclose(found[::2], expected)


@pytest.mark.parametrize("score", [0.0, np.inf, np.float32(1e38)])
def test_any_score_is_counted(score: float) -> None:
    windows, _ = steady([(10, score)])
    following = Following(FollowingRules())
    assert np.isfinite(following.advance(windows, Memory.full(1, following.nothing)).threshold).all()
