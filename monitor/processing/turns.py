"""What one partition's log held between two of its points, as the checks of data quality look at it.

Rules of this file: pure. A turn is as long as it happened to be read; what a check makes of a log may not depend on
where turns end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import Int64Array, StructOfArrays, stable_order
from monitor.detector.event_time import Reached, by_series, firsts_of, grouped
from monitor.detector.times import NO_TIME
from monitor.detector.windows import Appended, Ordered, Samples, Windows
from monitor.errors import Reason
from monitor.formats.decoder import Rejected

REASONS = tuple(Reason)
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Refused(StructOfArrays):
    """Records of known series (r of them, in log order) that were refused: `reason` (r,) is an index of `REASONS`.

    `detail` (r,) are texts, for people. A record that was to hold entries of several series is there once for each.
    """

    series: Int64Array
    offset: Int64Array
    reason: Int64Array
    detail: NDArray[np.object_] | None = None

    @classmethod
    def of(cls, rejected: Sequence[Rejected], rows: Int64Array, series: Int64Array, offset: Int64Array) -> Refused:
        """The `rejected`, by what is known of their k entries, whose `series` (k,) is one: not negative.

        `rows` (k,) are the records' rows in the poll, never falling, and `offset` (k,) their offsets.
        """
        of_row = {each.row: each for each in rejected}
        found = [of_row[row] for row in rows.tolist()]
        reason = np.fromiter((REASONS.index(each.reason) for each in found), np.int64, len(rows))
        detail = np.array([each.detail for each in found], dtype=np.object_)
        _, first = np.unique(np.stack([rows, series]), axis=1, return_index=True)
        known = np.sort(first[series[first] >= 0])
        return cls(series, offset, reason, detail)[known]


_NONE = np.empty(0, dtype=np.int64)
NOTHING_REFUSED = Refused(_NONE, _NONE, _NONE)


@dataclass(frozen=True, slots=True)
class Course:
    """How far the partition's time came, by offset, and which records were refused on the way."""

    reached: Reached
    refused: Refused = NOTHING_REFUSED

    def split(self, offset: int) -> tuple[Course, Course]:
        """What lies before `offset`, and from there on."""
        before, after = self.reached.split(offset)
        row = int(np.searchsorted(self.refused.offset, offset))
        return Course(before, self.refused[:row]), Course(after, self.refused[row:])


class BySeries(NamedTuple):
    """The order (n,) in which what arrived is by series, those of each in log order; the series, and their firsts."""

    order: Int64Array
    series: Int64Array
    firsts: Int64Array

    @classmethod
    def of(cls, series: Int64Array) -> BySeries:
        """Of these series (n,), in log order."""
        order = stable_order(series)
        return cls(order, series[order], firsts_of(series[order]))


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of one partition: n samples that arrived, or m windows where records are windows.

    `taken` is what arrived, in log order, each with the row of its series and its record's offset; among samples are
    the late ones, and those that refused records left (`hole`), whose values are NaN. `at_us` (n,), or (m,), is the
    partition's time after the record of each. `ordered` are the samples in time, those of a series together and in
    order; None, where records are windows. `late` are samples that came too late, and were dropped: None, where none
    was. `course` holds each step of the partition's time, also by records without samples, and what was refused.
    `damaged`: nothing arrived but a batch that can't be read, in which any series may have lost samples.
    """

    taken: Samples | Windows
    at_us: Int64Array
    ordered: Ordered | None
    late: Samples | None
    course: Course
    damaged: bool = False
    _made: dict[Callable[[Turn], Any], Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, make: Callable[[Turn], Made]) -> Made:
        """What `make` makes of this turn, made once, however many checks ask for it."""
        if make not in self._made:
            self._made[make] = make(self)
        made: Made = self._made[make]
        return made

    @property
    def by_series(self) -> BySeries:
        """What arrived, in groups."""
        return self.once(_by_series)

    @classmethod
    def of(cls, taken: Samples | Windows, appended: Appended, course: Course) -> Turn:
        """The turn in which the windower made `appended` of `taken`."""
        ordered = _together(appended.ordered) if appended.ordered else None
        return cls(taken, course.reached.at(taken.offset), ordered, appended.too_late, course)

    @classmethod
    def of_damage(cls, nothing: Samples | Windows) -> Turn:
        """The turn in which a batch was passed that can't be read; `nothing` is what was taken in of it."""
        none = np.empty(0, dtype=np.int64)
        ordered = grouped(nothing) if isinstance(nothing, Samples) else None
        course = Course(Reached(none, np.full(1, NO_TIME, dtype=np.int64)))
        return cls(nothing, none, ordered, None, course, damaged=True)


def _by_series(turn: Turn) -> BySeries:
    ordered, series = turn.ordered, turn.taken.series
    if ordered is not None and len(ordered.position) == len(series) and ordered.samples.at is None:  # as they came
        return BySeries(ordered.position, ordered.samples.series, ordered.firsts)
    return BySeries.of(series)


def _together(parts: Sequence[Ordered]) -> Ordered:
    """What was put in order chunk by chunk, as one: a series' samples of all chunks together."""
    if len(parts) == 1:
        return parts[0]
    samples, order = by_series(Samples.concatenate([part.samples for part in parts]))
    after_gap = [
        np.zeros(len(part.samples), dtype=np.bool_) if part.after_gap is None else part.after_gap for part in parts
    ]
    firsts = firsts_of(samples.series)
    ends = np.cumsum([int(part.position.max(initial=-1)) + 1 for part in parts])
    position = np.concatenate(
        [part.position + start for part, start in zip(parts, [0, *ends[:-1].tolist()], strict=True)]
    )
    return Ordered(
        samples,
        position[order],
        firsts,
        np.append(firsts, len(order))[1:] - 1,
        np.concatenate(after_gap)[order] if any(part.gaps for part in parts) else None,
    )
