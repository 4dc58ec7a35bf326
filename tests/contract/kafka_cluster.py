"""A real Apache Kafka as the contract's tests see it; each has topics and a group of its own."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from kafka import TopicPartition as KafkaPartition
from kafka.admin import KafkaAdminClient, MemberToRemove
from kafka.errors import KafkaTimeoutError

from monitor.backends.abstract import Backend, Headers, TopicPartition
from monitor.backends.kafka import FeedProducer, KafkaBackend, create_topic, delete_topic, read_topic
from monitor.config.options import Config
from tests.contract.turns import MAX_BATCH_BYTES, Cluster


class KafkaCluster(Cluster):
    def __init__(self, bootstrap: str, feed: FeedProducer) -> None:
        super().__init__(f"contract-{uuid.uuid4().hex[:8]}")
        self.bootstrap = bootstrap
        self.feeder = feed

    def config(self, instance: str = "a", **sections: dict[str, Any]) -> Config:
        kafka = {"bootstrap_servers": self.bootstrap.split(","), **sections.pop("kafka", {})}
        return super().config(instance, kafka=kafka, **sections)

    def create(self, topic: str, partitions: int, **topic_settings: str) -> None:
        names = {name.replace("_", "."): value for name, value in topic_settings.items()}
        create_topic(self.bootstrap, topic, partitions, topic_settings=names)

    def create_state(self, partitions: int) -> None:
        self.create(self.state, partitions, cleanup_policy="compact")

    def widen(self, partitions: int, *backends: Backend) -> None:
        with self._admin() as admin:
            admin.create_partitions({self.input: partitions})
            while len(admin.describe_topics([self.input])[0]["partitions"]) < partitions:
                time.sleep(0.05)
        self._tell(backends)

    def recreate(self, partitions: int, *backends: Backend) -> None:
        self.delete(self.input)
        self.create(self.input, partitions)
        self._tell(backends)

    def delete(self, topic: str, *backends: Backend) -> None:
        delete_topic(self.bootstrap, topic)
        with self._admin() as admin:
            while admin.describe_topics([topic])[0]["error_code"] == 0:
                time.sleep(0.05)
        self._tell(backends)

    def _tell(self, backends: Sequence[Backend]) -> None:
        """What a minute, the metadata's age, would do. The feed's view of the topic is old as well."""
        for backend in backends:
            backend._member._consumer._cluster.request_update()  # type: ignore[attr-defined]
        self.feeder._producer._metadata.request_update()
        time.sleep(0.3)

    def expire(self) -> None:
        self.expel("a", "b")
        with self._admin() as admin:
            assert admin.delete_groups([self.name]) == {self.name: "OK"}

    def expel(self, *instances: str) -> None:
        """Removes members from the group, as the end of their sessions does."""
        with self._admin() as admin:
            admin.remove_group_members(self.name, [MemberToRemove(group_instance_id=name) for name in instances])

    def trim(self, partition: int, beginning: int) -> None:
        with self._admin() as admin:
            admin.delete_records({KafkaPartition(self.input, partition): beginning})

    @contextmanager
    def _admin(self) -> Iterator[KafkaAdminClient]:
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            yield admin
        finally:
            admin.close()

    def feed(
        self, partition: int, rows: Sequence[tuple[bytes | None, bytes | None, int]], headers: Headers = ()
    ) -> None:
        for key, value, at in rows:
            self.feeder.send(self.input, value, key, partition=partition, timestamp_ms=at, headers=headers)
        self.feeder.flush()

    def feed_damaged(self, partition: int) -> None:
        with FeedProducer(self.bootstrap, compression="gzip") as producer:
            producer.send(self.input, bytes(2 * MAX_BATCH_BYTES), partition=partition)

    def backend(self, config: Config) -> Backend:
        return KafkaBackend(config)

    def visible(self, topic: str) -> list[tuple[int, bytes | None, bytes | None]]:
        return [(record.partition, record.key, record.value) for record in read_topic(self.bootstrap, topic)]

    def stall(self, backend: Backend, partition: TopicPartition) -> None:
        """What D16 leaves behind: a partition that is left out of all fetches."""
        fetcher = backend._member._consumer._fetcher  # type: ignore[attr-defined]
        fetchable = fetcher._fetchable_partitions
        fetcher._fetchable_partitions = lambda: [other for other in fetchable() if tuple(other) != partition]

    def fail_next_commit(self, backend: Backend, when: Literal["before", "after"]) -> None:
        """A fault at the client's edge: the offsets are not sent, or the answer to a real commit is lost."""
        producer = backend._transactions._producer  # type: ignore[attr-defined]
        commit = producer.commit_transaction

        def lose_the_answer() -> None:
            del producer.commit_transaction  # one call only: a second would go through, and must not be made
            if when == "after":
                commit()
            raise KafkaTimeoutError("ordered by the test")

        producer.commit_transaction = lose_the_answer
