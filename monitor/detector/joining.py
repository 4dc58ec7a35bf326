"""Readings of one series that carry some channels each, put together by time: the sample that a whole record would be.

    a reading opens a sample of its time, and those up to the tolerance later belong to it
    the sample leaves once all channels are there,
        or with what there is, at the record that opens the next one,
        or, with a grace period, once its partition's time has moved on by that since it was opened
    a reading that comes after its sample has left is late; one of a channel that its sample has is a duplicate

Rules of this file: the log alone decides, as in `waiting`, which hands readings over in order of time. The first
reading of a channel counts. No Python loop over readings or series.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from monitor.detector.arrays import BoolArray, Int64Array, grown
from monitor.detector.event_time import EventTime, Reached, by_series, counts_of, firsts_of
from monitor.detector.times import FOREVER_US, NEVER_US, NEWEST_US, NO_TIME
from monitor.detector.windows import Samples, Waiting


class Joined(NamedTuple):
    """Samples that are put together, in order; readings that came `late`; and how many came twice."""

    samples: Samples
    late: Samples
    duplicates: int


class Joiner:
    """Puts the readings of many series together; of each series one sample at most waits for others."""

    def __init__(self, tolerance_us: int, grace_us: int, channels: int) -> None:
        self._tolerance_us = tolerance_us
        self._wait_us = grace_us or NEWEST_US
        self._open = Waiting.room(0, channels)  # by row: the sample that waits for more of its readings
        self._is_open = np.zeros(0, dtype=np.bool_)

    def grow(self, rows: int) -> None:
        """Makes room for series 0 to `rows - 1`."""
        more = Waiting.room(rows - len(self._is_open), self._open.samples.values.shape[1])
        self._open = Waiting.concatenate([self._open, more])
        self._is_open = grown(self._is_open, rows)

    def clear(self, rows: Int64Array) -> None:
        """Forgets what waits in some rows."""
        self._is_open[rows] = False

    def __len__(self) -> int:
        """How many samples wait."""
        return int(np.count_nonzero(self._is_open))

    @property
    def due_us(self) -> int:
        """The partition's time from which on one leaves, whatever comes; `FOREVER_US`: there is no grace, or none."""
        due_us = int(self._open.came_us[self._is_open].min(initial=FOREVER_US)) + self._wait_us
        return due_us if due_us < NEWEST_US else FOREVER_US

    def snapshot(self, rows: Int64Array) -> Waiting | None:
        """The samples of the series `rows` that wait, by their numbers there; None where none does."""
        numbers = np.flatnonzero(self._is_open[rows])
        kept = self._open[rows[numbers]]
        return replace(kept, samples=replace(kept.samples, series=numbers)) if len(numbers) else None

    def restore(self, rows: Int64Array, waiting: Waiting) -> None:
        """Puts back what `snapshot` returned, of other rows."""
        self._write(replace(waiting, samples=replace(waiting.samples, series=rows[waiting.samples.series])))

    def _write(self, waiting: Waiting) -> None:
        rows = waiting.samples.series
        self._open.put(rows, waiting)
        self._is_open[rows] = True

    def join(self, readings: Samples, reached: Reached, time: EventTime) -> Joined:
        """The samples that leave at the records of `reached`, where `readings` take their places, in that order."""
        readings = _that_can_be_placed(readings)
        at = readings.placed_at
        places = np.union1d(reached.positions, at)
        rows = np.union1d(readings.series, self._due(int(reached.newest_us[-1])))
        both, position = by_series(Samples.concatenate([self._before(rows, time), readings]))
        place = np.concatenate([np.zeros(len(rows), dtype=np.int64), np.searchsorted(places, at)])[position]
        came_us = np.concatenate([self._open.came_us[rows], reached.at(at)])[position]
        has_left = np.concatenate([~self._is_open[rows], np.zeros(len(readings), dtype=np.bool_)])[position]
        heads = np.flatnonzero(_opens(both.series, both.time_us, self._tolerance_us))
        due = np.searchsorted(reached.at(places), np.minimum(came_us[heads] + self._wait_us, NEWEST_US))
        closed = np.append(place[heads[1:]], len(places))[: len(heads)]
        closed[np.append(both.series[heads[1:]] != both.series[heads[:-1]], True)[: len(heads)]] = len(places)
        parts = _Parts.of(both, heads, place, np.minimum(due, closed))
        leaves_at = np.where(has_left[heads], len(places), parts.leaves_at(place, len(places)))
        leaves = np.flatnonzero(leaves_at < len(places))
        made = parts.samples(both)
        self._is_open[rows] = False
        stays = np.flatnonzero((leaves_at == len(places)) & ~has_left[heads])
        self._write(Waiting(made[stays], came_us[heads[stays]], np.zeros(len(stays), dtype=np.int64)))
        out = replace(made[leaves], at=places[leaves_at[leaves]])
        out = out[np.lexsort((out.index, out.offset, out.time_us, out.placed_at))]
        again = parts.unused & parts.are_again(both, has_left)
        return Joined(out.slim(), both[parts.unused & ~again], int(np.count_nonzero(again)))

    def _due(self, now_us: int) -> Int64Array:
        """The rows of the samples that leave because the partition's time has come so far."""
        return np.flatnonzero(self._is_open & (np.minimum(self._open.came_us + self._wait_us, NEWEST_US) <= now_us))

    def _before(self, rows: Int64Array, time: EventTime) -> Samples:
        """Of each of some series the sample that waits, or that left last, which has all channels."""
        before = self._open[rows].samples
        is_open = self._is_open[rows]
        last_us = time.last_time_us[rows]
        carried = before.carried | ~is_open[:, None] if before.carried is not None else None
        time_us = np.where(is_open, before.time_us, last_us)
        return replace(before, series=rows, time_us=time_us, carried=carried, at=np.full(len(rows), -1))


def _that_can_be_placed(readings: Samples) -> Samples:
    """Without what refused records leave at an unknown time; what they leave at a known one carries nothing."""
    full = replace(readings.in_full(), at=readings.placed_at)
    full = full[full.time_us != NO_TIME]
    assert full.hole is not None
    assert full.carried is not None
    return replace(full, carried=full.carried & ~full.hole[:, None])


def _opens(series: Int64Array, time_us: Int64Array, tolerance_us: int) -> BoolArray:
    """Which of the readings (n,), together by series and in order in each, open a sample of their own."""
    count = len(series)
    opens = np.zeros(count + 1, dtype=np.bool_)
    if not count:
        return opens[:0]
    firsts = firsts_of(series)
    group = np.repeat(np.arange(len(firsts)), counts_of(firsts, count))
    until_us = np.where(time_us == NEVER_US, NEVER_US, time_us + tolerance_us)
    _, rank = np.unique(np.concatenate([time_us, until_us]), return_inverse=True)
    steps = len(rank) + 1
    newest = np.maximum.accumulate(group * steps + rank[:count])
    after = np.searchsorted(
        newest, group * steps + rank[count:], side="right"
    )  # what opens the next, if this opens one
    after = np.append(
        np.minimum(np.maximum(after, np.arange(1, count + 1)), np.append(firsts, count)[group + 1]), count
    )
    opens[0] = True
    while True:  # twice as many of those that follow from the first are found each time
        opens[after[opens]] = True
        if after[0] == count:
            return opens[:count]
        after = after[after]


class _Parts(NamedTuple):
    """Which readings (n,) belong to which of m samples, whose heads are `head` (m,).

    `of_head` (n,) is the sample of each; `belongs` (n,) that it comes neither before it nor after it has left; `first`
    (m, channels) is the reading that each channel comes from, n where none does; `unused` (n,) says which give nothing.
    """

    head: Int64Array
    of_head: Int64Array
    belongs: BoolArray
    first: Int64Array
    unused: BoolArray
    until: Int64Array

    @classmethod
    def of(cls, both: Samples, head: Int64Array, place: Int64Array, until: Int64Array) -> _Parts:
        """`until` (m,) is the place at which each sample leaves at the latest."""
        assert both.carried is not None
        count, channels = both.carried.shape
        is_head = np.zeros(count, dtype=np.bool_)
        is_head[head] = True
        of_head = np.cumsum(is_head) - 1
        belongs = (both.time_us >= both.time_us[head][of_head]) & (place <= until[of_head])
        reading, channel = np.nonzero(both.carried & belongs[:, None])
        first = np.full((len(head), channels), count, dtype=np.int64)
        first[of_head[reading[::-1]], channel[::-1]] = reading[::-1]  # of several, the last that is written stays
        unused = both.carried.any(axis=1) & ~is_head
        unused[first[first < count]] = False
        return cls(head, of_head, belongs, first, unused, until)

    def leaves_at(self, place: Int64Array, never: int) -> Int64Array:
        """The place at which each sample leaves, `never` where it waits on; `place` is that of each reading."""
        complete_at: Int64Array = np.append(place, never)[self.first.max(axis=1)]
        return np.minimum(self.until, complete_at)

    def are_again(self, both: Samples, has_left: BoolArray) -> BoolArray:
        """Which readings, of those that are unused, come while their sample waits, or have its very time."""
        count = len(both)
        complete = self.first.max(axis=1)
        left_after = np.where(has_left[self.head], -1, np.where(complete < count, complete, count))
        found: BoolArray = both.time_us == both.time_us[self.head][self.of_head]
        return found | (self.belongs & (np.arange(count) < left_after[self.of_head]))

    def samples(self, both: Samples) -> Samples:
        """The samples: of the time of their first reading, named by the record of the last that they are made of."""
        is_there = self.first < len(both)
        last = np.maximum(self.head, np.where(is_there, self.first, -1).max(axis=1))
        values = np.concatenate([both.values, np.full((1, both.values.shape[1]), np.nan, dtype=np.float32)])
        assert both.hole is not None
        return replace(
            both[self.head],
            values=np.take_along_axis(values, self.first, axis=0),
            offset=both.offset[last],
            index=both.index[last],
            hole=both.hole[self.head] & ~is_there.any(axis=1),
            carried=is_there,
        )
