"""What a turn brings of each series, sample by sample, for the checks that look at numbers.

Rules of this file: what most checks never ask for, such as the time of a sample, is found for the samples asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from monitor.detector.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from monitor.detector.event_time import counts_of, firsts_of
from monitor.detector.windows import Samples, Windows
from monitor.processing.checks import Findings
from monitor.processing.turns import BySeries, Turn


@dataclass(frozen=True, slots=True)
class About:
    """What k findings say, as `Findings` has it, but not where they are made."""

    channel: Int64Array
    start_us: Int64Array
    value: Float64Array
    threshold: Float64Array
    usual: Float64Array
    observed: Float64Array

    def findings(
        self, series: Int64Array, offset: Int64Array, index: Int64Array, end_us: Int64Array, at: Int64Array
    ) -> Findings:
        """The findings, made at samples of these series."""
        return Findings(
            series,
            self.channel,
            offset,
            index,
            self.start_us,
            end_us,
            self.value,
            self.threshold,
            self.usual,
            at,
            self.observed,
        )


class Readings(Protocol):
    """n samples of m series in time, those of a series together and in order.

    `series` (m,) are rows, `firsts` (m,) is each one's first sample, `values` NaN where nothing was read. Whether there
    is anything to look at more closely can be asked without the `values`, which are copied where records are windows.
    """

    series: Int64Array
    firsts: Int64Array

    @property
    def values(self) -> Float32Array:
        """(n, channels)"""

    @cached_property
    def any_missing(self) -> bool:
        """Whether any number is missing."""

    @cached_property
    def extremes(self) -> tuple[Float32Array, Float32Array]:
        """The lowest and the highest number of each channel, (channels,) each; NaN where it has none."""

    def still(self, before: Float32Array) -> BoolArray:
        """Which series (m,) have a number that is missing, or that of the sample before it.

        `before` (m, channels) come before the first ones.
        """

    def of(self, series: BoolArray) -> Readings:
        """Those of the series where a mask (m,) is true."""

    def lasts(self) -> Float32Array:
        """The last number of each series and channel, (m, channels)."""

    def counts(self) -> Int64Array:
        """How many samples each series has, (m,)."""

    def times_us(self, samples: Int64Array) -> Int64Array:
        """When some of the samples (k,) were taken."""

    def missing(self) -> BoolArray:
        """Which numbers (n, channels) should be there and are not: not those that a sample lacks with most others."""

    def findings(self, samples: Int64Array, about: About) -> Findings:
        """What is found at some of the samples (k,); each ends there."""


def readings(turn: Turn) -> Readings | None:
    """Those of a turn; None where it brings none."""
    return turn.once(_readings)


def _readings(turn: Turn) -> Readings | None:
    if turn.ordered is None:
        assert isinstance(turn.taken, Windows)
        return _OfWindows(turn.taken, turn.by_series) if len(turn.taken) else None
    return _OfSamples(turn.ordered.samples, turn.ordered.firsts) if len(turn.ordered.samples) else None


def without_holes(read: Readings) -> Readings | None:
    """Those without what refused records left, about which nothing is known."""
    if not isinstance(read, _OfSamples) or read.samples.hole is None:
        return read
    samples = read.samples[~read.samples.hole]
    return _OfSamples(samples, firsts_of(samples.series)) if len(samples) else None


class Some:
    """Some of the samples of others, `kept` (k,) in their order, as far as episodes of numbers are followed in them."""

    def __init__(self, read: Readings, kept: Int64Array) -> None:
        self._read = read
        self._kept = kept
        of = np.searchsorted(read.firsts, kept, side="right") - 1
        self.firsts = firsts_of(of)
        self.series: Int64Array = read.series[of[self.firsts]]

    def times_us(self, samples: Int64Array) -> Int64Array:
        """When some of the samples (k,) were taken."""
        return self._read.times_us(self._kept[samples])

    def findings(self, samples: Int64Array, about: About) -> Findings:
        """What is found at some of the samples (k,)."""
        return self._read.findings(self._kept[samples], about)


class _OfSamples:
    def __init__(self, samples: Samples, firsts: Int64Array) -> None:
        self.samples = samples
        self.series = samples.series[firsts]
        self.firsts = firsts
        self.values = samples.values

    @cached_property
    def any_missing(self) -> bool:
        return bool(np.isnan(self.values).any())

    @cached_property
    def extremes(self) -> tuple[Float32Array, Float32Array]:
        return _extremes(self.values)

    def still(self, before: Float32Array) -> BoolArray:
        found = _any_of_each(self.values.take(self.firsts, axis=0) == before)
        same = self.values[1:] == self.values[:-1]
        same[self.firsts[1:] - 1] = False  # the last of a series, beside the first of the next
        for marked, shift in ((same, 1), (np.isnan(self.values) if self.any_missing else same[:0], 0)):
            if marked.any():
                samples = np.flatnonzero(marked.any(axis=1)) + shift
                found[np.searchsorted(self.firsts, samples, side="right") - 1] = True
        return found

    def of(self, series: BoolArray) -> Readings:
        samples = self.samples[np.repeat(series, self.counts())]
        return _OfSamples(samples, firsts_of(samples.series))

    def lasts(self) -> Float32Array:
        return self.values.take(self.firsts + self.counts() - 1, axis=0)

    def counts(self) -> Int64Array:
        return counts_of(self.firsts, len(self.values))

    def times_us(self, samples: Int64Array) -> Int64Array:
        return self.samples.time_us[samples]

    def missing(self) -> BoolArray:
        found, carried = np.isnan(self.values), self.samples.carried
        if carried is None:
            return found
        most_others: BoolArray = 2 * carried.sum(axis=1) > carried.shape[1] - 1
        return found & (carried | most_others[:, None])

    def findings(self, samples: Int64Array, about: About) -> Findings:
        at = self.samples[samples]
        return about.findings(at.series, at.offset, at.index, at.time_us, at.placed_at)


class _OfWindows:
    """Records that are windows, their samples as if they followed each other."""

    def __init__(self, windows: Windows, by_series: BySeries) -> None:
        self._windows = windows
        self._length = windows.values.shape[1]
        self._order, series, self._firsts = by_series
        self.series = series[self._firsts]
        self.firsts = self._firsts * self._length

    @cached_property
    def values(self) -> Float32Array:
        together: Float32Array = self._windows.values[self._order]
        return together.reshape(-1, together.shape[2])

    @cached_property
    def any_missing(self) -> bool:
        return bool(np.isnan(self._windows.values).any())

    @cached_property
    def extremes(self) -> tuple[Float32Array, Float32Array]:
        return _extremes(self._windows.values.reshape(-1, self._windows.values.shape[2]))

    def still(self, before: Float32Array) -> BoolArray:
        values = self._windows.values
        first, last = values[self._order, 0], values[self._order, -1]
        previous = np.concatenate([before[:1], last[:-1]])
        previous[self._firsts] = before
        flat, channels = values.reshape(len(values), -1), values.shape[2]  # compared faster
        found = _any_of_each(first == previous)
        found |= _any_of_each(flat[:, channels:] == flat[:, :-channels])[self._order]
        if self.any_missing:
            found |= _any_of_each(np.isnan(values))[self._order]
        return np.asarray(np.logical_or.reduceat(found, self._firsts))

    def of(self, series: BoolArray) -> Readings:
        marked = np.empty(len(self._order), dtype=np.bool_)
        marked[self._order] = np.repeat(series, counts_of(self._firsts, len(self._order)))
        windows = self._windows[marked]
        return _OfWindows(windows, BySeries.of(windows.series))

    def lasts(self) -> Float32Array:
        windows: Int64Array = self._order[np.append(self._firsts[1:], len(self._order)) - 1]
        last: Float32Array = self._windows.values[windows, -1]
        return last

    def counts(self) -> Int64Array:
        counts: Int64Array = counts_of(self._firsts, len(self._order)) * self._length
        return counts

    def times_us(self, samples: Int64Array) -> Int64Array:
        windows, index = self._windows[self._order[samples // self._length]], samples % self._length
        period_us = (windows.end_us - windows.start_us) / max(1, self._length - 1)
        times: Int64Array = windows.start_us + np.rint(index * period_us).astype(np.int64)
        return times

    def missing(self) -> BoolArray:
        return np.isnan(self.values)

    def findings(self, samples: Int64Array, about: About) -> Findings:
        windows, index = self._windows[self._order[samples // self._length]], samples % self._length
        end_us = self.times_us(samples)
        return about.findings(windows.series, windows.last_offset, index, end_us, windows.placed_at)


def _any_of_each(marked: BoolArray) -> BoolArray:
    """Which of n have a mark (n, ...)."""
    if not marked.any():  # as it mostly is: many times faster to find out
        return np.zeros(len(marked), dtype=np.bool_)
    return np.asarray(marked.reshape(len(marked), -1).any(axis=1))


def _extremes(values: Float32Array) -> tuple[Float32Array, Float32Array]:
    """The lowest and the highest of `values` (n, channels), n at least 1, by channel."""
    return np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
