"""The linear autoencoder by squared error, fitted exactly: its best kernels are principal components.

Rules of this file: float64 throughout, and no randomness. The served network is the one that gradient descent would
approach, so that nothing but the trainer knows how it was found.

References:
    Baldi & Hornik 1989, "Neural networks and principal component analysis: Learning from examples without local
    minima".
"""

from __future__ import annotations

import numpy as np

from monitor.detector.arrays import Float32Array, Float64Array

# Windows of more numbers are decomposed by at most so many rows, evenly chosen: one such matrix takes 2 s.
MOST = 2_048
_CHUNK = 4_096  # rows that are float64 at a time


def fit(rows: Float32Array, width: int) -> dict[str, Float32Array]:
    """Parameters of the linear autoencoder of `width` with the least squared error on scaled windows (n, size)."""
    mean = rows.mean(axis=0, dtype=np.float64)
    kernel = components(rows, mean, width)
    return {
        "layers.0.kernel": kernel.astype(np.float32),
        "layers.0.bias": (-mean @ kernel).astype(np.float32),
        "layers.1.kernel": np.ascontiguousarray(kernel.T, dtype=np.float32),
        "layers.1.bias": mean.astype(np.float32),
    }


def components(rows: Float32Array, mean: Float64Array, count: int) -> Float64Array:
    """The first `count` principal components of rows (n, size) about `mean` (size,): (size, count), each of length 1.

    Each one's largest number is positive. Where there are fewer, the others are 0: nothing is left for them.
    """
    found = (_of_columns if rows.shape[1] <= MOST else _of_rows)(rows, mean)[:, :count]
    signs = np.sign(np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0))
    return np.pad(found * signs, ((0, 0), (0, count - found.shape[1])))


def _of_columns(rows: Float32Array, mean: Float64Array) -> Float64Array:
    covariance = np.zeros((len(mean), len(mean)))
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK] - mean
        covariance += part.T @ part
    _, vectors = np.linalg.eigh(covariance)
    ordered: Float64Array = vectors[:, ::-1]
    return ordered


def _of_rows(rows: Float32Array, mean: Float64Array) -> Float64Array:
    """The same of windows with many numbers, from the products of some of the rows with each other."""
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, MOST).astype(np.int64))] - mean
    squares, vectors = np.linalg.eigh(chosen @ chosen.T)
    kept = squares > squares[-1] * len(squares) * np.finfo(np.float64).eps
    ordered: Float64Array = (chosen.T @ (vectors[:, kept] / np.sqrt(squares[kept])))[:, ::-1]
    return ordered
