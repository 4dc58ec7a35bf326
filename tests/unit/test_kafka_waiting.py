"""How long one turn may wait for brokers at most: `/livez` goes by it. Time is a number."""

from __future__ import annotations

from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError

from monitor.backends.abstract import AbortedError, TopicPartition
from monitor.backends.kafka import KafkaBackend, backend, topics
from monitor.backends.kafka.state import StateReader
from monitor.config.options import Config
from monitor.errors import ConfigError, PartitionError
from monitor.serving.health import STUCK_S

PARTITION = TopicPartition("telltale.input", 0)


class Coordinator:
    """One that answers nobody, however long it is asked; what a dead member left open takes as long to look for."""

    def __init__(self, looking_s: float) -> None:
        self.now = 1_000.0
        self.looking_s = looking_s

    def monotonic(self) -> float:
        return self.now

    def committed(self, _: TopicPartition, timeout_s: float) -> None:
        self.now += timeout_s
        raise AbortedError("restore: nobody answers") from KafkaTimeoutError("nobody answers")

    def look(self, *_: Any) -> None:
        self.now += self.looking_s


@pytest.mark.parametrize("looking_s", [0.0, 15.0, 30.0])
@pytest.mark.parametrize("transaction_timeout_ms", [10_000, 30_000, 120_000])
def test_a_coordinator_that_is_gone_does_not_look_like_a_loop_that_hangs(
    looking_s: float, transaction_timeout_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Coordinator(looking_s)
    made = KafkaBackend(Config.model_validate({"kafka": {"transaction_timeout_ms": transaction_timeout_ms}}))
    monkeypatch.setattr(backend, "time", gone)
    monkeypatch.setattr(backend, "end_transactions_of_former_members", gone.look)
    monkeypatch.setattr(made._member, "committed", gone.committed)
    with pytest.raises(AbortedError):
        made._committed(PARTITION)
    waited_s = gone.now - 1_000.0
    assert transaction_timeout_ms / 1000 + 15 <= waited_s, "a transaction that is left to its timeout is waited for"
    assert backend._RECOVER_DEADLINE_S + waited_s < STUCK_S + transaction_timeout_ms / 1000


def test_a_partition_without_a_leader_is_waited_for_once_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    other, asked = TopicPartition("telltale.input", 1), list[TopicPartition]()
    made = KafkaBackend(Config())
    leaders = {other: 1}

    def bounds(partition: TopicPartition) -> tuple[int, int]:
        asked.append(partition)
        if partition not in leaders:
            raise AbortedError("restore: no leader") from KafkaTimeoutError("no leader")
        return 0, 9

    monkeypatch.setattr(made._member, "bounds", bounds)
    made._sentinel.leaderless = frozenset([PARTITION])
    for _ in range(3):
        with pytest.raises(PartitionError, match=r"telltale\.input-0 has no leader.*; start the broker that led it"):
            made._bounds(PARTITION, None)
    assert asked == [PARTITION], "15 s each minute would be missed by the others"
    assert made._bounds(other, None) == (0, 9)
    made._sentinel.leaderless = frozenset()
    leaders[PARTITION] = 1
    assert made._bounds(PARTITION, None) == (0, 9)


def test_a_refused_question_about_bounds_is_no_missing_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    made = KafkaBackend(Config())

    def bounds(_: TopicPartition) -> tuple[int, int]:
        raise AbortedError("restore: the connection was lost")

    monkeypatch.setattr(made._member, "bounds", bounds)
    with pytest.raises(AbortedError):
        made._bounds(PARTITION, None)


class Brokers:
    """Brokers of which the first ones asked do not know the state topic."""

    def __init__(self, old: int) -> None:
        self.now, self.old = 1_000.0, old

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        self.old -= 1
        code = UnknownTopicOrPartitionError.errno if self.old >= 0 else 0
        partitions: list[Any] = [{}] * 2
        return [{"name": each, "error_code": code * (each == STATE), "partitions": partitions} for each in names]


STATE = Config().state_topic


def test_a_state_topic_is_gone_when_brokers_have_said_so_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that starts, or whose metadata is old, is not believed at its first word."""
    brokers = Brokers(old=3)
    monkeypatch.setattr(topics, "time", brokers)
    assert topics.look_at(brokers, Config(), *PARTITION) == topics.InputTopic("", 2, 2)
    gone = Brokers(old=1_000)
    monkeypatch.setattr(topics, "time", gone)
    with pytest.raises(ConfigError, match="no longer exists"):
        topics.look_at(gone, Config(), *PARTITION)
    assert 5.0 <= gone.now - 1_000.0 < 10.0


def test_a_leader_that_does_not_know_its_state_partition_is_asked_again() -> None:
    class Leader:
        def list_partition_offsets(self, _: Any) -> None:
            raise UnknownTopicOrPartitionError

    with pytest.raises(AbortedError):
        StateReader(Config(), Leader()).read(0, 0)
