"""What arrives of a series, of which some is marked as bad, followed in episodes: late samples, refused records.

Rules of this file: bad arrivals are rare. Only the series that have some, now or lately, are gone through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.detector.arrays import BoolArray, Float64Array, Int64Array, StructOfArrays
from monitor.detector.event_time import firsts_of
from monitor.detector.memory import Memory
from monitor.detector.windows import Samples, Windows
from monitor.processing.checks import WHOLE_SERIES, Findings
from monitor.processing.quality.episodes import LAYOUT, Limits, Marks, follow

NOTHING: np.void = np.zeros(1, LAYOUT)[0]


@dataclass(frozen=True, slots=True)
class MarkedArrivals(StructOfArrays):
    """Samples or records (k,), each at the place in the log where it was judged; `marked` are the bad ones.

    `about` is a number for people.
    """

    series: Int64Array
    at: Int64Array
    offset: Int64Array
    index: Int64Array
    time_us: Int64Array
    marked: BoolArray
    about: Float64Array

    @classmethod
    def of(cls, taken: Samples | Windows, *, marked: bool) -> MarkedArrivals:
        """Those of samples, or of windows."""
        count = len(taken)
        index, times = (taken.last_index, taken.end_us) if isinstance(taken, Windows) else (taken.index, taken.time_us)
        about = np.full(count, np.nan)
        return cls(taken.series, taken.placed_at, taken.offset, index, times, np.full(count, marked), about)

    def in_order(self) -> MarkedArrivals:
        """The same, series by series, each in the order of the log."""
        return self[np.lexsort((self.index, self.offset, self.at, self.series))]


def concerned(bad: Int64Array, arrived: Int64Array, memory: Memory) -> BoolArray | None:
    """Which arrivals (k,), of these series, are of one with `bad` ones, or with some remembered; None: none is.

    There may be `bad` ones of series without an arrival.
    """
    found: BoolArray = memory["marks"][arrived] > 0
    if len(bad):
        return found | np.isin(arrived, bad)
    return found if found.any() else None


def watch(
    arrivals: MarkedArrivals, memory: Memory, limits: tuple[int, int, int], usual: Float64Array
) -> Findings | None:
    """What there is to say of arrivals in order, by the same limits (enough, gap, well) for all series."""
    firsts = firsts_of(arrivals.series)
    rows = arrivals.series[firsts]
    element = np.flatnonzero(arrivals.marked)
    of = np.searchsorted(firsts, element, side="right") - 1
    kept = np.empty(len(rows), LAYOUT)
    for name, _ in LAYOUT:
        kept[name] = memory[name][rows]
    ends = np.append(firsts[1:], len(arrivals))
    each = Limits(*(np.full(len(rows), limit) for limit in limits))
    news = follow(Marks(element, of, arrivals.time_us[element], firsts, ends), kept, each)
    for name, _ in LAYOUT:
        memory[name][rows] = kept[name]
    there = arrivals[np.concatenate([news.wrong, news.over])]
    is_wrong = np.arange(len(there)) < len(news.wrong)
    if not len(there):
        return None
    return Findings(
        there.series,
        np.full(len(there), WHOLE_SERIES),
        there.offset,
        there.index,
        np.concatenate([news.since_us, there.time_us[len(news.wrong) :]]),
        np.maximum(there.time_us, np.concatenate([news.since_us, there.time_us[len(news.wrong) :]])),
        np.where(is_wrong, float(limits[0]), 0.0),
        np.full(len(there), limits[0] - 0.5),
        usual[there.series],
        there.at,
        there.about,
    )
