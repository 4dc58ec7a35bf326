"""This machine's clock beside the brokers': every commit measures the difference, which is logged where it matters.

Output topics that we create are stamped by the brokers, so that no clock of ours decides what retention deletes, or
what `message.timestamp.after.max.ms` refuses. A broker that stamps says its time with each answer.

Rules of this file: it compares numbers that it is given, and says what they mean.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from monitor.backends.abstract import AbortedError

_log = logging.getLogger(__name__)
STAMPED_BY_BROKERS = {"message.timestamp.type": "LogAppendTime"}
# Clocks that are kept by NTP differ by milliseconds.
WARN_S = 60.0
_WARN_AGAIN_S = 600.0


def wall_ms() -> int:
    """This machine's time, in ms since 1970."""
    return time.time_ns() // 1_000_000


class BrokerClock:
    """What the last commit has shown of the brokers' clock."""

    def __init__(self, now_ms: Callable[[], int] = wall_ms) -> None:
        self.now_ms = now_ms
        self.ahead_s: float | None = None  # ours minus the brokers', at least; None: not known
        self._warned_s: float | None = None

    def compare(self, sent_ms: int, appended_ms: Iterable[int]) -> None:
        """Takes a commit's stamps: when it was sent by our clock, and when its records were appended by the brokers'.

        Called when all answers are there. The way to the broker takes time, and so does the answer's: 0 where the
        stamps lie between the two.
        """
        stamps = [stamp for stamp in appended_ms if stamp > 0]  # -1: the topic keeps our own times
        if not stamps:
            return
        answered_ms = self.now_ms()
        ahead_ms = max(0, sent_ms - min(stamps)) or min(0, answered_ms - max(stamps))
        self.ahead_s = ahead_ms / 1000
        self._warn()

    def _warn(self) -> None:
        """At once, and again every ten minutes as long as it lasts."""
        now = time.monotonic()
        if self.ahead_s is None or abs(self.ahead_s) < WARN_S:
            self._warned_s = None
        elif self._warned_s is None or now - self._warned_s >= _WARN_AGAIN_S:
            self._warned_s = now
            _log.warning(
                "This machine's clock and the brokers' differ; keep both by NTP.",
                extra={"difference": difference(self.ahead_s)},
            )

    def refused(self, doing: str, answer: str, command: str) -> AbortedError:
        """The error for a record whose time a broker does not take; `command` lets brokers stamp a topic."""
        latest = re.search(r"should be within \[-?\d+, (\d+)\]", answer)
        takes = f"it takes times up to {_iso(int(latest[1]))}" if latest else answer
        known = "" if self.ahead_s is None else f" ({difference(self.ahead_s)})"
        return AbortedError(
            f"{doing}: a broker refuses our time: {takes}; this machine's clock says {_iso(self.now_ms())}{known}; set "
            f"the clocks right (NTP), or let brokers stamp the output topics: {command}"
        )


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def difference(ahead_s: float) -> str:
    """A difference in words: "25.0 h ahead of the brokers'"."""
    size = abs(ahead_s)
    units = (("days", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    unit, seconds = next((each for each in units if size >= 2 * each[1]), units[-1])
    return f"{size / seconds:.1f} {unit} {'ahead of' if ahead_s > 0 else 'behind'} the brokers'"
