"""A log in memory that keeps the `Backend` contract: for tests, for users' tests, and for `telltale replay`.

`LocalLog` is the cluster, shared by its members; `LocalBackend` is one member. Nothing waits and nothing is random: a
poll that finds nothing returns at once. Accidents are ordered in advance: `LocalLog.fail_next_commit`, `.crash`,
`.rebalance`, `.trim`, `.stall`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from monitor.backends.abstract import (
    AbortedError,
    Assigned,
    Commit,
    Event,
    HistoryRecord,
    Message,
    Poll,
    Position,
    Progress,
    Restored,
    Revoked,
    StalledError,
    StateRecord,
    TopicPartition,
    for_history,
    orphans,
    settle,
)
from monitor.backends.local_log import LocalLog
from monitor.backends.progress import Tracker
from monitor.config.options import Config
from monitor.errors import BackendError, ConfigError, FencedError, PartitionError, TelltaleError

__all__ = ["LocalBackend", "LocalLog"]


class LocalBackend:
    """One member of a group on a `LocalLog`. Nothing here blocks."""

    def __init__(self, log: LocalLog, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        """Joins nothing yet; `config` gives group, identity, topics and whether headers are wanted."""
        self._clock = clock
        self._tracker = Tracker(config.limits.stall_timeout_ms / 1000)
        self.group_id = config.kafka.group_id
        self.identity = config.service.identity
        self.topics = tuple(config.input.topics)
        self._log = log
        self._config = config
        self._want_headers = config.input.wants_headers
        self.owned: set[TopicPartition] = set()
        self._reading: dict[TopicPartition, int] = {}  # begun partitions, and where reading continues
        self._paused: set[TopicPartition] = set()
        self._topic_ids: dict[str, str] = {}  # of the topics whose positions we have
        self._events: deque[Event] = deque()
        self.ended: TelltaleError | None = BackendError("start() comes first")
        self._moved = self._uncommitted = self._outcome_unknown = self._stalled = False

    def start(self) -> None:
        """Creates missing output topics where allowed, fences a member of the same name, and joins."""
        output, log = self._config.output, self._log
        problems = [f"input topic {topic} does not exist" for topic in self.topics if not log.partitions(topic)]
        widest = max((len(log.partitions(topic)) for topic in self.topics), default=0)
        outputs = [output.alerts, output.dead_letters, self._config.state_topic]
        missing = [topic for topic in outputs if not log.partitions(topic)]
        if not output.create_topics:
            problems += [f"output topic {topic} does not exist; output.create_topics is false" for topic in missing]
        if problems:
            raise ConfigError("; ".join(problems))
        for topic in missing:
            log.create_topic(topic, widest)
        if output.create_topics and len(log.partitions(self._config.state_topic)) < widest:
            log.add_partitions(self._config.state_topic, widest)
        rival = log.members[self.group_id].get(self.identity)
        if rival is not None:
            rival.ended = FencedError(
                f"another daemon runs as service.instance {self.identity!r} in group {self.group_id!r}; give each "
                "daemon its own service.instance"
            )
        log.members[self.group_id][self.identity] = self
        self.ended = None
        log.rebalance(self.group_id)

    def poll(self, timeout_s: float, max_records: int) -> Poll:  # noqa: ARG002 - nothing to wait for
        """Events, then up to `max_records` records, taken from the partitions in turn."""
        self._alive()
        if self._moved and self._uncommitted:
            self._outcome_unknown = True
            raise AbortedError("poll: the group rebalanced while records were uncommitted")
        events = self._drain()
        found = []
        for partition in list(self._reading):
            start = self._reading[partition]
            log = self._log.at(partition)
            if partition in self._paused or partition in self._log.stuck or max_records <= 0:
                continue
            topic_id = self._log.topic_ids[partition.topic]
            recreated = self._topic_ids.setdefault(partition.topic, topic_id) != topic_id
            if recreated or not log.beginning <= start <= log.end:
                self._outcome_unknown = True
                raise AbortedError(
                    f"poll: {partition} is at offset {start}, and the log holds {log.beginning} to {log.end}: "
                    "retention has removed records that were not read yet, or the topic was truncated or recreated"
                )
            end = min(log.end, start + max_records)
            if end > start:
                columns = self._log.poll(partition, start, end, want_headers=self._want_headers)
                found.append(columns)
                # To the back of the queue, so that a full partition can't starve the others.
                del self._reading[partition]
                self._reading[partition] = columns.next_offset
                max_records -= columns.next_offset - start
        self._uncommitted |= bool(found)
        self._tracker.polled([(one.partition, one.next_offset) for one in found], self._clock(), steady=True)
        self._look_for_stalls()
        return Poll(settle(events), tuple(found))

    def _look_for_stalls(self) -> None:
        self._ask()
        stalled = self._tracker.stalled(self._clock())
        if stalled:
            self._outcome_unknown = self._stalled = True
            raise StalledError(f"poll: records wait and are not read: {', '.join(map(str, sorted(stalled)))}")

    def _ask(self) -> None:
        now = self._clock()
        for partition in self.owned:
            self._tracker.answered(partition, self._log.at(partition).end, now)

    def awaited(self) -> bool:
        """Rebalances wait for nobody here."""
        return False

    def restore(self, partition: TopicPartition) -> Restored:
        """What the group committed for `partition`."""
        self._alive()
        log, topic = self._log.at(partition), partition.topic
        state_topic, widest = self._config.state_topic, len(self._log.partitions(topic))
        if len(self._log.partitions(state_topic)) <= partition.partition:
            self._widen(state_topic, widest)
        position = self._log.position(self.group_id, partition)
        records = self._state(partition.partition, 0 if position is None else max(0, position.state_from))
        topic_id = self._topic_ids[topic] = self._log.topic_ids[topic]
        if position is None or position.topic_id != topic_id:
            for orphan in orphans(partition, widest, len(self._log.partitions(state_topic))):
                records += self._state(orphan, 0)
        self._tracker.restored(partition, None if position is None else position.offset, log.end, self._clock())
        added = position is None and any(
            0 < each.partitions <= partition.partition
            for other, each in self._log.positions[self.group_id].items()
            if other.topic == topic
        )
        history: tuple[HistoryRecord, ...] = ()
        if position is None:
            kept = self._log.read(state_topic, partition.partition)
            history = tuple(for_history(key or b"", value) for key, value in zip(kept.keys, kept.values, strict=True))
        return Restored(position, records, log.beginning, log.end, topic_id, widest, added, history)

    def _state(self, partition: int, start: int) -> tuple[StateRecord, ...]:
        state = self._log.read(self._config.state_topic, partition, start)
        newest: dict[bytes, bytes] = {}
        for key, value in zip(state.keys, state.values, strict=True):
            if key is not None:
                newest.pop(key, None)
                if value is not None:
                    newest[key] = value
        return tuple(StateRecord(key, value) for key, value in newest.items())

    def _widen(self, topic: str, partitions: int) -> None:
        if not self._config.output.create_topics:
            raise PartitionError(
                f"state topic {topic} has {len(self._log.partitions(topic))} partitions; expected {partitions}, and "
                "output.create_topics is false",
                "add them",
            )
        self._log.add_partitions(topic, partitions)

    def begin(self, partition: TopicPartition, offset: int) -> None:
        """Reads `partition` from `offset` on; ends a pause."""
        if partition not in self.owned:
            raise ValueError(f"{partition} is not ours; begin() is for partitions that poll() or recover() named")
        self._reading[partition] = offset
        self._paused.discard(partition)
        self._tracker.begun(partition, offset, self._clock())

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int:
        """The first offset at or after a time, else the end."""
        log = self._log.at(partition)
        found = (i for i, timestamp in enumerate(log.timestamps_ms) if timestamp >= timestamp_ms)
        return log.beginning + next(found, len(log.timestamps_ms))

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Holds back records."""
        self._paused |= self.owned & set(partitions)
        self._tracker.paused(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Undoes `pause`."""
        self._paused -= set(partitions)
        self._tracker.resumed(partitions, self._clock())

    def commit(self, commit: Commit) -> dict[TopicPartition, Position]:
        """All of it, or none."""
        self._alive()
        failure = self._log.failures.popleft() if self._log.failures else None
        if self._outcome_unknown:
            raise AbortedError("commit: the last transaction's outcome is unknown; recover() settles it")
        if (self._moved and self._uncommitted) or failure == "before":
            self._outcome_unknown = True
            raise AbortedError("commit: the group rebalanced" if failure is None else "commit: failed by order, before")
        unknown = {m.topic for m in self._messages(commit)} - self._log.topics.keys()
        if unknown:
            raise ValueError(f"commit: topic {sorted(unknown)[0]!r} does not exist; nothing was written")
        for message in commit.messages:
            self._log.publish(message, message.partition)
        positions = dict(commit.positions)
        for partition, messages in commit.checkpoints.items():
            offsets = [self._log.publish(message, partition.partition) for message in messages]
            if offsets:
                positions[partition] = replace(positions[partition], state_from=min(offsets))
        self._log.positions[self.group_id].update(positions)
        self._uncommitted = False
        for partition, position in positions.items():
            self._tracker.committed(partition, position.offset, self._clock())
        if failure == "after":
            self._outcome_unknown = True
            raise AbortedError("commit: failed by order, after")
        return positions

    def recover(self) -> frozenset[TopicPartition]:
        """What is still owned; all of it silent, and with events that nobody has seen applied."""
        self._alive()
        self._drain()
        self._reading.clear()
        self._paused.clear()
        self._tracker.silenced(self.owned)
        self._uncommitted = self._outcome_unknown = False
        if self._stalled:  # a new client
            self._stalled = False
            self._log.stuck -= self.owned
        return frozenset(self.owned)

    def lag(self) -> dict[TopicPartition, int]:
        """Records between reading position and end, per begun partition."""
        return {tp: self._log.at(tp).end - at for tp, at in self._reading.items()}

    def progress(self) -> dict[TopicPartition, Progress]:
        """How far each owned partition has come."""
        self._ask()
        return self._tracker.snapshot()

    def answered_s(self) -> float | None:
        """Memory always answers."""
        return self._clock()

    def troubles(self) -> list[str]:
        """Input topics that are not there."""
        return [f"input topic {topic} is not there" for topic in self.topics if not self._log.partitions(topic)]

    def clock_ahead_s(self) -> float | None:
        """There is one clock only."""
        return None

    def close(self) -> None:
        """Leaves the group; the others share what it had."""
        members = self._log.members[self.group_id]
        if members.get(self.identity) is self:
            del members[self.identity]
            self._log.rebalance(self.group_id)
        self.ended = self.ended or BackendError("this member is closed")

    @staticmethod
    def _messages(commit: Commit) -> list[Message]:
        return [*commit.messages, *(message for messages in commit.checkpoints.values() for message in messages)]

    def _alive(self) -> None:
        if self.ended is not None:
            raise self.ended

    def take(self, share: set[TopicPartition], *, lost: bool = False) -> None:
        gone, new = self.owned - share, share - self.owned
        self._events.extend(Revoked(partition, lost) for partition in sorted(gone))
        self._events.extend(Assigned(partition) for partition in sorted(new))
        self.owned = share
        for partition in gone | new:
            self._reading.pop(partition, None)
            self._paused.discard(partition)
            self._tracker.revoked(partition)
        for partition in new:
            self._tracker.assigned(partition)
        # As on Kafka, any rebalance is a new generation, also for those who keep everything.
        self._moved = True

    def _drain(self) -> list[Event]:
        events = list(self._events)
        self._events.clear()
        self._moved = False
        return events
