"""The sentences that the page and the model card share: what happened, in words, with the numbers that matter.

Rules of this file: plain text, not escaped. A share always has its counts beside it. What is unknown is said to be.
"""

from __future__ import annotations

import math

import numpy as np

from training.metrics import windows as metrics
from training.report.content import Alarms, Estimate, MetricsTable, Rate, ReportContent, Row, Tested, Threshold

SUMMING_UP = frozenset({"F1", "event F1", "AUROC", "VUS-PR"})
VAGUE = 10.0  # an interval whose ends are further apart than this says little


def number(value: float, digits: int = 4) -> str:
    """`digits` significant ones, thousands apart by a thin mark, as 0.03214, 12,400 or 3.2e-07."""
    if not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    if 1e-4 <= abs(value) < 1e6:
        places = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
        return f"{value:,.{places}f}"
    return f"{value:.{max(digits - 2, 1)}e}"


def percent(part: float, whole: float) -> str:
    """A share with one place; "under 0.1%" and "over 99.9%" rather than a 0 or a 100 that is not one."""
    if not whole:
        return "-"
    share = part / whole
    if 0 < share < 0.001:
        return "under 0.1%"
    if 0.999 < share < 1:
        return "over 99.9%"
    return f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(items: tuple[str, ...], most: int = 4) -> str:
    """ "a, b and c"; after `most` "and 7 more"."""
    if len(items) > most:
        return ", ".join(items[: most - 1]) + f" and {len(items) - most + 1} more"
    return " and ".join(", ".join(items).rsplit(", ", 1)) if len(items) > 1 else "".join(items)


def report_of(tested: Tested) -> metrics.Report | None:
    """Counts and metrics of the test windows; None without labels."""
    if tested.truth is None:
        return None
    return metrics.report(tested.truth, tested.scores.astype(np.float64), tested.flagged)


def verdict(content: ReportContent) -> str:
    """The headline."""
    tested, found = content.tested, report_of(content.tested)
    if not len(tested.scores):
        return "Trained, but not tested: no window was left for the test"
    if not np.isfinite(tested.scores).any():
        return f"Nothing is known of it: {counted(len(tested.scores), 'test window')}, and none that could be scored"
    if found is None:
        over = int(tested.flagged.sum())
        return (
            f"{percent(over, len(tested.scores))} of the test windows are over the threshold, "
            "and without labels nobody knows how many of them should be"
        )
    anomalies, normal = found.true_positive + found.false_negative, found.false_positive + found.true_negative
    alarms = "no false alarm" if not found.false_positive else counted(found.false_positive, "false alarm")
    if not anomalies:
        lost = int(tested.truth.sum()) if tested.truth is not None else 0
        none = "No anomaly was in the test"
        if lost:
            none = f"{counted(lost, 'anomaly', 'anomalies')} in the test, and none that could be scored"
        return f"{none}: {alarms} among {counted(normal, 'normal window')}, and no more is known"
    if not normal:
        of = counted(anomalies, "anomaly", "anomalies")
        lost = 0 if tested.truth is None else int((~tested.truth).sum())
        none = "no normal window could be scored" if lost else "no normal window was in the test"
        return f"Finds {found.true_positive:,} of {of}; {none}"
    return (
        f"Finds {found.true_positive:,} of {counted(anomalies, 'anomaly', 'anomalies')}, "
        f"with {alarms} among {counted(normal, 'normal window')}"
    )


def trained_on(content: ReportContent) -> str:
    """What was trained on what."""
    window, sizes = content.window, dict(content.windows)
    files = listed(tuple(file.name for file in content.files), most=3)
    return (
        f"{_article(content.model)} was fitted to {counted(sizes.get('fit', 0), 'window')} of {shape(content)} from "
        f"{files}, by the recipe {content.recipe} with seed {content.seed}. "
        + (f"A window starts every {counted(window.hop, 'sample')}. " if not window.whole_records else "")
        + f"The score is the {content.score}: the higher, the stranger."
    )


def shape(content: ReportContent) -> str:
    """ "140 samples", "28 x 28 pixels", "60 samples x 8 channels"."""
    window, channels = content.window, len(content.channels)
    if window.image_shape is not None:
        size = f"{window.image_shape[0]} x {window.image_shape[1]} pixels"
    else:
        size = counted(window.length, "sample")
    return size if channels == 1 else f"{size} x {channels} channels"


def threshold_choice(content: ReportContent) -> str:
    """How the threshold was chosen."""
    threshold = content.threshold
    kept = "kept from fitting" if threshold.held_out else "the very ones that were fitted, so it is likely too low"
    own = ""
    if count := len(threshold.series):
        own = f" ({counted(count, 'series has its', 'series have their')} own threshold instead)"
    chosen = f"The threshold was chosen on {counted(threshold.windows, 'normal window')}, {kept}."
    if threshold.method == "oracle":
        chosen = "The labels of the test windows chose the threshold."
    return f"A window is flagged where its score is over {number(threshold.value)}{own}: {threshold.how}. {chosen}"


def own_thresholds(content: ReportContent) -> str:
    """What to know of a plot with one threshold where series have their own; else nothing."""
    if content.tested.thresholds is None:
        return ""
    return (
        " Series have their own thresholds: the one drawn is for all others; windows were flagged by their series' own."
    )


def rate(value: Rate | None, unit: str) -> str:
    """ "2.1 a day per series (95% interval 1.2 to 3.5)"."""
    if value is None:
        return "unknown: the data does not say how many windows a day has"
    interval = "" if value.low is None or value.high is None else _interval(value.low, value.high)
    return f"{number(value.value, 2)} {unit}{interval}"


def false_alarms(threshold: Threshold) -> str:
    """What to expect, and which windows are counted as one alarm."""
    said = f"Expected false alarms: {rate(threshold.expected, threshold.rate_unit)}."
    return f"{said} An alarm is an incident: {threshold.counting}." if threshold.counting else said


def _interval(low: float, high: float) -> str:
    return f" (95% interval {number(low, 2)} to {number(high, 2)})"


def least_seen(alarms: Alarms) -> float | None:
    """The least rate over 0 that the calibration windows can show."""
    over = alarms.expected[alarms.expected > 0]
    return float(over.min()) if len(over) else None


def cell(value: Estimate | None) -> str:
    """Three places, four significant digits over 10; "-" where there is none."""
    if value is None or not math.isfinite(value.value):
        return "-"
    return f"{value.value:.3f}" if abs(value.value) < 10 else number(value.value, 4)


def interval(value: Estimate | None) -> str:
    """ "0.981 to 0.993", or nothing."""
    if value is None or value.low is None or value.high is None:
        return ""
    return f"{cell(Estimate(value=value.low))} to {cell(Estimate(value=value.high))}"


def warnings(content: ReportContent) -> tuple[str, ...]:
    """The content's own, and what follows from its numbers: a better baseline, a rate that is hardly known."""
    said = [*content.warnings, *(_beaten(found, row) for found in content.tables for row in found.rows)]
    tested = content.tested
    if tested.truth is not None and (lost := int((tested.truth & ~np.isfinite(tested.scores)).sum())):
        of = counted(int(tested.truth.sum()), "anomaly", "anomalies")
        said.append(f"{lost:,} of {of} could not be scored: they count neither as found nor as missed.")
    expected = content.threshold.expected
    if expected is not None and expected.low is not None and expected.high is not None:
        low, high, unit = expected.low, expected.high, content.threshold.rate_unit
        if high > VAGUE * low:
            said.append(
                f"How many false alarms to expect is hardly known: {number(low, 2)} to {number(high, 2)} {unit}. "
                "More calibration windows narrow it."
            )
    return tuple(filter(None, said))


def _beaten(found: MetricsTable, baseline: Row) -> str:
    """Says so where `baseline` does better than the table's first detector in a metric that sums a scorer up."""
    detector = next((row for row in found.rows if row.kind == "detector"), None)
    if baseline.kind != "baseline" or detector is None:
        return ""
    better = [
        f"{column} {cell(theirs)} against {cell(ours)}"
        for column, ours, theirs in zip(found.columns, detector.cells, baseline.cells, strict=True)
        if column in SUMMING_UP and ours is not None and theirs is not None and theirs.value > ours.value
    ]
    return f"A baseline does better, {baseline.name}: {listed(tuple(better))}." if better else ""


def row_name(row: Row) -> str:
    """The row's name with its kind, where that is not the detector."""
    return {"detector": row.name, "baseline": f"baseline: {row.name}", "oracle": f"oracle: {row.name}"}[row.kind]


def labels(content: ReportContent) -> str:
    """Whether there is a truth, and what that means for the metrics."""
    tested = content.tested
    unscorable = int((~np.isfinite(tested.scores)).sum())
    verb = "is" if unscorable == 1 else "are"
    lost = f" {counted(unscorable, 'test window')} could not be scored and {verb} in no metric." if unscorable else ""
    if tested.truth is None:
        return (
            "The data has no labels: accuracy, precision, recall, ROC, confusion and mistakes can't be known and are "
            f"not shown. What is shown is what the model saw and how its scores lie around the threshold.{lost}"
        )
    return (
        f"{counted(int(tested.truth.sum()), 'test window')} of {len(tested.truth):,} are labelled anomalous; "
        f"metrics take the anomaly as the positive class unless they say otherwise.{lost}"
    )


def _article(words: str) -> str:
    return f"{'An' if words[:1].lower() in 'aeiou' else 'A'} {words}"
