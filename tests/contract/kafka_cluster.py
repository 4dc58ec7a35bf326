"""A real Apache Kafka as the contract's tests see it; each has topics and a group of its own."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Literal

from kafka.errors import KafkaTimeoutError

from monitor.backends.abstract import Backend, Headers
from monitor.backends.kafka import FeedProducer, KafkaBackend, create_topic, read_topic
from monitor.config import Config
from tests.contract.turns import Cluster


class KafkaCluster(Cluster):
    def __init__(self, bootstrap: str, feed: FeedProducer) -> None:
        super().__init__(f"contract-{uuid.uuid4().hex[:8]}")
        self.bootstrap = bootstrap
        self.feeder = feed

    def config(self, instance: str = "a", **sections: dict[str, Any]) -> Config:
        kafka = {"bootstrap_servers": self.bootstrap.split(","), **sections.pop("kafka", {})}
        return super().config(instance, kafka=kafka, **sections)

    def create(self, topic: str, partitions: int, **topic_settings: str) -> None:
        # The tests' records are from 1970: retention by time would remove them at its first round.
        names = {"retention.ms": "-1"} | {name.replace("_", "."): value for name, value in topic_settings.items()}
        create_topic(self.bootstrap, topic, partitions, topic_settings=names)

    def feed(
        self, partition: int, rows: Sequence[tuple[bytes | None, bytes | None, int]], headers: Headers = ()
    ) -> None:
        for key, value, at in rows:
            self.feeder.send(self.input, value, key, partition=partition, timestamp_ms=at, headers=headers)
        self.feeder.flush()

    def backend(self, config: Config) -> Backend:
        return KafkaBackend(config)

    def visible(self, topic: str) -> list[tuple[int, bytes | None, bytes | None]]:
        return [(record.partition, record.key, record.value) for record in read_topic(self.bootstrap, topic)]

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
