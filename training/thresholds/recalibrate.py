"""Another threshold for a trained artifact: from new scores, or from what it stores of its calibration.

Rules of this file: pure. The model, the score and the known answers stay as they are, so every score stays as it was.
What the stored tables can't answer is refused, never guessed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector import spec, thresholds, windowing
from monitor.detector.artifact import Artifact
from monitor.detector.spec import CalibrationSpec, FollowSpec, Manifest, ThresholdSpec
from monitor.detector.thresholds import Quantiles
from monitor.errors import DataError
from training.thresholds import alert_policy, rules, tail
from training.thresholds.calibration import LOWEST_THRESHOLD, CalibrationScores, windows_per_day
from training.thresholds.choose import LabelledScores, choose, conformal_rank, parameters, too_few
from training.thresholds.rules import ThresholdPart

# Pages that show the threshold and metrics at it.
STALE = ("report.html", "MODEL_CARD.md")


def recalibrated(
    artifact: Artifact,
    rule: ThresholdPart | float,
    scores: CalibrationScores | None = None,
    *,
    oracle: LabelledScores | None = None,
) -> tuple[Artifact, list[str]]:
    """`artifact` with another threshold, not yet saved (its digest is empty), and notes for the user.

    Args:
        rule: how to choose, or the threshold itself.
        scores: of normal windows, by the artifact's own scorer; None chooses from what the artifact has stored.
        oracle: labelled scores, for the method of that name.

    Raises:
        DataError: the rule can't be meant, or can't be answered by what is stored.
    """
    manifest = artifact.manifest
    calibration, table = manifest.calibration, artifact.calibration_table
    counted_by: dict[str, Any] = {}
    if not isinstance(rule, ThresholdPart):
        threshold, notes = _given(rule), []
    elif scores is not None:
        chosen = choose(scores, rule, oracle=oracle)
        threshold, calibration, table, notes = chosen.threshold, chosen.calibration, chosen.table, chosen.notes
        counted_by = {"alerting": msgspec.to_builtins(scores.policy)}
    else:
        if problems := rules.problems(rule):
            raise DataError("; ".join(problems))
        threshold, notes = _from_tables(artifact, rule)
    if threshold.follows is None:  # the data gives no reason to, or there is none
        threshold = msgspec.structs.replace(threshold, follows=_follows(manifest, rule))
    calibration = msgspec.structs.replace(calibration, channel_errors=manifest.calibration.channel_errors)
    before = thresholds.of(manifest).chosen
    record: dict[str, Any] = {
        "method": threshold.method,
        "parameters": threshold.parameters,
        "from": "nothing" if not isinstance(rule, ThresholdPart) else "the stored tables" if scores is None else "data",
        "artifact": artifact.digest,
        "before": {"value": before.value, "method": before.method},
    }
    changed = msgspec.structs.replace(
        manifest,
        threshold=threshold,
        calibration=calibration,
        training={**manifest.training, **counted_by, "recalibrated": record},
    )
    kept = {name: content for name, content in artifact.extras.items() if name not in STALE}
    made = replace(
        artifact,
        manifest=changed,
        calibration_table=table,
        extras=kept,
        digest="",
        format_version=changed.format_version,
    )
    return made, notes


def _follows(manifest: Manifest, rule: ThresholdPart | float) -> FollowSpec | None:
    """As before, unless the rule says otherwise."""
    asked = rule.follow if isinstance(rule, ThresholdPart) else "auto"
    before = thresholds.of(manifest).chosen.follows
    return {"auto": before, "on": before or FollowSpec(), "off": None}[asked]


def rate_of(manifest: Manifest) -> float | None:
    """Windows of a series in a day, as the calibration or the sampling rate says; None where neither does."""
    return manifest.calibration.windows_per_day or windows_per_day(manifest.window, [])


def expected_alarms(manifest: Manifest, value: float) -> tuple[float, str]:
    """False alarms to expect with the threshold `value`, by the stored tables, and their unit.

    Over the tail's start incidents, each peak taken for one; under it windows over the threshold, of which an incident
    may have several.
    """
    calibration = manifest.calibration
    rate, fitted = rate_of(manifest), calibration.tail
    if fitted is not None and value >= fitted.start:
        share = fitted.peaks / calibration.windows * float(tail.exceeding(fitted, np.array([value]))[0])
        what = "incidents"
    else:
        share, what = 1 - Quantiles(calibration).share_under(value), "windows over the threshold"
    if rate is None:
        return 1000 * share, f"{what} per 1,000 windows"
    return rate * share, f"{what} a day per series"


def _given(value: float) -> ThresholdSpec:
    if not (math.isfinite(value) and LOWEST_THRESHOLD <= value <= spec.MAX_FLOAT32):
        raise DataError(f"threshold {value:g}: must be a finite number of at least {LOWEST_THRESHOLD:.3g}")
    return ThresholdSpec(value=float(value), method="given")


def _from_tables(artifact: Artifact, rule: ThresholdPart) -> tuple[ThresholdSpec, list[str]]:
    """The threshold from stored quantiles, moments and tail."""
    manifest = artifact.manifest
    if rule.method == "oracle":
        raise DataError('the method "oracle" needs labelled windows, which an artifact does not keep: give data')
    notes: list[str] = []
    per_series: dict[str, float] = {}
    if rule.per == "series":
        per_series = _series_thresholds(artifact, rule)
        notes.append(f"{len(per_series)} series have their own threshold; others use that of all series")
        if short := len(artifact.manifest.calibration.series) - len(per_series):
            notes.append(f"{short} stored series have too few normal windows to show quantile {rule.quantile:g}")
    value = min(max(_value(manifest, rule, notes), LOWEST_THRESHOLD), spec.MAX_FLOAT32)
    if not manifest.calibration.held_out and rule.method != "mean_std":
        notes.append("the model was fitted on the calibration windows: new ones score higher, so expect more alarms")
    return ThresholdSpec(value=value, method=rule.method, parameters=parameters(rule), series=per_series), notes


def _value(manifest: Manifest, rule: ThresholdPart, notes: list[str]) -> float:
    calibration = manifest.calibration
    overlap = windowing.overlap(manifest.window)
    if rule.method == "mean_std":
        return calibration.mean + rule.k * calibration.std
    if rule.method == "quantile":
        if note := too_few(calibration.windows, rule.quantile, overlap=overlap):
            notes.append(note)
        return _at(calibration, rule.quantile, notes)
    if rule.method == "conformal":
        independent = max(int(calibration.windows / math.ceil(max(overlap, 1.0))), 1)
        rank, note = conformal_rank(independent, rule.p_value)
        if note:
            notes.append(note)
        if overlap > 1:
            notes.append("the stored table holds overlapping windows too: p-values are approximate")
        return _at(calibration, (independent - 1 - rank) / max(independent - 1, 1), notes)
    return _pot(calibration, rule.risk, notes) if rule.method == "pot" else _budget(manifest, rule, notes)


def _pot(calibration: CalibrationSpec, risk: float, notes: list[str]) -> float:
    if calibration.tail is None:
        raise DataError('the method "pot" needs a tail, and this artifact has none stored: give normal data')
    level = tail.level(calibration.tail, risk)
    return _at(calibration, 1 - risk, notes) if level is None else level


def _budget(manifest: Manifest, rule: ThresholdPart, notes: list[str]) -> float:
    """From the tail; under it from the table, with as many windows to an incident as at the tail's start, else one."""
    calibration, rate, together = manifest.calibration, rate_of(manifest), 1.0
    if rate is None:
        raise DataError(
            'the method "budget" needs to know how many windows a day has, and this artifact does not say it: give '
            "normal data with timestamps"
        )
    if calibration.tail is not None:
        peaks_a_day = rate * calibration.tail.peaks / calibration.windows
        level = tail.budget_level(calibration.tail, peaks_a_day, rule.alarms_per_day)
        if level is not None:
            days = calibration.windows / rate
            if rule.alarms_per_day * days < 1:
                notes.append(
                    f"EXTRAPOLATED: {days:.3g} days of normal data can't show {rule.alarms_per_day:g} alarms a day; "
                    f"the threshold is as good as the tail of {calibration.tail.peaks} peaks"
                )
                # As with data: what the calibration shows must not come again.
                level = max(level, calibration.quantiles[-1][1])
            notes.append(f"incidents are estimated by the stored tail, not counted{_fewer(manifest)}")
            return level
        together = calibration.tail.share * calibration.windows / calibration.tail.peaks
    probability = 1 - together * rule.alarms_per_day / rate
    if probability < 0 or too_few(calibration.windows, probability):
        raise DataError(_beyond(rule.alarms_per_day, together, rate, calibration.windows))
    notes.append(f"every {together:.3g} windows over the threshold are taken for an incident: fewer will come")
    value = _at(calibration, probability, notes)
    # Between two stored quantiles it may come out over the start, from which on the tail decides.
    return value if calibration.tail is None else min(value, calibration.tail.start)


def _fewer(manifest: Manifest) -> str:
    counted_by = alert_policy.stored(manifest)
    return tail.fewer(None if counted_by is None else counted_by.policy)


def _beyond(alarms_per_day: float, together: float, rate: float, windows: int) -> str:
    """What to say of a budget that stored quantiles can't show: what they can, and how much data the budget needs."""
    highest = rate / together
    if alarms_per_day > highest:
        return (
            f"{alarms_per_day:g} alarms a day: a series has {rate:.6g} windows a day, so it can have {highest:.3g} "
            "alarms at most; give fewer"
        )
    lowest = rate / together / windows
    return (
        f"{alarms_per_day:g} alarms a day can't be estimated from the {windows} calibration windows that this artifact "
        f"has stored: they are {windows / rate:.3g} days of one series, and the lowest rate they can show is "
        f"{lowest:.3g} a day; {alarms_per_day:g} a day needs {1 / (together * alarms_per_day):.3g} days of normal "
        f"data: give it behind the artifact, or train on more, or ask for --alarms-per-day {_up(lowest):g}"
    )


def _up(value: float) -> float:
    """`value` with two digits, rounded up, so that it can be asked for."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / step) * step


def _series_thresholds(artifact: Artifact, rule: ThresholdPart) -> dict[str, float]:
    names, table = artifact.manifest.calibration.series, artifact.calibration_table
    if rule.method != "quantile" or table is None or not names:
        why = (
            "only their quantiles are stored" if names and table is not None else "it has no quantiles of single series"
        )
        raise DataError(
            f'thresholds per series by "{rule.method}" can\'t be had from this artifact: {why}; give normal data, or '
            "omit --per"
        )
    probabilities, _ = _columns(artifact.manifest.calibration)
    # Where the quantile is a series' highest score, its windows were too few to show it, as with data.
    return {
        name: max(value, LOWEST_THRESHOLD)
        for name, row in zip(names, table.astype(np.float64), strict=True)
        if (value := float(np.interp(rule.quantile, probabilities, row))) < row[-1]
    }


def _columns(calibration: CalibrationSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = np.array(calibration.quantiles, dtype=np.float64)
    return columns[:, 0], columns[:, 1]


def _at(calibration: CalibrationSpec, probability: float, notes: list[str]) -> float:
    """The stored quantile; between two of the table in proportion."""
    probabilities, values = _columns(calibration)
    exact = np.flatnonzero(np.isclose(probabilities, probability, rtol=0, atol=1e-12))
    if len(exact):
        return float(values[exact[0]])
    if not probabilities[0] < probability < probabilities[-1]:
        raise DataError(
            f"quantile {probability:g} is outside the stored table ({probabilities[0]:g} to {probabilities[-1]:g}); "
            "give normal data"
        )
    place = int(np.searchsorted(probabilities, probability))
    notes.append(
        f"quantile {probability:.6g} lies between the stored ones at {probabilities[place - 1]:g} and "
        f"{probabilities[place]:g}: the threshold is interpolated"
    )
    return float(np.interp(probability, probabilities, values))
