"""When each partition is checkpointed: as often as the option says, but for a twentieth of the time at most.

Rules of this file: no clock and no I/O; the caller says what time it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from monitor.backends.abstract import TopicPartition

# State that one transaction should carry.
CHECKPOINT_BYTES = 64 * 1024 * 1024
# What a broker takes on one machine. A send's own duration would count a broker's pause as work of ours.
SEND_BYTES_PER_S = 100e6
# However large the state has become: what is read again after a crash grows with the pause.
LONGEST_PAUSE_S = 60.0
_SHARE = 20


class CheckpointSchedule:
    """The partitions that are owned, and when each is due. Times are of any one clock, in seconds."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._due_s: dict[TopicPartition, float] = {}
        self.first: set[TopicPartition] = set()

    def begin(self, partition: TopicPartition, now: float, *, at_once: bool) -> None:
        """`partition` is ours. `at_once`: in the next commit, so that a crash does not begin elsewhere."""
        self._due_s[partition] = now + self._interval_s
        if at_once:
            self.first.add(partition)

    def forget(self, partition: TopicPartition) -> None:
        """`partition` is no longer ours."""
        self._due_s.pop(partition, None)
        self.first.discard(partition)

    def soon(self) -> None:
        """Every partition is due now."""
        self._due_s = dict.fromkeys(self._due_s, 0.0)

    def due(
        self,
        now: float,
        size: Callable[[TopicPartition], int],
        among: Collection[TopicPartition] | None = None,
    ) -> set[TopicPartition]:
        """The partitions to checkpoint, longest due first, as many as one transaction should carry.

        `size` gives a checkpoint's bytes, about. Those that are not `among` (None: all are) take nobody's room.
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
        """Notes that of the partitions `asked` for those `written` are durable, for `work_s` of work.

        The work is what checkpoints cost us: a commit that waited for its broker does not space them out.
        """
        pause_s = min(LONGEST_PAUSE_S, _SHARE * work_s * len(self._due_s) / max(1, len(written)))
        for partition in asked:
            self._due_s[partition] = now + max(self._interval_s, pause_s)
        self.first.difference_update(written)
