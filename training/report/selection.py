"""Which test windows there are pictures of, and how long arrays are made short enough for a page.

Rules of this file: pure numpy, deterministic; what is left out is left out by rule, never by chance. The worst mistakes
are the worst by score, not the most telling ones.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, FloatArray, Int64Array
from training.report.content import Tested

EXAMPLES = 6
CURVE_CELLS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Indices of test windows, each at most `EXAMPLES`.

    With labels: `quiet` are normal windows rightly passed and `loud` anomalies rightly flagged, both spread evenly over
    their scores; `false_alarms` are the normal windows of the highest scores over the threshold, worst first, and
    `misses` the anomalies of the lowest scores under it. Without labels `quiet` and `loud` are what is under and over
    the threshold, and the other two are empty.
    """

    quiet: Int64Array
    loud: Int64Array
    false_alarms: Int64Array
    misses: Int64Array


def select(tested: Tested) -> Selection:
    """Chooses by score and truth; unscorable windows are in no part."""
    scored, none = np.isfinite(tested.scores), np.zeros(0, np.int64)
    over, under = scored & tested.flagged, scored & ~tested.flagged
    if tested.truth is None:
        return Selection(
            quiet=_spread(under, tested.scores), loud=_spread(over, tested.scores), false_alarms=none, misses=none
        )
    return Selection(
        quiet=_spread(under & ~tested.truth, tested.scores),
        loud=_spread(over & tested.truth, tested.scores),
        false_alarms=_by_score(over & ~tested.truth, tested.scores)[::-1][:EXAMPLES],
        misses=_by_score(under & tested.truth, tested.scores)[:EXAMPLES],
    )


def shown(tested: Tested) -> Int64Array:
    """All indices that the report has pictures of, increasing: only these need reconstructions."""
    chosen = select(tested)
    return np.unique(np.concatenate([chosen.quiet, chosen.loud, chosen.false_alarms, chosen.misses]))


def _by_score(which: BoolArray, scores: FloatArray) -> Int64Array:
    indices = np.flatnonzero(which)
    return indices[np.argsort(scores[indices], kind="stable")].astype(np.int64)


def _spread(which: BoolArray, scores: FloatArray) -> Int64Array:
    """`EXAMPLES` indices at even steps of rank, from the lowest score to the highest."""
    indices = _by_score(which, scores)
    steps = np.unique(np.linspace(0, len(indices) - 1, min(EXAMPLES, len(indices))).round().astype(np.int64))
    return indices[steps]


def envelope(values: FloatArray, points: int) -> Int64Array:
    """Indices (m,) that keep the outline of `values` (n,) with about `points` of them: ends of each bucket's range.

    All indices where n is small enough; NaN is passed over, a bucket of nothing else keeps its first index.
    """
    count = len(values)
    if count <= points:
        return np.arange(count, dtype=np.int64)
    edges = np.linspace(0, count, points // 2 + 1).astype(np.int64)
    indices = [0, count - 1]
    for start, end in itertools.pairwise(edges):
        bucket = values[start:end]
        low, high = np.where(np.isnan(bucket), np.inf, bucket), np.where(np.isnan(bucket), -np.inf, bucket)
        indices += [int(start + np.argmin(low)), int(start + np.argmax(high))]
    return np.unique(np.array(indices, dtype=np.int64))


def distinct(x: FloatArray, y: FloatArray) -> Int64Array:
    """Indices (m,) of a curve's points, one for each cell of a grid over [0, 1] squared, and the last."""
    cells = np.round(x * CURVE_CELLS).astype(np.int64) * (CURVE_CELLS + 1) + np.round(y * CURVE_CELLS).astype(np.int64)
    _, first = np.unique(cells, return_index=True)
    return np.unique(np.append(first, len(x) - 1)) if len(x) else np.zeros(0, np.int64)


def thinned(which: BoolArray, most: int) -> Int64Array:
    """At most `most` indices where `which` (n,) holds, at even steps."""
    indices = np.flatnonzero(which).astype(np.int64)
    if len(indices) <= most:
        return indices
    return indices[np.linspace(0, len(indices) - 1, most).round().astype(np.int64)]


def bins(scores: FloatArray, threshold: float) -> tuple[NDArray[np.float64], bool]:
    """Edges of a histogram of all finite `scores` and `threshold`, and whether they are even in logarithm.

    There are 12 to 60 bins, more for more scores. They are even in logarithm where the highest score is far over the
    usual one, as the histogram would else be one bar.
    """
    held = np.append(scores[np.isfinite(scores)], threshold).astype(np.float64)
    count = int(np.clip(2 * np.sqrt(len(held)), 12, 60))
    low, high = float(held.min()), float(held.max())
    if low > 0 and high > 5 * float(np.median(held)):
        return np.geomspace(low, high, count + 1), True
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, count + 1), False
