"""No partition is ever left unread: aborts under a backlog, again and again (D16)."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from itertools import groupby

import pytest
from kafka.errors import KafkaTimeoutError

from monitor.backends.abstract import AbortedError, Commit, TopicPartition
from monitor.backends.kafka import FeedProducer, KafkaBackend, create_topic
from monitor.backends.progress import ROUNDS
from monitor.config.options import Config
from tests.contract.turns import Turns

pytestmark = pytest.mark.kafka

PARTITIONS = 8
RECORDS = 20_000
UNREAD_S = 10.0  # without any record, while some partition has given none: a slow machine reads the others meanwhile


@pytest.fixture(scope="module")
def topic(kafka_bootstrap: str) -> str:
    """A backlog on every partition."""
    name = f"stalls.{uuid.uuid4().hex[:8]}"
    create_topic(kafka_bootstrap, name, PARTITIONS)
    with FeedProducer(kafka_bootstrap) as producer:
        for number in range(PARTITIONS * RECORDS):
            producer.send(name, bytes(100), partition=number % PARTITIONS)
    return name


@pytest.fixture
def limits() -> dict[str, int]:
    """What a test sets otherwise than it is by default."""
    return {}


@pytest.fixture
def turns(kafka_bootstrap: str, topic: str, limits: dict[str, int]) -> Iterator[Turns]:
    group = f"{topic}.{uuid.uuid4().hex[:8]}"
    backend = KafkaBackend(
        Config.model_validate(
            {
                "service": {"instance": "a"},
                "kafka": {"bootstrap_servers": [kafka_bootstrap], "group_id": group},
                "input": {"topics": [topic], "start": "earliest"},
                "output": {"alerts": f"{group}.alerts", "dead_letters": f"{group}.dead"},
                "limits": limits,
            }
        )
    )
    backend.start()
    yield Turns(backend)
    backend.close()


def abort(turns: Turns) -> None:
    """A commit whose outcome is unknown."""

    def lose() -> None:
        raise KafkaTimeoutError("ordered by the test")

    turns.backend._transactions._producer.commit_transaction = lose  # type: ignore[attr-defined]
    with pytest.raises(AbortedError):
        turns.backend.commit(Commit([], turns.positions()))


def restore_while_others_are_read(turns: Turns, chance: random.Random) -> None:
    """As the daemon does it: a restore takes its time, and those that are restored already are read meanwhile."""
    owned = list(turns.backend.recover())
    chance.shuffle(owned)
    turns.rows.clear()
    for partition in owned:
        turns.begin(partition)
        for _ in range(chance.randrange(3)):
            turns.turn(0.02, chance.randint(50, 3_000))


@pytest.mark.parametrize("aborts", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_aborts_with_a_backlog_leave_no_partition_unread(turns: Turns, topic: str, aborts: int) -> None:
    everything = {TopicPartition(topic, number) for number in range(PARTITIONS)}
    chance = random.Random(aborts)
    turns.until(lambda: turns.owned == everything)
    for round_ in range(aborts):
        deadline = time.monotonic() + UNREAD_S
        while unread := {partition for partition in everything if not turns.rows[partition]}:
            assert time.monotonic() < deadline, f"{sorted(unread)} are not read after {round_} aborts"
            if turns.turn(0.1, chance.randint(100, 5_000)):
                deadline = time.monotonic() + UNREAD_S
        abort(turns)
        restore_while_others_are_read(turns, chance)
        for partition, rows in turns.rows.items():
            offsets = [row[0] for row in rows]
            assert offsets == list(range(len(offsets))), f"{partition}: skipped or read twice after {round_} aborts"


@pytest.mark.parametrize("limits", [{"stall_timeout_ms": 1_000}])
def test_a_response_that_takes_many_polls_is_no_stall_of_the_others(turns: Turns, topic: str) -> None:
    """The client hands over one partition's response to its end before it looks at the next one's."""
    everything = {TopicPartition(topic, number) for number in range(PARTITIONS)}
    turns.until(lambda: turns.owned == everything, max_records=1)
    before, deadline = len(turns.columns), time.monotonic() + 30.0
    while {partition for partition in everything if len(turns.rows[partition]) < 1_000}:
        assert time.monotonic() < deadline
        turns.turn(0.02, 300)
        time.sleep(0.02)
    read = [columns.partition for columns in turns.columns[before:]]
    longest = max(len(list(each)) for _, each in groupby(read))
    assert longest > ROUNDS, "the responses were too short to show anything"
