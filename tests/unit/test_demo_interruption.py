"""Signals: raised at once, held back, or too late."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from monitor.demo.interruption import InterruptedRun, Interruptions


@pytest.fixture(autouse=True)
def _as_in_a_terminal() -> Iterator[None]:
    """Whatever these tests are run by: `nohup` ignores SIGHUP, a shell SIGINT of what it runs in the background."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_raises_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(InterruptedRun) as caught, Interruptions():
        os.kill(os.getpid(), number)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def _hold(done: list[str]) -> None:
    with Interruptions() as interruptions:
        with interruptions.held():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("the block")
        done.append("what follows")


def test_a_signal_waits_while_it_is_held() -> None:
    done: list[str] = []
    with pytest.raises(InterruptedRun):
        _hold(done)
    assert done == ["the block"]


def test_cleaning_up_is_not_interrupted() -> None:
    done = []
    with Interruptions() as interruptions:
        interruptions.close()
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("cleaned")
    assert done == ["cleaned"]


def test_an_error_in_a_held_block_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="mine"), Interruptions() as interruptions, interruptions.held():
        raise ValueError("mine")


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruptions():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
