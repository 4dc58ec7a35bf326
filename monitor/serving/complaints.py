"""What is wrong with the input, for the log: the first of each reason at once, then one line per reason and minute.

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
_DUPLICATE = "duplicate"
_UNSCORABLE = "unscorable"
_GAPS = "gaps"
_IGNORED = "ignored"
_UNMATCHED = "unmatched"
_EVENTS = {
    _IGNORED: "Records were ignored: they hold no channel of the artifact.",
    _LATE: "Samples were dropped: not newer than the newest of their series.",
    _DUPLICATE: "Samples were dropped: their series has one of the same time already.",
    _UNSCORABLE: "Windows were not scored: too many of their samples are missing.",
    _GAPS: "Windows were started again after a gap in their series' times.",
    _UNMATCHED: "Series have no threshold of their own, though others have, and are judged by the common one: new ones "
    "(telltale calibrate --per series), or keys that are written in another way (input.series).",
}
_REJECTED = (
    "Records were rejected; they go to the dead-letter topic with the next commit of their partition. One that is held "
    "has none."
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """One line for the log, with the `count` since the last one of its reason, and an example."""

    event: str
    fields: dict[str, Any]


class Complaints:
    """Remembers what was logged, and when."""

    def __init__(self) -> None:
        self._logged: dict[str, tuple[int, float]] = {}  # reason -> its count at its last line, and that line's time

    def due(self, counts: Counts, now: float, *, last: bool = False) -> list[Complaint]:
        """What to log now; `last`: everything that was not logged yet, because no line will follow."""
        found = []
        for reason, event, count in _counted(counts):
            logged, at = self._logged.get(reason, (0, -EVERY_S))
            if count > logged and (last or now - at >= EVERY_S):
                self._logged[reason] = count, now
                found.append(Complaint(event, {"reason": reason, "count": count - logged, **_example(counts, reason)}))
        return found


def _counted(counts: Counts) -> Iterator[tuple[str, str, int]]:
    """Reasons, their log events, and their counts since the start."""
    rejected: Counter[str] = Counter()
    for (_, reason), count in counts.rejected.items():
        rejected[reason] += count
    for reason, count in rejected.items():
        yield reason, _REJECTED, count
    others = {
        _LATE: counts.samples_late,
        _DUPLICATE: counts.samples_duplicate,
        _UNSCORABLE: counts.windows_unscorable,
        _GAPS: counts.gaps,
        _UNMATCHED: len(counts.unmatched),
        _IGNORED: counts.ignored.total(),
    }
    for reason, count in others.items():
        yield reason, _EVENTS[reason], count


def _example(counts: Counts, reason: str) -> dict[str, Any]:
    example = counts.examples.get(reason)
    if example is None:
        return {}
    topic, partition = example.partition
    return {"topic": topic, "partition": partition, "offset": example.offset, "detail": example.detail}
