"""Whether an artifact's threshold follows, and which one is in force for each calibration window where it does.

It follows by default where the normal data is of a state that goes on, held out and in order of time, for at least a
day of some series, and drifts: where the later halves of the series are over what 95 % of the earlier ones are below
for more than twice as long as that leaves over. Elsewhere somebody has to ask for it, because what is raised for drift
is raised for a fault, too, that comes as slowly: the bearing of IMS's test 2 is never reported where it follows, and is
from days before it fails where it does not (`make streams ONLY=ims`). Servers often drift later and without a sign in
training (SMD): there it is worth asking for.

Rules of this file: what is in force is said by the class that the daemon uses.
"""

from __future__ import annotations

import numpy as np

from monitor.detector.arrays import Float32Array, Float64Array, Int64Array
from monitor.detector.following import Following, FollowingRules, ScoredWindows
from monitor.detector.memory import Memory
from monitor.detector.spec import FollowSpec
from monitor.detector.thresholds import Thresholds
from training.thresholds.calibration import MICROSECONDS_A_DAY, CalibrationScores, quantile
from training.thresholds.rules import ThresholdPart

LEAST_DAYS = 1.0
_BELOW = 0.95  # of the earlier half's scores
_MOST_OVER = 2 * (1 - _BELOW)  # of the later half's, where nothing drifts


def chosen(calibration: CalibrationScores, rule: ThresholdPart) -> FollowSpec | None:
    """How the threshold follows; None where it stays."""
    if rule.follow == "auto":
        return FollowSpec() if _shows_a_day(calibration) and _drifts(calibration) else None
    return FollowSpec() if rule.follow == "on" else None


def _shows_a_day(calibration: CalibrationScores) -> bool:
    if not (calibration.goes_on and calibration.held_out) or calibration.policy is None:
        return False
    longest = max(len(run) for run in calibration.runs())
    return calibration.windows_per_day is not None and longest >= LEAST_DAYS * calibration.windows_per_day


def _drifts(calibration: CalibrationScores) -> bool:
    over = later = 0
    for run in calibration.runs():
        half = len(run) // 2
        if half:
            over += int((run[half:] > quantile(run[:half], _BELOW)).sum())
            later += len(run) - half
    return over > _MOST_OVER * later


def static(calibration: CalibrationScores, thresholds: Thresholds) -> float | Float32Array:
    """The thresholds of the windows (n,), or the one of all, as the artifact has them."""
    if calibration.series is not None:
        each: Float32Array = thresholds.of_each(calibration.names)[calibration.series]
        return each
    return thresholds.of_series(calibration.names[0]) if len(calibration.names) == 1 else thresholds.value


def in_force(calibration: CalibrationScores, thresholds: Thresholds) -> float | Float32Array | Float64Array:
    """The thresholds that the windows are compared with, each series beginning with nothing remembered."""
    each, follows, ends_us = static(calibration, thresholds), thresholds.chosen.follows, _ends_us(calibration)
    if follows is None or ends_us is None or calibration.policy is None:
        return each
    count = len(calibration.scores)
    rows = np.zeros(count, dtype=np.int64) if calibration.series is None else calibration.series.astype(np.int64)
    windows = ScoredWindows(rows, ends_us, calibration.scores, np.broadcast_to(np.float64(each), count))
    return followed(windows, follows)


def followed(windows: ScoredWindows, follows: FollowSpec) -> Float64Array:
    """The thresholds in force for windows (n,) whose own are those that stay, series' rows being numbered from 0."""
    following = Following(FollowingRules.of(follows))
    memory = Memory.full(int(windows.row.max(initial=0)) + 1, following.nothing)
    return following.advance(windows, memory).threshold


def _ends_us(calibration: CalibrationScores) -> Int64Array | None:
    """When each window ended: as its data says it, else one after the other at their rate."""
    if calibration.times_us is not None or calibration.windows_per_day is None:
        return calibration.times_us
    numbers = np.arange(len(calibration.scores))
    if calibration.series is not None:
        for run in calibration.runs(numbers.copy()):
            numbers[run] = np.arange(len(run))
    ends_us: Int64Array = np.rint(numbers * (MICROSECONDS_A_DAY / calibration.windows_per_day)).astype(np.int64)
    return ends_us
