"""The `Backend` contract on Apache Kafka.

Rules of this file: it joins the parts and keeps the one rule between them, that all records of a transaction were
polled under one generation of the group.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from kafka.admin import KafkaAdminClient
from kafka.structs import ConsumerGroupMetadata

from monitor.backends.abstract import NO_STATE, AbortedError, Commit, Poll, Position, Restored, TopicPartition
from monitor.backends.events import settle
from monitor.backends.kafka import settings
from monitor.backends.kafka.connecting import connect, probe
from monitor.backends.kafka.consumer import Member
from monitor.backends.kafka.fences import Fences, elapsed_s
from monitor.backends.kafka.position import decode_position
from monitor.backends.kafka.producer import Transactions
from monitor.backends.kafka.state import StateReader
from monitor.backends.kafka.topics import prepare_topics
from monitor.config import Config

# At start a supervisor retries anyway; at run time the group waits for us as long as the poll interval.
_START_DEADLINE_S = 20.0
_RECOVER_DEADLINE_S = 60.0
# The broker takes commits of the old generation until all members have joined the new one, for which it waits as long
# as the poll interval. Twice the interval at which an idle daemon commits.
_COMMIT_GRACE_S = 2.0


class KafkaBackend:
    """One member of one group, and one transactional producer, under one identity."""

    def __init__(self, config: Config, *, clock: Callable[[], float] = elapsed_s) -> None:
        """Reads credentials; connects nowhere.

        Args:
            config: names, timeouts, where the brokers are.
            clock: seconds that go on while this process does not run.

        Raises:
            ConfigError: identity, password file or certificate files.
        """
        settings.quiet()
        self._config = config
        self._member = Member(config)
        self._transactions = Transactions(config, Fences(config, self._member.displaced, clock))
        self._admin: Any = None
        self._state: StateReader | None = None
        # The membership under which the records since the last commit were polled. None: there are none.
        self._pending: ConsumerGroupMetadata | None = None
        self._held_since: float | None = None

    def start(self) -> None:
        """Connects, checks topics, fences a predecessor, subscribes; the first polls join the group.

        Blocks for at most about 10 s where no broker answers; longer only while a predecessor's transaction ends.
        """
        kafka = self._config.kafka
        probe(kafka)
        self._admin = connect(KafkaAdminClient, kafka, settings.admin(kafka, settings.identity(self._config)))
        prepare_topics(self._admin, self._config)
        self._state = StateReader(self._config, self._admin)
        # Before the member joins: a rival is then fenced by its producer, which says so, at its next commit.
        self._transactions.open(_START_DEADLINE_S)
        self._member.start()

    def poll(self, timeout_s: float, max_records: int) -> Poll:
        """Waits up to `timeout_s` for events or records.

        Raises:
            AbortedError: the group moved on while records were uncommitted, or retention overtook us.
            FencedError: another daemon joined under our identity.
        """
        if self._holds_off(timeout_s):
            return Poll()
        # A rebalance that shows only while we poll waits too: from the next poll on it is held off.
        stay = self._pending is not None and self._held_since is None
        events, columns = self._member.poll(timeout_s, max_records, stay=stay)
        # Right after the poll: only poll() can enter a new generation, so these records belong to this one.
        group = self._member.generation()
        if self._pending is not None and _membership(group) != _membership(self._pending):
            raise AbortedError("poll: the group rebalanced while records were uncommitted")
        if columns and group.generation_id < 0:
            raise AbortedError("poll: the group's coordinator no longer knows us")
        if columns:
            self._pending = group
        return Poll(settle(events), tuple(columns))

    def _holds_off(self, timeout_s: float) -> bool:
        """Whether to leave a rebalance waiting, so that the caller may commit first what it would lose."""
        if self._pending is None or not self._member.rebalancing():
            self._held_since = None
            return False
        now = time.monotonic()
        self._held_since = now if self._held_since is None else self._held_since
        if now - self._held_since >= _COMMIT_GRACE_S:
            return False
        time.sleep(min(timeout_s, 0.01))
        return True

    def restore(self, partition: TopicPartition) -> Restored:
        """Reads position and state back. Blocks while a predecessor's transaction is open, up to its timeout."""
        patience_s = self._config.kafka.transaction_timeout_ms / 1000 + 15
        committed = self._member.committed(partition, patience_s)
        beginning, end = self._member.bounds(partition)
        if committed is None:
            return Restored(None, (), beginning, end)
        position = decode_position(committed.offset, committed.metadata)
        known = position.state_from != NO_STATE
        state = self._reader().read(partition.partition, position.state_from) if known else ()
        return Restored(position, state, beginning, end)

    def begin(self, partition: TopicPartition, offset: int) -> None:
        """Reads `partition` from `offset` on; ends a pause. Never blocks."""
        self._member.begin(partition, offset)

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int:
        """The first offset at or after a time, else the end. Waits for the partition's leader."""
        return self._member.offset_at(partition, timestamp_ms)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Holds back records; membership goes on. Never blocks."""
        self._member.pause(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Undoes `pause`. Never blocks."""
        self._member.resume(partitions)

    def commit(self, commit: Commit) -> dict[TopicPartition, Position]:
        """One transaction. Waits for the brokers, a few milliseconds; past a deadline the process exits with 75."""
        group = self._pending if self._pending is not None else self._member.generation()
        if group.generation_id < 0:
            self._transactions.destroy()
            raise AbortedError("commit: the group's coordinator no longer knows us")
        committed = self._transactions.commit(commit, self._config.state_topic, group)
        self._pending = None
        return committed

    def recover(self) -> frozenset[TopicPartition]:
        """A new producer settles the old one's transaction; everything owned is silent. Blocks up to a minute.

        Events that no poll returned are applied: what is not in the answer is no longer ours.
        """
        self._pending = None
        owned = self._member.silence()
        self._transactions.open(_RECOVER_DEADLINE_S)
        return owned

    def lag(self) -> dict[TopicPartition, int]:
        """Records between our position and the end, per begun partition. Never blocks."""
        return self._member.lag()

    def close(self) -> None:
        """Closes every client; waits a few seconds at most. What is uncommitted stays uncommitted.

        As a static member we send no LeaveGroup: our partitions wait for us until the session times out.
        """
        self._transactions.close()
        self._member.close()
        state, self._state = self._state, None
        admin, self._admin = self._admin, None
        with suppress(Exception):
            if state is not None:
                state.close()
        with suppress(Exception):
            if admin is not None:
                admin.close()

    def _reader(self) -> StateReader:
        if self._state is None:
            raise RuntimeError("start() comes first")
        return self._state


def _membership(group: ConsumerGroupMetadata) -> tuple[int, str]:
    return group.generation_id, group.member_id
