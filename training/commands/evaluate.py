"""`telltale evaluate`: how good an artifact is on labelled data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.errors import DataError
from training.commands import arguments as reading

if TYPE_CHECKING:
    from training.datasets.options import ReadOptions, Table

EXIT_GATE = 3


def evaluate(
    artifact: reading.ArtifactIn,
    data: reading.Data,
    label_column: reading.LabelColumn = None,
    labels: reading.Labels = None,
    time_column: reading.TimeColumn = None,
    series_column: reading.SeriesColumn = None,
    time_unit: reading.TimeUnit = "auto",
    day_first: reading.DayFirst = None,
    missing: reading.Missing = None,
    config: reading.DaemonConfig = None,
    normal_class: reading.NormalClass = None,
    baselines_from: Annotated[
        list[str] | None,
        typer.Option(
            help="Normal data, such as the artifact was trained on: PCA and nearest neighbours are fitted on it, and "
            "are compared with the artifact. May be given several times."
        ),
    ] = None,
    min_auroc: Annotated[
        float | None, typer.Option(min=0, max=1, help=f"Exit with status {EXIT_GATE} where AUROC is lower, or unknown.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Metrics as JSON.")] = False,
) -> None:
    """Score labelled data with an artifact: metrics of windows, of series and of their events, beside baselines."""
    import msgspec

    from monitor.detector.served import load_verified
    from training.commands import summary
    from training.datasets import sources
    from training.evaluation import labelled
    from training.thresholds import alert_policy

    assumed = alert_policy.assumed(config)
    model = load_verified(artifact)
    loaded, scorer, manifest = model.artifact, model.scorer, model.manifest
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
    trained_on = {source["sha256"]: source["file"] for source in manifest.training.get("data", [])}
    for origin in origins:
        if origin.sha256 in trained_on:
            reading.note(f"{origin.file} is a file that the artifact was trained on; its metrics flatter")
    normal: list[Table] = []
    for name in baselines_from or ():
        normal += _normal_data(name, manifest.window.kind, options)
    results = labelled.evaluate_artifact(
        loaded, scorer, tables, normal_class=normal_class, normal=normal, assumed=assumed
    )
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(results), indent=2).decode())
    else:
        typer.echo(summary.of_evaluation(results))
    if min_auroc is not None:
        found = None if results.detector is None else results.detector.auroc
        if found is None or found < min_auroc:
            said = "unknown: there are no labels of both kinds" if found is None else f"{found:.4f}"
            typer.echo(f"telltale: AUROC is {said}; --min-auroc asks for {min_auroc:g}", err=True)
            raise typer.Exit(EXIT_GATE)


def _normal_data(name: str, kind: str, options: ReadOptions) -> list[Table]:
    """Data to fit baselines on; without a column of labels all of it is taken as normal."""
    from monitor.detector import windowing
    from training.datasets import sources

    options = replace(options, labels=None)
    try:
        return sources.read([name], kind, options, reading.note)[0]
    except DataError:
        if options.label_column is None or windowing.whole_records(kind):
            raise
        found, _ = sources.read([name], kind, replace(options, label_column=None), reading.note)
        reading.note(f"{name}: no labels in a column {options.label_column}; all of it is taken as normal")
        return found
