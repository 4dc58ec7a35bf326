"""The tail of normal scores: peaks over threshold with a generalised Pareto distribution.

Sources: Siffer et al., "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017 (the level of a given risk);
Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001, chapters 4 and 5 (declustering).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from monitor.detector.spec import MAX_FLOAT32, MIN_FLOAT32, TailSpec
from training.thresholds.calibration import CalibrationScores, quantile

# Siffer et al. start at 0.98; lower where too few peaks are over that.
STARTS = (0.98, 0.95, 0.90)
LEAST_PEAKS = 20
# Under -1/2 the likelihood has no regular maximum (Smith 1985); from 1 on the excess has no mean.
LEAST_SHAPE, MOST_SHAPE = -0.5, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The tail, None where there is none to fit; `reason` says why, or why it is not the likeliest one."""

    tail: TailSpec | None
    reason: str | None = None


def fit(calibration: CalibrationScores) -> Fitted:
    """Fits the excess of declustered peaks: runs of windows that share samples, or one incident, give one peak."""
    scores = calibration.scores
    apart = 0 if calibration.policy is None else max(calibration.stride, calibration.policy.close_after)
    found = 0
    for probability in STARTS:
        start = quantile(scores, probability)
        peaks = np.concatenate([_peaks(run, start, apart) for run in calibration.runs()])
        found = max(found, len(peaks))
        if len(peaks) >= LEAST_PEAKS:
            return _fitted(scores, start, peaks)
    return Fitted(
        tail=None,
        reason=f"no tail can be fitted: {found} separate peaks over the quantile {STARTS[-1]:g}, at least "
        f"{LEAST_PEAKS} are needed; give more normal data",
    )


def level(tail: TailSpec, risk: float) -> float | None:
    """The score that a window exceeds with probability `risk` (Siffer et al., equation 1); None under the tail."""
    return None if risk > tail.share else _at(tail, risk / tail.share)


def budget_level(tail: TailSpec, peaks_a_day: float, alarms_per_day: float) -> float | None:
    """The score that peaks exceed `alarms_per_day` times a day, where `peaks_a_day` are over the tail's start."""
    return None if alarms_per_day > peaks_a_day else _at(tail, alarms_per_day / peaks_a_day)


def exceeding(tail: TailSpec, lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of peaks over the tail's start that are over each line, 1 under the start."""
    return np.asarray(stats.genpareto.sf(lines, tail.shape, loc=tail.start, scale=tail.scale))


def _at(tail: TailSpec, share: float) -> float:
    if abs(tail.shape) < 1e-9:
        return tail.start - tail.scale * math.log(share)
    return tail.start + tail.scale / tail.shape * math.expm1(-tail.shape * math.log(share))


def _peaks(run: NDArray[np.float32], start: float, apart: int) -> NDArray[np.float64]:
    """The highest score of each cluster of windows over `start`; clusters are over `apart` windows apart."""
    places = np.flatnonzero(run > np.float32(start))
    if not len(places):
        return np.zeros(0)
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(places) > apart) + 1])
    return np.maximum.reduceat(run[places].astype(np.float64), firsts)


def _fitted(scores: NDArray[np.float32], start: float, peaks: NDArray[np.float64]) -> Fitted:
    excess = peaks - start
    mean = float(excess.mean())
    share = float((scores > np.float32(start)).mean())
    if not (math.isfinite(mean) and np.ptp(excess) > 1e-6 * mean):
        return Fitted(tail=None, reason="no tail can be fitted: the highest scores are all the same")
    # In units of its mean, so that the search starts near its end.
    shape, _, scale = stats.genpareto.fit(excess / mean, floc=0)
    reason = None
    if not (math.isfinite(shape) and LEAST_SHAPE <= shape < MOST_SHAPE and 0 < scale < math.inf):
        reason = (
            f"the tail's likeliest shape, {shape:.2g}, is outside [{LEAST_SHAPE:g}, {MOST_SHAPE:g}): "
            "too irregular to go by"
        )
        heavy = shape >= MOST_SHAPE
        if heavy:
            reason += "; the heaviest regular tail, of shape 0.9, is taken"
            shape, _, scale = stats.genpareto.fit(excess / mean, f0=0.9, floc=0)
        else:
            reason += "; an exponential tail, which is heavier, is taken"
            shape, scale = 0.0, 1.0
    if not MIN_FLOAT32 <= scale * mean <= MAX_FLOAT32 or 0 < start < MIN_FLOAT32:
        return Fitted(
            tail=None, reason=f"no tail can be kept: start {start:.3g} or scale {scale * mean:.3g} is beyond float32"
        )
    tail = TailSpec(start=start, shape=float(shape), scale=float(scale) * mean, share=share, peaks=len(peaks))
    return Fitted(tail=tail, reason=reason)
