"""From window scores to point scores, and the metrics of a series that is labelled point by point.

Rules of this file: a window is known by the row that closes it, and its score by the same row. Two ways, both with the
lag they cost; the metrics say which one was used.

    length 4, hop 3      rows  0  1  2  3  4  5  6  7  8  9
                         A    [a  a  a  a]
                         B             [b  b  b  b]
                         C                      [c  c  c  c]
    causal                     -  -  -  a  a  a  b  b  b  c     what the daemon knows at that row
    overlap mean               a  a  a ab  b  b bc  c  c  c     known once the last window over the row has closed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, FloatArray, Int64Array
from monitor.errors import DataError
from training.metrics import vus
from training.metrics.windows import Oracle, auroc, average_precision, best_f1

Way = Literal["causal", "overlap_mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointScores:
    """A score for each row of a series.

    `values` (n,) float64, NaN where a row has none. `lag_rows`: a row's value is known at most so many rows later, and
    a live alert can't be sooner. The causal lag is 0, but a causal value speaks of the whole window that closed last:
    up to `length - 1` rows before it closed, and it still stands up to `hop - 1` rows after.
    """

    values: NDArray[np.float64]
    way: Way
    lag_rows: int


def causal(scores: FloatArray, first: Int64Array, last: Int64Array, rows: int) -> PointScores:
    """A row's score is that of the newest window that has closed by then; it holds until the next one closes.

    Rows before the first window closes have none. A window that could not be scored is the newest all the same: its
    rows have none either. After the last window the score holds to the end, and over gaps too.

    Args:
        scores: (m,) of windows in the order of their closing rows; NaN = unscorable.
        first, last: (m,) first and last row of each window.
        rows: length of the series.

    Raises:
        DataError: windows are out of order or outside the series.
    """
    _check(scores, first, last, rows)
    newest = np.searchsorted(last, np.arange(rows), side="right")
    values = np.concatenate([[np.nan], scores.astype(np.float64)])[newest]
    return PointScores(values=values, way="causal", lag_rows=0)


def overlap_mean(scores: FloatArray, first: Int64Array, last: Int64Array, rows: int) -> PointScores:
    """A row's score is the mean of all windows that hold it, those that could not be scored left out.

    Rows that no scored window holds have none. The lag is a window's length less one, whatever the hop: a row at the
    start of its last window waits for that window to close.

    Args and errors as in `causal`; the windows must start in order too.
    """
    _check(scores, first, last, rows)
    scored = ~np.isnan(scores)
    kept, starts, ends = scores[scored].astype(np.float64), first[scored], last[scored]
    at = np.arange(rows)
    lowest = np.searchsorted(ends, at)  # windows before it have closed
    beyond = np.searchsorted(starts, at, side="right")  # this one and later have not begun
    covering = beyond - lowest
    # Each row's windows are summed afresh: a running sum would tell equal scores apart by its rounding.
    bounds = np.column_stack([lowest, beyond]).ravel()
    sums = np.add.reduceat(np.append(kept, 0.0), bounds)[::2] if rows else np.zeros(0)
    values = np.where(covering > 0, sums / np.maximum(covering, 1), np.nan)
    lag = int((last - first).max()) if len(last) else 0
    return PointScores(values=values, way="overlap_mean", lag_rows=lag)


class PointMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of one series' point scores, without a threshold; `oracle` has one, and says so.

    AUROC and average precision leave the `unscorable` rows out; the volumes can't, there they are flagged last. `share`
    is the labelled rows': the average precision of random scores is about that.
    """

    way: Way
    lag_rows: int
    rows: int
    unscorable: int
    share: float | None
    auroc: float | None
    average_precision: float | None
    volume: vus.Volume | None
    oracle: Oracle | None


def point_metrics(anomalous: BoolArray, scores: PointScores, *, window: int) -> PointMetrics:
    """All of them.

    Args:
        anomalous: (n,) labelled rows.
        window: the widest buffer of the volume, usually `vus.period` of the series.

    Raises:
        DataError: labels and scores are not of the same rows.
    """
    rows = len(anomalous)
    if len(scores.values) != rows:
        raise DataError(f"series: {rows} labels and {len(scores.values)} point scores; they must be of the same rows")
    scored = ~np.isnan(scores.values)
    truth, values = anomalous[scored], scores.values[scored]
    return PointMetrics(
        way=scores.way,
        lag_rows=scores.lag_rows,
        rows=rows,
        unscorable=int((~scored).sum()),
        share=float(anomalous.mean()) if rows else None,
        auroc=auroc(truth, values),
        average_precision=average_precision(truth, values),
        volume=vus.volume(anomalous, scores.values, window),
        oracle=best_f1(truth, values),
    )


def _check(scores: FloatArray, first: Int64Array, last: Int64Array, rows: int) -> None:
    if not len(scores) == len(first) == len(last):
        raise DataError(f"series: {len(scores)} scores for {len(first)} first and {len(last)} last rows of windows")
    ordered = bool((np.diff(last) > 0).all() and (np.diff(first) >= 0).all() and (first <= last).all())
    if not ordered:
        raise DataError("series: windows are not in the order of their rows, each closing later than the one before")
    if len(last) and (first[0] < 0 or last[-1] >= rows):
        raise DataError(
            f"series: windows from row {first[0]} to row {last[-1]}, but the series has rows 0 to {rows - 1}"
        )
