"""Where beats are, as a naive reading of the rule finds them, and however the lead is cut into pieces."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from monitor.detector.beats.qrs import APART_S, LONG_S, SHORT_S, SMOOTHED_S, STEEP_S, BeatRule, trailing

Lead = NDArray[np.float32]


def odd(seconds: float, rate_hz: float) -> int:
    return 2 * round(seconds * rate_hz / 2) + 1


def naive(lead: Lead, rate_hz: float) -> list[int]:
    """The beats of a whole lead: each number from the samples about it, one at a time."""

    def about(numbers: dict[int, float], at: int, width: int) -> list[float]:
        return [numbers.get(near, np.nan) for near in range(at - width // 2, at + width // 2 + 1)]

    smoothed, short, long, steep = (odd(each, rate_hz) for each in (SMOOTHED_S, SHORT_S, LONG_S, STEEP_S))
    apart, rows = round(APART_S * rate_hz), range(len(lead))
    signal = {at: float(value) for at, value in enumerate(lead)}
    smooth = {at: float(np.mean(about(signal, at, smoothed))) for at in rows}
    slope = {at: abs(smooth.get(at + 1, np.nan) - smooth.get(at - 1, np.nan)) for at in rows}
    means = {at: (float(np.mean(about(slope, at, short))), float(np.mean(about(slope, at, long)))) for at in rows}
    over = {at: means[at][0] - 1.5 * means[at][1] for at in rows}
    least = {at: float(np.min(about({k: v[0] for k, v in means.items()}, at, steep))) for at in rows}
    strength = {at: least[at] if np.min(about(over, at, steep)) > 0 else 0.0 for at in rows}
    found = []
    for at in rows[BeatRule.at(rate_hz).lag : len(lead) - BeatRule.at(rate_hz).lag]:
        earlier = max(strength[near] for near in range(at - apart, at))
        later = max(strength[near] for near in range(at + 1, at + apart + 1))
        if strength[at] > earlier and strength[at] >= later:
            found.append(at)
    return found


def heart(seed: int, rate_hz: float, seconds: float) -> Lead:
    """A crude electrocardiogram: steep waves at uneven distances, on a slow one, with noise."""
    random = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    signal = 0.3 * np.sin(2 * np.pi * 0.3 * time_s) + 0.01 * random.standard_normal(len(time_s))
    at_s = 0.5
    while at_s < seconds:
        width_s = random.choice([0.012, 0.03])
        signal += random.uniform(0.6, 1.5) * np.exp(-(((time_s - at_s) / width_s) ** 2))
        at_s += random.uniform(0.2, 1.1)
    return signal.astype(np.float32)


@given(st.integers(0, 10_000), st.sampled_from([64.0, 100.0, 128.0]))
@settings(max_examples=15, deadline=None)
def test_finds_what_a_naive_reading_of_the_rule_finds(seed: int, rate_hz: float) -> None:
    lead, rule = heart(seed, rate_hz, 6), BeatRule.at(rate_hz)
    if seed % 3 == 0:
        lead[len(lead) // 2] = np.nan
    found = np.flatnonzero(rule.beats(lead)) + rule.lag
    assert found.tolist() == naive(lead, rate_hz)


@given(st.integers(0, 10_000), st.lists(st.floats(0, 1), max_size=6))
@settings(max_examples=50, deadline=None)
def test_pieces_give_the_beats_of_the_whole(seed: int, cuts: list[float]) -> None:
    lead, rule = heart(seed, 100.0, 10), BeatRule.at(100.0)
    whole = rule.beats(lead)
    ends = sorted({0, len(whole), *(round(each * len(whole)) for each in cuts)})
    pieces = [rule.beats(lead[first : end + rule.span - 1]) for first, end in pairwise(ends)]
    assert_array_equal(np.concatenate(pieces), whole)


@given(st.integers(1, 70), st.integers(0, 50), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_so_many_in_a_row_are_added_to_the_same_bits_wherever_they_begin(width: int, more: int, seed: int) -> None:
    numbers = np.random.default_rng(seed).standard_normal(width + more) * 10.0 ** (seed % 7)
    made = trailing(numbers, width, np.add)
    assert_array_equal(made, [trailing(numbers[at : at + width], width, np.add)[0] for at in range(more + 1)])
    np.testing.assert_allclose(made, [numbers[at : at + width].sum() for at in range(more + 1)], rtol=1e-9, atol=1e-6)
    assert_array_equal(trailing(numbers, width, np.maximum), [max(numbers[at : at + width]) for at in range(more + 1)])


@pytest.mark.parametrize("rate_hz", [100.0, 250.0, 360.0, 1000.0])
def test_a_beat_is_where_the_wave_is_highest(rate_hz: float) -> None:
    time_s = np.arange(round(6 * rate_hz)) / rate_hz
    at_s = np.array([1.0, 1.8, 2.4, 3.5, 4.4])
    lead = np.exp(-(((time_s[:, None] - at_s) / 0.02) ** 2)).sum(axis=1).astype(np.float32)
    rule = BeatRule.at(rate_hz)
    found = (np.flatnonzero(rule.beats(lead)) + rule.lag) / rate_hz
    np.testing.assert_allclose(found, at_s, atol=0.01)


def test_nothing_is_found_in_a_signal_that_stands_still_or_is_not_there() -> None:
    rule = BeatRule.at(100.0)
    for lead in (np.zeros(500), np.full(500, np.nan), np.linspace(0, 1, 500), np.full(500, 1e38)):
        assert not rule.beats(lead.astype(np.float32)).any()


def test_of_samples_that_are_as_steep_the_first_is_the_beat() -> None:
    at = np.arange(600.0)
    waves = np.array([150.5, 250.5, 340.5, 440.5])
    lead = np.round(200 * np.exp(-(((at[:, None] - waves) / 2) ** 2)).sum(axis=1)).astype(np.float32)
    rule = BeatRule.at(100.0)
    assert (np.flatnonzero(rule.beats(lead)) + rule.lag).tolist() == [150, 250, 340, 440]
