"""How far each partition has come, and whether one of them stands still while records wait.

Rules of this file: no I/O and no clock; whoever calls says what happened and when. Everything is called from the
thread that polls. Where a partition ends must be answered by somebody else than who fetches: a fetcher that has
forgotten a partition knows an end of it that is as old as its forgetting.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from monitor.backends.abstract import Progress, TopicPartition

# How often a partition with records must have been passed over, in rounds over all partitions, before it counts as
# stalled: among very many with a backlog one turn may come after more than the timeout.
ROUNDS = 20.0
# What is believed when no answer has come for this many timeouts: that the log could not be asked, nor read.
SILENCE_RATIO = 0.5


class Tracker:
    """The progress of all owned partitions of one member."""

    def __init__(self, stall_timeout_s: float) -> None:
        self._timeout_s = stall_timeout_s
        self._partitions: dict[TopicPartition, Progress] = {}
        self._rounds: dict[TopicPartition, float] = {}  # passed over since it waits
        self._stalled_at: dict[TopicPartition, tuple[int, int]] = {}  # -> (offset, how often in a row)

    def snapshot(self) -> dict[TopicPartition, Progress]:
        """The progress of every owned partition."""
        return dict(self._partitions)

    def assigned(self, partition: TopicPartition) -> None:
        """It is ours; nothing of it is read yet."""
        self._partitions[partition] = Progress()

    def revoked(self, partition: TopicPartition) -> None:
        """It is no longer ours."""
        self._partitions.pop(partition, None)
        self._rounds.pop(partition, None)

    def silenced(self, owned: Iterable[TopicPartition]) -> None:
        """These are owned, and each is silent until it begins again; what was proved before stays proved."""
        self._partitions = {
            partition: replace(self._partitions.get(partition, Progress()), read=None, waiting_s=None, paused=False)
            for partition in owned
        }
        self._rounds.clear()

    def restored(self, partition: TopicPartition, committed: int | None, end: int, now: float) -> None:
        """The log said what is committed, and where the partition ends."""
        known = self._partitions.get(partition, Progress())
        known_to_log = committed is not None and committed <= end
        self._partitions[partition] = replace(known, committed=committed if known_to_log else None)
        self.answered(partition, end, now)

    def begun(self, partition: TopicPartition, offset: int, now: float) -> None:
        """Reading goes on from `offset`."""
        self._moved(partition, offset, now, paused=False)

    def paused(self, partitions: Iterable[TopicPartition]) -> None:
        """They are held back on purpose: records may wait."""
        for partition in partitions:
            if partition in self._partitions:
                self._partitions[partition] = replace(self._partitions[partition], paused=True, waiting_s=None)

    def resumed(self, partitions: Iterable[TopicPartition], now: float) -> None:
        """They are read again, from where they were."""
        for partition in partitions:
            known = self._partitions.get(partition)
            if known is not None and known.paused and known.read is not None:
                self._moved(partition, known.read, now, paused=False)

    def polled(self, read: Iterable[tuple[TopicPartition, int]], now: float, *, steady: bool) -> None:
        """A poll returned these partitions with their next offsets.

        `steady`: the poll could have returned any partition, and nothing such as a rebalance kept it from that.
        """
        moved = dict(read)
        for partition, offset in moved.items():
            if partition in self._partitions:
                self._moved(partition, offset, now, paused=self._partitions[partition].paused)
        if steady:
            share = len(moved) / max(1, len(self._partitions)) if moved else 1.0
            for partition in self._rounds.keys() - moved.keys():
                self._rounds[partition] += share

    def committed(self, partition: TopicPartition, offset: int, now: float) -> None:
        """Everything before `offset` is decided and published."""
        known = self._partitions.get(partition)
        if known is None:
            return
        if known.committed is None or offset > known.committed or (known.end is not None and offset >= known.end):
            known = replace(known, assured_s=now)
        self._partitions[partition] = replace(known, committed=offset)

    def answered(self, partition: TopicPartition, end: int, asked_s: float) -> None:
        """Asked at `asked_s`, the log said that what can be read of the partition ends at `end`."""
        known = self._partitions.get(partition)
        if known is None:
            return
        silent = known.answered_s is None or asked_s - known.answered_s > self._timeout_s * SILENCE_RATIO
        at_end = known.committed is not None and known.committed >= end
        waits = known.read is not None and not known.paused and known.read < end
        since = known.waiting_s if known.waiting_s is not None and not silent else asked_s
        self._partitions[partition] = replace(
            known,
            end=end,
            answered_s=asked_s,
            assured_s=asked_s if at_end else known.assured_s,
            waiting_s=since if waits else None,
        )
        self._count(partition, afresh=since == asked_s)

    def _moved(self, partition: TopicPartition, offset: int, now: float, *, paused: bool) -> None:
        known = self._partitions.get(partition, Progress())
        waits = not paused and known.end is not None and offset < known.end
        offset_of_stall, stalls = self._stalled_at.get(partition, (offset, 0))
        if offset > offset_of_stall:
            self._stalled_at.pop(partition, None)
            stalls = 0
        self._partitions[partition] = replace(
            known, read=offset, paused=paused, waiting_s=now if waits else None, stalls=stalls
        )
        self._count(partition, afresh=True)

    def _count(self, partition: TopicPartition, *, afresh: bool) -> None:
        if self._partitions[partition].waiting_s is None:
            self._rounds.pop(partition, None)
        elif afresh:
            self._rounds[partition] = 0.0
        else:
            self._rounds.setdefault(partition, 0.0)

    def stalled(self, now: float) -> Collection[TopicPartition]:
        """The partitions whose records wait for longer than the timeout though nothing holds them back.

        Each is counted: `Progress.stalls` says how often that happened at the same offset, in a row.
        """
        found = []
        for partition, rounds in self._rounds.items():
            known = self._partitions.get(partition)
            if known is None or known.waiting_s is None or known.read is None or rounds < ROUNDS:
                continue
            # The last answer's time, not now: while the log can't be asked it can't be read either.
            if min(now, known.answered_s or 0.0) - known.waiting_s >= self._timeout_s:
                found.append(partition)
        for partition in found:
            known = self._partitions[partition]
            assert known.read is not None
            stalls = self._stalled_at.get(partition, (0, 0))[1] + 1
            self._stalled_at[partition] = (known.read, stalls)
            self._partitions[partition] = replace(known, stalls=stalls)
        return found
