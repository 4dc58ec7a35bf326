"""How long one turn may wait for brokers at most: `/livez` goes by it. Time is a number."""

from __future__ import annotations

from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from monitor.backends.abstract import AbortedError, TopicPartition
from monitor.backends.kafka import KafkaBackend, backend
from monitor.config import Config
from monitor.errors import PartitionError
from monitor.health import STUCK_S

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
    monkeypatch.setattr(backend, "end_transactions_of_the_gone", gone.look)
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
