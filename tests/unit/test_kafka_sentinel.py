"""What the sentinel makes of answers, silence and refusals. Time is a number, brokers are answers in a list."""

from __future__ import annotations

from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from monitor.backends.kafka import sentinel
from monitor.backends.kafka.sentinel import REFUSED_S, Sentinel
from monitor.config import Config
from monitor.errors import ConfigError

REFUSAL = ConfigError("Kafka at here: the credentials are refused")
ROUND_S = 3.0


class Brokers:
    """A client of brokers that answer, or refuse us; and one round after another of a sentinel that asks them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.answering = True
        self._cluster = self
        monkeypatch.setattr(sentinel, "time", self)
        monkeypatch.setattr(sentinel, "connect", lambda *_: self)
        monkeypatch.setattr(sentinel, "check_access", self.check_access)
        self.sentinel = Sentinel(Config())
        self.sentinel._started_s = self.now

    def monotonic(self) -> float:
        return self.now

    def leader_for_partition(self, _: Any) -> int:
        return 1

    def end_offsets(self, partitions: list[Any], *, timeout_ms: int) -> dict[Any, int]:
        if not self.answering:
            raise KafkaTimeoutError(f"nothing for {timeout_ms} ms")
        return dict.fromkeys(partitions, 0)

    def check_access(self, _: Any) -> str:
        raise REFUSAL

    def close(self, **_: Any) -> None: ...

    def rounds(self, seconds: float, *, answering: bool) -> None:
        self.answering = answering
        until = self.now + seconds
        while self.now < until:
            self.sentinel.look()
            self.now += ROUND_S


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    return Brokers(monkeypatch)


def test_refusals_for_a_minute_end_the_daemon(brokers: Brokers) -> None:
    brokers.rounds(30, answering=True)
    brokers.rounds(REFUSED_S, answering=False)
    assert brokers.sentinel.refused is None
    brokers.rounds(30, answering=False)
    assert brokers.sentinel.refused is REFUSAL


def test_what_was_refused_once_is_forgotten_with_the_next_answer(brokers: Brokers) -> None:
    """A password was being changed; hours later another outage begins with one refusal."""
    brokers.rounds(30, answering=False)
    brokers.rounds(3_600, answering=True)
    brokers.rounds(REFUSED_S, answering=False)
    assert brokers.sentinel.refused is None


def test_a_refusal_that_nobody_took_up_ends_with_the_next_answer(brokers: Brokers) -> None:
    brokers.rounds(2 * REFUSED_S, answering=False)
    assert brokers.sentinel.refused is REFUSAL
    brokers.rounds(ROUND_S, answering=True)
    assert brokers.sentinel.refused is None
