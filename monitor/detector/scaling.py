"""Scaling per channel: fitted offline, applied inside the scorer.

A constant channel has no spread to scale by, so its scale is a share of its own size (`CONSTANT`): what it moves by
later counts beside what it stands at, whatever its unit. With one scale for all, a move from 0.002 to 0.012, six times
its size, would not be seen beside channels that move by 1, and one from 50000 to 50000.5, which is rounding, would be
an alarm. A constant 0 has no size, and gets scale 1 (`centre`: the scale of the others).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.detector.spec import ScalingSpec

Kind = Literal["none", "minmax_global", "minmax", "standard", "robust", "window", "centre"]
# A window that moves less than this fraction of the training data's spread counts as flat.
FLAT = 1e-3
# A move by this share of a constant channel's value counts as one standard deviation of a channel that moves: it is
# over the accuracy of common sensors (0.1 to 0.5 % of the value), and under what anybody would call a change.
CONSTANT = 1e-2


def fit(samples: NDArray[np.floating], kind: Kind) -> ScalingSpec:
    """The scaling that maps `samples` to [0, 1] (min-max) or to mean 0 and standard deviation 1.

    Args:
        samples: (..., channels), any leading shape; NaN is left out.
        kind: `minmax_global` uses one range for all channels (the ECG5000 tutorial's), `minmax` one per channel,
            `standard` mean and standard deviation per channel, `robust` median and interquartile range / 1.349 (the
            standard deviation of a Gaussian), `none` leaves numbers as they are. `window` scales each window by its own
            moments; `scale` is then the least deviation, a thousandth of the samples' own. `centre` takes off each
            channel's mean and divides all by the root of their mean variance: for channels of one unit, where a channel
            that hardly moves must not be blown up to the size of the others.

    Raises:
        ValueError: a channel without a single finite number.
    """
    table = np.asarray(samples, dtype=np.float64).reshape(-1, samples.shape[-1])
    channels = table.shape[1]
    seen = np.isfinite(table).any(axis=0)
    if not seen.all():
        raise ValueError(f"channel {int(np.argmin(seen))} holds no finite number")
    table = np.where(np.isfinite(table), table, np.nan)
    size = None  # what a spread is small beside, where it is not the offset
    if kind == "none":
        offset, scale = np.zeros(channels), np.ones(channels)
    elif kind in ("standard", "centre"):
        offset, scale = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
    elif kind == "robust":
        lower, offset, upper = np.nanquantile(table, (0.25, 0.5, 0.75), axis=0)
        scale = (upper - lower) / 1.3489795
        scale = np.where(scale > 0, scale, np.nanstd(table, axis=0))  # half of it is one number, the rest moves
    elif kind == "window":
        offset, scale = np.zeros(channels), FLAT * np.nanstd(table, axis=0)
        size = FLAT * np.abs(np.nanmean(table, axis=0))
    else:
        axis = None if kind == "minmax_global" else 0
        low = np.broadcast_to(np.nanmin(table, axis=axis), channels)
        offset, scale = low, np.nanmax(table, axis=axis) - low
    # float32 is what is served: a spread below its resolution at this offset, or below its smallest normal number (XLA
    # flushes what is smaller to zero), is a constant channel
    served = np.finfo(np.float32)
    constant = scale <= np.maximum((np.abs(offset) if size is None else size) * served.eps, served.tiny)
    unit = 1.0
    if kind == "centre" and not constant.all():
        unit = float(np.sqrt(np.mean(np.square(scale))))
        scale = np.where(constant, scale, unit)
    if constant.any():
        own = CONSTANT * np.abs(np.nanmedian(table, axis=0))
        scale = np.where(constant, np.where(own > served.tiny, own, unit), scale)
    return ScalingSpec(kind=kind, offset=tuple(map(float, offset)), scale=tuple(map(float, scale)))
