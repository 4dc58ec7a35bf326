"""Baselines: metrics mean little without them.

Rules of this file: a baseline sees the same fitting windows, scaled the same way, as the model that it is compared
with, and no test windows. PCA is the linear autoencoder; the distance to neighbours is what remembering the data gives.

References:
    Ramaswamy et al. 2000, Efficient Algorithms for Mining Outliers from Large Data Sets, SIGMOD: distance to the k-th
    nearest neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from monitor.detector.arrays import BoolArray, Float64Array, FloatArray
from monitor.errors import DataError
from training.metrics.windows import ClassMetrics, class_metrics

MAX_PCA_SIZE = 2_048
NEIGHBOURS = 5
MAX_REMEMBERED = 5_000  # windows; 5,000 of 140 samples are 5.6 MB
CHUNK_BYTES = 64 * 2**20


class TrivialBaseline(msgspec.Struct, frozen=True, kw_only=True):
    """Expected metrics of flagging without looking at the data."""

    accuracy: float | None
    anomaly: ClassMetrics
    auroc: float | None
    average_precision: float | None


def expected(anomalous: BoolArray, flagged_share: float) -> dict[str, TrivialBaseline]:
    """Expected metrics of flagging everything, and of flagging at random as many windows as the detector flags."""
    rows, positives = len(anomalous), int(anomalous.sum())
    share = positives / rows if rows else None
    at_random = random_average_precision(rows, positives)
    return {
        "flag_everything": _trivial(share, 1.0, share if positives else None),
        "random": _trivial(share, flagged_share, at_random),
    }


def beside(anomalous: BoolArray, scores: FloatArray, flagged: BoolArray) -> dict[str, TrivialBaseline]:
    """`expected`, for the windows (n,) that the detector's own metrics count: those it could score."""
    scored = ~np.isnan(scores)
    return expected(anomalous[scored], float(flagged[scored].mean()) if scored.any() else 0.0)


def random_average_precision(rows: int, positives: int) -> float | None:
    """The exact expectation over all orders of `rows` distinct scores; None without an anomaly.

    The k-th of the order is an anomaly with chance p = positives / rows, and then 1 + (k - 1)(positives - 1)/(rows - 1)
    of the first k are, on average. The share of anomalies plus a little.
    """
    if not positives:
        return None
    if rows == 1:
        return 1.0
    harmonic = float(np.sum(1 / np.arange(1, rows + 1)))
    return (harmonic + (positives - 1) / (rows - 1) * (rows - harmonic)) / rows


@dataclass(frozen=True, slots=True)
class Components:
    """The linear baseline: `mean` (size,) and an orthonormal `basis` (size, components)."""

    mean: Float64Array
    basis: Float64Array


def principal_components(fitted: FloatArray, count: int) -> Components | None:
    """The first `count` principal components of scaled normal windows (n, size).

    None where windows are too large for it to be quick (size over 2,048).
    """
    if fitted.shape[1] > MAX_PCA_SIZE:
        return None
    table = fitted.astype(np.float64)
    mean = table.mean(axis=0)
    centred = table - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return Components(mean, vectors[:, -count:])


def pca_errors(windows: FloatArray, components: Components) -> tuple[Float64Array, Float64Array]:
    """Mean absolute and mean squared error of reconstructing scaled windows (n, size) from their components, (n,)."""
    rest = windows.astype(np.float64) - components.mean
    rest -= rest @ components.basis @ components.basis.T
    absolute: Float64Array = np.abs(rest).mean(axis=1)
    squared: Float64Array = np.square(rest).mean(axis=1)
    return absolute, squared


def neighbour_distances(windows: FloatArray, remembered: FloatArray, neighbours: int = NEIGHBOURS) -> Float64Array:
    """Euclidean distance of windows (n, size) to their `neighbours`-th nearest of `remembered` (m, size), (n,).

    The farthest where there are fewer. By brute force, in chunks of at most 64 MiB of distances, from
    expanded squares: right to about 1e-8 of a window's norm, so that the distance of a window to itself is not quite 0.
    """
    memory = remembered.astype(np.float64)
    # Distances are differences of large squares: about a common middle the squares are as small as they get.
    middle = memory.mean(axis=0)
    memory = memory - middle
    squares = (memory**2).sum(axis=1)
    place = min(neighbours, len(memory)) - 1
    found = np.empty(len(windows))
    step = max(CHUNK_BYTES // (8 * len(memory)), 1)
    for start in range(0, len(windows), step):
        rows = windows[start : start + step].astype(np.float64) - middle
        distances = squares - 2 * rows @ memory.T
        nearest = np.partition(distances, place, axis=1)[:, place] + (rows**2).sum(axis=1)
        found[start : start + step] = np.sqrt(np.maximum(nearest, 0.0))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedBaselines:
    """What was fitted: `components` is None for large windows; `remembered` (m, size) float32."""

    components: Components | None
    remembered: FloatArray
    seed: int


def fit(windows: FloatArray, *, components: int, seed: int) -> FittedBaselines:
    """Learns from scaled normal windows.

    Args:
        windows: (n, length, channels) or (n, size); those with a number missing are left out.
        components: as many as the model's bottleneck is wide; at most as many as there are windows or numbers in one.
        seed: chooses the 5,000 windows to remember where there are more.

    Raises:
        DataError: no window without a missing number.
    """
    table = _flat(windows)
    table = table[np.isfinite(table).all(axis=1)]
    if not len(table):
        raise DataError(f"baselines: none of {len(windows)} fitting windows is without a missing number")
    remembered = table
    if len(table) > MAX_REMEMBERED:
        chosen = np.random.default_rng(seed).choice(len(table), MAX_REMEMBERED, replace=False)
        remembered = table[np.sort(chosen)]
    found = principal_components(table, min(components, *table.shape))
    return FittedBaselines(components=found, remembered=remembered.astype(np.float32), seed=seed)


def scores(fitted: FittedBaselines, windows: FloatArray) -> dict[str, Float64Array]:
    """The scores (n,) of each baseline, NaN where a window misses a number; those of `pca`
    (mean absolute error) and `pca_squared` are absent for large windows.

    The same metrics apply to them as to the model's; a threshold comes from `scores` of the calibration windows by the
    same rule. `random` and `flag_everything` have exact metrics in `expected`.
    """
    table = _flat(windows)
    finite = np.isfinite(table).all(axis=1)

    def spread(values: Float64Array) -> Float64Array:
        filled = np.full(len(table), np.nan)
        filled[finite] = values
        return filled

    rng = np.random.default_rng(fitted.seed)
    found = {
        "random": spread(rng.random(len(table))[finite]),
        "flag_everything": spread(np.ones(int(finite.sum()))),
        "knn": spread(neighbour_distances(table[finite], fitted.remembered)),
    }
    if fitted.components is not None:
        absolute, squared = pca_errors(table[finite], fitted.components)
        found |= {"pca": spread(absolute), "pca_squared": spread(squared)}
    return found


def _flat(windows: FloatArray) -> FloatArray:
    return windows.reshape(len(windows), int(np.prod(windows.shape[1:])))


def _trivial(share: float | None, flagged: float, average: float | None) -> TrivialBaseline:
    if share is None:
        return TrivialBaseline(accuracy=None, anomaly=class_metrics(0, 0, 0), auroc=None, average_precision=None)
    precision, recall = (share if flagged else None), (flagged if share else None)
    return TrivialBaseline(
        accuracy=share * flagged + (1 - share) * (1 - flagged),
        anomaly=ClassMetrics(precision=precision, recall=recall, f1=_harmonic(precision, recall)),
        auroc=0.5 if 0 < share < 1 else None,
        average_precision=average,
    )


def _harmonic(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None or a + b == 0 else 2 * a * b / (a + b)
