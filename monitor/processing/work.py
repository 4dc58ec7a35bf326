"""What waits in the processor, in the order of each partition's log: to be cut into windows, or to be scored."""

from __future__ import annotations

from typing import NamedTuple

from monitor.detector.arrays import Float64Array
from monitor.detector.times import NO_TIME
from monitor.detector.windows import Samples, Windows
from monitor.formats.decoder import Decoded
from monitor.processing.checks import Found
from monitor.processing.partition import PartitionState
from monitor.processing.registry import Segment
from monitor.processing.turns import Course


class Cut(NamedTuple):
    """Windows of series by their serial numbers, their thresholds (n,), and what the checks found among them.

    `course` says how far the partition's time came meanwhile; `whole`: with these windows, that part of the log ends.
    """

    windows: Windows
    thresholds: Float64Array
    found: Found | None = None
    course: Course | None = None
    whole: bool = True

    def split(self, count: int) -> tuple[Cut, Cut]:
        """The first `count` windows, and the rest."""
        first, rest = (None, None) if self.found is None else self.found.split(count)
        return (
            Cut(self.windows[:count], self.thresholds[:count], first, self.course, whole=False),
            Cut(self.windows[count:], self.thresholds[count:], rest, self.course),
        )


class Work(NamedTuple):
    """What waits to be cut or scored. `segment` is the one that begins with it; `broken`: after a damaged batch.

    `course`: what lies around the samples that were taken in. `out` is what was let out of those and of what waited;
    None: that was not asked for yet; from `emptied_at` on nothing waits any more that waited.
    """

    partition: PartitionState
    taken: Samples | Windows | Cut | None
    live: bool
    segment: Segment | None = None
    broken: bool = False
    course: Course | None = None
    out: Samples | Windows | None = None
    emptied_at: int = -1


def first_decided(decoded: Decoded) -> tuple[int, int] | None:
    """Row in its poll and time of the first record that may decide anything; None where there is none.

    That is any record: what a refused one leaves may close a window. Its time is then that of its partition; where that
    has none, no series is known, and nothing can be decided before a record that can be read.
    """
    newest_us = int(decoded.reached.newest_us[0])
    read = int(decoded.rows[0]) if len(decoded.rows) else None
    if read == 0 or newest_us == NO_TIME:
        return None if read is None else (read, int(decoded.start_us[0]))
    return 0, newest_us
