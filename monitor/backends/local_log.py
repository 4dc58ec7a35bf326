"""The log itself, in memory: topics, committed positions, and who owns what.

Rules of this file: columns in lists per partition, so that millions of records stay cheap; nothing waits, nothing is
random. `monitor.backends.local` holds the members that use it, and is where to import from.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

from monitor.backends.abstract import Damaged, Headers, Message, Position, RecordColumns, TopicPartition
from monitor.errors import BackendError, Reason, TelltaleError

Failure = Literal["before", "after"]


class Peer(Protocol):
    """What the log must know of a member."""

    group_id: str
    identity: str
    topics: tuple[str, ...]
    owned: set[TopicPartition]
    ended: TelltaleError | None

    def take(self, share: set[TopicPartition], *, lost: bool = False) -> None:
        """Takes its new share of the partitions."""


@dataclass(slots=True)
class PartitionLog:
    """Columns of one partition; the record at index i has offset `beginning + i`."""

    beginning: int = 0
    timestamps_ms: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.beginning + len(self.values)


class LocalLog:
    """Topics, committed positions, and who owns what."""

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        """`topics` gives the number of partitions of each."""
        self.topics: dict[str, list[PartitionLog]] = {}
        self.topic_ids: dict[str, str] = {}
        self._created = 0
        self.positions: dict[str, dict[TopicPartition, Position]] = defaultdict(dict)
        self.members: dict[str, dict[str, Peer]] = defaultdict(dict)
        self.failures: deque[Failure] = deque()
        self.stuck: set[TopicPartition] = set()
        for topic, partitions in (topics or {}).items():
            self.create_topic(topic, partitions)

    def create_topic(self, topic: str, partitions: int = 1) -> None:
        """Adds a topic, or recreates it, empty and with another id; the offsets of groups go with the old one."""
        if topic in self.topics:
            self.delete_topic(topic)
        self._created += 1
        self.topic_ids[topic] = f"id-{self._created}"
        self.topics[topic] = [PartitionLog() for _ in range(partitions)]
        self._share_out(topic)

    def delete_topic(self, topic: str) -> None:
        """Removes a topic and, as a broker does, what groups committed on it."""
        gone = self.partitions(topic)
        del self.topics[topic], self.topic_ids[topic]
        for group_id in self.positions:
            self.forget(group_id, gone)

    def add_partitions(self, topic: str, count: int) -> None:
        """Gives a topic `count` partitions, all there were among them, and shares them out."""
        self.topics[topic] += [PartitionLog() for _ in range(count - len(self.topics[topic]))]
        self._share_out(topic)

    def _share_out(self, topic: str) -> None:
        for group_id, members in list(self.members.items()):
            if any(topic in member.topics for member in members.values()):
                self.rebalance(group_id)

    def forget(self, group_id: str, partitions: Iterable[TopicPartition]) -> None:
        """Lets committed offsets expire."""
        for partition in partitions:
            self.positions[group_id].pop(partition, None)

    def partitions(self, topic: str) -> list[TopicPartition]:
        """The partitions of a topic; none where it does not exist."""
        return [TopicPartition(topic, number) for number in range(len(self.topics.get(topic, ())))]

    def at(self, partition: TopicPartition) -> PartitionLog:
        """One partition's columns."""
        return self.topics[partition.topic][partition.partition]

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int = 0,
        headers: Headers = (),
    ) -> int:
        """Appends one record and returns its offset."""
        log = self.topics[topic][partition]
        log.timestamps_ms.append(timestamp_ms)
        log.keys.append(key)
        log.values.append(value)
        log.headers.append(headers)
        return log.end - 1

    def extend(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps_ms: Iterable[int],
        headers: Iterable[Headers] | None = None,
    ) -> None:
        """Appends columns of equal length: the fast way."""
        log = self.topics[topic][partition]
        log.keys.extend(keys)
        log.values.extend(values)
        log.timestamps_ms.extend(timestamps_ms)
        log.headers.extend([()] * len(values) if headers is None else headers)

    def append_damaged(self, topic: str, partition: int, records: int, reason: Reason = Reason.CORRUPT_BATCH) -> None:
        """Appends a batch of `records` records that nobody can read."""
        log = self.topics[topic][partition]
        first = log.end
        self.extend(topic, partition, [None] * records, [None] * records, [0] * records)
        log.damaged.append(
            Damaged(first_offset=first, next_offset=log.end, size=0, records=records, reason=reason, detail="by order")
        )

    def trim(self, partition: TopicPartition, beginning: int) -> None:
        """Lets retention remove everything before offset `beginning`."""
        log = self.topics[partition.topic][partition.partition]
        count = max(0, beginning - log.beginning)
        for column in (log.timestamps_ms, log.keys, log.values, log.headers):
            del column[:count]
        log.beginning += count

    def read(self, topic: str, partition: int = 0, start: int = 0) -> RecordColumns:
        """Everything that is visible of one partition, from `start` on."""
        log = self.topics[topic][partition]
        return self.columns(TopicPartition(topic, partition), start, log.end, want_headers=True)

    def position(self, group_id: str, partition: TopicPartition) -> Position | None:
        """What a group committed."""
        return self.positions[group_id].get(partition)

    def stall(self, partition: TopicPartition) -> None:
        """No record of a partition is handed over any more, until its reader is replaced."""
        self.stuck.add(partition)

    def fail_next_commit(self, when: Failure) -> None:
        """Makes the next commit raise AbortedError, `before` or `after` its effect became visible.

        Called several times, it makes as many commits fail, one after the other.
        """
        self.failures.append(when)

    def crash(self, backend: Peer) -> None:
        """Ends a member without notice: it gets no events any more, and the others share what it had."""
        members = self.members[backend.group_id]
        if members.get(backend.identity) is backend:
            del members[backend.identity]
        backend.ended = BackendError("this member has crashed")
        self.rebalance(backend.group_id)

    def rebalance(self, group_id: str, *, lost: Sequence[Peer] = ()) -> None:
        """Reassigns the input partitions, moving as few as it can; `lost` members lose all, then rejoin."""
        members = self.members[group_id]
        for member in lost:
            member.take(set(), lost=True)
        topics = sorted({topic for member in members.values() for topic in member.topics})
        everything = [partition for topic in topics for partition in self.partitions(topic)]
        backends = [members[name] for name in sorted(members)]
        shares: list[set[TopicPartition]] = [set() for _ in backends]
        quota, rest = divmod(len(everything), len(backends)) if backends else (0, 0)
        unowned = []
        for partition in everything:
            owner = next((i for i, backend in enumerate(backends) if partition in backend.owned), None)
            if owner is not None and len(shares[owner]) < quota + (owner < rest):
                shares[owner].add(partition)
            else:
                unowned.append(partition)
        for i, share in enumerate(shares):
            while len(share) < quota + (i < rest):
                share.add(unowned.pop(0))
        for backend, share in zip(backends, shares, strict=True):
            backend.take(share)

    def columns(self, partition: TopicPartition, start: int, end: int, *, want_headers: bool) -> RecordColumns:
        """The records from `start` on up to `end`, without it."""
        log = self.at(partition)
        start = max(start, log.beginning)
        window = slice(start - log.beginning, end - log.beginning)
        timestamps = np.array(log.timestamps_ms[window], np.int64)
        return RecordColumns(
            partition=partition,
            offsets=np.arange(start, start + len(timestamps), dtype=np.int64),
            timestamps_ms=timestamps,
            keys=log.keys[window],
            values=log.values[window],
            next_offset=start + len(timestamps),
            headers=log.headers[window] if want_headers else None,
        )

    def poll(self, partition: TopicPartition, start: int, end: int, *, want_headers: bool) -> RecordColumns:
        """Records `start` up to, but without, `end`; or up to a damaged batch; or that batch."""
        for damaged in self.at(partition).damaged:
            if damaged.first_offset <= start < damaged.next_offset:
                return RecordColumns.skipping(partition, replace(damaged, first_offset=start))
            if start < damaged.first_offset:
                end = min(end, damaged.first_offset)
        return self.columns(partition, start, end, want_headers=want_headers)

    def publish(self, message: Message, partition: int | None) -> int:
        """Appends a message, by its key where no partition is given, and returns its offset."""
        if partition is None:
            partition = sum(message.key or b"") % len(self.topics[message.topic])
        return self.append(
            message.topic, partition, message.key, message.value, message.timestamp_ms or 0, message.headers
        )
