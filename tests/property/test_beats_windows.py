"""Windows about heartbeats: as a naive reading cuts them, in any pieces, of any series, across gaps and restarts."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.detector.arrivals import Order
from monitor.detector.beats.own import INTERVALS, LEAST_INTERVALS, OwnBeats
from monitor.detector.beats.qrs import BeatRule
from monitor.detector.beats.windower import Beats
from monitor.detector.spec import WindowSpec
from monitor.detector.windows import Samples, Windows
from tests.property.test_beats_qrs import heart

RATE_HZ, BEFORE, LENGTH, US = 100.0, 25, 70, 10_000
Cut = tuple[int, int, int, int, int, bytes]


def windower(template_beats: int, *, channels: int = 1, max_gap_ms: float | None = None, grace_us: int = 0) -> Beats:
    spec = WindowSpec(
        kind="beats", length=LENGTH, hop=LENGTH, before=BEFORE, sampling_rate_hz=RATE_HZ, max_gap_ms=max_gap_ms,
        template_beats=template_beats,
    )  # fmt: skip
    made = Beats(spec, channels, Order(grace_us=grace_us))
    made.grow(3)
    return made


def samples(series: np.ndarray, values: np.ndarray, clock: np.ndarray) -> Samples:
    count = len(series)
    return Samples(
        series=series.astype(np.int64),
        values=values.astype(np.float32),
        time_us=clock.astype(np.int64),
        clock_us=clock.astype(np.int64),
        offset=np.arange(count),
        index=np.zeros(count, dtype=np.int64),
        ties=np.zeros(count, dtype=np.bool_),
    )


def as_cut(parts: list[Windows]) -> list[Cut]:
    return [
        (int(w.placed_at[i]), int(w.series[i]), int(w.start_us[i]), int(w.end_us[i]), int(w.last_offset[i]),
         w.values[i].tobytes())
        for w in parts for i in range(len(w))
    ]  # fmt: skip


def naive(mine: np.ndarray, values: np.ndarray, clock: np.ndarray, base: int, max_gap_us: float) -> list[Cut]:
    """The windows of one series, whose samples are the rows `mine` of the log, beat by beat."""
    rule = BeatRule.at(RATE_HZ)
    breaks = [0, *(np.flatnonzero(np.diff(clock[mine]) > max_gap_us) + 1).tolist(), len(mine)]
    found, beats, intervals = list[Cut](), list[np.ndarray](), list[int]()
    for first, end in pairwise(breaks):
        run = mine[first:end]
        lead, last_us = values[run, 0], None
        known = (np.flatnonzero(rule.beats(lead)) + rule.lag).tolist() if len(run) >= rule.span else list[int]()
        for at in known:
            window, time_us = values[run[at - BEFORE : at - BEFORE + LENGTH]], int(clock[run[at]])
            usual = sorted(intervals[-INTERVALS:])
            early = 0.0
            if last_us is not None:
                if len(usual) >= LEAST_INTERVALS:
                    early = 1 - (time_us - last_us) / usual[(len(usual) - 1) // 2]
                intervals.append(time_us - last_us)
            last_us = time_us
            if base and len(beats) >= base**2:
                groups = [np.median(beats[k : k + base], axis=0) for k in range(0, base**2, base)]
                template = np.median(groups, axis=0)
                of_each = [
                    np.median([np.sqrt(((beat - middle) ** 2).mean(axis=0)) for beat in beats[k : k + base]], axis=0)
                    for k, middle in zip(range(0, base**2, base), np.array(groups, np.float64), strict=True)
                ]
                spread = np.median(of_each, axis=0)[None]
                window_out = np.concatenate([window, template, spread, np.full((1, values.shape[1]), early)])
            else:
                window_out = window
            if not base or len(beats) >= base**2:
                rows = run[at - BEFORE], run[at - BEFORE + LENGTH - 1]
                found.append((
                    int(run[at + rule.lag]), 0, int(clock[rows[0]]), int(clock[rows[1]]), int(rows[1]),
                    window_out.astype(np.float32).tobytes(),
                ))  # fmt: skip
            if np.isfinite(window).all():
                beats.append(window - window.mean(axis=0, dtype=np.float64).astype(np.float32))
    return found


Log = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Three leads, interleaved, some with a gap and a missing number: series, values (n, 1) and times."""
    seed = draw(st.integers(0, 10_000))
    random = np.random.default_rng(seed)
    count = 3 * 1_400
    series = np.sort(random.permutation(count) % 3) if draw(st.booleans()) else random.permutation(count) % 3
    values, clock = np.empty((count, 1), np.float32), np.empty(count, np.int64)
    for row in range(3):
        mine = np.flatnonzero(series == row)
        values[mine, 0] = heart(seed + row, RATE_HZ, len(mine) / RATE_HZ)[: len(mine)]
        steps = np.full(len(mine), US)
        if draw(st.booleans()):
            steps[draw(st.integers(1, len(mine) - 1))] = 100 * US
        if draw(st.booleans()):
            values[mine[draw(st.integers(0, len(mine) - 1))]] = np.nan
        clock[mine] = np.cumsum(steps)
    return series, values, clock


@given(logs(), st.lists(st.floats(0, 1), max_size=5), st.sampled_from([0, 9]))
@settings(max_examples=25, deadline=None)
def test_any_pieces_of_any_series_give_the_windows_of_each_alone(log: Log, cuts: list[float], learnt: int) -> None:
    series, values, clock = log
    made = windower(learnt, max_gap_ms=50 * US / 1000)
    whole = samples(series, values, clock)
    ends = sorted({0, len(series), *(round(each * len(series)) for each in cuts)})
    found = as_cut([made.append(whole[first:end]).windows for first, end in pairwise(ends)])
    for row in range(3):
        mine = np.flatnonzero(series == row)
        expected = naive(mine, values, clock, math.isqrt(learnt), 50 * US)
        assert [(at, 0, *rest) for at, of, *rest in found if of == row] == expected
    for first, end in pairwise(ends):
        placed = [at for at, *_ in found if first <= at < end]
        assert placed == sorted(placed)


@given(logs(), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_a_restart_anywhere_goes_on_alike(log: Log, crash: float, live: float) -> None:
    """From a checkpoint, over records that were decided before, to those that were not."""
    series, values, clock = log
    whole = samples(series, values, clock)
    kept, goes_on = sorted(round(each * len(series)) for each in (crash, live))
    before, after = (windower(9, max_gap_ms=50 * US / 1000) for _ in range(2))
    expected = as_cut([before.append(whole).windows])
    before = windower(9, max_gap_ms=50 * US / 1000)
    before.append(whole[:kept])
    rows = np.array([2, 0, 1])
    tails, held = before.snapshot(rows), before.held(rows)
    assert not after.problem(tails)
    after.restore(rows, tails)
    after.hold_again(rows, held)
    assert not len(after.append(whole[kept:goes_on], cut=False).windows)
    assert as_cut([after.append(whole[goes_on:]).windows]) == [each for each in expected if each[0] >= goes_on]


@pytest.mark.parametrize("learnt", [0, 9])
def test_samples_out_of_order_within_grace_give_the_same_windows(learnt: int) -> None:
    from monitor.detector.event_time import Reached

    lead = heart(3, RATE_HZ, 20)
    clock = np.arange(len(lead), dtype=np.int64) * US
    whole = samples(np.zeros(len(lead)), lead[:, None], clock)
    expected = [each[2:] for each in as_cut([windower(learnt).append(whole).windows])]
    assert len(expected) > 10
    order = np.argsort(clock + np.random.default_rng(0).integers(0, 5, len(lead)) * US, kind="stable")
    mixed = samples(np.zeros(len(lead)), lead[order, None], clock[order])
    made = windower(learnt, grace_us=10 * US)
    reached = Reached(mixed.offset, np.append(0, np.maximum.accumulate(mixed.time_us)))
    out = made.let_out(mixed, reached)
    assert isinstance(out, Samples)
    found = as_cut([made.append(out).windows])
    times = [(start, end, numbers) for _, _, start, end, _, numbers in found]
    assert times == [(start, end, numbers) for start, end, _, numbers in expected][: len(times)]
    assert len(times) >= len(expected) - 1


def test_what_a_series_has_learnt_is_forgotten_with_it_and_takes_no_room_afterwards() -> None:
    lead = heart(1, RATE_HZ, 20)
    made = windower(9)
    whole = samples(np.zeros(len(lead)), lead[:, None], np.arange(len(lead)) * US)
    assert len(made.append(whole).windows)
    rows = np.array([0])
    own = OwnBeats(9, LENGTH, 1)
    assert len(made.held(rows)) == own.row_bytes - 4 * 2 * 3 * LENGTH
    assert len(made.held(np.array([0, 1]))) == 2 * own.row_bytes
    made.clear(rows)
    assert len(made.held(rows)) == own.row_bytes
    made.hold_again(rows, b"of another version")
    later = samples(np.zeros(len(lead)), lead[:, None], np.arange(len(lead)) * US)
    assert as_cut([made.append(later).windows]) == as_cut([windower(9).append(whole).windows])


def test_how_early_a_beat_came() -> None:
    own = OwnBeats(0, LENGTH, 1)
    own.grow(1)
    own.clear(np.array([0]))
    at = np.array([0, 80, 160, 240, 320, 400, 450, 570])
    zeros = np.zeros(len(at), dtype=np.int64)
    usual = own.take(zeros, np.zeros((len(at), LENGTH, 1), np.float32), at, at * US, zeros)
    np.testing.assert_allclose(usual.early, [0, 0, 0, 0, 0, 0, 1 - 50 / 80, 1 - 120 / 80])
    assert median([80, 80, 80, 80, 80, 50]) == 80
