"""The tail of normal scores: peaks over threshold with a generalised Pareto distribution.

Its likelihood is maximised here, not by `scipy.stats`, whose import alone is a fifth of a short training.

Sources: Siffer et al., "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017 (the level of a given risk);
Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001, chapters 4 and 5 (declustering); Grimshaw,
"Computing Maximum Likelihood Estimates for the Generalized Pareto Distribution", Technometrics 1993 (one unknown).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.detector.incidents import Policy
from monitor.detector.spec import MAX_FLOAT32, MIN_FLOAT32, TailSpec
from training.thresholds.calibration import CalibrationScores, quantile

# Siffer et al. start at 0.98; lower where too few peaks are over that.
STARTS = (0.98, 0.95, 0.90)
LEAST_PEAKS = 20
# Under -1/2 the likelihood has no regular maximum (Smith 1985); from 1 on the excess has no mean.
LEAST_SHAPE, MOST_SHAPE, HEAVIEST_TAKEN = -0.5, 1.0, 0.9
EXPONENTIAL = 1e-9  # a shape that is as good as 0
_GRID, _REFINEMENTS, _WIDEST = 65, 7, 30.0  # e^-30 is still distinct from 0 beside 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedTail:
    """The tail, None where there is none to fit; `reason` says why, or why it is not the likeliest one."""

    tail: TailSpec | None
    reason: str | None = None


def fit(calibration: CalibrationScores) -> FittedTail:
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
    return FittedTail(
        tail=None,
        reason=f"no tail can be fitted: {found} separate peaks over the quantile {STARTS[-1]:g}, at least "
        f"{LEAST_PEAKS} are needed; give more normal data",
    )


def fewer(policy: Policy | None) -> str:
    """What to add where peaks are taken for incidents, but one window is not enough to open one; else nothing."""
    if policy is None or policy.open_after == 1:
        return ""
    return f"; an incident takes {policy.open_after} windows in a row, which not every peak has: expect fewer"


def level(tail: TailSpec, risk: float) -> float | None:
    """The score that a window exceeds with probability `risk` (Siffer et al., equation 1); None under the tail."""
    return None if risk > tail.share else _at(tail, risk / tail.share)


def budget_level(tail: TailSpec, peaks_a_day: float, alarms_per_day: float) -> float | None:
    """The score that peaks exceed `alarms_per_day` times a day, where `peaks_a_day` are over the tail's start."""
    return None if alarms_per_day > peaks_a_day else _at(tail, alarms_per_day / peaks_a_day)


def exceeding(tail: TailSpec, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of peaks over the tail's start that are over each threshold, 1 under the start."""
    excess = np.maximum(thresholds - tail.start, 0.0) / tail.scale
    if abs(tail.shape) < EXPONENTIAL:
        return np.exp(-excess)
    with np.errstate(divide="ignore"):  # beyond the end of a tail that has one: a share of 0
        return np.exp(-np.log1p(np.maximum(tail.shape * excess, -1.0)) / tail.shape)


def _at(tail: TailSpec, share: float) -> float:
    if abs(tail.shape) < EXPONENTIAL:
        return tail.start - tail.scale * math.log(share)
    return tail.start + tail.scale / tail.shape * math.expm1(-tail.shape * math.log(share))


def _peaks(run: NDArray[np.float32], start: float, apart: int) -> NDArray[np.float64]:
    """The highest score of each cluster of windows over `start`; clusters are over `apart` windows apart."""
    indices = np.flatnonzero(run > np.float32(start))
    if not len(indices):
        return np.zeros(0)
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(indices) > apart) + 1])
    return np.maximum.reduceat(run[indices].astype(np.float64), firsts)


def _fitted(scores: NDArray[np.float32], start: float, peaks: NDArray[np.float64]) -> FittedTail:
    excess = peaks - start
    mean = float(excess.mean())
    share = float((scores > np.float32(start)).mean())
    if not (math.isfinite(mean) and np.ptp(excess) > 1e-6 * mean):
        return FittedTail(tail=None, reason="no tail can be fitted: the highest scores are all the same")
    # In units of its mean, so that the search starts near its end.
    shape, scale = likeliest(excess / mean)
    reason = None
    if not LEAST_SHAPE < shape < MOST_SHAPE:
        heavy = shape >= MOST_SHAPE
        reason = (
            f"the tail's likeliest shape, {'over' if heavy else 'under'} {shape:.2g}, is outside [{LEAST_SHAPE:g}, "
            f"{MOST_SHAPE:g}): too irregular to go by; "
        )
        if heavy:
            reason += f"the heaviest regular tail, of shape {HEAVIEST_TAKEN:g}, is taken"
            shape, scale = HEAVIEST_TAKEN, _scale(excess / mean, HEAVIEST_TAKEN)
        else:
            reason += "an exponential tail, which is heavier, is taken"
            shape, scale = 0.0, 1.0
    if not MIN_FLOAT32 <= scale * mean <= MAX_FLOAT32 or 0 < start < MIN_FLOAT32:
        return FittedTail(
            tail=None, reason=f"no tail can be kept: start {start:.3g} or scale {scale * mean:.3g} is beyond float32"
        )
    tail = TailSpec(start=start, shape=shape, scale=scale * mean, share=share, peaks=len(peaks))
    return FittedTail(tail=tail, reason=reason)


def likeliest(excess: NDArray[np.float64]) -> tuple[float, float]:
    """Shape and scale of the likeliest generalised Pareto distribution of (n,) positive excesses of mean 1.

    With r = shape / scale the likeliest shape is the mean of log(1 + r x), so r alone is searched, between the shapes
    `LEAST_SHAPE` and `MOST_SHAPE`; the shape is one of these where the likelihood still rises there.
    """
    widest = float(excess.max())

    def shapes(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([np.log1p(ratio * excess).mean() for ratio in np.expm1(at) / widest])

    # at = log(1 + r * max): any real number is a distribution, and the shape rises with it
    ends = [_rising(lambda at: float(shapes(np.array([at]))[0]), bound) for bound in (LEAST_SHAPE, MOST_SHAPE)]

    def likelihood(at: NDArray[np.float64]) -> NDArray[np.float64]:
        shape, ratios = shapes(at), np.expm1(at) / widest
        exponential = np.abs(shape) < EXPONENTIAL
        scale = np.where(exponential, 1.0, shape / np.where(exponential, 1.0, ratios))
        return -np.log(scale) - shape

    best = _highest(likelihood, *ends)
    if best in ends:
        bound = (LEAST_SHAPE, MOST_SHAPE)[ends.index(best)]
        return bound, _scale(excess, bound)
    shape = float(shapes(np.array([best]))[0])
    return shape, 1.0 if abs(shape) < EXPONENTIAL else shape * widest / math.expm1(best)


def _scale(excess: NDArray[np.float64], shape: float) -> float:
    """The likeliest scale of excesses of mean 1, where the shape is given; not 0."""
    # a negative shape has an end, scale / -shape, that lies beyond all of them
    least = math.log(max(-shape * float(excess.max()), math.exp(-_WIDEST)))

    def likelihood(at: NDArray[np.float64]) -> NDArray[np.float64]:
        grown = np.maximum(shape * excess * np.exp(-at)[:, None], -1 + np.finfo(float).eps)
        found: NDArray[np.float64] = -at - (1 + 1 / shape) * np.log1p(grown).mean(axis=1)
        return found

    return math.exp(_highest(likelihood, least, _WIDEST))


def _rising(function: Callable[[float], float], wanted: float) -> float:
    """Where a rising function of [-30, 30] reaches `wanted`, by halving; the end where it doesn't."""
    low, high = -_WIDEST, _WIDEST
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < wanted else (low, middle)
    return high


def _highest(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], low: float, high: float) -> float:
    """Where the function is highest in [low, high], by ever finer grids."""
    best = low
    for _ in range(_REFINEMENTS):
        grid = np.linspace(low, high, _GRID)
        top = int(np.argmax(function(grid)))
        low, high = float(grid[max(top - 1, 0)]), float(grid[min(top + 1, _GRID - 1)])
        best = float(grid[top])
    return best
