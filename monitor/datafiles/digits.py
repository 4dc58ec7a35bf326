"""When float32 has too few digits: for a channel whose level is large compared with its variation.

Rules of this file: pure. The rule is stated once, here: a channel needs float64 if the step of float32 at its median is
over a thousandth (1/1024) of its spread (interquartile range / 1.349, or, if that is 0, standard deviation) in the rows
that are sampled, and if float32 would change any of its numbers. A constant does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import Float64Array

FEWEST_STEPS = 1024
_MOST_NUMBERS = 1_000_000
_MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Digits:
    """Per channel, (channels,): median, spread, float32's step at the median; `coarse`: the step is too large; `lost`:
    float32 would also change numbers."""

    median: Float64Array
    spread: Float64Array
    step: Float64Array
    coarse: NDArray[np.bool_]
    lost: NDArray[np.bool_]


def digits(numbers: NDArray[np.generic], chosen: Sequence[int] | None = None) -> Digits:
    """How well float32 represents the `chosen` channels of `numbers` (..., channels), by some thousand rows.

    NaN and infinities are ignored.
    """
    table = numbers.reshape(-1, numbers.shape[-1])
    rows = max(1, min(_MOST_ROWS, _MOST_NUMBERS // max(1, table.shape[1])))
    seen = table[:: max(1, len(table) // rows)].astype(np.float64)
    seen = seen if chosen is None else seen[:, chosen]
    seen[:, ~np.isfinite(seen).any(axis=0)] = 0.0
    seen[np.isinf(seen)] = np.nan
    low, median, high = np.nanquantile(seen, (0.25, 0.5, 0.75), axis=0)
    spread = (high - low) / 1.3489795
    spread = np.where(spread > 0, spread, np.nanstd(seen - median, axis=0))
    with np.errstate(over="ignore", invalid="ignore"):
        step = np.spacing(np.abs(median).astype(np.float32)).astype(np.float64)
    coarse = (spread > 0) & (step * FEWEST_STEPS > spread) & np.isfinite(step)
    lost = coarse.copy()
    if numbers.dtype != np.float32:
        for channel in np.flatnonzero(coarse):
            column = seen[:, channel][~np.isnan(seen[:, channel])]
            lost[channel] = bool((column.astype(np.float32) != column).any())
    else:
        lost[:] = False
    return Digits(median, spread, step, coarse, lost)


def exact(
    numbers: NDArray[np.generic], chosen: Sequence[int] | None = None, *, always: bool = False
) -> Float64Array | None:
    """The `chosen` channels of `numbers` (..., channels) in float64, `always` or if float32 loses digits.

    Otherwise None, also for numbers that are float32 already.
    """
    if numbers.dtype == np.float32 or not numbers.size or not (always or digits(numbers, chosen).lost.any()):
        return None
    return (numbers if chosen is None else numbers[..., chosen]).astype(np.float64)
