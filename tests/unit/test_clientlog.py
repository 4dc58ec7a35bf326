"""What of the client's log people see. Time is a number."""

from __future__ import annotations

import logging

import pytest

from monitor.serving.clientlog import KIND_INTERVAL_S, MOST_LINES, Collapsed


class Client:
    """Says lines to a filter, and keeps those that pass."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.passed: list[tuple[str, int]] = []
        self._filter = Collapsed(lambda: self.now)

    def say(self, name: str, message: str, *arguments: object, level: int = logging.ERROR) -> bool:
        record = logging.LogRecord(name, level, __file__, 1, message, arguments, None)
        passed = bool(self._filter.filter(record))
        if passed:
            self.passed.append((record.getMessage(), getattr(record, "omitted", 0)))
        return passed


def test_a_storm_of_one_kind_is_a_line_a_minute_with_a_count() -> None:
    client = Client()
    for second in range(180):
        for _ in range(100):
            client.say("kafka.consumer.fetcher", "Fetch to node %s failed: %s", second % 3, "gone")
        client.now += 1.0
    assert [omitted for _, omitted in client.passed] == [0, 5_999, 5_999]


def test_three_minutes_without_a_broker_are_a_page_whatever_is_said() -> None:
    client = Client()
    for tenth in range(1_800):
        for kind in range(40):
            client.say(f"kafka.net.{kind % 7}", f"Something {chr(97 + kind % 26)}{kind} of %s failed", tenth)
        client.now += 0.1
    assert len(client.passed) <= 3 * MOST_LINES + MOST_LINES
    assert sum(omitted for _, omitted in client.passed) > 1_800 * 40 * 0.6, "what was omitted is counted"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Task <Task object at 0x7fea7682f450> ran for 1.339s", "Task <Task object at 0x7fb46043f0d0> ran for 0.1s"),
        ("Bootstrap attempt to 1 failed (backoff 0.05 secs)", "Bootstrap attempt to 2 failed (backoff 1.00 secs)"),
    ],
)
def test_numbers_make_no_kind(one: str, other: str) -> None:
    client = Client()
    assert client.say("kafka.net.selector", one)
    assert not client.say("kafka.net.selector", other)


@pytest.mark.parametrize(
    "message",
    [
        "Task %s ran for 0.3s (>0.100s threshold). It is blocking the event loop -- likely a tight sync loop.",
        "Marking the coordinator dead (node %s) for group %s: %s.",
    ],
)
def test_what_belongs_to_normal_running_is_never_said(message: str) -> None:
    assert not Client().say("kafka.coordinator", message, level=logging.WARNING)


def test_our_own_lines_are_never_held_back_by_the_clients() -> None:
    client = Client()
    for kind in ("a", "b", "c", "d", "e"):
        client.say("kafka.net", kind)
    assert len(client.passed) == MOST_LINES
    assert client.say("telltale", "Commit outcome unknown, restoring.")
    assert client.say("telltale", "Commit outcome unknown, restoring.")
    assert client.say("monitor.backends.kafka.sentinel", "Contact with Kafka lost.")
    assert client.say("monitor.backends.kafka.consumer", "Poll failed; trying again.")
    assert not client.say("monitor.backends.kafka.consumer", "Poll failed; trying again.")
    client.now += KIND_INTERVAL_S
    assert client.say("monitor.backends.kafka.consumer", "Poll failed; trying again.")
    assert client.passed[-1] == ("Poll failed; trying again.", 1)


def test_kinds_without_end_take_no_memory() -> None:
    client = Client()
    for number in range(10_000):
        client.say("kafka.net", "kind " + "x" * number)
        client.now += KIND_INTERVAL_S
    assert len(client.passed) == 10_000
    assert len(client._filter._passed_s) <= 500
