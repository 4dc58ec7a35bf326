"""Makes the Kafka client's log readable: one line per kind and minute, few kinds, the rest only counted.

Without a broker the client logs tens of thousands of lines in half a minute. Our own lines say what matters: contact
lost, contact restored, commits whose outcome is unknown.

Rules of this file: it only filters lines. It is not used at `log.level = debug`.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable

KIND_INTERVAL_S = 60.0
# Lines of the client per minute, of all kinds: the log of a long outage must stay readable.
MOST_LINES = 3
# Our own lines that follow the client's attempts: each kind once a minute, besides those.
_OURS = ("monitor.backends.kafka.consumer", "monitor.backends.kafka.transactions")
# Logged in normal operation; what follows from them has a line, or a metric, of its own.
_NORMAL = ("blocking the event loop", "Marking the coordinator dead")
_MOST_KINDS = 500
# What differs between messages of one kind.
_PARTICULARS = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?")


class Collapsed(logging.Filter):
    """Passes the first line of each kind, then one per minute, which says how many were omitted (`omitted`)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed_s: dict[tuple[str, str], float] = {}
        self._omitted = 0
        self._lines_s: deque[float] = deque()  # when the newest of the client's lines passed

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a log record. Called with the handler's lock held."""
        theirs = record.name == "kafka" or record.name.startswith("kafka.")
        if not theirs and record.name not in _OURS:
            return True
        text = str(record.msg)
        if theirs and any(normal in text for normal in _NORMAL):
            return False
        if self._is_due((record.name, _PARTICULARS.sub("#", text)), bounded=theirs):
            if self._omitted:
                record.omitted, self._omitted = self._omitted, 0
            return True
        self._omitted += 1
        return False

    def _is_due(self, kind: tuple[str, str], *, bounded: bool) -> bool:
        now = self._clock()
        if now - self._passed_s.get(kind, -KIND_INTERVAL_S) < KIND_INTERVAL_S:
            return False
        while self._lines_s and now - self._lines_s[0] >= KIND_INTERVAL_S:
            self._lines_s.popleft()
        if bounded:
            if len(self._lines_s) >= MOST_LINES:
                return False
            self._lines_s.append(now)
        if len(self._passed_s) >= _MOST_KINDS:
            self._passed_s.clear()
        self._passed_s[kind] = now
        return True
