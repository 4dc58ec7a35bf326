"""How many incidents a threshold opens on normal windows, how sure such a count is, and what each threshold costs.

Rules of this file: an incident is what the daemon opens, by `monitor.detector.incidents`. Where windows are no
neighbours in time, each one over the threshold is an incident.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import Float32Array, Float64Array
from monitor.detector.decision import Verdict, decide
from monitor.detector.incidents import Status, openings, steps
from monitor.detector.thresholds import Thresholds
from training.thresholds import following, poisson
from training.thresholds.calibration import LOWEST_THRESHOLD, CalibrationScores, check

CANDIDATES = 50
LOWEST_PROBABILITY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a threshold costs on normal windows: `over` windows are over it, in `incidents` incidents.

    `rate` is in incidents a day and series, or per 1,000 windows where nothing says how many windows a day has
    (`a_day` is False); `low` and `high` are its 95% interval for a Poisson count (Garwood 1936).
    """

    over: int
    windows: int
    incidents: int
    rate: float
    low: float
    high: float
    a_day: bool

    @property
    def share_over(self) -> float:
        """The share of normal windows over the threshold: one incident that never ends is one incident."""
        return self.over / self.windows

    @property
    def unit(self) -> str:
        return "a day per series" if self.a_day else "per 1,000 windows"


def expected(calibration: CalibrationScores, thresholds: Thresholds) -> Expected:
    """What `thresholds` cost on `calibration`, all series together; those in force, where they follow."""
    verdicts = decide(calibration.scores, following.in_force(calibration, thresholds))
    over = int((verdicts == Verdict.ANOMALY).sum())
    incidents = over
    if calibration.policy is not None:
        incidents = len(steps(verdicts, calibration.policy, calibration.series)[Status.FIRING])
    return _expected(calibration, over, incidents)


def at_each(calibration: CalibrationScores, thresholds: Float64Array) -> list[Expected]:
    """What each of `thresholds` costs, as `expected` says it, in about the time of one."""
    at = thresholds.astype(np.float32)
    over = len(calibration.scores) - np.searchsorted(np.sort(calibration.scores), at, side="right")
    counts = zip(over.tolist(), _opened(calibration, at).tolist(), strict=True)
    return [_expected(calibration, *each) for each in counts]


def lowest_threshold(calibration: CalibrationScores, allowed: int) -> tuple[float, bool]:
    """The lowest score from which upwards no threshold opens over `allowed` incidents, and whether lower ones do.

    Where no threshold at all does, the one that opens the most. Much lower ones may open fewer again, as incidents
    merge into one that never ends; none of those is meant.
    """
    distinct = np.unique(calibration.scores)
    thresholds = np.append(distinct[::-1], np.nextafter(distinct[0], np.float32(-np.inf)))
    incidents = _opened(calibration, thresholds)
    too_many = np.flatnonzero(incidents > allowed)
    if len(too_many):
        return float(thresholds[too_many[0] - 1]), True
    return float(thresholds[np.argmax(incidents)]), False


def _opened(calibration: CalibrationScores, thresholds: Float32Array) -> NDArray[np.intp]:
    """How many incidents each of `thresholds` opens."""
    if calibration.policy is None:
        low, high = np.full_like(calibration.scores, -np.inf), calibration.scores
    else:
        low, high = openings(calibration.scores, calibration.policy, calibration.series).T
    begun, ended = (np.searchsorted(np.sort(ends), thresholds, side="right") for ends in (low, high))
    return begun - ended


def _expected(calibration: CalibrationScores, over: int, incidents: int) -> Expected:
    windows, days = len(calibration.scores), calibration.days
    exposure = windows / 1000 if days is None else days
    low, high = poisson.interval(incidents)
    return Expected(
        over=over,
        windows=windows,
        incidents=incidents,
        rate=incidents / exposure,
        low=low / exposure,
        high=high / exposure,
        a_day=days is not None,
    )


class TradeOff(NamedTuple):
    """Incidents that normal data opens at each threshold, all (m,): expected, and the 95% interval of a Poisson count.

    A day and series, or per 1,000 windows where nothing says how many windows a day has (`a_day` is False).
    """

    thresholds: Float64Array
    expected: Float64Array
    low: Float64Array
    high: Float64Array
    a_day: bool


def trade_off(calibration: CalibrationScores) -> TradeOff:
    """About 50 thresholds, from the median score to the highest: at half the shares of windows over them, and evenly
    apart.

    Raises:
        DataError: there are no windows, or a score is not a number.
    """
    check(calibration)
    scores = calibration.scores
    # The shares over the threshold, not the scores, are even on a logarithmic axis: that is where thresholds differ in
    # cost.
    shares = np.geomspace(1 - LOWEST_PROBABILITY, 1 / max(len(scores), 2), CANDIDATES // 2)
    quantiles = np.quantile(scores, 1 - shares, method="higher").astype(np.float64)
    even = np.linspace(quantiles[0], float(scores.max()), CANDIDATES // 2)
    thresholds = np.unique(np.maximum(np.concatenate([quantiles, even, [float(scores.max())]]), LOWEST_THRESHOLD))
    found = at_each(calibration, thresholds)
    return TradeOff(
        thresholds=thresholds,
        expected=np.array([each.rate for each in found]),
        low=np.array([each.low for each in found]),
        high=np.array([each.high for each in found]),
        a_day=calibration.days is not None,
    )
