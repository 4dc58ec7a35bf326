"""The mean of a series' recent scores, which is compared with the threshold instead of the newest score alone.

A fault that lasts moves many scores a little; noise moves single ones. Before a series has so many windows, the usual
score of normal windows stands for those that are missing, so that its first windows open nothing by chance.

Rules of this file: pure, and a function of each series' own windows in order, however they are handed over. Windows
without a score have none here either, and count nowhere. Sums are taken in one order, newest first. No loop over
windows or series: one over the windows of a mean.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import Float32Array, Float64Array, Int64Array, stable_order
from monitor.detector.following import Measure, ScoredWindows
from monitor.detector.memory import Memory
from monitor.detector.spec import SmoothingSpec


class Smoothing:
    """The scores of many series, smoothed: a `Follower`."""

    def __init__(self, spec: SmoothingSpec) -> None:
        self._spec = spec

    @property
    def nothing(self) -> np.void:
        """A series without a window yet: its last scores, the oldest first, were usual ones."""
        before = self._spec.windows - 1
        return np.void((np.full(before, self._spec.usual),), np.dtype([("scores", "<f4", (before,))]))

    @property
    def name(self) -> str:
        """By all that its numbers mean something by."""
        return f"smoothing {self._spec.windows}"

    def advance(self, windows: ScoredWindows, memory: Memory, _measure: Measure | None = None, /) -> ScoredWindows:
        """The windows with their means as scores."""
        scored = np.flatnonzero(~np.isnan(windows.score))
        at = scored[stable_order(windows.row[scored])]
        made = windows.score.copy()
        made[at] = self._means(windows.row[at], windows.score[at], memory["scores"])
        return replace(windows, score=made)

    def _means(self, row: Int64Array, scores: Float32Array, last: NDArray[np.float32]) -> Float64Array:
        """Of scores (n,) in order of series; `last` (rows, windows - 1), the scores before, moves on."""
        before = self._spec.windows - 1
        firsts = np.flatnonzero(np.diff(row, prepend=-1))
        sizes, rows = np.diff(firsts, append=len(row)), row[firsts]
        # Each series' last scores, then its new ones; the series one after the other.
        starts = np.cumsum(sizes + before) - sizes - before
        place = np.arange(len(row)) + np.repeat(before * (1 + np.arange(len(rows))), sizes)
        together = np.empty(len(row) + before * len(rows), dtype=np.float32)
        together[starts[:, None] + np.arange(before)] = last[rows]
        together[place] = scores
        total = np.zeros(len(row))
        for back in range(self._spec.windows):
            total += together[place - back]
        last[rows] = together[(starts + sizes)[:, None] + np.arange(before)]
        return total / self._spec.windows


def smoothed(scores: Float32Array, series: NDArray[Any] | None, spec: SmoothingSpec | None) -> Float32Array:
    """Scores (n,) of windows in order of time within each of the `series` (n,), from their first on; None: of one."""
    if spec is None or not len(scores):
        return scores
    numbers = np.zeros(len(scores), dtype=np.int64)
    if series is not None:
        numbers = np.unique(series, return_inverse=True)[1].astype(np.int64)
    follower = Smoothing(spec)
    windows = ScoredWindows(numbers, np.zeros(len(scores), np.int64), scores, np.ones(len(scores)))
    return follower.advance(windows, Memory.full(int(numbers.max()) + 1, follower.nothing)).score
