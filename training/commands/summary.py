"""What a person reads after training or evaluating: a few lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.detector import windowing
from training.datasets.sources import Source
from training.evaluation.labelled import Evaluated
from training.evaluation.series_metrics import Alerted, OverSeries, Pooled
from training.metrics.baseline_scores import TrivialBaseline
from training.metrics.bootstrap import Interval, Intervals
from training.metrics.windows import ClassMetrics, Report
from training.pipeline import Trained, how
from training.recipes.schema import Recipe
from training.thresholds.alert_policy import counting
from training.windows.subsets import watched


def of_training(recipe: Recipe, sources: Sequence[Source], trained: Trained, seed: int) -> str:
    """Data, split, loss, threshold and how it was chosen, test metrics."""
    results, manifest = trained.results, trained.artifact.manifest
    window, sizes = manifest.window, results.windows
    rows = sum(source.rows for source in sources)
    names = [channel.name for channel in manifest.channels]
    listed = ", ".join(names[:_CHANNELS_LISTED]) + (f", ... ({len(names)})" if len(names) > _CHANNELS_LISTED else "")
    unseen = ""
    if results.validation_loss is not None:
        unseen = f", {results.validation_loss:.5f} {watched(recipe, sizes)}"
    divided = f"{sizes['fit']} to fit, {sizes['calibration']} to calibrate, {sizes['test']} to test"
    lines = [
        f"data       {', '.join(source.file for source in sources)}: {rows} rows; channels {listed}",
        f"windows    {windowing.described(window)}; {divided}",
        f"recipe     {recipe.name}, {results.epochs} epochs, seed {seed}",
        f"loss       {results.loss:.5f} training{unseen} ({recipe.objective.loss}, scaled)",
        f"threshold  {results.threshold:.6g}: {how(manifest)}",
    ]
    alarms = results.false_alarms
    lines.append(
        f"alarms     {alarms.expected:.3g} false ones {alarms.unit} to expect (95 %: {alarms.low:.3g} to "
        f"{alarms.high:.3g}); {alarms.flagged:.2%} of the normal windows over the threshold"
    )
    if alarms.static is not None:
        lines.append(
            f"{_INDENT}it follows each series' scores of the last day; if it did not: {alarms.static.expected:.3g}, "
            f"{alarms.static.flagged:.2%}"
        )
    lines.append(f"{_INDENT}an alarm is an incident: {counting(results.alerting)}")
    if results.detector is None:
        share = results.test_flagged_share
        if share is not None:
            lines.append(f"test       no labels; {share:.2%} of the test windows are over the threshold")
    else:
        lines += _of_windows(results.detector, results.intervals, results.baselines, results.trivial_baselines)
        if results.intervals is not None and windowing.overlap(window) > 1:
            lines.append(f"{_INDENT}95 %: too narrow, as windows overlap; telltale evaluate draws neighbours together")
    return "\n".join(lines)


def of_evaluation(results: Evaluated) -> str:
    """Metrics, or the share over the threshold where there are no labels."""
    lines = [f"artifact   {results.name} {results.version} (sha256 {results.digest[:12]})"]
    threshold = f"threshold {results.threshold:.6g}"
    if results.threshold_source is not None:
        threshold += f" ({results.threshold_source}, instead of the artifact's)"
    lines.append(f"windows    {results.windows}, {results.unscorable} unscorable; {threshold}")
    if results.series is not None or results.alerted is not None:
        lines.append(f"policy     {results.alerting}")
    if results.detector is not None:
        lines += _of_windows(results.detector, results.intervals, results.baselines, results.trivial_baselines)
        if results.drawn is not None:
            lines.append(f"{_INDENT}95 %: intervals, by drawing {results.drawn} again")
    elif results.series is None:
        said = f"no labels; {results.flagged} windows are over the threshold"
        if results.unscorable == results.windows:
            said = "no window could be scored" if results.windows else "no series is long enough for a window"
        lines.append(f"test       {said}")
    if results.series is not None:
        lines += _of_series(results.series)
    if results.alerted is not None:
        lines += _of_alerts(results.alerted)
    if results.trivial_baselines and not results.baselines:
        lines.append("baselines  PCA and nearest neighbours need normal data to fit: give it with --baselines-from")
    return "\n".join(lines)


def _of_windows(
    detector: Report, intervals: Intervals | None, baselines: dict[str, Report], trivial: dict[str, TrivialBaseline]
) -> list[str]:
    def row(found: Report | TrivialBaseline, classed: ClassMetrics, *, ranked: bool = True) -> list[str]:
        ranks = (found.auroc, found.average_precision) if ranked else (None, None)
        return [_number(each) for each in (found.accuracy, classed.precision, classed.recall, classed.f1, *ranks)]

    rows = [("anomalies found", row(detector, detector.anomaly))]
    if intervals is not None:
        around = (intervals.accuracy, None, None, intervals.anomaly_f1, intervals.auroc, intervals.average_precision)
        rows.append((_AROUND, [_interval(each) for each in around]))
    rows.append(("normal as positive", row(detector, detector.normal, ranked=False)))
    if intervals is not None:
        around = (intervals.accuracy, None, None, intervals.normal_f1, None, None)
        rows.append((_AROUND, [_interval(each) for each in around]))
    rows += [(_baseline(name), row(found, found.anomaly)) for name, found in baselines.items()]
    rows += [(_baseline(name), row(found, found.anomaly)) for name, found in trivial.items()]
    normal = detector.false_positive + detector.true_negative
    said = (
        f"{_INDENT}{detector.true_positive} anomalies found, {detector.false_negative} missed, "
        f"{detector.false_positive} false alarms among {normal} normal windows"
    )
    return [*_table("test", ("accuracy", "precision", "recall", "F1", "AUROC", "AP"), rows), said]


def _of_series(found: OverSeries) -> list[str]:
    events = found.events
    unit = "s" if found.delay_unit == "seconds" else "rows"
    rate = ("false_alarms_per_1000_rows", "false/1000 rows")
    if events.false_alarms_per_day is not None:
        rate = ("false_alarms_per_day", "false/day")
    alerts = [
        ("precision", "precision"),
        ("recall", "recall"),
        ("f1", "F1"),
        ("delay_median", f"delay, {unit}"),
        ("delay_p90", "its p90"),
        ("missed", "missed"),
        rate,
        ("normal_flagged", "normal flagged"),
    ]
    ranked = [("average_precision", "AUC-PR"), ("vus_pr", "VUS-PR")]
    drawn = "no intervals: one series has to be long, with five events, to be drawn again in blocks; give several"
    if found.drawn is not None:
        drawn = f"95 %: intervals, by drawing {found.drawn} again"
    said = [
        "normal flagged: share of the normal rows; where it is high, events are found whatever the scores say",
        "a row has the score of the newest window that has closed; means over series, which --json has one by one",
        drawn,
    ]
    counts = (
        f"series     {found.series}: {found.rows} rows, {found.unscored_rows} without a score; {events.found} of "
        f"{events.events} events found, {events.alerts} alerts, {events.false_alarms} false"
    )
    return [
        counts,
        *_pooled("events", alerts, found),
        *_pooled("rows", ranked, found),
        *(f"{_INDENT}{line}" for line in said),
    ]


def _of_alerts(found: Alerted) -> list[str]:
    """How many alerts the daemon would have published, and for which series most."""
    rates = []
    if found.per_day is not None:
        rates.append(f"{found.per_day:.3g} a day over {found.days:.3g} days")
    if found.per_day_and_series is not None and (found.series > 1 or not rates):
        rates.append(f"{found.per_day_and_series:.3g} a day and series")
    if not rates:
        rates.append(f"{found.alerts / max(found.rows, 1) * 1_000:.3g} in 1000 rows, without times to count days by")
    said = [f"alerts     {found.alerts} in {found.series} series: {', '.join(rates)}"]
    if found.flagged is not None:
        said.append(f"{_INDENT}{found.flagged:.2%} of the rows are over the threshold{_most(found.flagged)}")
    most = sorted((name for name, count in found.each.items() if count), key=lambda name: -found.each[name])
    if found.series > 1 and most:
        listed = ", ".join(f"{_short(name)} {found.each[name]}" for name in most[:_SERIES_LISTED])
        left = f", and {len(most) - _SERIES_LISTED} more" if len(most) > _SERIES_LISTED else ""
        said.append(f"{_INDENT}most: {listed}{left}")
    return said


def _short(name: str) -> str:
    """A series' name; of a long one both ends, as it is often the last one that tells series apart."""
    return name if len(name) <= _NAME_WIDTH else f"{name[:7]}...{name[10 - _NAME_WIDTH :]}"


def _most(flagged: float) -> str:
    return "" if flagged <= 1 / 2 else ": is the data of the rate and units that the artifact learnt?"


def _pooled(title: str, columns: Sequence[tuple[str, str]], found: OverSeries) -> list[str]:
    def row(pooled: Pooled) -> list[str]:
        return [_number(getattr(pooled, name), name) for name, _ in columns]

    rows = [("this detector", row(found.detector))]
    if found.intervals:
        rows.append((_AROUND, [_interval(found.intervals.get(name), name) for name, _ in columns]))
    rows += [(_baseline(name), row(pooled)) for name, pooled in found.baselines.items()]
    return _table(title, [shown for _, shown in columns], rows)


_INDENT = " " * 11
_AROUND = "  95 %"
_CHANNELS_LISTED, _SERIES_LISTED, _NAME_WIDTH = 12, 4, 20
_NO_SHARES = ("delay_median", "delay_p90", "missed", "false_alarms_per_day", "false_alarms_per_1000_rows")
_BASELINES = {"pca": "PCA", "pca_squared": "PCA, squared", "knn": "nearest neighbours"}


def _baseline(name: str) -> str:
    return f"baseline: {_BASELINES.get(name, name.replace('_', ' '))}"


def _table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Rows of cells under their columns, all to the right."""
    widths = [max(map(len, cells)) + 2 for cells in zip(columns, *(cells for _, cells in rows), strict=True)]
    table = [(title, columns), *((f"  {name}", cells) for name, cells in rows)]
    return [
        f"{name:<31}{''.join(f'{cell:>{width}}' for cell, width in zip(cells, widths, strict=True))}".rstrip()
        for name, cells in table
    ]


def _number(value: float | None, name: str = "") -> str:
    """Shares with three decimals; counts, times and rates with three digits or whole."""
    if value is None:
        return "-"
    if name not in _NO_SHARES:
        return f"{value:.3f}"
    return f"{value:.3g}" if value < 1_000 else f"{value:.0f}"


def _interval(found: Interval | None, name: str = "") -> str:
    return "" if found is None else f"{_number(found.low, name)}-{_number(found.high, name)}"
