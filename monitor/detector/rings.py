"""Windows of a fixed length out of series' samples, which are kept in rings until the last of a window arrives.

Rules of this file: a window is known by the sample that closes it, and a kind of window says which samples those are
(`RingWindower.closing`). Samples are counted from the beginning of their series, or from its last gap, so that a
restart cuts the same windows. No Python loop over samples or windows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from monitor.detector.arrays import BoolArray, Int64Array, grown
from monitor.detector.arrivals import AS_THEY_COME, Arrivals, Order
from monitor.detector.event_time import EventTime, Reached
from monitor.detector.filling import Holder, fill_gaps, gap_periods, record_of
from monitor.detector.spec import WindowSpec
from monitor.detector.windows import Appended, Dropped, Ordered, Samples, Tails, Waiting, Windows, from_end

# Numbers looked at as one, where samples are searched for.
_LOOKED_AT = 1 << 20


class RingWindower(ABC):
    """Keeps the last samples of many series in rings and cuts windows as their closing samples arrive."""

    def __init__(self, window: WindowSpec, channels: int, order: Order = AS_THEY_COME) -> None:
        self.length = window.length
        self.hop = window.hop
        self.channels = channels
        self.capacity = ring_capacity(window.length)
        self._round = self.capacity - window.length + 1
        self._rows = 0
        self._arrivals = Arrivals(order, channels)
        self._holder = None if window.max_hold_ms is None else Holder(window.max_hold_ms, channels)
        periods = gap_periods(window)
        self._window = window if periods is not None else None  # where gaps are filled
        self._at_once = self._round if periods is None else max(1, int(self._round // (periods + 1)))
        self._time = EventTime(None if window.max_gap_ms is None else round(window.max_gap_ms * 1000))
        self._values = np.empty((0, self.capacity, channels), dtype=np.float32)
        self._time_us = np.empty((0, self.capacity), dtype=np.int64)
        self._offset = np.empty((0, self.capacity), dtype=np.int64)
        self._written = np.empty(0, dtype=np.int64)  # samples ever written: the ring's position
        self._origin = np.empty(0, dtype=np.int64)  # position of the sample with index 0

    @abstractmethod
    def closing(self, ordered: Ordered, index: Int64Array, /) -> Int64Array:
        """Which of the samples `ordered` (n,) close a window: their rows, increasing.

        `index` (n,) numbers each sample from the beginning of its series, or from its last gap; the first that can
        close a window has index `length - 1`.
        """

    @property
    def row_bytes(self) -> int:
        """What a series takes in memory: its ring holds two to four windows."""
        return self.capacity * self._sample_bytes + self._arrivals.row_bytes + self._held_bytes

    @property
    def snapshot_bytes(self) -> int:
        """What a series takes in a snapshot, at most."""
        return self.length * self._sample_bytes + self._held_bytes

    @property
    def waiting_bytes(self) -> int:
        """About what waits takes in a snapshot, of all series."""
        return self._arrivals.waiting_bytes

    @property
    def _held_bytes(self) -> int:
        return 0 if self._holder is None else self._holder.row_bytes

    @property
    def _sample_bytes(self) -> int:
        return 4 * self.channels + 16

    def grow(self, rows: int, most: int | None = None) -> None:
        """Makes room for series 0 to `rows - 1`, and for some more, since more come; but not beyond `most`."""
        if rows > len(self._written):
            ahead = max(2 * len(self._written), 16)
            size = max(rows, ahead if most is None else min(ahead, most))
            for name in ("_values", "_time_us", "_offset", "_written", "_origin"):
                setattr(self, name, grown(getattr(self, name), size))
            self._time.grow(size)
            self._arrivals.grow(size)
            if self._holder is not None:
                self._holder.grow(size)
        self._rows = max(self._rows, rows)

    def clear(self, rows: Int64Array) -> None:
        """Empties rows, for new series."""
        self._written[rows] = self._origin[rows] = 0
        self._time.clear(rows)
        self._arrivals.clear(rows)
        if self._holder is not None:
            self._holder.clear(rows)

    def restart(self) -> int:
        """Restarts every series, as after a gap; returns how many had begun."""
        begun = int((self._written[: self._rows] > self._origin[: self._rows]).sum())
        self._origin = self._written.copy()
        return begun

    @property
    def due_us(self) -> int:
        """The partition's time from which on a sample that waits leaves."""
        return self._arrivals.due_us

    def let_out(self, taken: Samples | Windows, reached: Reached, /) -> Samples | Windows:
        """The samples whose turn has come, in order."""
        assert isinstance(taken, Samples)
        return self._arrivals.let_out(taken, reached, self._time)

    def append(self, taken: Samples | Windows, *, cut: bool = True) -> Appended:
        """Takes samples in; returns the windows that they close (none, where `cut` is false).

        A sample at or before its series' last one is late or a duplicate: dropped, counted, moves nothing.
        """
        assert isinstance(taken, Samples)
        if len(taken) > self._at_once and np.bincount(taken.series).max() > self._at_once:
            half = len(taken) // 2
            first, second = self.append(taken[:half], cut=cut), self.append(taken[half:], cut=cut)
            return first.followed_by(second)
        ordered = self._time.order(taken)
        behind = None if ordered.dropped is None else self._ring_ends(ordered.dropped.samples.series)
        whole, real = self._made_whole(ordered)
        position, index = self._add(whole)
        late, duplicates = self._arrivals.take_dropped(taken)
        if ordered.dropped is not None and behind is not None:
            again = self._came_before(ordered.dropped, position[real], index[real], *behind)
            late.append(ordered.dropped.samples[~again])
            duplicates += int(np.count_nonzero(again))
        windows = self.cut(whole, position, index, cut=cut)
        return Appended(
            windows, ordered.gaps, Samples.concatenate(late) if sum(map(len, late)) else None, duplicates, (ordered,)
        )

    def cut(self, whole: Ordered, position: Int64Array, index: Int64Array, *, cut: bool) -> Windows:
        """The windows that the samples `whole` close, in log order (none, where `cut` is false).

        `position` is where each sample stands in its ring, `index` as in `closing`.
        """
        closing = self.closing(whole, index)[: None if cut else 0]
        closing = closing[np.argsort(whole.position[closing])]
        return self.read(whole.samples, closing, position[closing], self.length)

    def _made_whole(self, ordered: Ordered) -> tuple[Ordered, slice | Int64Array]:
        """The samples with what is held and filled, and which rows of them are those that came."""
        if self._holder is not None:
            ordered = self._holder.hold(ordered)
        if self._window is None:
            return ordered, slice(None)
        rows = ordered.samples.series[ordered.firsts]
        last = (self._written[rows] - 1) & (self.capacity - 1)
        begun = self._written[rows] - self._origin[rows]
        return fill_gaps(ordered, self._window, self._time_us[rows, last], self._values[rows, last], begun)

    def held(self, rows: Int64Array) -> bytes:
        """What is remembered of the channels of the series `rows` that are held, as many bytes of each."""
        return b"" if self._holder is None else self._holder.snapshot(rows)

    def hold_again(self, rows: Int64Array, kept: bytes) -> None:
        """Puts back what `held` returned; other bytes are ignored."""
        if self._holder is not None:
            self._holder.restore(rows, kept)

    def _ring_ends(self, rows: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Where in their rings series go on, and where index 0 is."""
        return self._written[rows], self._origin[rows]

    def _came_before(
        self, dropped: Dropped, position: Int64Array, index: Int64Array, ends: Int64Array, origins: Int64Array
    ) -> BoolArray:
        """Which of the dropped have the time of one of the `length - 1` samples before them, or of the last.

        `position` and `index` are those of the samples in time; `ends` and `origins` the rings' before those came.
        """
        after, series = dropped.after, dropped.samples.series
        is_new = after >= 0
        ends = np.where(is_new, np.append(position, 0)[after] + 1, ends)
        origins = np.where(is_new, np.append(position - index, 0)[after], origins)
        found: BoolArray = dropped.samples.time_us == dropped.last_us
        for first in range(0, len(series), step := max(1, _LOOKED_AT // self.length)):
            rows = slice(first, first + step)
            at = ends[rows, None] - np.arange(1, self.length)
            same = self._time_us[series[rows, None], at & (self.capacity - 1)] == dropped.samples.time_us[rows, None]
            found[rows] |= (same & (at >= origins[rows, None])).any(axis=1)
        return found

    def _add(self, ordered: Ordered) -> tuple[Int64Array, Int64Array]:
        """Writes samples into their rings: the position of each there, and its index in its series."""
        samples, firsts, lasts = ordered.samples, ordered.firsts, ordered.lasts
        touched = samples.series[firsts]
        position = np.arange(len(samples)) + np.repeat(self._written[touched] - firsts, lasts - firsts + 1)
        origin = self._origins(ordered, position)
        slot = position & (self.capacity - 1)
        self._values[samples.series, slot] = samples.values
        self._time_us[samples.series, slot] = samples.time_us
        self._offset[samples.series, slot] = samples.offset
        self._written[touched] = position[lasts] + 1
        self._origin[touched] = origin[lasts]
        return position, position - origin

    def _origins(self, ordered: Ordered, position: Int64Array) -> Int64Array:
        """The ring position of index 0 for each sample."""
        origin = self._origin[ordered.samples.series]
        if ordered.after_gap is None:
            return origin
        restarts = np.zeros(len(position), dtype=np.int64)
        restarts[ordered.firsts] = ordered.firsts
        newest = np.maximum.accumulate(np.where(ordered.after_gap, np.arange(len(position)), restarts))
        return np.where(ordered.after_gap[newest], position[newest], origin)

    def read(self, samples: Samples, closing: Int64Array, last: Int64Array, length: int) -> Windows:
        """Windows of `length` samples that the samples `closing` (n,) close, out of the rings.

        `last` (n,) is where their last samples stand there.
        """
        series = samples.series[closing]
        slots = (last[:, None] + np.arange(1 - length, 1)) & (self.capacity - 1)
        filled_ratio = None
        if self._window is not None:
            filled_ratio = (self._offset[series[:, None], slots] < 0).mean(axis=1, dtype=np.float32)
        return Windows(
            series=series,
            values=self._values[series[:, None], slots],
            start_us=self._time_us[series, slots[:, 0]],
            end_us=self._time_us[series, slots[:, -1]],
            first_offset=record_of(self._offset[series, slots[:, 0]]),
            last_offset=record_of(self._offset[series, slots[:, -1]]),
            last_index=samples.index[closing],
            at=None if samples.at is None and self._window is None else samples.placed_at[closing],
            filled_ratio=filled_ratio,
        )

    def snapshot(self, rows: Int64Array) -> Tails:
        """What a checkpoint keeps of the series `rows`."""
        index = self._written[rows] - self._origin[rows]
        kept = np.minimum(index, self.length - 1)
        series, slots = self._slots(rows, self._written[rows], kept)
        return Tails(
            index=index,
            last_time_us=self._time.last_time_us[rows],
            last_clock_us=self._time.last_clock_us[rows],
            kept=kept,
            values=self._values[series, slots],
            time_us=self._time_us[series, slots],
            offset=self._offset[series, slots],
        )

    def waiting(self, rows: Int64Array) -> Waiting | None:
        """What waits of the series `rows`, by their numbers there; None where nothing does."""
        return self._arrivals.snapshot(rows)

    def problem(self, tails: Tails, /) -> str:
        """Why `tails` are no snapshot of such windows; empty where they are."""
        if (tails.index < 0).any() or (tails.kept != np.minimum(tails.index, self.length - 1)).any():
            return f"made with another window than {self.length} samples"
        return ""

    def restore(self, rows: Int64Array, tails: Tails, waiting: Waiting | None = None) -> None:
        """Puts back what `snapshot` and `waiting` returned."""
        self.grow(int(rows.max(initial=-1)) + 1)
        series, slots = self._slots(rows, tails.index, tails.kept)
        self._values[series, slots] = tails.values
        self._time_us[series, slots] = tails.time_us
        self._offset[series, slots] = tails.offset
        self._written[rows], self._origin[rows] = tails.index, 0
        self._time.last_time_us[rows], self._time.last_clock_us[rows] = tails.last_time_us, tails.last_clock_us
        if waiting is not None:
            self._arrivals.restore(rows, waiting)

    def _slots(self, rows: Int64Array, written: Int64Array, kept: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Series and ring slot of the last `kept` samples of each row, oldest first."""
        return np.repeat(rows, kept), (np.repeat(written, kept) - from_end(kept)) & (self.capacity - 1)


def ring_capacity(length: int) -> int:
    """Samples in a series' ring: a power of two, so that a slot is a mask; at least twice the window, so that some can
    be written before the windows that they close are read.
    """
    return 1 << (2 * length - 1).bit_length()
