"""Samples that wait for others of an earlier time, which may still come: in order within a grace period.

    a sample of time t leaves at the first record, of any series, after which
        its series has come to t + grace,
        or its partition's time has moved on by grace since the sample came,
        or so many samples came after it that no more are kept,
    and with it leave those of its series that are not later than it, in order of time

Rules of this file: the log alone decides. A sample that leaves takes its place in the log at the record that let it
out, and among those let out there by its time, then by its own record: however records are handed over, as long as each
comes whole. No Python loop over samples or series. Whether a sample comes too late is judged by `event_time` after it
has left; one that is not later than what has left does not wait.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from monitor.detector.arrays import BoolArray, Int64Array, grown
from monitor.detector.event_time import EventTime, Reached, by_series, firsts_of
from monitor.detector.times import FOREVER_US, NEVER_US
from monitor.detector.windows import Samples, Waiting

# What waits in one partition takes about so much, at most; a poll's records come on top.
WAITING_BYTES = 64 * 2**20


def waiting_bytes(channels: int) -> int:
    """About what a sample takes that waits: its numbers, whether it carries them, and what else is known of it."""
    return 64 + 5 * channels


class Queue:
    """The samples of many series that wait, in the order in which they came."""

    def __init__(self, grace_us: int, channels: int) -> None:
        self._grace_us = grace_us
        self._most = max(1, WAITING_BYTES // waiting_bytes(channels))
        self._came = 0  # so many samples came in all
        self._pool = Waiting.room(0, channels)  # in log order: what waits, what has left since, and room for more
        self._count = 0
        self._waits = np.zeros(0, dtype=np.bool_)
        self._touched = np.zeros(0, dtype=np.bool_)  # by row; all false between calls

    def grow(self, rows: int) -> None:
        """Makes room for series 0 to `rows - 1`."""
        self._touched = grown(self._touched, rows)

    def __len__(self) -> int:
        """How many wait."""
        return int(np.count_nonzero(self._waits))

    @property
    def due_us(self) -> int:
        """The partition's time from which on one leaves, whatever comes."""
        came_us = self._pool.came_us[: self._count][self._waits[: self._count]]
        return min(int(came_us.min(initial=FOREVER_US)) + self._grace_us, FOREVER_US)

    def clear(self, rows: Int64Array) -> None:
        """Forgets what waits in some rows."""
        self._waits[self._of(rows)] = False

    def let_out(self, taken: Samples, reached: Reached, time: EventTime) -> Samples:
        """Of `taken` and of what waited, the samples that leave at the records of `reached`, in order.

        Args:
            taken: whole records' samples.
            reached: the partition's time from before these records to after them.
            time: how far each series has come by what has left.
        """
        came = Waiting(taken.in_full(), reached.at(taken.offset), self._came + np.arange(len(taken)))
        self._came += len(taken)
        waited = self._concerned(came, reached)
        both = Waiting.concatenate([self._pool[waited], came])
        samples, position = time.settled(*by_series(both.samples))
        both, is_new = replace(both[position], samples=samples), position >= len(waited)
        at = self._places(both, is_new, taken.offset, reached, time)
        stays = at < 0
        self._waits[waited[position[~stays & ~is_new]]] = False
        new = np.flatnonzero(stays & is_new)
        self._keep(both[new[np.argsort(position[new])]])
        out = np.flatnonzero(~stays)
        out = out[np.lexsort((position[out], samples.clock_us[out], at[out]))]
        return replace(samples[out], at=at[out]).slim()

    def snapshot(self, rows: Int64Array) -> Waiting | None:
        """What waits of the series `rows`, which are numbered as they stand there; None where nothing does."""
        number_of = np.full(len(self._touched), -1, dtype=np.int64)
        number_of[rows] = np.arange(len(rows))
        waiting = self._pool[self._of(rows)]
        samples = replace(waiting.samples, series=number_of[waiting.samples.series])
        return Waiting(samples, waiting.came_us, waiting.number - self._came) if len(samples) else None

    def restore(self, rows: Int64Array, waiting: Waiting) -> None:
        """Puts back what `snapshot` returned, of other rows."""
        samples = replace(waiting.samples, series=rows[waiting.samples.series])
        self._keep(Waiting(samples, waiting.came_us, waiting.number + self._came))

    def _concerned(self, came: Waiting, reached: Reached) -> Int64Array:
        """Which of those that wait may leave: those of the series among `came`, or in which one has to."""
        came_us, number = self._pool.came_us[: self._count], self._pool.number[: self._count]
        now_us = max(int(reached.newest_us[-1]), NEVER_US)
        due = int(np.searchsorted(came_us, now_us - self._grace_us, side="right"))
        due = max(due, int(np.searchsorted(number, self._came - self._most)))
        series = self._pool.samples.series[:due]
        return self._of(np.concatenate([came.samples.series, series[self._waits[:due]]]))

    def _of(self, rows: Int64Array) -> Int64Array:
        """Which of those that wait are of some rows."""
        self._touched[rows] = True
        found = np.flatnonzero(self._waits[: self._count] & self._touched[self._pool.samples.series[: self._count]])
        self._touched[rows] = False
        return found

    def _places(
        self, both: Waiting, is_new: BoolArray, came_at: Int64Array, reached: Reached, time: EventTime
    ) -> Int64Array:
        """The offset at which each leaves, -1 where it stays; `both` are grouped by series, in log order in each."""
        samples, places = both.samples, np.union1d(reached.positions, came_at)
        never = len(places)  # places by their number, from here on
        own = np.zeros(len(both), dtype=np.int64)
        own[is_new] = np.searchsorted(places, samples.offset[is_new])
        leaves = np.searchsorted(reached.at(places), both.came_us + self._grace_us)
        follower = both.number - (self._came - len(came_at)) + self._most  # for which it has to make room
        crowd = np.append(np.searchsorted(places, came_at), never)
        leaves = np.minimum(leaves, crowd[np.clip(follower, 0, len(came_at))])
        group = np.zeros(len(both), dtype=np.int64)
        group[firsts_of(samples.series)] = 1
        group = np.cumsum(group)
        leaves = np.minimum(leaves, self._by_series(samples.clock_us, group, own, never))
        leaves[samples.clock_us <= time.last_clock_us[samples.series]] = 0
        leaves = np.maximum(_with_the_earlier(leaves, samples.clock_us, group, never), own)
        return np.append(places, -1)[leaves]

    def _by_series(self, clock_us: Int64Array, group: Int64Array, own: Int64Array, never: int) -> Int64Array:
        """The place at which the series of each has come to its grace."""
        _, rank = np.unique(np.concatenate([clock_us, clock_us + self._grace_us]), return_inverse=True)
        steps = len(rank) + 1
        newest = np.maximum.accumulate(group * steps + rank[: len(group)])
        found = np.searchsorted(newest, group * steps + rank[len(group) :])
        there_is = np.append(group, -1)[found] == group
        return np.where(there_is, np.append(own, never)[found], never)

    def _keep(self, new: Waiting) -> None:
        """Adds to those that wait; what has left is cleared away when there is no more room."""
        end = self._count + len(new)
        if end > len(self._waits):
            kept = np.flatnonzero(self._waits[: self._count])
            end = len(kept) + len(new)
            self._pool = Waiting.concatenate([self._pool[kept], new, Waiting.room(end, new.samples.values.shape[1])])
            self._waits = np.arange(len(self._pool)) < end
        else:
            self._pool.put(slice(self._count, end), new)
            self._waits[self._count : end] = True
        self._count = end


def _with_the_earlier(leaves: Int64Array, clock_us: Int64Array, group: Int64Array, never: int) -> Int64Array:
    """The first place at which a sample leaves, or one of its group that is not earlier, for each."""
    order = np.lexsort((clock_us, group))
    group, clock_us = group[order], clock_us[order]
    begins = np.append(True, (group[1:] != group[:-1]) | (clock_us[1:] != clock_us[:-1]))[: len(order)]
    first_alike = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    base = group * (never + 1)  # so that none is less by one of another group
    least = np.minimum.accumulate((leaves[order] + base)[::-1])[::-1] - base
    found = np.empty_like(leaves)
    found[order] = least[first_alike]
    return found
