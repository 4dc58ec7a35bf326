"""Time goes on in partitions where nothing comes: when that makes something due, it is committed as a tick.

A partition's time is that of its records. Where none comes it stands still, and nobody would be found silent. So the
daemon moves it on by the time for which the partition is known to be at its end: each answer of the broker that the
committed offset is the end proves it up to the moment of the question.

Rules of this file: pure; times are of the monotonic clock, in seconds, as `Progress` has them. Nothing is believed
beyond the last answer, and where answers stopped, be it the broker's fault or ours, a silence goes on only `SETTLE_S`
after they are there again: producers may be as late as we are. Time before the daemon was there does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.backends.abstract import Progress, TopicPartition
from monitor.processing.processor import Processor

# Answers further apart than this prove nothing of the time between them. The daemon asks every 3 s.
MOST_S = 5.0
# How long producers may take to send again after an outage.
SETTLE_S = 30.0


@dataclass(slots=True)
class _Silence:
    """A partition was at its end, at `offset`, for `until_s` - `since_s`; the latter may be yet to come."""

    offset: int
    since_s: float
    until_s: float


class Ticker:
    """Moves the time of silent partitions on."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self._silences: dict[TopicPartition, _Silence] = {}

    def tick(self, progress: Mapping[TopicPartition, Progress]) -> bool:
        """Moves the time on where that makes something due, and says whether it did: there is something to decide.

        `progress` is that of the assigned partitions, of which nothing is being decided.
        """
        self._silences = {
            name: self._silence(name, each)
            for name, each in progress.items()
            if name in self._processor.partitions and _at_end(each)
        }
        return sum([self._advance(name, silence) for name, silence in self._silences.items()]) > 0

    def _silence(self, name: TopicPartition, now: Progress) -> _Silence:
        assert now.committed is not None
        assert now.answered_s is not None
        known = self._silences.get(name)
        if known is None or known.offset != now.committed:
            return _Silence(now.committed, now.answered_s, now.answered_s)
        if now.answered_s - known.until_s > MOST_S:
            proved_s = max(0.0, known.until_s - known.since_s)
            return _Silence(known.offset, now.answered_s + SETTLE_S - proved_s, now.answered_s)
        return _Silence(known.offset, known.since_s, now.answered_s)

    def _advance(self, name: TopicPartition, silence: _Silence) -> bool:
        passed_us = int((silence.until_s - silence.since_s) * 1e6)
        if passed_us <= 0:
            return False
        now_us = self._processor.time_us(name) + passed_us
        if now_us < self._processor.due_us(name):
            return False
        self._processor.advance(name, now_us)
        silence.since_s = silence.until_s
        return True


def _at_end(progress: Progress) -> bool:
    """Whether the last answer said that everything is read and committed."""
    if progress.end is None or progress.committed is None or progress.read is None or progress.answered_s is None:
        return False
    return not progress.paused and progress.committed >= progress.end and progress.read >= progress.end
