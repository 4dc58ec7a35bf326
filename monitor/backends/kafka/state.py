"""Reads one partition of the compacted state topic back.

Rules of this file: a restore is complete or it fails; it never continues with an incomplete state.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError

from monitor.backends.abstract import AbortedError, HistoryRecord, StateRecord, TopicPartition, for_history
from monitor.backends.kafka import settings
from monitor.backends.kafka.connecting import connect, for_now
from monitor.backends.kafka.faults import explain
from monitor.backends.kafka.succession import OWNER_PATIENCE_S, end_transactions_of_former_members
from monitor.backends.kafka.topics import LOST_STATE
from monitor.backends.remedies import moving_command
from monitor.config.options import Config
from monitor.errors import ConfigError

_POLL_MS = 100
_WARM_UP_MS = 1_000


class StateReader:
    """A second, read-committed consumer without a group."""

    def __init__(self, config: Config, admin: Any) -> None:
        self._config = config
        self._topic = config.state_topic
        self._admin = admin
        self._consumer: Any = None
        # Longer than any transaction may stay open, so that we can't fail because of a dead predecessor's.
        self._patience_s = config.kafka.transaction_timeout_ms / 1000 + 15

    def open(self) -> None:
        """Connects before the first restore, which others wait for. Waits for a broker.

        Raises:
            BackendError: none answers.
            ConfigError: one refuses us.
        """
        options = settings.reader(self._config.kafka, f"{settings.identity(self._config)}-state")
        self._consumer = connect(KafkaConsumer, self._config.kafka, options)
        first = KafkaPartition(self._topic, 0)
        self._consumer.assign([first])
        # Only for the connections that it makes: what fails is tried again, and explained, where it is needed.
        with suppress(KafkaError):
            self._consumer.end_offsets([first], timeout_ms=_WARM_UP_MS)

    def read(self, partition: int, start: int, history: list[HistoryRecord] | None = None) -> tuple[StateRecord, ...]:
        """The newest committed value per key from `start` to the end, tombstones left out, in log order.

        All records, as `Restored.history` has them, are added to `history`, where it is given.
        Blocks until everything that was in the log when it was called is decided, open transactions included.

        Raises:
            ConfigError: the state topic does not hold what was committed.
            AbortedError: the log could not be read.
        """
        asked = KafkaPartition(self._topic, partition)
        try:
            end = self._end(asked)
            if start > end:
                first = TopicPartition(self._config.input.topics[0], partition)
                raise ConfigError(
                    f"state topic {asked.topic}, partition {partition}, ends at offset {end}, but the state committed "
                    f"by group {self._config.kafka.group_id} begins at {start}: the topic was truncated or recreated; "
                    f"it held {LOST_STATE}. To continue without it, set each partition's offset to its present value: "
                    + moving_command(self._config, first, "OFFSET")
                )
            return self._read(asked, start, end, history)
        except KafkaError as error:
            self.close()
            raise explain(error, "restore", self._config) from error

    def _end(self, asked: Any) -> int:
        # The end that read-uncommitted sees, not the last stable offset: a dead member's open transaction holds the
        # stable offset back, and whatever others committed after it would be missed.
        found = self._admin.list_partition_offsets({asked: OffsetSpec.LATEST})
        return int(found[asked].offset)

    def _read(self, asked: Any, start: int, end: int, history: list[HistoryRecord] | None) -> tuple[StateRecord, ...]:
        if self._consumer is None:
            with for_now("restore"):
                self.open()
        consumer = self._consumer
        consumer.assign([asked])
        # Below the first retained offset the client continues at the first: compaction replaced what is gone.
        consumer.seek(asked, start)
        newest: dict[bytes, bytes] = {}
        moved_s = time.monotonic()
        position, succeeded = start, False
        # The position, never a record count: it also passes aborted records, control records and compacted gaps.
        while position < end:
            for record in consumer.poll(timeout_ms=_POLL_MS).get(asked, ()):
                if record.offset >= end or record.key is None:
                    continue
                if history is not None:
                    history.append(for_history(record.key, record.value))
                newest.pop(record.key, None)
                if record.value is not None:
                    newest[record.key] = record.value
            reached = consumer.position(asked, timeout_ms=_POLL_MS)
            if reached is not None and reached != position:
                position, moved_s = reached, time.monotonic()
            waited_s = time.monotonic() - moved_s
            if waited_s > OWNER_PATIENCE_S and not succeeded:
                end_transactions_of_former_members(self._admin, self._config)
                succeeded = True
            if waited_s > self._patience_s:
                raise AbortedError(
                    f"restore: no progress in state topic {asked.topic}, partition {asked.partition}, at offset "
                    f"{position} of {end} for {self._patience_s:.0f} s; a transaction may be hanging, see "
                    f"python -m kafka.admin -b {self._config.kafka.bootstrap_servers[0]} transactions find-hanging"
                )
        return tuple(StateRecord(key, value) for key, value in newest.items())

    def close(self) -> None:
        """Closes the consumer; the next read makes another."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False)
