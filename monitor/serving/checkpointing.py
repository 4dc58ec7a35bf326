"""When each partition is checkpointed: at the configured interval, but never for more than a twentieth of the time.

Rules of this file: no clock and no I/O; the caller passes the time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from monitor.backends.abstract import TopicPartition

# How much state one transaction should contain.
CHECKPOINT_BYTES = 64 * 1024 * 1024
# A broker's throughput on one machine. Measuring sends would count a broker's pause as our work.
SEND_BYTES_PER_S = 100e6
# However large the state is: what is read again after a crash grows with the pause.
LONGEST_PAUSE_S = 60.0
_SHARE = 20


class CheckpointSchedule:
    """The owned partitions, and when each is due. Times are seconds of any one clock."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._due_s: dict[TopicPartition, float] = {}
        self.first: set[TopicPartition] = set()

    def begin(self, partition: TopicPartition, now: float, *, at_once: bool) -> None:
        """Adds a partition. `at_once`: due with the next commit, so that after a crash it begins there too."""
        self._due_s[partition] = now + self._interval_s
        if at_once:
            self.first.add(partition)

    def forget(self, partition: TopicPartition) -> None:
        """Removes a revoked partition."""
        self._due_s.pop(partition, None)
        self.first.discard(partition)

    def soon(self) -> None:
        """Makes every partition due now."""
        self._due_s = dict.fromkeys(self._due_s, 0.0)

    def due(
        self,
        now: float,
        size: Callable[[TopicPartition], int],
        among: Collection[TopicPartition] | None = None,
    ) -> set[TopicPartition]:
        """The partitions to checkpoint, longest due first, as many as one transaction should contain.

        `size` gives a checkpoint's approximate bytes. Partitions not in `among` (None: all) are ignored.
        """
        among = self._due_s.keys() if among is None else among
        chosen = self.first.intersection(among)
        total = 0
        for at, partition in sorted((at, partition) for partition, at in self._due_s.items() if partition in among):
            total += size(partition) if now >= at else 0
            if now < at or (chosen and total > CHECKPOINT_BYTES):
                break
            chosen.add(partition)
        return chosen

    def committed(
        self, asked: Collection[TopicPartition], written: Collection[TopicPartition], now: float, work_s: float
    ) -> None:
        """Notes that of the partitions `asked` for, the checkpoints of those `written` are committed.

        `work_s` is what they cost this process: a commit that waited for its broker does not space them out.
        """
        pause_s = min(LONGEST_PAUSE_S, _SHARE * work_s * len(self._due_s) / max(1, len(written)))
        for partition in asked:
            self._due_s[partition] = now + max(self._interval_s, pause_s)
        self.first.difference_update(written)
