"""Who fenced our transaction: a broker, because we were not running, or another daemon of our name.

A broker refuses both with the same error. It aborts a transaction that is older than its timeout, which happens to
whatever sleeps inside one: a laptop, a paused virtual machine, a stopped process; and whoever takes over from a member
whose session has ended ends its transaction (succession.py). Continuing is right then. Where another daemon has our
name, continuing would make the two fence each other for ever.

Rules of this file: it decides, and touches neither broker nor clock but through what it is given.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from monitor.backends.abstract import AbortedError
from monitor.backends.kafka.faults import fenced
from monitor.config.options import Config
from monitor.errors import TelltaleError

_log = logging.getLogger(__name__)
# Two daemons of one name take the id from each other at every commit.
_SOON_S = 60.0


def elapsed_s() -> float:
    """Seconds on a clock that runs while the machine sleeps; Linux's monotonic one does not."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Fences:
    """Judges the fences of one daemon."""

    def __init__(self, config: Config, displaced: Callable[[], bool], clock: Callable[[], float]) -> None:
        """Connects nowhere.

        Args:
            config: names, and the transaction's timeout.
            displaced: whether the group's coordinator has another member under our name; may wait for it.
            clock: seconds that pass while this process does not run.
        """
        self._config = config
        self._displaced = displaced
        self._clock = clock
        self._last_s: float | None = None  # when a fence was last unexplained

    def now_s(self) -> float:
        """The clock that `judge` compares with."""
        return self._clock()

    def judge(self, doing: str, began_s: float) -> TelltaleError:
        """The error to raise for a fence.

        Args:
            doing: what we did, for the message ("commit").
            began_s: `now_s()` when the transaction began.

        Returns:
            AbortedError where continuing is right: the group has nobody else by our name, and the transaction outlived
            its timeout, or our session; or nothing explains the fence, and it is the first such fence in a minute.
            Else FencedError.
        """
        now, kafka = self._clock(), self._config.kafka
        if self._displaced():
            return fenced(self._config)
        if now - began_s >= min(kafka.transaction_timeout_ms, kafka.session_timeout_ms) / 1000:
            return AbortedError(f"{doing}: the transaction was ended while this process was not running")
        last, self._last_s = self._last_s, now
        if last is not None and now - last < _SOON_S:
            return fenced(self._config)
        _log.warning("The broker gave our transactional id away or ended our transaction; taking it back once.")
        return AbortedError(f"{doing}: the broker ended our transaction, though it was not too old")
