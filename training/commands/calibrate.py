"""`telltale calibrate`: another threshold for an artifact, without training, and without data where there is none.

Rules of this file: as of `training.commands`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.detector.thresholds import Follow
from monitor.errors import DataError
from training.commands import arguments as reading
from training.thresholds.rules import Method, Per, ThresholdPart, left_out

if TYPE_CHECKING:
    from monitor.detector.artifact import Artifact
    from training.evaluation.scored import Scored
    from training.thresholds.alert_policy import Assumed

_DataOrNone = Annotated[
    list[str] | None,
    typer.Argument(
        help="Normal data that the artifact was not trained on, as `telltale train` reads it; without any, the "
        "artifact's stored calibration decides."
    ),
]


def calibrate(
    artifact: reading.ArtifactIn,
    data: _DataOrNone = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the new artifact goes; default: only print what it would be.")
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help="How the threshold is chosen; default: the one whose option is given below.")
    ] = None,
    quantile: Annotated[float | None, typer.Option(help="This quantile of the scores of normal windows.")] = None,
    k: Annotated[float | None, typer.Option(help="Mean plus this many standard deviations.")] = None,
    alarms_per_day: Annotated[
        float | None, typer.Option(help="At most this many incidents per day and series.")
    ] = None,
    p_value: Annotated[
        float | None, typer.Option(help="Windows with at most this conformal p-value are anomalies.")
    ] = None,
    risk: Annotated[
        float | None, typer.Option(help="Probability that a normal window exceeds the threshold (tail fit).")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="The value itself.")] = None,
    per: Annotated[Per, typer.Option(help="One threshold for all series, or one per series.")] = "artifact",
    leave_out: Annotated[
        float | None,
        typer.Option(
            help="Up to this share of a series' windows has no say where it looks like incidents; default: 0.05 with "
            "--alarms-per-day, else 0."
        ),
    ] = None,
    follow: Annotated[
        Follow,
        typer.Option(
            help="Whether each series' threshold is raised over what 95 % of its scores of the last day are below; "
            "auto: where a day of normal data or more drifts, else as before."
        ),
    ] = "auto",
    label_column: reading.LabelColumn = None,
    labels: reading.Labels = None,
    time_column: reading.TimeColumn = None,
    series_column: reading.SeriesColumn = None,
    time_unit: reading.TimeUnit = "auto",
    day_first: reading.DayFirst = None,
    missing: reading.Missing = None,
    config: reading.DaemonConfig = None,
    normal_class: Annotated[int | None, typer.Option(help="The label of normal rows; default: the training's.")] = None,
) -> None:
    """Change an artifact's threshold without training: by other scores, or by its stored calibration."""
    from monitor.detector import storage
    from monitor.detector.served import load_verified
    from training.datasets import sources
    from training.evaluation import scored
    from training.thresholds import alert_policy, recalibrate

    rule = _rule(method, quantile, k, alarms_per_day, p_value, risk, threshold, per, leave_out, follow)
    assumed = alert_policy.assumed(config)
    alerting = assumed.alerting
    model = load_verified(artifact)
    loaded, scorer, manifest = model.artifact, model.scorer, model.manifest
    found: Scored | None = None
    counted_by = alerting if data else alert_policy.stored(manifest)
    if config is not None and (counted_by is None or counted_by.policy != alerting.policy):
        reading.note(f"what is stored was not counted by {alerting}; give normal data, which will be")
    if data:
        options = reading.artifact_options(
            manifest,
            label_column=label_column,
            labels=labels,
            time_column=time_column,
            series_column=series_column,
            config=config,
            missing=missing,
            time_unit=time_unit,
            day_first=day_first,
        )
        tables, origins = sources.read(data, manifest.window.kind, options, reading.note)
        seen = {source["sha256"] for source in manifest.training.get("data", [])}
        trained_on = [origin.file for origin in origins if origin.sha256 in seen]
        for name in trained_on:
            reading.note(f"{name} is a file that the artifact was trained on; new data scores higher")
        found = scored.scored(
            loaded,
            scorer,
            tables,
            normal_class=normal_class,
            held_out=not trained_on,
            policy=alerting.policy,
            max_missing_ratio=assumed.max_missing_ratio,
        )
        for text in found.notes:
            reading.note(text)
    made, notes = recalibrate.recalibrated(
        loaded,
        rule,
        None if found is None else found.normal,
        oracle=None if found is None else found.labelled,
    )
    for text in notes:
        reading.note(text)
    typer.echo(_said("before", loaded, found, replace(assumed, threshold=None)))
    typer.echo(_said("now", made, found, replace(assumed, threshold=None)))
    if assumed.threshold is not None:
        typer.echo(_said("in service", made, found, assumed))
    typer.echo(f"policy     {alert_policy.counting(counted_by)}")
    if out is None:
        typer.echo("artifact   nothing is written without --out")
        return
    saved = storage.save(made, out)
    typer.echo(f"artifact   {out}  (sha256 {saved.digest[:12]})")


def _rule(
    method: Method | None,
    quantile: float | None,
    k: float | None,
    alarms_per_day: float | None,
    p_value: float | None,
    risk: float | None,
    threshold: float | None,
    per: Per,
    leave_out: float | None,
    follow: Follow,
) -> ThresholdPart | float:
    """What the options mean together.

    Raises:
        DataError: two of them contradict each other, or none says anything.
    """
    numbers: dict[Method, tuple[str, float | None]] = {
        "quantile": ("quantile", quantile),
        "mean_std": ("k", k),
        "budget": ("alarms_per_day", alarms_per_day),
        "conformal": ("p_value", p_value),
        "pot": ("risk", risk),
    }
    given = {name: pair for name, pair in numbers.items() if pair[1] is not None}
    options = [f"--{name.replace('_', '-')}" for name, _ in given.values()]
    if threshold is not None:
        if method is not None or given or per != "artifact" or leave_out is not None or follow != "auto":
            raise DataError("--threshold is the value itself; omit the other options that choose one")
        return threshold
    if method is None:
        if len(given) != 1:
            said = f"{' and '.join(options)} are of several methods" if given else "no method is given"
            raise DataError(
                f"{said}; give one of --quantile, --k, --alarms-per-day, --p-value, --risk, --threshold, or --method"
            )
        (chosen,) = given
    else:
        chosen = method
    if given.keys() - {chosen}:
        raise DataError(f"{', '.join(options)}: not all are the number of --method {chosen}; leave the others out")
    share = left_out(chosen) if leave_out is None else leave_out
    numbers_given = {name: value for name, value in given.values() if value is not None}
    return ThresholdPart(method=chosen, per=per, leave_out=share, follow=follow, **numbers_given)


def _said(when: str, artifact: Artifact, found: Scored | None, assumed: Assumed) -> str:
    """A threshold's value, how it was chosen, and what it costs: counted on data, else by what is stored.

    It is the artifact's, or the one that the operator set instead of it.
    """
    from training.thresholds import false_alarms, recalibrate
    from training.thresholds.choose import described, static_cost

    served = assumed.thresholds(artifact.manifest)
    threshold = served.chosen
    origin = described(threshold)
    if assumed.threshold is not None:
        origin = f"{assumed.threshold_source}, which the daemon uses instead"
    series = f", {len(threshold.series)} series with their own" if threshold.series else ""
    text = f"{when:<10} {threshold.value:.6g} ({origin}{series})"
    if found is None:
        rate, unit = recalibrate.expected_alarms(artifact.manifest, threshold.value)
        return f"{text}: about {rate:.3g} false {unit}, by the stored calibration"
    cost = false_alarms.expected(found.normal, served)
    said = (
        f"{text}: {cost.incidents} incidents, {cost.rate:.3g} false alarms {cost.unit} (95% interval {cost.low:.3g} "
        f"to {cost.high:.3g}), {cost.over} of {cost.windows} normal windows over it ({cost.share_over:.2%})"
    )
    stays = static_cost(found.normal, served)
    if stays is None:
        return said
    return (
        f"{said}\n{'':<10} it follows each series' scores of the last day; if it did not: {stays.rate:.3g} false "
        f"alarms {stays.unit}, {stays.share_over:.2%} of the normal windows over it"
    )
