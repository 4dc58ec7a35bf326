"""What a score needs besides the model, fitted offline: a whitening matrix, prototypes or codes of normal windows.

Rules of this file: scaled windows, flat (n, size); nothing of the test split is seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from monitor.detector.arrays import Float32Array
from monitor.detector.beats import score as beats
from monitor.errors import DataError
from training.recipes.schema import ScorePart

STARTS = 4  # of k-means; the best is kept
MANY = 512  # centres, for which one start is enough, and takes a while
PASSES = 50
MOST_ROWS = 10_000
# A direction in which residuals hardly move is not taken for more than this part of the mean variance.
LEAST_VARIANCE = 1e-6
# What is measured of beats is in units of this quantile of normal ones, or of so little, at least.
BEAT_QUANTILE, LEAST_BEAT_SCALE = 0.9, 1e-3
# A channel whose error is usually smaller counts as if it were this part of what is usual of all channels.
LEAST_USUAL = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What tensors are fitted on: scaled normal windows, flat.

    `fitted`, `reconstructed` (n, size) are the windows of so many `channels` that fitted the model, and what it makes
    of what of them is modelled; `held`, `held_reconstructed` (m, size) those that were held out for the score alone,
    none unless its row asks for them. `codes` gives the model's codes (k, code) of such windows (k, size).
    """

    score: ScorePart
    channels: int
    codes: Callable[[Float32Array], Float32Array]
    fitted: Float32Array
    reconstructed: Float32Array
    held: Float32Array
    held_reconstructed: Float32Array
    seed: int


class Fitting(NamedTuple):
    """How a kind of score gets its tensors, by the names that its row of `scores.KINDS` gives them.

    `held_out`: from windows of the calibration, which then have no say in the threshold.
    """

    fit: Callable[[Material], dict[str, Float32Array]]
    held_out: bool = False


def _prototypes(material: Material) -> dict[str, Float32Array]:
    score = material.score
    source = material.fitted if score.prototypes_of == "windows" else material.reconstructed
    return {"centres": centres(source, score.prototypes, material.seed)}


def _whitening(material: Material) -> dict[str, Float32Array]:
    if len(material.held) < 2:
        raise DataError(
            'score.kind "whitened" needs calibration windows for covariance and threshold: give more normal data'
        )
    return whitening(material.held - material.held_reconstructed)


def _beat_scales(material: Material) -> dict[str, Float32Array]:
    """The quantile of normal beats, of each of what is measured of them."""
    size = material.reconstructed.shape[1]
    channels = (material.fitted.shape[1] - 2 * size) // 2  # of windows with twice as many rows as are modelled, and two
    count = len(material.fitted)
    parts = beats.parts(material.fitted.reshape(count, -1, channels))
    expected = material.reconstructed.reshape(count, -1, channels)
    measured = np.asarray(beats.measures(parts.relative, jnp.asarray(expected), parts.early), dtype=np.float64)
    found = np.quantile(measured, BEAT_QUANTILE, axis=0)
    return {"scales": np.maximum(found, LEAST_BEAT_SCALE).astype(np.float32)}


def _memory(material: Material) -> dict[str, Float32Array]:
    """Evenly chosen, so that every time of the training has its share."""
    count = min(material.score.memory, len(material.fitted))
    chosen = np.linspace(0, len(material.fitted) - 1, count).astype(np.int64)
    return {"codes": material.codes(material.fitted[chosen])}


def _usual_errors(material: Material) -> dict[str, Float32Array]:
    squares = np.square(material.fitted - material.reconstructed, dtype=np.float64).mean(axis=0)
    each = np.sqrt(squares.reshape(-1, material.channels).mean(axis=0))
    least = max(LEAST_USUAL * float(np.sqrt(squares.mean())), float(np.finfo(np.float32).tiny))
    return {"usual": np.maximum(each, least).astype(np.float32)}


# The kinds of `scores.KINDS` that have tensors.
FITTED = {
    "prototype": Fitting(_prototypes),
    "whitened": Fitting(_whitening, held_out=True),
    "beat": Fitting(_beat_scales),
    "memory": Fitting(_memory),
    "nearest_code": Fitting(_memory),
    "worst_channels": Fitting(_usual_errors),
}


def held_out(kind: str) -> bool:
    """Whether a kind of score is fitted on windows of the calibration."""
    return kind in FITTED and FITTED[kind].held_out


def centres(rows: Float32Array, count: int, seed: int) -> Float32Array:
    """k-means centres (count, size) of `rows`, the best of a few starts; as many as there are rows at most.

    Of more than 10,000 rows so many are drawn: more take minutes and move the centres little.

    References:
        Arthur & Vassilvitskii 2007, "k-means++"; Lloyd 1982.
    """
    from scipy.cluster.vq import ClusterError, kmeans2  # a quarter of a second that other scores don't need

    if len(rows) > MOST_ROWS:
        drawn = np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False)
        rows = rows[np.sort(drawn)]
    table = rows.astype(np.float64)
    distinct = np.unique(table, axis=0)
    if len(distinct) <= count:
        return distinct.astype(np.float32)
    best, least = table[:count], np.inf
    for start in range(STARTS if count <= MANY else 1):
        rng = np.random.default_rng([seed, start])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found, nearest = kmeans2(table, count, iter=PASSES, minit="++", missing="raise", rng=rng)
        except (ClusterError, UserWarning):  # a centre lost all its rows: another start has another fate
            continue
        spread = float(np.square(table - found[nearest]).sum())
        if spread < least:
            best, least = found, spread
    return best.astype(np.float32)


def whitening(residuals: Float32Array) -> dict[str, Float32Array]:
    """Mean (size,) and symmetric whitening matrix (size, size) of residuals (n, size).

    The covariance is shrunk towards a multiple of the identity by size / (size + n): with fewer residuals than numbers
    in one it is mostly that.
    """
    table = residuals.astype(np.float64)
    mean = table.mean(axis=0)
    size = table.shape[1]
    covariance = np.cov(table, rowvar=False).reshape(size, size)
    level = max(float(np.trace(covariance)) / size, float(np.finfo(np.float32).tiny))
    shrink = size / (size + len(table))
    values, vectors = np.linalg.eigh((1 - shrink) * covariance + shrink * level * np.eye(size))
    inverse = (vectors / np.sqrt(np.maximum(values, LEAST_VARIANCE * level))) @ vectors.T
    return {"mean": mean.astype(np.float32), "whitener": inverse.astype(np.float32)}
