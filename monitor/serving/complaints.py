"""What is wrong with the input, said in the log at a bounded rate: one line a minute and reason, the first at once.

Rules of this file: no clock, no logging and no I/O. Counts and examples come from the processor, the time from the
caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from monitor.processing.counts import Counts

EVERY_S = 60.0
_LATE = "late"
_UNSCORABLE = "unscorable"
_GAPS = "gaps"
_EVENTS = {
    _LATE: "Samples were dropped: at or before the newest of their series.",
    _UNSCORABLE: "Windows were not scored: too much of them is missing.",
    _GAPS: "Series began afresh after a gap in their times.",
}
_REFUSED = "Records were refused; each goes to the dead letters once it is committed."


@dataclass(frozen=True, slots=True)
class Complaint:
    """One line of the log: `count` since the last one of its reason, and where the newest of them is."""

    event: str
    fields: dict[str, Any]


class Complaints:
    """Remembers what was said, and when."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[int, float]] = {}  # reason -> its count when it was last said, and the time of it

    def due(self, counts: Counts, now: float, *, last: bool = False) -> list[Complaint]:
        """What to say now; `last`: everything that was not said yet, because nothing is said afterwards."""
        found = []
        for reason, event, count in _counted(counts):
            said, at = self._said.get(reason, (0, -EVERY_S))
            if count > said and (last or now - at >= EVERY_S):
                self._said[reason] = count, now
                found.append(Complaint(event, {"reason": reason, "count": count - said, **_example(counts, reason)}))
        return found


def _counted(counts: Counts) -> Iterator[tuple[str, str, int]]:
    """Reason, what is said of it, and how often it was met since the start."""
    refused: Counter[str] = Counter()
    for (_, reason), count in counts.rejected.items():
        refused[reason] += count
    for reason, count in refused.items():
        yield reason, _REFUSED, count
    for reason, count in ((_LATE, counts.samples_late), (_UNSCORABLE, counts.windows_unscorable), (_GAPS, counts.gaps)):
        yield reason, _EVENTS[reason], count


def _example(counts: Counts, reason: str) -> dict[str, Any]:
    example = counts.examples.get(reason)
    if example is None:
        return {}
    topic, partition = example.partition
    return {"topic": topic, "partition": partition, "offset": example.offset, "detail": example.detail}
