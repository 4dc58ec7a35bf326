"""The samples of many series, each series' in the order of event time: late ones and duplicates dropped, gaps found.

Rules of this file: the log alone decides. However its samples are handed over, the same ones are in time, and the same
ones follow a gap. No Python loop over samples; what is rare (a late sample, a hole) is looked at series by series.

    clock of a series   1  2  4  3  4  9         max gap 3
                        |  |  |  |  |  +-- in time, after a gap: the series restarts with it
                        |  |  |  |  +----- a duplicate, unless it may tie: dropped and counted
                        +--+--+  +-------- late: likewise
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from monitor.detector.arrays import BoolArray, Int64Array, grown, stable_order
from monitor.detector.times import NEVER_US, NO_TIME
from monitor.detector.windows import Dropped, Ordered, Samples


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a partition's time had come: before the records at `positions` (k,), and after each, (k + 1,)."""

    positions: Int64Array
    newest_us: Int64Array

    def before(self, positions: Int64Array) -> Int64Array:
        """The newest believed time before other `positions`."""
        return self.newest_us[np.searchsorted(self.positions, positions)]

    def at(self, positions: Int64Array) -> Int64Array:
        """The newest believed time after `positions`."""
        if np.array_equal(positions, self.positions):  # of records that hold one sample each
            return self.newest_us[1:]
        return self.newest_us[np.searchsorted(self.positions, positions, side="right")]

    def split(self, position: int) -> tuple[Reached, Reached]:
        """What is known before `position`, and from there on."""
        row = int(np.searchsorted(self.positions, position))
        earlier = Reached(self.positions[:row], self.newest_us[: row + 1])
        return earlier, Reached(self.positions[row:], self.newest_us[row:])


def in_time(clock_us: Int64Array, ties: BoolArray, newest_us: Int64Array) -> BoolArray:
    """Which samples (n,) come after `newest_us`, the newest clock before each in its series, or may tie with it."""
    later: BoolArray = (clock_us > newest_us) | (ties & (clock_us == newest_us))
    return later


def settle_holes(samples: Samples, last_time_us: int = NEVER_US, last_clock_us: int = NEVER_US) -> Samples:
    """One series' samples (n,) with a time for each hole that has none, without those before its first sample.

    `last_time_us` and `last_clock_us` are those of the sample before, `NEVER_US` where there was none.
    """
    if samples.hole is None:
        return samples
    if last_clock_us == NEVER_US:
        samples = samples[np.logical_or.accumulate(~samples.hole)]
    untimed = samples.time_us == NO_TIME
    clock_us = np.where(untimed, NEVER_US, samples.clock_us)
    newest_us = np.maximum.accumulate(np.concatenate([[last_clock_us], clock_us]))
    timed = in_time(clock_us, samples.ties, newest_us[:-1]) & ~untimed
    before = np.maximum.accumulate(np.where(timed, np.arange(1, len(samples) + 1), 0))
    times_us = np.concatenate([[last_time_us], samples.time_us])
    return replace(
        samples,
        time_us=np.where(untimed, times_us[before], samples.time_us),
        clock_us=np.where(untimed, newest_us[1:], clock_us),
    )


def grouped(samples: Samples) -> Ordered:
    """Samples put together by series where none is late, and none follows a gap."""
    together, position = by_series(samples)
    firsts = firsts_of(together.series)
    return Ordered(together, position, firsts, np.append(firsts, len(together))[1:] - 1, None)


def by_series(samples: Samples) -> tuple[Samples, Int64Array]:
    """Samples put together by series, those of each as they stand, and where each stood."""
    position = stable_order(samples.series)
    return samples[position], position


class EventTime:
    """How far event time has come in each of many series, by row."""

    def __init__(self, max_gap_us: int | None) -> None:
        """`max_gap_us` None: no distance between samples is a gap."""
        self.max_gap_us = max_gap_us
        self.last_time_us = np.empty(0, dtype=np.int64)
        self.last_clock_us = np.empty(0, dtype=np.int64)

    def grow(self, rows: int) -> None:
        """Makes room for series 0 to `rows - 1`."""
        self.last_time_us = grown(self.last_time_us, rows, NEVER_US)
        self.last_clock_us = grown(self.last_clock_us, rows, NEVER_US)

    def clear(self, rows: Int64Array) -> None:
        """Empties rows, for new series."""
        self.last_time_us[rows] = self.last_clock_us[rows] = NEVER_US

    def order(self, samples: Samples) -> Ordered:
        """`samples`, in log order, put in order by series; event time moves on to the last of each."""
        grouped, position = self.settled(*by_series(samples))
        firsts = firsts_of(grouped.series)
        accepted = self._accepted(grouped, firsts)
        dropped = None
        if accepted is not None:
            dropped = self._dropped(grouped, accepted)
            grouped, position = grouped[accepted], position[accepted]
            firsts = firsts_of(grouped.series)
        lasts = np.append(firsts, len(grouped))[1:] - 1
        after_gap = self._after_gap(grouped, firsts)
        self._advance(grouped, lasts)
        return Ordered(grouped, position, firsts, lasts, after_gap, dropped)

    def settled(self, grouped: Samples, position: Int64Array) -> tuple[Samples, Int64Array]:
        """`grouped` with its holes settled: rare, so only the series that have one are gone through."""
        if grouped.hole is None or not grouped.hole.any():
            return grouped, position
        bounds = np.append(firsts_of(grouped.series), len(grouped))
        time_us, clock_us = grouped.time_us.copy(), grouped.clock_us.copy()
        keep = np.ones(len(grouped), dtype=np.bool_)
        for group in np.unique(np.searchsorted(bounds, np.flatnonzero(grouped.hole), side="right") - 1):
            first, end = bounds[group], bounds[group + 1]
            series = grouped.series[first]
            settled = settle_holes(grouped[first:end], self.last_time_us[series], self.last_clock_us[series])
            keep[first : end - len(settled)] = False
            time_us[end - len(settled) : end], clock_us[end - len(settled) : end] = settled.time_us, settled.clock_us
        return replace(grouped, time_us=time_us, clock_us=clock_us)[keep], position[keep]

    def _dropped(self, grouped: Samples, accepted: BoolArray) -> Dropped:
        """Those that are not `accepted`, and after which of the others."""
        samples, kept = grouped[~accepted], grouped[accepted]
        after = np.cumsum(accepted)[~accepted] - 1
        after[np.append(kept.series, -1)[after] != samples.series] = -1
        last_us = np.append(kept.time_us, NEVER_US)[after]
        last_us[after < 0] = self.last_time_us[samples.series[after < 0]]
        return Dropped(samples, after, last_us)

    def _accepted(self, grouped: Samples, firsts: Int64Array) -> BoolArray | None:
        """Which samples are in time; None where all are."""
        before = _before(grouped.clock_us, firsts, self.last_clock_us[grouped.series[firsts]])
        accepted = in_time(grouped.clock_us, grouped.ties, before)
        if accepted.all():
            return None
        # Rare: only the series that hold a late sample are gone through, each against its own running maximum.
        bounds = np.append(firsts, len(grouped))
        for group in np.unique(np.searchsorted(firsts, np.flatnonzero(~accepted), side="right") - 1):
            part = slice(bounds[group], bounds[group + 1])
            clocks = grouped.clock_us[part]
            newest = np.maximum.accumulate(np.concatenate([[before[bounds[group]]], clocks[:-1]]))
            accepted[part] = in_time(clocks, grouped.ties[part], newest)
        return accepted

    def _after_gap(self, grouped: Samples, firsts: Int64Array) -> BoolArray | None:
        """Which samples follow a gap in their series; None where none does."""
        if self.max_gap_us is None:
            return None
        before = _before(grouped.time_us, firsts, self.last_time_us[grouped.series[firsts]])
        after_gap: BoolArray = (grouped.time_us - before > self.max_gap_us) & (before != NEVER_US)
        return after_gap if after_gap.any() else None

    def _advance(self, grouped: Samples, lasts: Int64Array) -> None:
        series = grouped.series[lasts]
        self.last_time_us[series] = grouped.time_us[lasts]
        self.last_clock_us[series] = grouped.clock_us[lasts]


def _before(times: Int64Array, firsts: Int64Array, last: Int64Array) -> Int64Array:
    """For each sample the time before it in its series: its neighbour's, or for the `firsts` (m,) `last` (m,)."""
    before = np.empty_like(times)
    before[1:] = times[:-1]
    before[firsts] = last
    return before


def counts_of(firsts: Int64Array, total: int) -> Int64Array:
    """How many of `total` there are in each group, of which the first ones are `firsts` (m,)."""
    counts = np.empty_like(firsts)
    np.subtract(firsts[1:], firsts[:-1], out=counts[:-1])
    counts[-1:] = total - firsts[-1:]
    return counts


def firsts_of(series: Int64Array) -> Int64Array:
    """Where each series, or other group, begins among the numbers of those (n,), equal ones together."""
    starts = np.ones(len(series), dtype=np.bool_)
    np.not_equal(series[1:], series[:-1], out=starts[1:])
    return np.flatnonzero(starts)
