"""What the sentinel makes of answers, silence and refusals. Time is a number, brokers are answers in a list."""

from __future__ import annotations

from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError
from kafka.protocol.consumer import IsolationLevel

from monitor.backends.abstract import TopicPartition
from monitor.backends.kafka import KafkaBackend, sentinel
from monitor.backends.kafka.open_transactions import HELD_S
from monitor.backends.kafka.sentinel import REFUSED_S, Sentinel
from monitor.config.options import Config
from monitor.errors import ConfigError

REFUSAL = ConfigError("Kafka at here: the credentials are refused")
ROUND_S = 3.0
ONE, TWO = TopicPartition("telltale.input", 0), TopicPartition("telltale.input", 1)


class Brokers:
    """A client of brokers that answer, or refuse us; and one round after another of a sentinel that asks them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.answering = True
        self.stable = 7
        self.leaders: dict[str, dict[int, int]] = {"telltale.input": {0: 1, 1: 1}}
        self._cluster = self._fetcher = self
        self._isolation_level = IsolationLevel.READ_COMMITTED
        self.high = {ONE: 7, TWO: 7}  # where what is not committed ends
        monkeypatch.setattr(sentinel, "time", self)
        monkeypatch.setattr(sentinel, "connect", lambda *_: self)
        monkeypatch.setattr(sentinel, "check_access", self.check_access)
        monkeypatch.setattr(sentinel, "_refresh", self.refresh)
        self.sentinel = Sentinel(Config())
        self.sentinel._started_s = self.now
        self.sentinel.watch([ONE, TWO])

    def monotonic(self) -> float:
        return self.now

    def refresh(self, *_: Any) -> None:
        if not self.answering:
            raise KafkaTimeoutError("nothing")

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(self.leaders[topic]) if topic in self.leaders else None

    def leader_for_partition(self, partition: Any) -> int | None:
        return self.leaders.get(partition.topic, {}).get(partition.partition)

    def end_offsets(self, partitions: list[Any], **_: Any) -> dict[Any, int]:
        self.refresh()
        assert all(self.leader_for_partition(each) == 1 for each in partitions), "that would only time out"
        if self._isolation_level == IsolationLevel.READ_UNCOMMITTED:
            return {each: self.high[TopicPartition(*each)] for each in partitions}
        return dict.fromkeys(partitions, self.stable)

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


def test_a_partition_without_a_leader_is_said_and_hides_nothing_of_others(
    brokers: Brokers, caplog: pytest.LogCaptureFixture
) -> None:
    brokers.leaders["telltale.input"][1] = -1
    brokers.rounds(ROUND_S, answering=True)
    assert brokers.sentinel.take().keys() == {ONE}
    assert brokers.sentinel.leaderless == {TWO}
    assert brokers.sentinel.troubles() == [], "an election may be under way"
    brokers.rounds(30, answering=True)
    assert brokers.sentinel.troubles() == ["1 of our partitions have no leader: telltale.input-1"]
    brokers.leaders["telltale.input"][1] = 1
    brokers.rounds(30, answering=True)
    assert brokers.sentinel.troubles() == []
    assert not brokers.sentinel.leaderless
    assert [record.message for record in caplog.records] == ["Input can't be read.", "Input can be read again."]


def test_a_topic_that_is_gone_is_no_silence(brokers: Brokers, caplog: pytest.LogCaptureFixture) -> None:
    brokers.rounds(30, answering=True)
    brokers.leaders.clear()
    brokers.rounds(120, answering=True)
    assert brokers.sentinel.troubles() == ["input topic telltale.input is not there, or we may not see it"]
    assert brokers.sentinel.answered_s == brokers.now - ROUND_S
    assert [record.message for record in caplog.records] == ["Input can't be read."]
    brokers.rounds(30, answering=False)
    assert brokers.sentinel.troubles(), "while nobody answers it is as it was said last"


def test_who_is_refused_stops_restoring_too() -> None:
    """A daemon that restores does not poll: without this it would go on trying for ever."""
    backend = KafkaBackend(Config())
    backend._sentinel.refused = REFUSAL
    with pytest.raises(ConfigError, match="refused"):
        backend.recover()
    with pytest.raises(ConfigError, match="refused"):
        backend.poll(0.0, 1)


def test_an_open_transaction_that_lasts_is_said_once_with_its_offset(
    brokers: Brokers, caplog: pytest.LogCaptureFixture
) -> None:
    brokers.high[ONE] = 302
    brokers.rounds(HELD_S, answering=True)
    assert brokers.sentinel.troubles() == [], "a producer has a minute to commit, by default"
    assert brokers.sentinel.held_back() == {ONE: 295}
    brokers.rounds(60, answering=True)
    (trouble,) = brokers.sentinel.troubles()
    assert trouble.startswith("an open transaction at offset 7 of telltale.input-0 holds back 295 offsets since 20")
    (record,) = caplog.records
    assert (record.message, record.levelname) == (
        "An open transaction holds input back: what is behind it is not read before it ends.",
        "ERROR",
    )
    said = vars(record)
    assert (said["partition"], said["offset"], said["behind"]) == ("telltale.input-0", 7, 295)
    assert "transactions describe-producers -t telltale.input -p 0" in said["remedy"]
    brokers.stable = brokers.high[ONE] = brokers.high[TWO] = 303
    brokers.rounds(ROUND_S, answering=True)
    assert brokers.sentinel.troubles() == []
    assert brokers.sentinel.held_back() == {}
    assert [each.message for each in caplog.records[1:]] == ["The transaction has ended."]


def test_transactions_that_end_hold_nothing_back(brokers: Brokers, caplog: pytest.LogCaptureFixture) -> None:
    """A producer that always has one open: the last stable offset goes on."""
    for _ in range(60):
        brokers.stable += 10
        brokers.high = {ONE: brokers.stable + 5, TWO: brokers.stable}
        brokers.rounds(ROUND_S, answering=True)
    assert brokers.sentinel.troubles() == []
    assert not caplog.records


def test_a_broker_that_is_away_ends_no_transaction(brokers: Brokers, caplog: pytest.LogCaptureFixture) -> None:
    brokers.high[TWO] = 9
    brokers.rounds(HELD_S - 10, answering=True)
    brokers.rounds(5, answering=False)
    brokers.rounds(20, answering=True)
    assert len(brokers.sentinel.troubles()) == 1
    brokers.sentinel.watch([ONE])
    brokers.rounds(ROUND_S, answering=True)
    assert brokers.sentinel.troubles() == [], "whose partition it is now says it"
