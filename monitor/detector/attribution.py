"""Which channels and samples made a score, for the people who have to look at the machine.

Rules of this file: pure. What differs from one kind of score to another is the limit in its row of `scores.KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.detector import levels
from monitor.detector.arrays import Float32Array, Float64Array
from monitor.detector.spec import Manifest

MOST_CONTRIBUTIONS = 3
# A sample whose error is less than this share of the window's worst is not named: means are then of samples alike.
LEAST_SHARE = 0.1


class Contribution(NamedTuple):
    """Samples `first` to `last` of one channel: their share of the whole error, and their means, in the data's unit."""

    channel: str
    first: int
    last: int
    share: float
    observed: float
    expected: float


class _Runs(NamedTuple):
    """Samples `first` to `end - 1` of `channel`, each (n,)."""

    channel: NDArray[np.intp]
    first: NDArray[np.intp]
    end: NDArray[np.intp]


class Attribution:
    """Says what made the scores of one artifact's windows."""

    def __init__(self, manifest: Manifest, sample_limit: Callable[[Float64Array, float], float]) -> None:
        """`sample_limit` is that of the score's kind."""
        self._sample_limit = sample_limit
        self._channels = [channel.name for channel in manifest.channels]
        self._levels = levels.of(manifest.channels)
        self._per_window = manifest.scaling.kind == "window"
        self._scale = np.asarray(manifest.scaling.scale, dtype=np.float64)

    def __call__(self, values: Float32Array, expected: Float32Array, threshold: float) -> list[Contribution]:
        """The runs of samples that lie further from what was expected than the kind's limit, worst first.

        Where the threshold is the limit there is at least one: the mean error of an anomalous window is over it. Those
        with less than a tenth of the worst error are left out. Shares are of the sum of the scaled absolute errors over
        the whole window; they sum to at most 1.

        Args:
            values, expected: (length, channels), less the channels' levels.
        """
        errors = self._errors(values, expected)
        limit = self._sample_limit(errors, threshold)
        runs = _runs((errors > limit) & (errors >= LEAST_SHARE * errors.max()))
        shares = _shares(errors, runs)
        worst = np.lexsort((runs.first, runs.channel, -shares))[:MOST_CONTRIBUTIONS]
        return [
            Contribution(
                channel=self._channels[channel],
                first=first,
                last=end - 1,
                share=share,
                observed=self._mean(values, channel, first, end),
                expected=self._mean(expected, channel, first, end),
            )
            for channel, first, end, share in zip(*(each[worst].tolist() for each in (*runs, shares)), strict=True)
        ]

    def _errors(self, values: Float32Array, expected: Float32Array) -> Float64Array:
        """Scaled absolute errors, (channels, length). In float64: what is far out of range may overflow in float32."""
        exact = values.astype(np.float64)
        scale = np.maximum(exact.std(axis=0), self._scale) if self._per_window else self._scale
        errors: Float64Array = (np.abs(exact - expected) / scale).T
        return errors

    def _mean(self, numbers: Float32Array, channel: int, first: int, end: int) -> float:
        mean = float(numbers[first:end, channel].mean(dtype=np.float64))
        return mean if self._levels is None else mean + float(self._levels[channel])


def _runs(over: NDArray[np.bool_]) -> _Runs:
    """The runs of samples that are `over`, (channels, length)."""
    channels, length = over.shape
    # Where a run begins and where it has ended, in pairs: every row starts and stops with a sample that is not over.
    padded = np.zeros((channels, length + 2), dtype=np.bool_)
    padded[:, 1:-1] = over
    edges = np.flatnonzero(padded[:, 1:] != padded[:, :-1]).reshape(-1, 2)
    return _Runs(edges[:, 0] // (length + 1), edges[:, 0] % (length + 1), edges[:, 1] % (length + 1))


def _shares(errors: Float64Array, runs: _Runs) -> Float64Array:
    """Each run's share of the sum of all `errors`."""
    until = np.zeros((len(errors), errors.shape[1] + 1))
    np.cumsum(errors, axis=1, dtype=np.float64, out=until[:, 1:])
    shares: Float64Array = (until[runs.channel, runs.end] - until[runs.channel, runs.first]) / until[:, -1].sum()
    return shares
