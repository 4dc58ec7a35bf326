"""Rejected records: read where they lie, and written to their topics again, in transactions.

Rules of this file: what is written becomes visible together with its note, or not at all; after any error the writer is
not used again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from kafka import TopicPartition as KafkaPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata

from monitor.backends.abstract import AbortedError, Commit, Headers, Message, TopicPartition
from monitor.backends.kafka import settings
from monitor.backends.kafka.clients import TopicReader, TopicRecord
from monitor.backends.kafka.clocks import BrokerClock
from monitor.backends.kafka.connecting import connect, probe
from monitor.backends.kafka.faults import acl, explain, principal
from monitor.backends.kafka.fences import Fences, elapsed_s
from monitor.backends.kafka.transactions import Transactions
from monitor.config.options import Config
from monitor.errors import BackendError, ConfigError, FencedError

# Offsets between two wanted records that are read rather than jumped over: about a fetch of small records.
_READ_OVER = 5_000
_STALLED_S = 30.0
_OPEN_S = 30.0


class RecordPicker(TopicReader):
    """Reads single records by their offsets."""

    def pick(self, wanted: Mapping[TopicPartition, Sequence[int]]) -> Iterator[TopicRecord]:
        """The records at these offsets, by partition and offset, without those that the log no longer holds.

        Raises:
            BackendError: nothing came for half a minute.
        """
        for partition, offsets in sorted(wanted.items()):
            at = KafkaPartition(*partition)
            self._consumer.assign([at])
            first, end = self._consumer.beginning_offsets([at])[at], self._consumer.end_offsets([at])[at]
            left = np.unique(np.array([offset for offset in offsets if first <= offset < end], dtype=np.int64))
            yield from self._of(partition, left)

    def _of(self, partition: TopicPartition, left: np.ndarray) -> Iterator[TopicRecord]:
        position, deadline = -_READ_OVER, time.monotonic() + _STALLED_S
        while len(left):
            if left[0] - position >= _READ_OVER:
                self._consumer.seek(KafkaPartition(*partition), int(left[0]))
                position = int(left[0])
            for polled in self.poll_columns(0.5):
                for row in np.flatnonzero(np.isin(polled.offsets, left)).tolist():
                    offset, stamp = int(polled.offsets[row]), int(polled.timestamps_ms[row])
                    extra: Headers = () if polled.headers is None else polled.headers[row]
                    yield TopicRecord(*partition, offset, stamp, polled.keys[row], polled.values[row], extra)
            reached = self.positions()[partition]
            if reached > position:
                position, deadline = reached, time.monotonic() + _STALLED_S
            elif time.monotonic() > deadline:
                raise BackendError(f"{partition}: no records for {_STALLED_S:.0f} s from offset {position} on")
            left = left[left >= position]


class Redriver:
    """Writes records and a note of them in one transaction after another, as the only process of its group that does.

    Whoever opens a second one ends the first one's transaction, and takes the right to write from it.
    """

    def __init__(self, config: Config) -> None:
        """Waits for brokers, and until a predecessor's transaction is settled: what it wrote is visible, or never.

        Raises:
            ConfigError: permissions.
            BackendError: no broker answers.
        """
        self._config = config
        probe(settings.cluster(config.kafka))
        fences = Fences(config, lambda: True, elapsed_s)
        self._transactions = Transactions(config, fences, BrokerClock(), settings.redriving(config))
        try:
            self._transactions.open(_OPEN_S)
        except BaseException:
            self._transactions.close()
            raise

    def write(self, messages: Sequence[Message]) -> None:
        """Writes all of them, or none.

        Raises:
            ConfigError: permissions, or another process redrives the same group's dead letters.
            BackendError: the outcome is unknown, or nothing was written.
        """
        group = ConsumerGroupMetadata(self._config.kafka.group_id)  # no offsets are committed
        try:
            self._transactions.commit(Commit(messages, {}), self._config.state_topic, group)
        except FencedError as error:
            raise ConfigError(
                f"another `telltale deadletters redrive` of group {self._config.kafka.group_id} has taken over; this "
                "one stops, and leaves nothing half written"
            ) from error
        except AbortedError as error:
            raise BackendError(
                f"{error}; what was written before stays, and nothing is half written: run the command again, and it "
                "continues where this one stopped"
            ) from error

    def close(self) -> None:
        """Ends the client."""
        self._transactions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def stamped_by_brokers(config: Config, topics: Sequence[str]) -> list[str]:
    """Those of the topics that don't keep the time that a record is written with.

    Raises:
        ConfigError: a topic may not be written to, or does not exist; says how to allow it.
        BackendError: no broker answers.
    """
    kafka = settings.cluster(config.kafka)
    probe(kafka)
    admin: Any = connect(KafkaAdminClient, kafka, settings.admin(kafka, settings.TOOL_CLIENT_ID))
    with admin:
        try:
            described = {each["name"]: each for each in admin.describe_topics(list(topics))}
            problems = [
                f"{principal(kafka)} may not write to topic {topic}; grant it: {acl(kafka, 'topic', topic, ['Write'])}"
                for topic in topics
                if (allowed := described[topic].get("authorized_operations")) is not None and "WRITE" not in allowed
            ]
            if problems:
                raise ConfigError("; ".join(problems))
            name = "message.timestamp.type"
            asked = [ConfigResource(ConfigResourceType.TOPIC, topic, [name]) for topic in topics]
            found = admin.describe_configs(asked, config_filter="all").get("topic", {}) if asked else {}
        except KafkaError as error:
            raise explain(error, "looking at the topics", config) from error
    return [topic for topic, values in found.items() if values and values[name]["value"] == "LogAppendTime"]
