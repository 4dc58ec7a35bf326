"""Levels: what is subtracted from a channel's numbers in float64, before they become the float32 that is served.

float32 holds 24 bits. At 18,228,934 it goes in steps of 2, so a tank's level that moves by 0.3 about that would be a
constant; less its level, it keeps its digits. Few channels need it: the others have level 0, and nothing is done.

Rules of this file: trainer, `replay` and daemon narrow numbers here and nowhere else, so that they can't differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import Float32Array, Float64Array
from monitor.detector.spec import Channel


def of(channels: Sequence[Channel]) -> Float64Array | None:
    """The channels' levels, (channels,); None where none has any."""
    levels = np.array([channel.level for channel in channels], dtype=np.float64)
    return levels if levels.any() else None


def take_off(numbers: NDArray[np.floating], levels: Float64Array | None) -> Float32Array:
    """`numbers` (..., channels) less their levels, as float32; what is too large for it becomes infinite.

    A signalling NaN, as binary formats can hold it, is a NaN.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if levels is None:
            return numbers.astype(np.float32)
        return (numbers.astype(np.float64) - levels).astype(np.float32)


def put_back(numbers: Float32Array, levels: Float64Array | None) -> NDArray[np.floating]:
    """`numbers` (..., channels) in the user's own unit: as they are where there are no levels, else in float64."""
    return numbers if levels is None else numbers.astype(np.float64) + levels
