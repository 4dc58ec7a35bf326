"""A broker of three is killed, and it is the one that keeps our transactions, or our group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.backends.abstract import Commit, Message
from monitor.backends.kafka import FeedProducer, KafkaBackend, create_topic, read_topic
from monitor.broker.cluster import LocalKafka
from monitor.config.options import Config
from tests.contract.turns import Turns
from tests.integration.broker_processes import SHORT_SESSION
from tests.kafka_fixture import require_kafka

pytestmark = pytest.mark.kafka
# The broker's session is 3 s here; the rest is ours.
LIMIT_S = 12.0


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    require_kafka()
    kafka = LocalKafka(tmp_path / "kafka", port=0, brokers=3, settings=SHORT_SESSION)
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.stop(1.0)  # two of three wait 5 s for their quorum


def config(servers: str) -> Config:
    return Config.model_validate(
        {
            "service": {"instance": "a"},
            "kafka": {"bootstrap_servers": servers.split(","), "group_id": "loss"},
            "input": {"topics": ["input"]},
            "output": {"alerts": "alerts", "dead_letters": "dead", "state": "state"},
        }
    )


def coordinator(backend: KafkaBackend, kind: str) -> int:
    manager: Any = backend._transactions._producer._transaction_manager
    node = manager._transaction_coordinator if kind == "transactions" else manager._consumer_group_coordinator
    return int(node.removeprefix("coordinator-"))


@pytest.mark.parametrize("kind", ["transactions", pytest.param("group", marks=pytest.mark.slow)])
def test_the_loss_of_the_coordinator_of(kind: str, kafka: LocalKafka) -> None:
    servers = kafka.bootstrap_servers
    create_topic(servers, "input", 3)
    with FeedProducer(servers) as feed:
        for number in range(30):
            feed.send("input", b"x", b"k", partition=number % 3)
    backend = KafkaBackend(config(servers))
    try:
        backend.start()
        turns = Turns(backend)
        turns.until(lambda: turns.count() == 30)
        backend.commit(Commit([Message("alerts", b"k", b"before")], turns.positions()))
        kafka.kill(coordinator(backend, kind))
        began = time.monotonic()
        turns.turn()
        backend.commit(Commit([Message("alerts", b"k", b"during")], turns.positions()))
        assert time.monotonic() - began < LIMIT_S
        turns.turn()
        backend.commit(Commit([Message("alerts", b"k", b"after")], turns.positions()))
    finally:
        backend.close()
    assert [record.value for record in read_topic(servers, "alerts")] == [b"before", b"during", b"after"]
