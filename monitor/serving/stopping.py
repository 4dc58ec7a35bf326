"""SIGTERM and SIGINT: the daemon is asked to stop, and has a limited time to do so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

from monitor.errors import EXIT_TEMPFAIL

log = structlog.get_logger("telltale")


@contextmanager
def stop_on_signals(stop: Callable[[], None], timeout_s: float) -> Iterator[None]:
    """Calls `stop` at the first signal; a second one ends the process at once.

    From the first signal on the block has `timeout_s`, whatever it is doing: joining, restoring, waiting for a broker,
    committing, closing. Then the process exits with 75, and a successor processes again what is not committed.
    """
    asked, done = threading.Event(), threading.Event()

    def expire() -> None:
        asked.wait()
        if not done.wait(timeout_s):
            log.error(
                "Shutdown took too long, exiting; the next start processes again what is not committed.",
                timeout_s=timeout_s,
                exit_code=EXIT_TEMPFAIL,
            )
            os._exit(EXIT_TEMPFAIL)  # not sys.exit: the main thread, which would have to unwind, is the one that hangs

    def handle(number: int, _: FrameType | None) -> None:
        if asked.is_set():
            os._exit(128 + number)
        stop()
        asked.set()

    # A thread, not an alarm: handlers run in the main thread, which may be inside a call that does not return.
    limit = threading.Thread(target=expire, name="telltale-stopping", daemon=True)
    limit.start()
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        done.set()
        asked.set()
        limit.join()
