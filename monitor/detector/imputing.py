"""What stands for the missing numbers of a window when it is scored.

    a channel that has numbers in the window     filled along time, linearly, ends held
    one that has none                            what the model expects of it, given the others
    too much is missing                          nothing: the window is all NaN, and unscorable

The model is asked with what the channel was in training on in its place; its answer differs little from what it would
expect with that in place, and the score is that of the channels that are there. To ask again (`ROUNDS`) changes little:
`tests/benchmarks/missing_channels.py`.

Rules of this file: windows without missing numbers are left as they are, to the bit. Daemon, `replay` and the trainer's
evaluation fill in here and nowhere else; training itself leaves out what would take a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from monitor.detector import ranges
from monitor.detector.arrays import BoolArray, Float32Array
from monitor.detector.artifact import Artifact
from monitor.detector.windows import fill_missing, impute_or_blank

# The share of a window's numbers that may be missing where neither the operator nor the artifact says more.
MAX_MISSING_RATIO = 0.1
ROUNDS = 1


class Imputed(NamedTuple):
    """Windows (n, rows, channels) as they are scored, and of each the share of its numbers that is missing, (n,).

    `throughout` (n, channels) marks channels that have no number in a window; None where all have some.
    """

    windows: Float32Array
    missing_ratio: Float32Array
    throughout: BoolArray | None = None


class Imputer:
    """Fills in the windows of one artifact."""

    def __init__(
        self,
        artifact: Artifact,
        reconstruct: Callable[[Float32Array], Float32Array],
        max_missing_ratio: float | None = None,
    ) -> None:
        """`max_missing_ratio` None: as much as the artifact allows, `MAX_MISSING_RATIO` at least."""
        own = max(artifact.manifest.window.max_missing_ratio, MAX_MISSING_RATIO)
        self._most = own if max_missing_ratio is None else max_missing_ratio
        self._reconstruct = reconstruct
        self._length = artifact.manifest.window.length
        self._ranges = ranges.of(artifact.manifest)
        samples = artifact.known_windows[:, : self._length]
        self._usual = samples.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)  # by channel

    def __call__(self, windows: Float32Array) -> Imputed:
        """`windows` are left as they are; the same array is returned where nothing is missing."""
        samples = windows[:, : self._length]
        filled, ratio = impute_or_blank(samples, self._most)
        if filled is samples:
            return Imputed(windows, ratio)
        if windows.shape[1] > self._length:
            filled = np.concatenate([filled, windows[:, self._length :]], axis=1)
        throughout = np.isnan(samples).all(axis=1) & (ratio <= self._most)[:, None]
        rows = np.flatnonzero(throughout.any(axis=1))
        if not len(rows):
            return Imputed(filled, ratio)
        filled[rows] = self._expected(filled[rows])
        return Imputed(filled, ratio, throughout)

    def expected(self, windows: Float32Array, reconstruct: Callable[[Float32Array], Float32Array]) -> Float32Array:
        """What is expected instead of complete `windows` (n, length, channels), for people; `reconstruct` is asked.

        Where numbers are far from all that training saw, such as -9999, the model's answer to them means nothing, and
        it is wrong about the other channels, too: it is asked as if they were missing.
        """
        far = self._ranges.far(windows)
        far[:, self._length :] = False
        if not far.any():
            return reconstruct(windows)
        windows = fill_missing(np.where(far, np.float32(np.nan), windows))
        unknown = np.isnan(windows).any(axis=(1, 2))
        windows[unknown] = self._expected(windows[unknown])
        return reconstruct(windows)

    def _expected(self, windows: Float32Array) -> Float32Array:
        """`windows` with what the model expects where they have no number."""
        missing = np.isnan(windows)
        made = np.where(missing, self._usual, windows)
        for _ in range(ROUNDS):
            made[missing] = self._reconstruct(made)[missing]
        return made
