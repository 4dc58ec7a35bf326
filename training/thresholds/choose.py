"""Choosing the threshold by a rule, and saying what it costs and how far it can be trusted.

Sources: conformal p-values, Bates et al., "Testing for outliers with conformal p-values", 2023; the level of a risk,
Siffer et al., KDD 2017. What a calibration is too small for is said in `notes`, never passed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector.spec import MAX_FLOAT32, CalibrationSpec, ThresholdSpec
from monitor.detector.thresholds import Thresholds
from monitor.errors import DataError
from training.thresholds import bursts, false_alarms, following, rules, tail
from training.thresholds.calibration import (
    LEAST_SERIES_WINDOWS,
    LOWEST_THRESHOLD,
    CalibrationScores,
    check,
    quantile,
    summarised,
)
from training.thresholds.false_alarms import Expected
from training.thresholds.rules import ThresholdPart

FEW_INCIDENTS = 5
SERIES_NOTES = 3
_NO_TAIL = tail.FittedTail(tail=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScores:
    """Scores (n,) of labelled windows, for the method "oracle" alone; those that are not numbers are left out."""

    scores: NDArray[np.float32]
    anomalous: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The threshold, what the artifact keeps of the calibration, and what a person should know.

    `table` (series, probabilities) holds the quantiles of the series in `calibration.series`. `expected` is what
    the threshold costs on the calibration windows, `expected_static` what it would cost if it did not follow (None: it
    doesn't), and `series_expected` what it costs each series. `used` are the scores
    that it was chosen by, those that were left out missing.
    """

    threshold: ThresholdSpec
    calibration: CalibrationSpec
    table: NDArray[np.float32] | None
    notes: list[str]
    expected: Expected
    expected_static: Expected | None
    series_expected: Mapping[str, Expected]
    used: CalibrationScores


@dataclass(slots=True)
class _Choice:
    """One threshold by the rule, and whether the calibration was enough for it."""

    value: float
    notes: list[str] = field(default_factory=list)
    enough: bool = True

    def too_little(self, note: str) -> None:
        self.notes.append(note)
        self.enough = False


def choose(calibration: CalibrationScores, rule: ThresholdPart, *, oracle: LabelledScores | None = None) -> Chosen:
    """The threshold by `rule`.

    Args:
        calibration: of the windows fitted on for `mean_std`, of held-out ones for the others.
        oracle: labelled scores, for the method of that name.

    Raises:
        DataError: the rule can't be meant, there are no windows, a score is not a number, or something that the method
            needs is not known.
    """
    if problems := rules.problems(rule):
        raise DataError("; ".join(problems))
    check(calibration)
    found = bursts.find(calibration, rule)
    said_of_bursts = [bursts.note(calibration, found, rule)] if found else []
    calibration = bursts.without(calibration, found if rule.leave_out else [])
    fitted = tail.fit(calibration)
    choice = _choice(calibration, rule, fitted, oracle)
    value, notes = _raised(choice.value, choice.notes), said_of_bursts + choice.notes
    if not calibration.held_out and rule.method not in ("mean_std", "oracle"):
        notes.append("the model was fitted on the calibration windows: new ones score higher, so expect more alarms")
    values = _series_thresholds(calibration, rule, notes) if rule.per == "series" else {}
    spec, table, said = summarised(calibration, fitted.tail)
    names = dict(calibration.by_name())
    threshold = ThresholdSpec(
        value=value,
        method=rule.method,
        parameters=parameters(rule),
        series=values,
        follows=following.chosen(calibration, rule),
    )
    made = Thresholds(threshold)
    return Chosen(
        threshold=made.chosen,
        calibration=spec,
        table=table,
        notes=notes + said,
        expected=false_alarms.expected(calibration, made),
        expected_static=static_cost(calibration, made),
        series_expected={name: false_alarms.expected(own, _of_one(made, name)) for name, own in names.items()},
        used=calibration,
    )


def static_cost(calibration: CalibrationScores, made: Thresholds) -> Expected | None:
    """What thresholds would cost if they did not follow; None where they don't."""
    if made.chosen.follows is None:
        return None
    return false_alarms.expected(calibration, Thresholds(msgspec.structs.replace(made.chosen, follows=None)))


def _of_one(made: Thresholds, name: str) -> Thresholds:
    own = msgspec.structs.replace(made.chosen, value=made.of_series(name), series={})
    return Thresholds(own)


def parameters(rule: ThresholdPart) -> dict[str, float]:
    """The numbers that the rule's method reads, as the artifact keeps them."""
    names = {
        "mean_std": "k",
        "quantile": "quantile",
        "budget": "alarms_per_day",
        "pot": "risk",
        "conformal": "p_value",
    }
    name = names.get(rule.method)
    return {} if name is None else {name: float(getattr(rule, name))}


def _choice(
    calibration: CalibrationScores, rule: ThresholdPart, fitted: tail.FittedTail, oracle: LabelledScores | None = None
) -> _Choice:
    scores = calibration.scores
    if rule.method == "mean_std":
        return _Choice(float(np.mean(scores, dtype=np.float64) + rule.k * np.std(scores, dtype=np.float64)))
    if rule.method == "quantile":
        choice = _Choice(quantile(scores, rule.quantile))
        if note := too_few(len(scores), rule.quantile, overlap=calibration.overlap):
            choice.too_little(note)
        return choice
    if rule.method == "budget":
        return _budget(calibration, rule.alarms_per_day, fitted)
    if rule.method == "pot":
        return _pot(calibration, rule.risk, fitted)
    return _conformal(calibration, rule.p_value) if rule.method == "conformal" else _oracle(oracle)


def too_few(windows: int, probability: float, *, overlap: float = 1.0) -> str | None:
    """A note where the requested quantile is beyond what so many windows can show; else None.

    Args:
        overlap: how many windows cover a sample (length / hop): overlapping windows are one observation, not many.
    """
    needed = 1 / max(1 - probability, 1e-12)
    independent = windows / max(overlap, 1.0)
    # 1 - 0.99 is a little over 0.01 or under it, by rounding.
    if independent >= needed * (1 - 1e-9):
        return None
    return (
        f"{windows} calibration windows count as about {independent:.0f} independent ones, but quantile "
        f"{probability:g} needs {needed:.0f}: the threshold rests on a few of them; give more normal data, or a "
        "lower quantile"
    )


def _budget(calibration: CalibrationScores, alarms_per_day: float, fitted: tail.FittedTail) -> _Choice:
    days = calibration.days
    if days is None or calibration.windows_per_day is None:
        raise DataError(
            'threshold.method "budget" needs to know how many windows a day has: give window.sampling_rate_hz in the '
            "recipe, or data with timestamps (--time-column)"
        )
    allowed = math.floor(alarms_per_day * days + 1e-9)
    value, reached = false_alarms.lowest_threshold(calibration, allowed)
    choice = _Choice(value)
    if allowed:
        if not reached:
            choice.notes.append(
                f"no threshold opens as many as {alarms_per_day:g} incidents a day: this is the one that opens the most"
            )
        elif allowed < FEW_INCIDENTS:
            choice.notes.append(
                f"the budget rests on {allowed} incident{'s' * (allowed > 1)} in {days:.3g} days of normal data; give "
                "more of it"
            )
        return choice
    short = (
        f"{days:.3g} days of normal data can't show {alarms_per_day:g} alarms a day ({1 / alarms_per_day:.3g} days or "
        "more are needed)"
    )
    if fitted.tail is None:
        choice.too_little(
            f"{short}, and {fitted.reason}: the threshold is the lowest that opens nothing here, and the rate unknown"
        )
        return choice
    peaks_a_day = calibration.windows_per_day * fitted.tail.peaks / len(calibration.scores)
    level = tail.budget_level(fitted.tail, peaks_a_day, alarms_per_day)
    # Where the calibration shows no more than one incident, at least that one must not come again.
    choice.value = max(value, level or value)
    choice.notes.append(
        f"EXTRAPOLATED: {short}; the threshold comes from a generalised Pareto tail of {fitted.tail.peaks} peaks, and "
        "is as good as that; give more normal data"
        + (f" ({fitted.reason})" if fitted.reason else "")
        + tail.fewer(calibration.policy)
    )
    return choice


def _pot(calibration: CalibrationScores, risk: float, fitted: tail.FittedTail) -> _Choice:
    scores = calibration.scores
    choice = _Choice(quantile(scores, 1 - risk))
    if fitted.tail is None:
        choice.too_little(
            f"{fitted.reason}; the threshold is the quantile {1 - risk:g} of {len(scores)} scores instead"
        )
        return choice
    level = tail.level(fitted.tail, risk)
    if level is None:
        choice.notes.append(
            f"a risk of {risk:g} is not in the tail: the threshold is the quantile {1 - risk:g} of the scores"
        )
        return choice
    choice.value = level
    if fitted.reason:
        choice.too_little(fitted.reason)
    if risk * calibration.independent < 1:
        choice.notes.append(
            f"EXTRAPOLATED: a risk of {risk:g} is one window in {1 / risk:,.0f}, and {len(scores)} calibration windows "
            f"count as about {calibration.independent:.0f} independent ones; the threshold comes from a generalised "
            f"Pareto tail of {fitted.tail.peaks} peaks, and the share over it may be several times as high; give more "
            "normal data"
        )
    return choice


def _conformal(calibration: CalibrationScores, p_value: float) -> _Choice:
    """The lowest threshold over which each p-value, `(1 + #{calibration >= score}) / (n + 1)`, is <= `p_value`."""
    thinned = np.concatenate([run[:: calibration.stride] for run in calibration.runs()])
    rank, note = conformal_rank(len(thinned), p_value)
    choice = _Choice(float(np.sort(thinned)[len(thinned) - 1 - rank]))
    if note:
        choice.too_little(note)
    return choice


def conformal_rank(independent: int, p_value: float) -> tuple[int, str | None]:
    """How many independent calibration scores may be over the threshold, and a note where even none is too many."""
    rank = math.floor(p_value * (independent + 1) * (1 + 1e-12)) - 1
    if rank >= 0:
        return min(rank, independent - 1), None
    return 0, (
        f"{independent} independent calibration windows give no p-value under {1 / (independent + 1):.3g}, but "
        f"{p_value:g} was asked for: the threshold is the highest of their scores; give {math.ceil(1 / p_value) - 1} "
        "independent normal windows, or a higher p-value"
    )


def _oracle(labelled: LabelledScores | None) -> _Choice:
    """The threshold of the best F1; of several the highest."""
    if labelled is None:
        raise DataError('threshold.method "oracle" needs labelled windows; choose another method where there are none')
    kept = ~np.isnan(labelled.scores)
    scores, anomalous = labelled.scores[kept], labelled.anomalous[kept]
    if not anomalous.any():
        raise DataError('threshold.method "oracle" needs labelled anomalies with scores; there are none')
    order = np.argsort(-scores, kind="stable")
    found, ordered = np.cumsum(anomalous[order]), scores[order]
    # Only where the next score is lower can a threshold be; the last flags everything.
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    f1 = 2 * found[ends] / (ends + 1 + found[-1])
    best = int(ends[np.argmax(f1)])
    below = ordered[best + 1] if best + 1 < len(ordered) else np.nextafter(ordered[best], np.float32(-np.inf))
    note = "ORACLE: the labels chose this threshold, so its metrics flatter; a bound, not a method"
    return _Choice(float(below), [note])


def _series_thresholds(calibration: CalibrationScores, rule: ThresholdPart, notes: list[str]) -> dict[str, float]:
    """Thresholds of the series with enough windows of their own; the others are named in `notes`."""
    values: dict[str, float] = {}
    without: list[str] = []
    said: list[str] = []
    for name, own in calibration.by_name():
        if len(own.scores) < LEAST_SERIES_WINDOWS:
            without.append(name)
            continue
        choice = _choice(own, rule, tail.fit(own) if rule.method in ("budget", "pot") else _NO_TAIL)
        if choice.enough:
            values[name] = _raised(choice.value, notes)
            said += [f"series {name}: {note}" for note in choice.notes]
        else:
            without.append(name)
    notes += said[:SERIES_NOTES]
    if len(said) > SERIES_NOTES:
        notes.append(f"{len(said) - SERIES_NOTES} more notes on the thresholds of single series are of the same kinds")
    if not values and not without:
        raise DataError('threshold.per "series" needs named series; name them with --series-column, or leave it out')
    if without:
        named = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
        notes.append(
            f"{len(without)} of {len(values) + len(without)} series have too few normal windows, or too irregular "
            f"scores, for their own threshold ({named}): they use that of all series"
        )
    return values


def _raised(value: float, notes: list[str]) -> float:
    """`value`, within the lowest and the highest threshold that an artifact may have."""
    if value > MAX_FLOAT32:
        notes.append(
            f"threshold {value:.3g} lowered to {MAX_FLOAT32:.3g}, the highest possible: no window will exceed it"
        )
        return MAX_FLOAT32
    if value >= LOWEST_THRESHOLD:
        return value
    note = "a threshold was raised to the lowest possible: calibration windows are reconstructed exactly"
    if note not in notes:
        notes.append(note)
    return LOWEST_THRESHOLD


def described(threshold: ThresholdSpec) -> str:
    """How the threshold was chosen, in a few words: "quantile 0.99"."""
    words = {
        "mean_std": "mean + {k:g} standard deviations",
        "quantile": "quantile {quantile:g}",
        "budget": "at most {alarms_per_day:g} incidents a day per series",
        "pot": "risk {risk:g} by the tail",
        "conformal": "conformal p-value {p_value:g}",
        "oracle": "best F1 on labelled windows, oracle",
    }
    try:
        return words[threshold.method].format(**threshold.parameters)
    except KeyError:  # given, or written by something that says less
        return threshold.method
