"""The Kafka client's log, so that people can read it: one line of a kind a minute, few kinds, the rest counted.

Without a broker the client says tens of thousands of lines in half a minute, and each of them was true. What matters is
said by our own lines: contact lost, contact back, commits in doubt.

Rules of this file: it decides about lines, it writes none. At `log.level = debug` it is not used.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable

KIND_INTERVAL_S = 60.0
# Lines of the client a minute, whatever their kinds: an outage of minutes must stay readable.
MOST_LINES = 3
# Our own lines that follow the client's attempts: each kind once a minute, besides those.
_OURS = ("monitor.backends.kafka.consumer", "monitor.backends.kafka.producer")
# Said in the course of normal work; what they lead to has a line, or a metric, of its own.
_NORMAL = ("blocking the event loop", "Marking the coordinator dead")
_MOST_KINDS = 500
# What differs between messages of one kind where the client has put it into the text itself.
_PARTICULARS = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?")


class Collapsed(logging.Filter):
    """Lets the first line of a kind pass, and then one a minute, which says how many were left out (`left_out`)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said_s: dict[tuple[str, str], float] = {}
        self._left_out = 0
        self._lines_s: deque[float] = deque()  # when the newest of the client's lines passed

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is to be written. Called with the handler's lock held."""
        theirs = record.name == "kafka" or record.name.startswith("kafka.")
        if not theirs and record.name not in _OURS:
            return True
        text = str(record.msg)
        if theirs and any(normal in text for normal in _NORMAL):
            return False
        if self._is_due((record.name, _PARTICULARS.sub("#", text)), bounded=theirs):
            if self._left_out:
                record.left_out, self._left_out = self._left_out, 0
            return True
        self._left_out += 1
        return False

    def _is_due(self, kind: tuple[str, str], *, bounded: bool) -> bool:
        now = self._clock()
        if now - self._said_s.get(kind, -KIND_INTERVAL_S) < KIND_INTERVAL_S:
            return False
        while self._lines_s and now - self._lines_s[0] >= KIND_INTERVAL_S:
            self._lines_s.popleft()
        if bounded:
            if len(self._lines_s) >= MOST_LINES:
                return False
            self._lines_s.append(now)
        if len(self._said_s) >= _MOST_KINDS:
            self._said_s.clear()
        self._said_s[kind] = now
        return True
