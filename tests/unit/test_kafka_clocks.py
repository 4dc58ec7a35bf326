"""A difference of clocks is told; the way to the broker is none."""

from __future__ import annotations

import pytest

from monitor.backends.kafka.clocks import BrokerClock, difference


def compared(sent_ms: int, answered_ms: int, *appended_ms: int) -> float | None:
    clock = BrokerClock(lambda: answered_ms)
    clock.compare(sent_ms, appended_ms)
    return clock.ahead_s


@pytest.mark.parametrize(
    ("sent_ms", "answered_ms", "appended_ms", "ahead_s"),
    [
        (1_000, 5_000, [1_000, 3_000, 5_000], 0.0),
        (9_000, 9_500, [2_000, 4_000], 7.0),
        (1_000, 2_000, [5_000, 9_000], -7.0),
        (1_000, 2_000, [-1, 1_500], 0.0),
        (1_000, 2_000, [-1, -1], None),
        (1_000, 2_000, [], None),
    ],
)
def test_what_is_known_of_the_difference(
    sent_ms: int, answered_ms: int, appended_ms: list[int], ahead_s: float | None
) -> None:
    assert compared(sent_ms, answered_ms, *appended_ms) == ahead_s


def test_it_is_said_once_and_again_when_it_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    now_ms = 1_000_000
    clock = BrokerClock(lambda: now_ms)
    for appended_ms in (900_000, 900_000, now_ms, 1_100_000):
        clock.compare(now_ms, [appended_ms])
    said = [record.difference for record in caplog.records]  # type: ignore[attr-defined]
    assert said == ["100.0 s ahead of the brokers'", "100.0 s behind the brokers'"]


@pytest.mark.parametrize(
    ("ahead_s", "words"),
    [
        (90.0, "90.0 s ahead of"),
        (-600.0, "10.0 min behind"),
        (7_200.0, "2.0 h ahead of"),
        (-691_200.0, "8.0 days behind"),
    ],
)
def test_in_words(ahead_s: float, words: str) -> None:
    assert difference(ahead_s) == f"{words} the brokers'"
