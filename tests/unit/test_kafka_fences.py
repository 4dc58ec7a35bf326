"""A fence is a rival's only where nothing else explains it."""

from __future__ import annotations

import time

import pytest

from monitor.backends.abstract import AbortedError
from monitor.backends.kafka.fences import Fences, elapsed_s
from monitor.config.options import Config
from monitor.errors import FencedError

TIMEOUT_S = 30.0
SESSION_S = 15.0
CONFIG = Config.model_validate(
    {"kafka": {"transaction_timeout_ms": int(TIMEOUT_S * 1000), "session_timeout_ms": int(SESSION_S * 1000)}}
)


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0
        self.displaced = False
        self.fences = Fences(CONFIG, lambda: self.displaced, lambda: self.s)

    def fence(self, slept_s: float = 0.0) -> type[Exception]:
        began_s = self.fences.now_s()
        self.s += slept_s
        return type(self.fences.judge("commit", began_s))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_who_slept_through_the_timeout_goes_on_however_often(clock: Clock) -> None:
    assert {clock.fence(TIMEOUT_S) for _ in range(5)} == {AbortedError}


def test_who_slept_through_its_session_was_succeeded_and_goes_on(clock: Clock) -> None:
    assert {clock.fence(SESSION_S) for _ in range(5)} == {AbortedError}


def test_another_member_under_our_name_is_a_rival_at_once(clock: Clock) -> None:
    clock.displaced = True
    assert clock.fence() is FencedError
    assert clock.fence(TIMEOUT_S) is FencedError, "it took over while we slept"


def test_an_id_that_is_taken_twice_in_a_minute_is_a_rivals(clock: Clock) -> None:
    assert clock.fence() is AbortedError
    clock.s += 59
    assert clock.fence() is FencedError


def test_an_id_that_is_taken_now_and_then_is_taken_back(clock: Clock) -> None:
    for _ in range(5):
        assert clock.fence() is AbortedError
        clock.s += 61


def test_a_sleep_does_not_count_as_one_of_the_two(clock: Clock) -> None:
    assert clock.fence(TIMEOUT_S) is AbortedError
    assert clock.fence() is AbortedError


def test_the_clock_goes_on() -> None:
    before = elapsed_s()
    time.sleep(0.01)
    assert 0 < elapsed_s() - before < 60
