"""How far a metric could have been from what was seen: percentile bootstrap.

Rules of this file: what is drawn again is what is independent. Windows with a label each: windows, in each class
separately, so that a draw never lacks one. Several series: series. One long series: blocks of it, since neighbouring
rows are nearly the same row; events are not cut, but drawn with the segment they begin in. An interval says nothing of
another data set, nor of a model trained with another seed.

References:
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; Kunsch 1989 for blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, Float64Array, FloatArray, Int64Array
from monitor.errors import DataError

RESAMPLES, LEVEL = 1_000, 0.95
BLOCK_RESAMPLES = 200
CELLS = 4_000_000  # of one chunk's count matrices: 32 MB each


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """The middle `level` of the metric over `resamples` draws."""

    low: float
    high: float
    level: float
    resamples: int


class Intervals(msgspec.Struct, frozen=True, kw_only=True):
    """Of the metrics of `windows.report`; None where the metric is None."""

    accuracy: Interval | None
    anomaly_f1: Interval | None
    normal_f1: Interval | None
    auroc: Interval | None
    average_precision: Interval | None


def of_windows(
    anomalous: BoolArray,
    scores: FloatArray,
    flagged: BoolArray,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Intervals:
    """Draws the anomalous and the normal windows again, each with replacement, all metrics from the same draws.

    Windows that overlap in time are not independent, and their interval is too narrow: use `of_draws` there.

    Args:
        anomalous, scores, flagged: (n,) as in `windows.report`; unscorable windows are left out.
    """
    scored = ~np.isnan(scores)
    truth, found = anomalous[scored], flagged[scored]
    distinct, places = np.unique(scores[scored], return_inverse=True)
    rng = np.random.default_rng(seed)
    columns: list[list[Float64Array]] = []
    chunk = max(CELLS // max(len(distinct), 1), 1)
    for start in range(0, resamples if len(truth) else 0, chunk):
        count = min(chunk, resamples - start)
        # which windows were drawn, as counts at each distinct score and of the flagged ones
        anomalies, hits = _drawn(places[truth], found[truth], count, len(distinct), rng)
        normals, alarms = _drawn(places[~truth], found[~truth], count, len(distinct), rng)
        columns.append(_metrics(anomalies, normals, hits, alarms, int(truth.sum()), int((~truth).sum())))
    parts = [np.concatenate(column) for column in zip(*columns, strict=True)] or [np.zeros(0)] * 5
    accuracy, anomaly_f1, normal_f1, auroc, average = (interval(part, level=level) for part in parts)
    return Intervals(
        accuracy=accuracy, anomaly_f1=anomaly_f1, normal_f1=normal_f1, auroc=auroc, average_precision=average
    )


def over_series(
    values: Sequence[float | None], *, seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval | None:
    """The mean over series, series drawn again; None with fewer than two metrics. Series without one are left out."""
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if len(known) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(known), size=(resamples, len(known)))
    return interval(known[drawn].mean(axis=1), level=level)


def over_draws(
    metrics: Callable[[Int64Array], Sequence[float | None]], draws: Iterable[Int64Array], *, level: float = LEVEL
) -> list[Interval | None]:
    """Several metrics of the same draws.

    Args:
        metrics: of what was drawn, as indices (k,); None for a metric that the draw does not have.
        draws: from `series_draws` or `block_draws`, one at least.

    Returns:
        One for each metric; None where fewer than half the draws gave it, or where one is NaN.
    """
    return [_of_most(column, level) for column in zip(*map(metrics, draws), strict=True)]


def of_draws(
    anomalous: BoolArray, scores: FloatArray, flagged: BoolArray, draws: Iterable[Int64Array], *, level: float = LEVEL
) -> Intervals:
    """As `of_windows`, of windows (or rows) that are drawn together; a draw without a class has no metric of it."""
    scored = ~np.isnan(scores)
    distinct, inverse = np.unique(scores[scored], return_inverse=True)
    places = np.zeros(len(scores), dtype=np.int64)
    places[scored] = inverse

    def metrics(drawn: Int64Array) -> list[float | None]:
        kept = drawn[scored[drawn]]
        truth, found = anomalous[kept], flagged[kept]
        counts = np.bincount(places[kept] + len(distinct) * truth, minlength=2 * len(distinct))
        normals, anomalies = counts.astype(np.float64).reshape(2, 1, len(distinct))
        hits, alarms = np.array([(found & truth).sum()]), np.array([(found & ~truth).sum()])
        positives = int(truth.sum())
        columns = _metrics(anomalies, normals, hits, alarms, positives, len(truth) - positives)
        return [None if np.isnan(column[0]) else float(column[0]) for column in columns]

    accuracy, anomaly_f1, normal_f1, auroc, average = over_draws(metrics, draws, level=level)
    return Intervals(
        accuracy=accuracy, anomaly_f1=anomaly_f1, normal_f1=normal_f1, auroc=auroc, average_precision=average
    )


def series_draws(owners: Int64Array, *, seed: int, resamples: int = RESAMPLES) -> Iterator[Int64Array]:
    """Whole series drawn again: the places, in `owners` (n,), of all that is of those drawn."""
    _, codes = np.unique(owners, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.concatenate([parts[series] for series in rng.integers(0, len(parts), size=len(parts))])


def block_draws(rows: int, block: int, *, seed: int, resamples: int = BLOCK_RESAMPLES) -> Iterator[Int64Array]:
    """Moving blocks laid end to end: so many places (rows,) as there are rows.

    Raises:
        DataError: `block` is not between 1 row and the series.
    """
    if not 1 <= block <= rows:
        raise DataError(f"bootstrap: blocks of {block} rows of a series of {rows}; give 1 to {rows} rows")
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        starts = rng.integers(0, rows - block + 1, size=math.ceil(rows / block))
        yield (starts[:, None] + np.arange(block)).ravel()[:rows]


def interval(values: Float64Array, *, level: float = LEVEL) -> Interval | None:
    """The percentiles of (resamples,) values; None without any, or where one is NaN."""
    if not len(values) or np.isnan(values).any():
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high), level=level, resamples=len(values))


def _of_most(metrics: Sequence[float | None], level: float) -> Interval | None:
    known = np.array([value for value in metrics if value is not None], dtype=np.float64)
    return interval(known, level=level) if 2 * len(known) >= len(metrics) else None


def _drawn(
    places: NDArray[np.int64], found: BoolArray, count: int, distinct: int, rng: np.random.Generator
) -> tuple[Float64Array, Float64Array]:
    """`count` draws of one class: how many at each distinct score (count, distinct), and how many flagged (count,)."""
    if not len(places):
        return np.zeros((count, distinct)), np.zeros(count)
    drawn = rng.integers(0, len(places), size=(count, len(places)))
    cells = places[drawn] + distinct * np.arange(count)[:, None]
    counts = np.bincount(cells.ravel(), minlength=count * distinct).reshape(count, distinct)
    return counts.astype(np.float64), found[drawn].sum(axis=1).astype(np.float64)


def _metrics(
    anomalies: Float64Array,
    normals: Float64Array,
    hits: Float64Array,
    alarms: Float64Array,
    positives: int,
    negatives: int,
) -> list[Float64Array]:
    """Accuracy, F1 of anomalies, F1 of normal windows, AUROC and average precision of each draw; NaN for none."""
    nothing = np.full(len(hits), np.nan)
    misses, passed = positives - hits, negatives - alarms
    wrong = misses + alarms
    auroc, average = nothing, nothing
    if positives:
        reached = np.cumsum(anomalies[:, ::-1], axis=1)
        flagged = reached + np.cumsum(normals[:, ::-1], axis=1)
        precision = reached / np.maximum(flagged, 1)
        average = (anomalies[:, ::-1] * precision).sum(axis=1) / positives
    if positives and negatives:
        under = np.cumsum(normals, axis=1) - normals / 2
        auroc = (anomalies * under).sum(axis=1) / (positives * negatives)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: no metric
        return [
            (hits + passed) / (positives + negatives),
            2 * hits / (2 * hits + wrong),
            2 * passed / (2 * passed + wrong),
            auroc,
            average,
        ]
