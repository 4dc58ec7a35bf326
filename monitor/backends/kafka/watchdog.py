"""A deadline for calls whose own bounds do not hold.

kafka-python 3.0.12 (D5) waits without a timeout in many calls; those that we know of have bounds of ours. A daemon
hung in another neither polls nor hears SIGTERM. Past the deadline we exit: the supervisor restarts us, and
exactly-once makes that harmless.

Time in which this process was stopped does not count: the call could not have returned in it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from monitor.errors import EXIT_TEMPFAIL

_log = logging.getLogger(__name__)
_CHECK_S = 0.5
# What a busy machine does not take to wake a thread up.
_STOPPED_S = 3.0


class Watchdog:
    """Ends the process when an armed section takes longer than it may. Arming costs two assignments."""

    def __init__(self) -> None:
        self._deadline: float | None = None
        self._doing = ""
        self._stopped_s = 0.0  # how long we were not running in all; written by the thread alone
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def armed(self, seconds: float, doing: str) -> Iterator[None]:
        """Guards the body of a `with`. Never blocks."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="telltale-watchdog", daemon=True)
            self._thread.start()
        self._doing = doing
        self._deadline = self._running_s() + seconds
        try:
            yield
        finally:
            self._deadline = None

    def close(self) -> None:
        """Stops watching. Waits for the thread, which is at most half a second away."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._stop.clear()

    def _running_s(self) -> float:
        return time.monotonic() - self._stopped_s

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self._stop.wait(_CHECK_S):
            last, looked = looked, time.monotonic()
            if looked - last > _STOPPED_S:
                self._stopped_s += looked - last - _CHECK_S
            deadline = self._deadline
            if deadline is not None and self._running_s() > deadline:
                _log.critical(
                    "A call to Kafka did not return before its deadline; exiting so that a restart can settle it.",
                    extra={"doing": self._doing, "exit_code": EXIT_TEMPFAIL},
                )
                # Not sys.exit: the main thread, which would have to unwind, is the one that hangs.
                os._exit(EXIT_TEMPFAIL)
