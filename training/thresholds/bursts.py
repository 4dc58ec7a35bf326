"""Incidents among the windows that a threshold is chosen by: clusters of scores far over all others.

What is taken for normal is seldom watched by anybody. One incident in it puts a threshold by a budget, or a high
quantile, over the incident's own score, and nothing like it is ever found. So the worst few are named, as a person
knows whether they were normal, and left out where the rule of the threshold says so.

Rules of this file: each series by itself, and what happens again and again is normal, however far out. None are found
where windows are in random order, as nothing lasts there.

Source: Tukey, "Exploratory Data Analysis", 1977: far out is what lies three times the distance of the quartiles beyond
the upper one; of the logarithms, as scores are positive and skewed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import Int64Array
from training.thresholds.calibration import CalibrationScores
from training.thresholds.rules import LEFT_OUT, ThresholdPart

FAR_OUT = 3.0
LEAST_TIMES = 2.0  # the upper quartile: less is not far, however close the others are
MOST_BURSTS = 3  # of a series: more come again and again
LEAST_WINDOWS = 40  # of a series, to know its quartiles by
# These count normal windows; the others are defined by all that they are given, or by labels.
METHODS = ("quantile", "budget", "pot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Windows far over all others of `series`: places `windows` among the calibration's, `times` the usual score."""

    series: str
    windows: Int64Array
    times: float


def find(calibration: CalibrationScores, rule: ThresholdPart) -> list[Burst]:
    """The bursts that have a say in a threshold by `rule`, or would have, were they not left out."""
    if rule.method not in METHODS or calibration.policy is None or not calibration.held_out:
        return []
    share, found = rule.leave_out or LEFT_OUT, []
    apart = max(calibration.stride, calibration.policy.close_after)
    for place in calibration.runs(np.arange(len(calibration.scores))):
        scores = calibration.scores[place].astype(np.float64)
        if len(scores) >= LEAST_WINDOWS:
            usual = max(float(np.median(scores)), float(np.finfo(np.float32).tiny))
            found += [
                Burst(series=_name(calibration, place), windows=place[at], times=float(scores[at].max()) / usual)
                for at in _far_out(scores, apart, int(share * len(scores)))
            ]
    return found


def _name(calibration: CalibrationScores, places: Int64Array) -> str:
    if calibration.series is None:
        return calibration.names[0] if calibration.names else ""
    return calibration.names[int(calibration.series[places[0]])]


def without(calibration: CalibrationScores, bursts: list[Burst]) -> CalibrationScores:
    """The windows of no burst."""
    if not bursts:
        return calibration
    kept = np.ones(len(calibration.scores), dtype=np.bool_)
    kept[np.concatenate([burst.windows for burst in bursts])] = False
    return calibration.only(kept)


def note(calibration: CalibrationScores, bursts: list[Burst], rule: ThresholdPart) -> str:
    """What to tell of bursts: where they are, what became of them, and what to do if that is not meant."""
    worst = sorted(bursts, key=lambda burst: -burst.times)[:MOST_BURSTS]
    more = f", and {len(bursts) - len(worst)} more" if len(bursts) > len(worst) else ""
    listed = "; ".join(_where(calibration, burst) for burst in worst)
    count = f"{sum(len(burst.windows) for burst in bursts)} of {len(calibration.scores)} windows"
    what_to_do = f"{count} count as normal; label them, or leave them out (threshold.leave_out = {LEFT_OUT:g})"
    if rule.leave_out:
        what_to_do = f"{count} are left out; if they are normal, keep them (threshold.leave_out = 0)"
    return (
        f"there is what looks like {len(bursts)} incident{'s' * (len(bursts) > 1)} in the data that the threshold is "
        f"chosen by ({listed}{more}): {what_to_do}"
    )


def _far_out(scores: NDArray[np.float64], apart: int, most: int) -> list[Int64Array]:
    """The places of each cluster of scores over the fence; none where they are many, or over `most` windows together:
    that is no incident, but how the series is."""
    low, high = np.maximum(np.quantile(scores, (0.25, 0.75)), np.finfo(np.float32).tiny)
    over = np.flatnonzero(scores > high * max((high / low) ** FAR_OUT, LEAST_TIMES))
    clusters = np.split(over, np.flatnonzero(np.diff(over) > apart) + 1)
    return clusters if 0 < len(over) <= most and len(clusters) <= MOST_BURSTS else []


def _where(calibration: CalibrationScores, burst: Burst) -> str:
    said = [f"series {burst.series}"] if burst.series else []
    first, last = int(burst.windows.min()), int(burst.windows.max())
    if calibration.rows is not None:
        said.append(f"rows {calibration.rows[first]:,} to {calibration.rows[last]:,}")
    if calibration.times_us is not None:
        said.append(f"{_utc(int(calibration.times_us[first]))} to {_utc(int(calibration.times_us[last]))}")
    return f"{', '.join(said) or 'some windows'}: up to {burst.times:.3g} times the usual score"


def _utc(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
