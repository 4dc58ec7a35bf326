"""Plain clients for tools, the demo, tests and benchmarks: read a topic, make a topic.

Rules of this file: no groups and no transactions; `cluster` is a `Kafka` (`monitor.config.options`), or bootstrap
servers as text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, OffsetSpec
from kafka.errors import KafkaError, RetriableError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from monitor.backends.abstract import Damaged, Headers, RecordColumns, TopicPartition
from monitor.backends.kafka import settings
from monitor.backends.kafka.batches import columns, return_runs
from monitor.backends.kafka.connecting import connect, probe
from monitor.config.connections import KafkaOptions
from monitor.errors import BackendError, ConfigError, DataError, TelltaleError

Isolation = Literal["read_committed", "read_uncommitted"]


class TopicRecord(NamedTuple):
    """One record of a topic."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class TopicReader:
    """Reads all partitions of some topics, from offsets of its own."""

    def __init__(
        self,
        cluster: KafkaOptions | str,
        topics: str | Sequence[str],
        *,
        start: Literal["earliest", "latest"] | Mapping[TopicPartition, int] = "earliest",
        isolation: Isolation = "read_committed",
        want_headers: bool = True,
    ) -> None:
        """Connects, looks partitions up and seeks; waits for brokers.

        Raises:
            ConfigError: a topic does not exist.
            BackendError: no broker answers.
        """
        self._kafka = settings.cluster(cluster)
        self._want_headers = want_headers
        probe(self._kafka)
        self._consumer: Any = connect(
            KafkaConsumer, self._kafka, settings.reader(self._kafka, settings.TOOL_CLIENT_ID, isolation)
        )
        return_runs(self._consumer)
        try:
            self._assign([topics] if isinstance(topics, str) else list(topics), start)
        except BaseException:
            self.close()
            raise

    def _assign(self, topics: Sequence[str], start: str | Mapping[TopicPartition, int]) -> None:
        assigned = []
        for topic in topics:
            partitions = self._consumer.partitions_for_topic(topic)
            if not partitions:
                raise ConfigError(f"topic {topic} does not exist at {','.join(self._kafka.bootstrap_servers)}")
            assigned += [KafkaPartition(topic, partition) for partition in sorted(partitions)]
        if isinstance(start, Mapping):
            assigned = [partition for partition in assigned if TopicPartition(*partition) in start]
        self._consumer.assign(assigned)
        at = self._consumer.end_offsets(assigned) if start == "latest" else self._consumer.beginning_offsets(assigned)
        for partition in assigned:
            offset = start[TopicPartition(*partition)] if isinstance(start, Mapping) else at[partition]
            self._consumer.seek(partition, offset)

    def ends(self) -> dict[TopicPartition, int]:
        """Where each partition ends for this reader's isolation, now. Waits for the leaders."""
        found = self._consumer.end_offsets(list(self._consumer.assignment()))
        return {TopicPartition(*partition): int(offset) for partition, offset in found.items()}

    def positions(self) -> dict[TopicPartition, int]:
        """The next offset to be read of each partition. Never blocks."""
        states = self._consumer._subscription.assignment
        return {TopicPartition(*partition): int(state.position.offset) for partition, state in states.items()}

    def poll_columns(self, timeout_s: float = 0.1, max_records: int = 10_000) -> tuple[RecordColumns, ...]:
        """The next records as columns, damaged batches among them. Waits up to `timeout_s`."""
        try:
            fetched = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        except KafkaError as error:
            raise BackendError(f"reading failed: {error}") from error
        positions = self.positions()
        found: list[RecordColumns] = []
        for partition, items in fetched.items():
            asked = TopicPartition(*partition)
            found += columns(asked, items, positions[asked], want_headers=self._want_headers)
        return tuple(found)

    def poll(self, timeout_s: float = 0.1) -> list[TopicRecord]:
        """The next records. Waits up to `timeout_s`.

        Raises:
            DataError: some of them can't be read.
        """
        found = []
        for polled in self.poll_columns(timeout_s):
            if polled.damaged is not None:
                raise damaged_error(polled.partition, polled.damaged)
            offsets, timestamps_ms = polled.offsets.tolist(), polled.timestamps_ms.tolist()
            headers: Sequence[Headers] = [()] * len(offsets) if polled.headers is None else polled.headers
            rows = zip(offsets, timestamps_ms, polled.keys, polled.values, headers, strict=True)
            topic, partition = polled.partition
            found += [
                TopicRecord(topic, partition, at, when, key, value, extra) for at, when, key, value, extra in rows
            ]
        return found

    def __iter__(self) -> Iterator[TopicRecord]:
        """Records for ever; blocks between them."""
        while True:
            yield from self.poll()

    def close(self) -> None:
        """Closes the client. Idempotent."""
        self._consumer.close(autocommit=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def damaged_error(partition: TopicPartition, damaged: Damaged) -> DataError:
    """What a tool says that has to read all records."""
    after = f", or from=offset:{damaged.next_offset}" if damaged.passable else ""
    return DataError(
        f"topic {partition.topic}, partition {partition.partition}: a batch of records can't be read, {damaged}; read "
        f"around it, in a range to=offset:{damaged.first_offset}{after}"
    )


def read_topic(
    cluster: KafkaOptions | str,
    topics: str | Sequence[str],
    *,
    isolation: Isolation = "read_committed",
    until: Callable[[list[TopicRecord]], bool] | None = None,
    timeout_s: float = 30.0,
) -> list[TopicRecord]:
    """All records of topics: up to what is written now, or until `until(records)` is true.

    Waits for open transactions to be decided; a commit's markers may follow the commit by some milliseconds.

    Raises:
        BackendError: neither was reached within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    records: list[TopicRecord] = []
    with TopicReader(cluster, topics, isolation=isolation) as reader:
        names = [topics] if isinstance(topics, str) else topics
        ends = (
            {} if until is not None else {tp: end for name in names for tp, end in end_offsets(cluster, name).items()}
        )
        while True:
            positions = reader.positions()
            if until is None and all(positions[partition] >= end for partition, end in ends.items()):
                return records
            if until is not None and until(records):
                return records
            if time.monotonic() > deadline:
                raise BackendError(f"topics {topics}: {len(records)} records within {timeout_s:.0f} s, expected more")
            records += reader.poll()


def create_topic(
    cluster: KafkaOptions | str,
    topic: str,
    partitions: int = 1,
    *,
    replication_factor: int = -1,
    topic_settings: Mapping[str, str] | None = None,
) -> bool:
    """Creates a topic and waits until every partition has a leader; False where it is there already."""
    with _admin(cluster) as admin:
        wanted = {
            topic: {
                "num_partitions": partitions,
                "replication_factor": replication_factor,
                "configs": dict(topic_settings or {}),
            }
        }
        try:
            admin.create_topics(wanted, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            return False
        except KafkaError as error:
            raise _failed(f"topic {topic} could not be created", error) from error
        return True


def alter_topic(
    cluster: KafkaOptions | str,
    topic: str,
    *,
    partitions: int | None = None,
    topic_settings: Mapping[str, str] | None = None,
) -> None:
    """Gives a topic more partitions, changes some of its settings, or both; what is not named stays.

    Raises:
        ConfigError: the topic does not exist, has as many partitions already, or does not know a setting.
        BackendError: no broker answers.
    """
    with _admin(cluster) as admin:
        try:
            if topic_settings:
                changed = ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(topic_settings))
                admin.alter_configs([changed])
            if partitions is not None:
                admin.create_partitions({topic: partitions})
        except (KafkaError, ValueError) as error:
            raise _failed(f"topic {topic} could not be changed", error) from error


def list_topics(cluster: KafkaOptions | str) -> dict[str, int]:
    """The topics of a cluster, but for Kafka's own, and how many partitions each has."""
    with _admin(cluster) as admin:
        found = admin.describe_topics()
    return {topic["name"]: len(topic["partitions"]) for topic in found if not topic["is_internal"]}


def delete_topic(cluster: KafkaOptions | str, topic: str) -> bool:
    """Deletes a topic; False where there is none."""
    with _admin(cluster) as admin:
        try:
            admin.delete_topics([topic])
        except UnknownTopicOrPartitionError:
            return False
        except KafkaError as error:
            raise BackendError(f"topic {topic} could not be deleted: {error}") from error
        return True


def end_offsets(cluster: KafkaOptions | str, topic: str) -> dict[TopicPartition, int]:
    """The high-water marks of a topic's partitions, open transactions included."""
    with _admin(cluster) as admin:
        partitions = [part["partition_index"] for part in admin.describe_topics([topic])[0]["partitions"]]
        asked = {KafkaPartition(topic, partition): OffsetSpec.LATEST for partition in partitions}
        found = admin.list_partition_offsets(asked) if asked else {}
        return {TopicPartition(*partition): int(at.offset) for partition, at in found.items()}


def _failed(what: str, error: Exception) -> TelltaleError:
    """The error for what a broker, or the client, refused: a retry helps only where it is retriable."""
    # "Unknown topic" is retriable to the client, whose metadata may be old; an admin's answer is the controller's.
    retriable = isinstance(error, RetriableError) and not isinstance(error, UnknownTopicOrPartitionError)
    kind = BackendError if retriable else ConfigError
    return kind(f"{what}: {error}")


def _admin(cluster: KafkaOptions | str) -> Any:
    kafka = settings.cluster(cluster)
    probe(kafka)
    return connect(KafkaAdminClient, kafka, settings.admin(kafka, settings.TOOL_CLIENT_ID))
