"""How far each channel of a series is from what is expected while nothing is wrong: what blame by change starts from.

A series is at rest in a window that has a score, not over its threshold. Of those windows, every so many is measured:
about one for each length of a window, for others share most of its samples, and the errors of a window cost as much as
its score. What is remembered of a series is a decaying mean of its measured windows' errors, and how many windows at
rest are passed over until the next. While an incident lasts nothing is measured, so the mean is that from before.

Rules of this file: pure, and a function of each series' own windows in order, however they are handed over. No loop
over windows or series: one over the measured windows of the series that has most of them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monitor.detector import decision
from monitor.detector.arrays import BoolArray, Float32Array, Int64Array, stable_order
from monitor.detector.decision import Verdict
from monitor.detector.following import Measure, ScoredWindows
from monitor.detector.memory import Memory

# The newest measured window's part of the mean, which thus is of about the last four: the errors of a machine are those
# of what it does just now.
NEWEST = np.float32(0.25)
LEAST_EVERY = 8  # even where windows share no samples: then the errors cost an eighth of the scores


class ErrorsAtRest:
    """The errors of many series while they are at rest: a `Follower`."""

    def __init__(self, channels: int, overlap: float) -> None:
        """`overlap` is how many windows cover a sample."""
        self._channels = channels
        self.every = max(LEAST_EVERY, math.ceil(overlap))

    @property
    def nothing(self) -> np.void:
        """A series of which no window was measured.

        `errors` are its means, scaled, root mean square over a window; `until` is how many windows at rest are passed
        over before the next is measured.
        """
        layout = np.dtype([("errors", "<f4", (self._channels,)), ("until", "<i4")])
        return np.void((np.full(self._channels, np.nan), 0), layout)

    @property
    def name(self) -> str:
        """Another number of windows between those that are measured changes nothing that is remembered."""
        return "errors at rest"

    def advance(self, windows: ScoredWindows, memory: Memory, measure: Measure, /) -> ScoredWindows:
        """The windows with the errors before those that are over their threshold."""
        verdicts = decision.decide(windows.score, windows.threshold.astype(np.float32))  # as scores are
        measured = self.measured(windows.row, verdicts == Verdict.NORMAL, memory["until"])
        over = np.flatnonzero(verdicts == Verdict.ANOMALY)
        found = measure(measured) if len(measured) else np.empty((0, self._channels), dtype=np.float32)
        known = self.take(windows.row, measured, found, over, memory["errors"])
        if not len(over):
            return windows
        before = np.full((len(windows), self._channels), np.nan, dtype=np.float32)
        before[over] = known
        return replace(windows, errors_before=before)

    def measured(self, row: Int64Array, resting: BoolArray, until: NDArray[np.int32]) -> Int64Array:
        """Which of n windows, in order, are to be measured: rising indices. Moves `until` on.

        Args:
            row: (n,) of each window's series.
            resting: (n,) whether the series is at rest in it.
        """
        at = np.flatnonzero(resting)
        at = at[stable_order(row[at])]
        rows, firsts, counts = np.unique(row[at], return_index=True, return_counts=True)
        before = until[rows]
        number = np.arange(len(at)) - np.repeat(firsts + before, counts)  # of each among its series' windows at rest
        until[rows] = (before - counts) % self.every
        return np.sort(at[(number >= 0) & (number % self.every == 0)])

    def take(
        self, row: Int64Array, measured: Int64Array, found: Float32Array, asked: Int64Array, errors: Float32Array
    ) -> Float32Array:
        """The means before each window of `asked`, (len(asked), channels); NaN where nothing was measured before.

        Moves `errors` on, which hold NaN for a series of which nothing was measured.

        Args:
            row: (n,) of each window's series.
            measured: rising indices of windows, `found` their errors (len(measured), channels).
            asked: indices of other windows.
        """
        in_order = measured[stable_order(row[measured])]
        before = _newest_before(row, in_order, asked)
        means, lasts, place = _means(row[in_order], found[np.searchsorted(measured, in_order)], errors)
        made: Float32Array = errors[row[asked]]
        made[before >= 0] = means[place[before[before >= 0]]]
        errors[row[in_order[lasts]]] = means[place[lasts]]
        return made


def _means(rows: Int64Array, found: Float32Array, errors: Float32Array) -> tuple[Float32Array, Int64Array, Int64Array]:
    """The means after each of n measured windows, in order of series; those of each as they are decided.

    Returns:
        The means (n, channels), all first ones of the series, then all second ones and so on, so that each round is one
        piece of memory; which windows are the last of their series; and where the mean after each window stands.
    """
    begins = np.flatnonzero(np.diff(rows, prepend=-1) != 0)
    counts = np.diff(begins, append=len(rows))
    most = np.argsort(-counts, kind="stable")  # series with most first: those that have another one are the first
    rank = np.empty_like(most)
    rank[most] = np.arange(len(most))
    number = np.arange(len(rows)) - np.repeat(begins, counts)
    sizes = np.bincount(number)
    place = (np.cumsum(sizes) - sizes)[number] + np.repeat(rank, counts)
    means = np.empty_like(found)
    means[place] = found
    mean = errors[rows[begins[most]]]
    unknown = np.isnan(mean).any(axis=1)
    mean[unknown] = means[: len(most)][unknown]
    first = 0
    for size in sizes.tolist():
        mean, before = means[first : first + size], mean[:size]
        mean -= before
        mean *= NEWEST
        mean += before
        first += size
    return means, begins + counts - 1, place


def _newest_before(row: Int64Array, measured: Int64Array, asked: Int64Array) -> Int64Array:
    """The place in `measured`, which is in order of series, of each window's newest of the same series; or -1."""
    span = len(row)
    place = np.searchsorted(row[measured] * span + measured, row[asked] * span + asked) - 1
    same = (place >= 0) & (row[measured][place] == row[asked]) if len(measured) else np.zeros(len(asked), np.bool_)
    return np.where(same, place, -1)
