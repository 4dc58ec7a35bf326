"""Records that are fetched and wait to be processed, and how many of them are processed at a time.

Rules of this file: no I/O, and no clock but the one that is passed in. A slice of the backlog goes into the processor
as a whole, so that its end is a position to commit. How records are sliced changes no result.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.backends.abstract import RecordColumns, TopicPartition
from monitor.detector.scoring import Scorer
from monitor.processing.processor import Processor

# Approximate size of a record without its value: its key and the Python objects.
RECORD_BYTES = 100
# Small, as a model may be slow: a slice is finished before anything is committed.
FIRST_SLICE_BYTES = 4 * 1024
# Decoded, a JSON number of two bytes takes about fifty.
LARGEST_SLICE_BYTES = 16 * 1024 * 1024
# Records that only refill windows are not scored: they cost the same with any model.
REFILL_SLICE_BYTES = 2 * 1024 * 1024
# How long a slice should take: little compared with the second or two that a rebalance waits for a commit.
SLICE_S = 0.25


@dataclass(slots=True)
class _Waiting:
    """Columns whose first `taken` records are consumed, and the size of the rest in bytes."""

    columns: RecordColumns
    bytes: int
    live: bool
    taken: int = 0
    ends: NDArray[np.int64] | None = None  # (n,) cumulative sizes of the records; computed at the first split

    def __len__(self) -> int:
        return len(self.columns.offsets) - self.taken

    def take(self, most_bytes: int) -> RecordColumns:
        """Takes the first records, at most so many bytes but at least one record."""
        start = self.taken
        if self.bytes <= most_bytes:
            self.taken, self.bytes = len(self.columns.offsets), 0
        else:
            if self.ends is None:
                self.ends = np.cumsum(RECORD_BYTES + self.columns.sizes)
            gone = int(self.ends[start - 1]) if start else 0
            fitting = int(np.searchsorted(self.ends, gone + most_bytes, side="right"))
            self.taken = max(fitting, start + 1)
            self.bytes = int(self.ends[-1] - self.ends[self.taken - 1])
        return self.columns.rows(start, self.taken)


class Backlog:
    """Records in the order in which they were polled. `bytes` is their approximate size in memory."""

    def __init__(self) -> None:
        self._queue: deque[_Waiting] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def live(self) -> bool:
        """Whether the oldest records are to be scored, not only to refill windows."""
        return not self._queue or self._queue[0].live

    def add(self, columns: RecordColumns, *, live: bool = True) -> None:
        """Queues the records of one poll from one partition."""
        size = RECORD_BYTES * len(columns.values) + int(columns.sizes.sum())
        self._queue.append(_Waiting(columns, size, live))
        self.bytes += size

    def take(self, most_bytes: int) -> tuple[list[RecordColumns], int]:
        """Takes the oldest records, all live or none, up to about so many bytes; also returns their size."""
        taken: list[RecordColumns] = []
        before, live = self.bytes, self.live
        while self._queue and self.live is live and before - self.bytes < most_bytes:
            first = self._queue[0]
            left = first.bytes
            taken.append(first.take(most_bytes - (before - self.bytes)))
            self.bytes -= left - first.bytes
            if not len(first):
                self._queue.popleft()
        return taken, before - self.bytes

    def drop(self, partition: TopicPartition) -> None:
        """Drops a partition's records."""
        self._queue = deque(waiting for waiting in self._queue if waiting.columns.partition != partition)
        self.bytes = sum(waiting.bytes for waiting in self._queue)

    def clear(self) -> None:
        """Drops everything."""
        self._queue.clear()
        self.bytes = 0

    def records(self) -> Counter[TopicPartition]:
        """How many records wait, by partition."""
        found: Counter[TopicPartition] = Counter()
        for waiting in self._queue:
            found[waiting.columns.partition] += len(waiting)
        return found


class Pace:
    """How many bytes of live records make a slice that takes about `SLICE_S`, from measurements."""

    def __init__(self, first_bytes: int = FIRST_SLICE_BYTES, largest_bytes: int = LARGEST_SLICE_BYTES) -> None:
        self.bytes = first_bytes
        self._largest = largest_bytes

    def measured(self, size: int, seconds: float) -> None:
        """Adapts to a slice of `size` bytes that took so long, or that was given up after so long (over `SLICE_S`)."""
        if seconds > SLICE_S:
            self.bytes = max(1, int(size * SLICE_S / seconds))
        elif seconds < SLICE_S / 2 and 2 * size >= self.bytes:  # a small one says nothing about large ones
            self.bytes = min((4 if seconds < SLICE_S / 8 else 2) * self.bytes, self._largest)


class Gate(Protocol):
    """Where records wait before the backlog, until there is what they are decoded with."""

    def admit(self, columns: Iterable[RecordColumns]) -> Iterable[RecordColumns]:
        """Of these records and of those that wait already, those that can be decoded now."""

    @property
    def waiting(self) -> Counter[TopicPartition]:
        """How many records wait, by partition."""

    def drop(self, partition: TopicPartition) -> None:
        """Drops a partition's records."""

    def clear(self) -> None:
        """Drops all records."""


class Workload:
    """The backlog and the current slice: processor and scorer at work, slice by slice.

    `records` are those that went into the processor since `committed` was last called, `since_s` is the time of the
    first of them, or of what else is to be committed (None: there is nothing).
    """

    def __init__(
        self,
        processor: Processor,
        scorer: Scorer,
        clock: Callable[[], float],
        pace: Pace | None = None,
        *,
        today_us: Callable[[], int] | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`clock` measures durations in seconds; `today_us` returns the time of day in µs since 1970."""
        self.records = 0
        self.since_s: float | None = None
        self.scoring_s = self.working_s = 0.0  # of the scorer, and in total
        self._processor = processor
        self._scorer = scorer
        self._clock = clock
        self._today_us = today_us
        self._pace = pace or Pace()
        self._gate = gate
        self._backlog = Backlog()
        self._slice: list[RecordColumns] = []  # being processed
        self._slice_bytes = 0
        self._slice_live = True
        self._slice_s = 0.0
        self._record_bytes = 1.0  # average size of a record of the last poll

    @property
    def busy(self) -> bool:
        """Whether there is a backlog or an unfinished slice."""
        return bool(self._slice or self._backlog)

    def add(self, columns: Iterable[RecordColumns]) -> None:
        """Queues the records of one poll."""
        before, records = self._backlog.bytes, 0
        for one in columns if self._gate is None else self._gate.admit(columns):
            records += len(one.offsets)
            replayed = int(np.searchsorted(one.offsets, self._processor.live_from(one.partition)))
            if replayed:
                self._backlog.add(one.rows(0, replayed), live=False)
            if replayed < len(one.offsets) or not replayed:
                self._backlog.add(one.rows(replayed, len(one.offsets)))
        if records:
            self._record_bytes = (self._backlog.bytes - before) / records

    def advance(self, until: float) -> bool:
        """Continues the current slice, or begins the next; whether it was finished before `until`.

        Late by one call of `Processor.next_batch` and the scoring of its windows at most, or by the decoding of a
        slice. While it is unfinished, `Processor.take_outputs` must not be called.
        """
        started = self._clock()
        if not self._slice:
            self._begin(started)
        finished = self._score(until)
        spent = self._clock() - started
        self.working_s += spent
        self._slice_s += spent
        if finished and self._slice:
            self._end()
        return finished

    def _begin(self, now: float) -> None:
        self._slice_live, self._slice_s = self._backlog.live, 0.0
        most_bytes = self._pace.bytes if self._slice_live else REFILL_SLICE_BYTES
        self._slice, self._slice_bytes = self._backlog.take(most_bytes)
        for columns in self._slice:
            self.since_s = now if self.since_s is None else self.since_s
            self.records += len(columns.offsets)
            self._processor.receive(columns, None if self._today_us is None else self._today_us())

    def _score(self, until: float) -> bool:
        while (batch := self._processor.next_batch()) is not None:
            started = self._clock()
            scores = self._scorer(batch.values)
            ended = self._clock()
            self.scoring_s += ended - started
            self._processor.receive_scores(batch, scores, self._scorer.reconstruct)
            if ended >= until:
                return self._processor.settled
        return True

    def _end(self) -> None:
        if self._slice_live:
            self._pace.measured(self._slice_bytes, self._slice_s)
        self._slice, self._slice_s = [], 0.0

    def stir(self) -> None:
        """There is something to process and to commit that is no record."""
        self.since_s = self._clock() if self.since_s is None else self.since_s

    def committed(self) -> None:
        """Resets the counts: everything that went into the processor is committed."""
        self.records, self.since_s = 0, None

    def drop(self, partition: TopicPartition) -> None:
        """Drops the records of a revoked partition; the processor has dropped it already."""
        self.leave(partition)
        self._slice = [columns for columns in self._slice if columns.partition != partition]

    def leave(self, partition: TopicPartition) -> None:
        """Drops the backlog of a partition that stays assigned."""
        self._backlog.drop(partition)
        if self._gate is not None:
            self._gate.drop(partition)

    def drop_waiting(self) -> None:
        """Drops the whole backlog, but not the current slice."""
        self._backlog.clear()
        if self._gate is not None:
            self._gate.clear()

    def clear(self) -> None:
        """Drops everything: it will be read again. The processor must drop it too.

        An unfinished slice is measured by the time that it has taken so far.
        """
        self.drop_waiting()
        if self._slice and self._slice_s > SLICE_S:
            self._end()
        self._slice, self._slice_s = [], 0.0
        self.committed()

    def waiting(self) -> Counter[TopicPartition]:
        """Records that are not processed, by partition."""
        found = self._backlog.records()
        if self._gate is not None:
            found.update(self._gate.waiting)
        for columns in self._slice:
            found[columns.partition] += len(columns.offsets)
        return found

    def most_records(self, limit: int, most_bytes: int) -> int:
        """How many records to poll for about `most_bytes`, by the last poll's average; at most `limit`."""
        return max(1, min(limit, int(most_bytes / self._record_bytes)))
