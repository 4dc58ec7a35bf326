"""Finds heartbeats in a lead of an electrocardiogram, by how steep it is.

    slope      how far the signal moves from sample to sample, after a mean over 25 ms (a period of mains hum and more)
    steep      its mean over 0.1 s is over 1.5 times its mean over 0.75 s, throughout 60 ms
    a beat     where the least mean of such 60 ms is greatest within 0.3 s to both sides

Rules of this file: whether a sample is a beat follows from the samples within `lag` to both sides of it and from
nothing else, so that it does not depend on how they were handed over. Sums are made in the same order wherever they
begin. A missing number is no beat, and makes none about it. No Python loop over samples or series.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from monitor.detector.arrays import BoolArray, Float32Array, Float64Array

SMOOTHED_S, SHORT_S, LONG_S, STEEP_S, APART_S = 0.025, 0.1, 0.75, 0.06, 0.3
STEEPER = 1.5
# What the rule can be asked of: below, a QRS complex is a few samples; above, a window about a beat is too large.
LEAST_RATE_HZ, MOST_RATE_HZ = 60.0, 10_000.0


class _Slopes(NamedTuple):
    """Sums of slopes over a short time (n,) and a long one, about the same samples."""

    short: Float64Array
    long: Float64Array


@dataclass(frozen=True, slots=True)
class BeatRule:
    """The rule at a sampling rate; all but `apart` are widths in samples, odd ones."""

    smoothed: int
    short: int
    long: int
    steep: int
    apart: int

    @classmethod
    def at(cls, rate_hz: float) -> BeatRule:
        """The rule for so many samples a second."""
        smoothed, short, long, steep = (
            2 * round(seconds * rate_hz / 2) + 1 for seconds in (SMOOTHED_S, SHORT_S, LONG_S, STEEP_S)
        )
        return cls(smoothed, short, long, steep, round(APART_S * rate_hz))

    @property
    def lag(self) -> int:
        """How many samples after a beat have to be there until it is known; as many before it decide, too."""
        return (self.smoothed + self.long + self.steep - 1) // 2 + self.apart

    @property
    def span(self) -> int:
        """How many samples decide on the one in their middle."""
        return 2 * self.lag + 1

    def beats(self, lead: Float32Array) -> BoolArray:
        """Which samples are beats, of those with `lag` samples to both sides: (n - span + 1,).

        Args:
            lead: (n,), `span` samples at least; NaN where missing.
        """
        with np.errstate(invalid="ignore"):  # a difference of infinities is none
            smooth = trailing(lead.astype(np.float64), self.smoothed, np.add)
            slopes = self._slopes(np.abs(smooth[2:] - smooth[:-2]))
            steeper = slopes.short * self.long - STEEPER * self.short * slopes.long
            strength = trailing(slopes.short, self.steep, np.minimum)
            strength = np.where(trailing(steeper, self.steep, np.minimum) > 0, strength, 0.0)
        before = trailing(strength, self.apart, np.maximum)
        n, apart = len(strength) - 2 * self.apart, self.apart
        here = strength[apart : apart + n]
        found: BoolArray = (here > before[:n]) & (here >= before[apart + 1 : apart + 1 + n])
        return found

    def _slopes(self, slope: Float64Array) -> _Slopes:
        long = trailing(slope, self.long, np.add)
        apart = (self.long - self.short) // 2
        return _Slopes(trailing(slope, self.short, np.add)[apart : apart + len(long)], long)


def trailing(
    numbers: Float64Array, width: int, together: Callable[[Float64Array, Float64Array], Float64Array]
) -> Float64Array:
    """`together` of each `width` numbers in a row: (n - width + 1,).

    It is made of those of 1, 2, 4, ... numbers, so that a row gives the same bits wherever `numbers` begin.
    """
    count = len(numbers) - width + 1
    power, done = numbers, 0
    made: Float64Array | None = None
    for bit in range(width.bit_length()):
        if width >> bit & 1:
            part = power[done : done + count]
            made = part if made is None else together(made, part)
            done += 1 << bit
        if width >> bit > 1:
            power = together(power[: -(1 << bit)], power[1 << bit :])
    assert made is not None
    return made
