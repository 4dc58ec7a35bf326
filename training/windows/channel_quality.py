"""What is known of the channels in normal data: ranges, runs of equal values, missing numbers; for the checks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, Float32Array
from monitor.detector.spec import ChannelQuality, QualitySpec
from monitor.errors import DataError


def measure(intervals: Sequence[Float32Array], channels: Sequence[str], levels: Sequence[float]) -> QualitySpec:
    """The channels of normal samples, intervals (n, channels) without a break each, less the `levels`, if any.

    Raises:
        DataError: a channel is missing throughout.
    """
    samples = np.concatenate(intervals)
    starts = np.zeros(len(samples), dtype=np.bool_)
    starts[np.cumsum([0, *map(len, intervals)])[:-1]] = True
    levels = levels or (0.0,) * len(channels)
    found = [
        _channel(samples[:, at], starts, name, level)
        for at, (name, level) in enumerate(zip(channels, levels, strict=True))
    ]
    return QualitySpec(samples=len(samples), channels=tuple(found))


def unbroken(values: Float32Array, keep: NDArray[np.bool_]) -> list[Float32Array]:
    """The intervals of `values` (n, channels) in which every row is kept."""
    bounds = np.flatnonzero(np.diff(keep, prepend=False, append=False)).reshape(-1, 2)
    return [values[first:end] for first, end in bounds]


def _channel(values: Float32Array, starts: BoolArray, name: str, level: float) -> ChannelQuality:
    missing = np.isnan(values)
    if missing.all():
        raise DataError(f"channel {name} is missing throughout; leave it out with --channels")
    there = np.flatnonzero(~missing)
    # A missing number breaks no run, as in the check; what follows a new interval's missing ones still starts there.
    begun = np.diff(np.cumsum(starts)[there], prepend=0) > 0
    runs, _ = _runs(np.diff(values[there]) == 0, begun)
    gaps, ends = _runs(missing[1:] == missing[:-1], starts)
    # At numbers that there are, so that no more than 5 % lie beyond, however many are equal.
    low = np.quantile(values[there], 0.05, method="lower")
    high = np.quantile(values[there], 0.95, method="higher")
    return ChannelQuality(
        lowest=float(np.nanmin(values)) + level,
        highest=float(np.nanmax(values)) + level,
        low=float(low) + level,
        high=float(high) + level,
        longest_run=int(runs.max()),
        longest_missing=int((gaps * missing[ends]).max()),
        missing=float(missing.mean()),
    )


def _runs(same: BoolArray, starts: BoolArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many samples (n,) in a row are the same as the one before, in the same interval; and where each row ends."""
    ends = np.append(np.flatnonzero(starts[1:] | ~same), len(starts) - 1)
    return np.diff(ends, prepend=-1), ends
