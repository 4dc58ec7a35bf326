"""Samples and windows as columns, and what becomes of a window's missing numbers: what all kinds of windows share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from monitor.detector.arrays import BoolArray, Float32Array, Int64Array, StructOfArrays
from monitor.detector.times import NEVER_US


def impute_or_blank(windows: Float32Array, max_missing_ratio: float) -> tuple[Float32Array, Float32Array]:
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
    filled = windows.copy()
    filled[ratio > np.float32(max_missing_ratio)] = np.nan
    some = (ratio > 0) & (ratio <= np.float32(max_missing_ratio))
    filled[some] = fill_missing(windows[some])
    return filled, ratio


def fill_missing(windows: Float32Array) -> Float32Array:
    """Fills NaN along time, linearly, ends held; a channel that is missing throughout stays NaN.

    Args:
        windows: (n, length, channels), left as it is.
    """
    missing = np.isnan(windows)
    filled = windows.copy()
    times = np.arange(windows.shape[1])
    for row, channel in np.argwhere(missing.any(axis=1) & ~missing.all(axis=1)):
        gaps = missing[row, :, channel]
        filled[row, gaps, channel] = np.interp(times[gaps], times[~gaps], windows[row, ~gaps, channel])
    return filled


@dataclass(frozen=True, slots=True)
class Samples(StructOfArrays):
    """Samples in log order, as columns of length n.

    `series` numbers a series (a row of the windower), `values` is (n, channels) float32 with NaN for missing numbers.
    `time_us` is when a sample was taken, `clock_us` what its order in the series is judged by; `ties` allows it the
    same clock as the sample before. `offset` and `index` say which record a sample came from, and at which index in it.
    `hole` (None: no sample is one) marks those of records that were refused: nothing is known of them but that they
    were there, so they are missing numbers, and never the first of a series. One whose `time_us` is `NO_TIME` stands
    right after the series' last sample, and moves no time.
    `carried` (n, channels; None: all are) marks the channels that a partial sample speaks of. What it carries as NaN is
    missing; what it does not carry is NaN too, and may come with another sample of the same time.
    `at` is the offset of the log at which a sample took its place in its series (None: its record's own): one that
    waited for those of an earlier time took it later than it came.
    """

    full: ClassVar[tuple[str, ...]] = ("carried",)

    series: Int64Array
    values: Float32Array
    time_us: Int64Array
    clock_us: Int64Array
    ties: BoolArray
    offset: Int64Array
    index: Int64Array
    hole: BoolArray | None = None
    carried: BoolArray | None = None
    at: Int64Array | None = None

    @property
    def placed_at(self) -> Int64Array:
        """The offset at which each took its place in its series."""
        return self.offset if self.at is None else self.at

    def in_full(self) -> Samples:
        """The same samples, with a column for whatever some samples have."""
        hole = np.zeros(len(self), dtype=np.bool_) if self.hole is None else self.hole
        carried = np.ones(self.values.shape, dtype=np.bool_) if self.carried is None else self.carried
        return replace(self, hole=hole, carried=carried)

    def slim(self) -> Samples:
        """The same samples, without the columns that say nothing of any."""
        hole = self.hole if self.hole is not None and self.hole.any() else None
        carried = self.carried if self.carried is not None and not self.carried.all() else None
        return replace(self, hole=hole, carried=carried)

    def in_log_order(self) -> Samples:
        """The same samples, by the offset of their record."""
        return self[np.argsort(self.offset, kind="stable")]


@dataclass(frozen=True, slots=True)
class Waiting(StructOfArrays):
    """Samples that wait: the partition's time when each came, and what number it has among all that came.

    In a snapshot they are numbered from its end, -1 and less, in log order; 0 are those that wait for more readings.
    """

    samples: Samples
    came_us: Int64Array
    number: Int64Array

    @classmethod
    def room(cls, count: int, channels: int) -> Waiting:
        """Room for `count` samples; what it holds is not set."""
        series, time_us, clock_us, offset, index, came_us, number = np.zeros((7, count), dtype=np.int64)
        values, ties = np.empty((count, channels), dtype=np.float32), np.zeros(count, dtype=np.bool_)
        samples = Samples(series, values, time_us, clock_us, ties, offset, index)
        return cls(samples.in_full(), came_us, number)


class Dropped(NamedTuple):
    """Samples (n,) that are not in time, by series, those of each as they came.

    `after` (n,) is the row of the one in time that each came after, -1 where that came before all these; `last_us` (n,)
    is the time of that.
    """

    samples: Samples
    after: Int64Array
    last_us: Int64Array


class Ordered(NamedTuple):
    """Samples grouped by series, each series' in order, without the late ones: n samples of m series.

    `position` (n,) is each one's index in log order. `firsts` and `lasts` (m,) are each series' first and last sample.
    `after_gap` (n,) marks those with which a series restarts after a gap; None where there are none. `dropped` are the
    late ones and the duplicates; None where there are none.
    """

    samples: Samples
    position: Int64Array
    firsts: Int64Array
    lasts: Int64Array
    after_gap: BoolArray | None
    dropped: Dropped | None = None

    @property
    def gaps(self) -> int:
        """How often a series restarts after a gap."""
        return 0 if self.after_gap is None else int(self.after_gap.sum())


@dataclass(frozen=True, slots=True)
class Windows(StructOfArrays):
    """Windows in the order in which their closing samples took their places, as columns of length m.

    `values` is (m, length, channels). `last_offset` and `last_index` name the closing sample's own record, `at` the
    offset at which it took its place (None: there). `filled_ratio` is the share of samples that fill gaps (None: 0).
    """

    series: Int64Array
    values: Float32Array
    start_us: Int64Array
    end_us: Int64Array
    first_offset: Int64Array
    last_offset: Int64Array
    last_index: Int64Array
    at: Int64Array | None = None
    filled_ratio: Float32Array | None = None

    @property
    def placed_at(self) -> Int64Array:
        """The offset at which each was whole: the order in which they are decided."""
        return self.last_offset if self.at is None else self.at

    @property
    def offset(self) -> Int64Array:
        """The records that close them, as samples have it."""
        return self.last_offset


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of some samples: those `too_late` (None: there are none), and how many came twice.

    `ordered` are the samples in time, chunk by chunk; none, where records are windows.
    """

    windows: Windows
    gaps: int = 0
    too_late: Samples | None = None
    duplicates: int = 0
    ordered: tuple[Ordered, ...] = ()

    @property
    def late(self) -> int:
        """How many came too late."""
        return 0 if self.too_late is None else len(self.too_late)

    def followed_by(self, later: Appended) -> Appended:
        """What became of these samples and of those after them."""
        windows = Windows.concatenate([self.windows, later.windows])
        late = [each.too_late for each in (self, later) if each.too_late is not None]
        return Appended(
            windows,
            self.gaps + later.gaps,
            Samples.concatenate(late) if late else None,
            self.duplicates + later.duplicates,
            self.ordered + later.ordered,
        )


@dataclass(frozen=True, slots=True)
class Tails:
    """All that the next windows of m series need: a checkpoint's content, as columns.

    `index` (m,) numbers the next sample, `last_time_us` and `last_clock_us` (m,) belong to the last one; `kept` (m,) is
    how many samples follow for each: `values` (sum of kept, channels), `time_us`, `offset`.
    """

    index: Int64Array
    last_time_us: Int64Array
    last_clock_us: Int64Array
    kept: Int64Array
    values: Float32Array
    time_us: Int64Array
    offset: Int64Array

    def __getitem__(self, rows: Int64Array) -> Tails:
        """The tails of some of the series, with their samples."""
        kept = self.kept[rows]
        samples = np.repeat(np.cumsum(self.kept)[rows], kept) - from_end(kept)
        return Tails(
            *(getattr(self, name)[rows] for name in ("index", "last_time_us", "last_clock_us", "kept")),
            *(getattr(self, name)[samples] for name in ("values", "time_us", "offset")),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Tails]) -> Tails:
        """The tails of all series of `parts`, at least one, in order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))

    @classmethod
    def nothing(cls, count: int, channels: int) -> Tails:
        """The tails of `count` series without samples."""
        never, none = np.full(count, NEVER_US, dtype=np.int64), np.empty(0, dtype=np.int64)
        zeros = np.zeros(count, dtype=np.int64)
        return cls(zeros, never, never, zeros, np.empty((0, channels), dtype=np.float32), none, none)


def from_end(kept: Int64Array) -> Int64Array:
    """How far before its end each of the last `kept` (m,) samples of m series is, oldest first: 3 2 1, 2 1, ..."""
    distance: Int64Array = np.repeat(np.cumsum(kept), kept) - np.arange(int(kept.sum()))
    return distance
