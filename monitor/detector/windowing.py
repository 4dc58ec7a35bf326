"""Cutting windows: offline from a whole series, online from chunks of many series, with the same result.

Rules of this file: a window is known by the sample that closes it. The closing samples of a series are fixed by its own
sample index: `length - 1`, then every `hop` further. No Python loop over samples or windows.

    length 4, hop 2         [0--1--2--3]
                                  [2--3--4--5]
                                        [4--5--6--7]      a restart cuts the same ones
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.detector.times import NO_TIME

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

# Before any event time: far enough from the int64's end that differences can't overflow.
NEVER_US = -(1 << 61)


def sliding_windows(samples: Float32Array, length: int, hop: int) -> Float32Array:
    """All windows of one series: (n, channels) -> (windows, length, channels), a read-only view."""
    if len(samples) < length:
        return np.empty((0, length, samples.shape[1]), dtype=samples.dtype)
    view = np.lib.stride_tricks.sliding_window_view(samples, length, axis=0)[::hop]
    return view.transpose(0, 2, 1)


def mend_missing(windows: Float32Array, max_missing_ratio: float) -> tuple[Float32Array, Float32Array]:
    """Windows as they go to the scorer: filled where little is missing, all NaN where too much is.

    Args:
        windows: (n, length, channels), left as it is.
        max_missing_ratio: the share of a window's numbers that may be missing.

    Returns:
        the windows (the same array where nothing is missing) and each one's share of missing numbers, (n,).
    """
    missing = np.isnan(windows)
    if not missing.any():
        return windows, np.zeros(len(windows), dtype=np.float32)
    ratio = missing.mean(axis=(1, 2), dtype=np.float32)
    mended = windows.copy()
    mended[ratio > np.float32(max_missing_ratio)] = np.nan
    some = (ratio > 0) & (ratio <= np.float32(max_missing_ratio))
    mended[some] = fill_missing(windows[some])
    return mended, ratio


def fill_missing(windows: Float32Array) -> Float32Array:
    """Fills NaN along time, linearly, ends held; a channel that is missing throughout stays NaN.

    Args:
        windows: (n, length, channels), left as it is.
    """
    missing = np.isnan(windows)
    filled = windows.copy()
    times = np.arange(windows.shape[1])
    for row, channel in np.argwhere(missing.any(axis=1)):
        gaps = missing[row, :, channel]
        if not gaps.all():
            filled[row, gaps, channel] = np.interp(times[gaps], times[~gaps], windows[row, ~gaps, channel])
    return filled


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples in log order, as columns of length n.

    `series` numbers a series (a row of the windower), `values` is (n, channels) float32 with NaN for missing numbers.
    `time_us` is when a sample was taken, `clock_us` what its order in the series is judged by; `ties` allows it the
    same clock as the sample before. `offset` and `index` say which record a sample came from, and its place in it.
    `hole` (None: no sample is one) marks those of records that were refused: nothing is known of them but that they
    were there, so they are missing numbers, and never the first of a series. One whose `time_us` is `NO_TIME` stands
    right behind the series' last sample, and moves no time.
    """

    series: Int64Array
    values: Float32Array
    time_us: Int64Array
    clock_us: Int64Array
    ties: BoolArray
    offset: Int64Array
    index: Int64Array
    hole: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, rows: slice | Int64Array | BoolArray) -> Samples:
        return Samples(
            self.series[rows], self.values[rows], self.time_us[rows], self.clock_us[rows],
            self.ties[rows], self.offset[rows], self.index[rows], None if self.hole is None else self.hole[rows],
        )  # fmt: skip

    @staticmethod
    def concatenate(parts: Sequence[Samples]) -> Samples:
        """All samples of `parts`, one after the other."""
        names = [name for name in Samples.__slots__ if name != "hole"]
        together = Samples(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
        if all(part.hole is None for part in parts):
            return together
        holes = [np.zeros(len(part), dtype=np.bool_) if part.hole is None else part.hole for part in parts]
        return replace(together, hole=np.concatenate(holes))

    def in_log_order(self) -> Samples:
        """The same samples, by the offset of their record."""
        return self[np.argsort(self.offset, kind="stable")]


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows in the log order of their closing samples, as columns of length m; `values` is (m, length, channels)."""

    series: Int64Array
    values: Float32Array
    start_us: Int64Array
    end_us: Int64Array
    first_offset: Int64Array
    last_offset: Int64Array
    last_index: Int64Array

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, rows: slice) -> Windows:
        return Windows(*(getattr(self, name)[rows] for name in Windows.__slots__))

    @staticmethod
    def concatenate(parts: list[Windows]) -> Windows:
        if len(parts) == 1:
            return parts[0]
        return Windows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Windows.__slots__))


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of some samples. `late_at`: series and offset of one that was too late."""

    windows: Windows
    late: int
    gaps: int
    late_at: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Tails:
    """All that the next windows of m series need: a checkpoint's content, as columns.

    `index` (m,) numbers the next sample, `last_time_us` and `last_clock_us` (m,) belong to the last one; `kept` (m,) is
    how many samples follow for each, at most `length - 1`: `values` (sum of kept, channels), `time_us`, `offset`.
    """

    index: Int64Array
    last_time_us: Int64Array
    last_clock_us: Int64Array
    kept: Int64Array
    values: Float32Array
    time_us: Int64Array
    offset: Int64Array


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
    in_time = (clock_us > newest_us[:-1]) | (samples.ties & (clock_us == newest_us[:-1]))
    before = np.maximum.accumulate(np.where(in_time & ~untimed, np.arange(1, len(samples) + 1), 0))
    times_us = np.concatenate([[last_time_us], samples.time_us])
    return replace(
        samples,
        time_us=np.where(untimed, times_us[before], samples.time_us),
        clock_us=np.where(untimed, newest_us[1:], clock_us),
    )


def ring_capacity(length: int) -> int:
    """Samples in a series' ring: a power of two, so that a slot is a mask; at least twice the window, so that some can
    be written before the windows that they close are read.
    """
    return 1 << (2 * length - 1).bit_length()


class SlidingWindower:
    """Keeps the last samples of many series in rings and cuts windows as their closing samples arrive."""

    def __init__(self, length: int, hop: int, channels: int, max_gap_us: int | None = None) -> None:
        self.length = length
        self.hop = hop
        self.channels = channels
        self.max_gap_us = max_gap_us
        self.capacity = ring_capacity(length)
        self._round = self.capacity - length + 1
        self.rows = 0
        self._values = np.empty((0, self.capacity, channels), dtype=np.float32)
        self._time_us = np.empty((0, self.capacity), dtype=np.int64)
        self._offset = np.empty((0, self.capacity), dtype=np.int64)
        self._written = np.empty(0, dtype=np.int64)  # samples ever written: the ring's position
        self._origin = np.empty(0, dtype=np.int64)  # position of the sample with index 0
        self._last_time_us = np.empty(0, dtype=np.int64)
        self._last_clock_us = np.empty(0, dtype=np.int64)

    def grow(self, rows: int, most: int | None = None) -> None:
        """Makes room for series 0 to `rows - 1`, and for some more, since more come; but not beyond `most`."""
        if rows > len(self._written):
            ahead = max(2 * len(self._written), 16)
            extra = max(rows, ahead if most is None else min(ahead, most)) - len(self._written)
            for name in ("_values", "_time_us", "_offset", "_written", "_origin", "_last_time_us", "_last_clock_us"):
                old = getattr(self, name)
                fill = NEVER_US if name.startswith("_last") else 0
                setattr(self, name, np.concatenate([old, np.full((extra, *old.shape[1:]), fill, dtype=old.dtype)]))
        self.rows = max(self.rows, rows)

    def restart(self) -> int:
        """Starts every series afresh, as after a gap; returns how many had begun."""
        begun = int((self._written[: self.rows] > self._origin[: self.rows]).sum())
        self._origin = self._written.copy()
        return begun

    def clear(self, rows: Int64Array) -> None:
        """Gives rows to new series, of which nothing is known."""
        self._written[rows] = self._origin[rows] = 0
        self._last_time_us[rows] = self._last_clock_us[rows] = NEVER_US

    def append(self, samples: Samples, *, cut: bool = True) -> Appended:
        """Takes samples in; returns the windows that they close (none, where `cut` is false).

        A sample at or before its series' last one is late or a duplicate: dropped, counted, moves nothing.
        """
        if len(samples) > self._round and np.bincount(samples.series).max() > self._round:
            half = len(samples) // 2
            first, second = self.append(samples[:half], cut=cut), self.append(samples[half:], cut=cut)
            windows = Windows.concatenate([first.windows, second.windows])
            late_at = second.late_at or first.late_at
            return Appended(windows, first.late + second.late, first.gaps + second.gaps, late_at)
        order = np.argsort(samples.series, kind="stable")
        grouped = samples[order]
        if grouped.hole is not None:
            grouped, order = self._settle(grouped, order)
        accepted = self._accept(grouped)
        late, late_at = 0, None
        if accepted is not None:
            late = int(len(accepted) - accepted.sum())
            row = int(accepted.argmin())
            late_at = int(grouped.series[row]), int(grouped.offset[row])
            grouped, order = grouped[accepted], order[accepted]
        if not len(grouped):
            return Appended(self._read(grouped, np.empty(0, dtype=np.int64)), late, 0, late_at)
        firsts = np.flatnonzero(_group_starts(grouped.series))
        lasts = np.append(firsts[1:], len(grouped)) - 1
        rank = np.arange(len(grouped)) - np.repeat(firsts, lasts - firsts + 1)
        position = self._written[grouped.series] + rank
        origin, gaps = self._restart_after_gaps(grouped, position)
        self._write(grouped, position)
        touched = grouped.series[firsts]
        self._written[touched] = position[lasts] + 1
        self._origin[touched] = origin[lasts]
        self._last_time_us[touched] = grouped.time_us[lasts]
        self._last_clock_us[touched] = grouped.clock_us[lasts]
        closing = np.empty(0, dtype=np.int64)
        if cut:
            index = position - origin + 1 - self.length
            closing = np.flatnonzero((index >= 0) & (index % self.hop == 0))
            closing = closing[np.argsort(order[closing])]
        return Appended(self._read(grouped[closing], position[closing]), late, gaps, late_at)

    def _settle(self, grouped: Samples, order: Int64Array) -> tuple[Samples, Int64Array]:
        """`grouped` with its holes settled: rare, so only the series that have one are gone through."""
        assert grouped.hole is not None
        bounds = np.append(np.flatnonzero(_group_starts(grouped.series)), len(grouped))
        time_us, clock_us = grouped.time_us.copy(), grouped.clock_us.copy()
        keep = np.ones(len(grouped), dtype=np.bool_)
        for group in np.unique(np.searchsorted(bounds, np.flatnonzero(grouped.hole), side="right") - 1):
            first, end = bounds[group], bounds[group + 1]
            series = grouped.series[first]
            settled = settle_holes(grouped[first:end], self._last_time_us[series], self._last_clock_us[series])
            keep[first : end - len(settled)] = False
            time_us[end - len(settled) : end], clock_us[end - len(settled) : end] = settled.time_us, settled.clock_us
        return replace(grouped, time_us=time_us, clock_us=clock_us)[keep], order[keep]

    def _accept(self, grouped: Samples) -> BoolArray | None:
        """Which samples are in time; None where all are."""
        starts = _group_starts(grouped.series)
        before = _before(grouped.clock_us, starts, self._last_clock_us[grouped.series])
        in_time: BoolArray = (grouped.clock_us > before) | (grouped.ties & (grouped.clock_us == before))
        if in_time.all():
            return None
        # Rare: only the series that hold a late sample are gone through, each against its own running maximum.
        groups = np.flatnonzero(starts)
        bounds = np.append(groups, len(grouped))
        for group in np.unique(np.searchsorted(groups, np.flatnonzero(~in_time), side="right") - 1):
            part = slice(bounds[group], bounds[group + 1])
            clocks = grouped.clock_us[part]
            newest = np.maximum.accumulate(np.concatenate([[before[bounds[group]]], clocks[:-1]]))
            in_time[part] = (clocks > newest) | (grouped.ties[part] & (clocks == newest))
        return in_time

    def _restart_after_gaps(self, grouped: Samples, position: Int64Array) -> tuple[Int64Array, int]:
        """The ring position of index 0 for each sample, and how many gaps started a series afresh."""
        origin = self._origin[grouped.series]
        if self.max_gap_us is None:
            return origin, 0
        starts = _group_starts(grouped.series)
        before = _before(grouped.time_us, starts, self._last_time_us[grouped.series])
        after_gap = (grouped.time_us - before > self.max_gap_us) & (before != NEVER_US)
        if not after_gap.any():
            return origin, 0
        newest = np.maximum.accumulate(np.where(after_gap | starts, np.arange(len(grouped)), 0))
        return np.where(after_gap[newest], position[newest], origin), int(after_gap.sum())

    def _write(self, samples: Samples, position: Int64Array) -> None:
        slot = position & (self.capacity - 1)
        self._values[samples.series, slot] = samples.values
        self._time_us[samples.series, slot] = samples.time_us
        self._offset[samples.series, slot] = samples.offset

    def _read(self, closing: Samples, position: Int64Array) -> Windows:
        first = (position - self.length + 1) & (self.capacity - 1)
        slots = (position[:, None] + np.arange(1 - self.length, 1)) & (self.capacity - 1)
        return Windows(
            series=closing.series,
            values=self._values[closing.series[:, None], slots],
            start_us=self._time_us[closing.series, first],
            end_us=closing.time_us,
            first_offset=self._offset[closing.series, first],
            last_offset=closing.offset,
            last_index=closing.index,
        )

    def tails(self, rows: Int64Array) -> Tails:
        """What a checkpoint keeps of the series `rows`."""
        index = self._written[rows] - self._origin[rows]
        kept = np.minimum(index, self.length - 1)
        series, slots = self._slots(rows, self._written[rows], kept)
        return Tails(
            index=index,
            last_time_us=self._last_time_us[rows],
            last_clock_us=self._last_clock_us[rows],
            kept=kept,
            values=self._values[series, slots],
            time_us=self._time_us[series, slots],
            offset=self._offset[series, slots],
        )

    def set_tails(self, rows: Int64Array, tails: Tails) -> None:
        """Puts back what `tails` returned."""
        self.grow(int(rows.max(initial=-1)) + 1)
        series, slots = self._slots(rows, tails.index, tails.kept)
        self._values[series, slots] = tails.values
        self._time_us[series, slots] = tails.time_us
        self._offset[series, slots] = tails.offset
        self._written[rows], self._origin[rows] = tails.index, 0
        self._last_time_us[rows], self._last_clock_us[rows] = tails.last_time_us, tails.last_clock_us

    def _slots(self, rows: Int64Array, written: Int64Array, kept: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Series and ring slot of the last `kept` samples of each row, oldest first."""
        back = np.repeat(np.cumsum(kept), kept) - np.arange(int(kept.sum()))
        return np.repeat(rows, kept), (np.repeat(written, kept) - back) & (self.capacity - 1)


def _before(times: Int64Array, starts: BoolArray, last: Int64Array) -> Int64Array:
    """For each sample the time before it in its series: its neighbour's, or the series' last one."""
    before = np.empty_like(times)
    before[1:] = times[:-1]
    return np.where(starts, last, before)


def _group_starts(series: Int64Array) -> BoolArray:
    starts = np.empty(len(series), dtype=np.bool_)
    starts[:1] = True
    np.not_equal(series[1:], series[:-1], out=starts[1:])
    return starts
