"""The trade a person really makes: each line against the false alarms that it costs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monitor.arrays import Float64Array
from training.thresholds import false_alarms
from training.thresholds.calibration import LOWEST_THRESHOLD, CalibrationScores, check

LINES = 50
LOWEST_PROBABILITY = 0.5


class TradeOff(NamedTuple):
    """Incidents that normal data opens at each line, all (m,): expected, and the 95% interval of a Poisson count.

    A day and series, or per 1,000 windows where nothing says how many windows a day has (`a_day` is False).
    """

    lines: Float64Array
    expected: Float64Array
    low: Float64Array
    high: Float64Array
    a_day: bool


def trade_off(calibration: CalibrationScores) -> TradeOff:
    """About 50 lines, from the median score to the highest: at half the shares of windows over them, and evenly apart.

    Raises:
        DataError: there are no windows, or a score is not a number.
    """
    check(calibration)
    scores = calibration.scores
    # The shares over the line, not the scores, are even on a logarithmic axis: that is where lines differ in cost.
    shares = np.geomspace(1 - LOWEST_PROBABILITY, 1 / max(len(scores), 2), LINES // 2)
    quantiles = np.quantile(scores, 1 - shares, method="higher").astype(np.float64)
    even = np.linspace(quantiles[0], float(scores.max()), LINES // 2)
    lines = np.unique(np.maximum(np.concatenate([quantiles, even, [float(scores.max())]]), LOWEST_THRESHOLD))
    found = false_alarms.at_each(calibration, lines)
    return TradeOff(
        lines=lines,
        expected=np.array([each.rate for each in found]),
        low=np.array([each.low for each in found]),
        high=np.array([each.high for each in found]),
        a_day=calibration.days is not None,
    )
