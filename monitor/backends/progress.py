"""How far each partition has come, and whether one of them stands still while records wait.

Rules of this file: no I/O and no clock; whoever calls says what happened and when. Everything is called from the
thread that polls. Another client than the one that fetches must answer where a partition ends: a fetcher that
has forgotten a partition knows only an old end of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from monitor.backends.abstract import Progress, TopicPartition

# How often a partition with records must have been skipped, in rounds over all that have some, before it counts as
# stalled: among very many with a backlog, or where polls are rare, its turn may come after more than the timeout. A
# fair fetcher skips nobody for more than two.
ROUNDS = 5.0
# What is believed when no answer has come for this many timeouts: that the log could not be asked, nor read.
SILENCE_RATIO = 0.5


class Tracker:
    """The progress of all owned partitions of one member."""

    def __init__(self, stall_timeout_s: float) -> None:
        self._timeout_s = stall_timeout_s
        self._partitions: dict[TopicPartition, Progress] = {}
        self._rounds: dict[TopicPartition, float] = {}  # skipped since it waits
        self._handed_over: set[TopicPartition] = set()  # since a poll counted
        self._looked_s = 0.0  # up to when polls are accounted for
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
        self._handed_over.clear()

    def restored(self, partition: TopicPartition, committed: int | None, end: int, now: float) -> None:
        """The log said what is committed, and where the partition ends."""
        known = self._partitions.get(partition, Progress())
        known_to_log = committed is not None and committed <= end
        self._partitions[partition] = replace(known, committed=committed if known_to_log else None)
        self.answered(partition, end, now)

    def begun(self, partition: TopicPartition, offset: int, now: float) -> None:
        """Reading continues from `offset`."""
        self._moved(partition, offset, now, paused=False)

    def paused(self, partitions: Iterable[TopicPartition]) -> None:
        """They are held back on purpose: no wait begins. One that has begun goes on, and no poll counts for it."""
        for partition in partitions:
            if partition in self._partitions:
                self._partitions[partition] = replace(self._partitions[partition], paused=True)

    def resumed(self, partitions: Iterable[TopicPartition], now: float) -> None:
        """They are read again, from where they were."""
        self._looked_s = now
        for partition in partitions:
            known = self._partitions.get(partition)
            if known is not None and known.paused:
                self._partitions[partition] = replace(known, paused=False)
                self._wait(partition, known.waiting_s, now)

    def polled(
        self,
        read: Iterable[tuple[TopicPartition, int]],
        now: float,
        *,
        steady: bool,
        more: bool = False,
    ) -> None:
        """A poll returned these partitions with their next offsets.

        `steady`: the poll could have returned any partition, and nothing such as a rebalance kept it from that.
        `more`: what was fetched is not all handed over, and nothing is fetched until it is, however many polls that
        takes: all of them together count as one.
        """
        moved = {partition: offset for partition, offset in read if partition in self._partitions}
        for partition, offset in moved.items():
            self._moved(partition, offset, now, paused=self._partitions[partition].paused)
        passed = [each for each in self._rounds.keys() - moved.keys() if not self._partitions[each].paused]
        self._handed_over |= moved.keys()
        if steady and passed and not more:
            # A poll that found nothing for anybody counts by its time: how short it is, is up to the caller.
            empty = min(1.0, (now - self._looked_s) / self._timeout_s * ROUNDS)
            share = len(self._handed_over) / len(self._handed_over.union(passed)) if self._handed_over else empty
            for partition in passed:
                self._rounds[partition] += share
            self._handed_over.clear()
        self._looked_s = now

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
        self._partitions[partition] = replace(
            known, end=end, answered_s=asked_s, assured_s=asked_s if at_end else known.assured_s
        )
        self._wait(partition, None if silent else known.waiting_s, asked_s)

    def _moved(self, partition: TopicPartition, offset: int, now: float, *, paused: bool) -> None:
        known = self._partitions.get(partition, Progress())
        offset_of_stall, stalls = self._stalled_at.get(partition, (offset, 0))
        if offset > offset_of_stall:
            self._stalled_at.pop(partition, None)
            stalls = 0
        self._partitions[partition] = replace(known, read=offset, paused=paused, stalls=stalls)
        self._wait(partition, None, now)

    def _wait(self, partition: TopicPartition, since: float | None, now: float) -> None:
        """Notes that records, where any wait, do so since `since`; None: since now, if nothing holds them back."""
        known = self._partitions[partition]
        behind = known.read is not None and known.end is not None and known.read < known.end
        if not behind or (since is None and known.paused):
            self._partitions[partition] = replace(known, waiting_s=None)
            self._rounds.pop(partition, None)
            return
        self._partitions[partition] = replace(known, waiting_s=now if since is None else since)
        self._rounds[partition] = 0.0 if since is None else self._rounds.get(partition, 0.0)

    def stalled(self, now: float) -> Collection[TopicPartition]:
        """The partitions whose records wait for longer than the timeout while polls skip them.

        For as long as one is paused it is not among them. Each is counted: `Progress.stalls` says how often that
        happened at the same offset, in a row.
        """
        found = []
        for partition, rounds in self._rounds.items():
            known = self._partitions[partition]
            if known.paused or known.waiting_s is None or rounds < ROUNDS:
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
