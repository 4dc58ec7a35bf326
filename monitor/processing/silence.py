"""Incidents of the score whose series sends nothing: no window ends them, so time does.

Such a series has an incident of `no_data`, too. That of its score ends some time after this was reported, in the
partition's time. Where the series sends again before, its windows decide again.

Rules of this file: pure, and the log alone decides. Nothing is remembered: both incidents are state.
"""

from __future__ import annotations

import heapq

from monitor.detector.incidents import SCORE_RULE, Incident
from monitor.detector.times import FOREVER_US
from monitor.processing.partition import PartitionState

BY_SCORE, BY_SILENCE = (SCORE_RULE, ""), ("no_data", "")


class Silence:
    """The incidents of a partition's score that end by time, in order of it, while the partition is decided."""

    def __init__(self, partition: PartitionState, after_us: int) -> None:
        """`after_us` is how long a series stays silent after that was reported; 0: no incident ends so."""
        self._partition, self._after_us = partition, after_us
        self._ends: list[tuple[int, str, int]] = []
        for serial in min(partition.incidents_of(BY_SCORE), partition.incidents_of(BY_SILENCE), key=len):
            self.note(serial)

    def note(self, serial: int) -> None:
        """An incident of a series may have begun, of either rule."""
        at_us = self._reported_us(serial) if self._after_us else None
        if at_us is not None:
            heapq.heappush(self._ends, (at_us + self._after_us, self._partition.series.names[serial], serial))

    @property
    def due_us(self) -> int:
        """The partition's time at which the next one ends; `FOREVER_US`: none does."""
        while self._ends and not self._stands(*self._ends[0]):
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else FOREVER_US

    def _stands(self, end_us: int, _: str, serial: int) -> bool:
        """Whether that is still to come: the series may have sent since, and fallen silent again."""
        at_us = self._reported_us(serial)
        return at_us is not None and at_us + self._after_us == end_us

    def take(self) -> int:
        """The serial number of the series whose incident ends next."""
        return heapq.heappop(self._ends)[2]

    def _reported_us(self, serial: int) -> int | None:
        scored, silent = self._partition.incidents_of(BY_SCORE), self._partition.incidents_of(BY_SILENCE)
        return _reported_us(scored.get(serial), silent.get(serial))


def due_us(partition: PartitionState, after_us: int) -> int:
    """The partition's time at which the first one ends, if no record comes before; `FOREVER_US`: none does."""
    scored, silent = partition.incidents_of(BY_SCORE), partition.incidents_of(BY_SILENCE)
    candidates = min(scored, silent, key=len) if after_us else ()
    reported = (_reported_us(scored.get(series), silent.get(series)) for series in candidates)
    return min((at_us + after_us for at_us in reported if at_us is not None), default=FOREVER_US)


def _reported_us(scored: Incident | None, silent: Incident | None) -> int | None:
    """When a series was reported as silent whose incident of the score is open; None: it was not, or there is none."""
    return silent.ended_us if scored and silent and scored.open and silent.open else None
