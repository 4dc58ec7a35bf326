"""`telltale train`, `evaluate` and the autoencoder's other uses, as `monitor.cli` finds them by their entry point.

Rules of this file: what computes is imported inside the commands, so that `telltale --help` stays quick. Results go to
stdout, progress and notes to stderr. Errors are raised; `monitor.cli` turns them into messages and exit codes.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor import extras
from monitor.errors import DataError
from training import reading_options as reading
from training.cli_calibrate import calibrate
from training.cli_codes import decode, denoise, encode, sample

if TYPE_CHECKING:
    from training.datasets.options import ReadOptions, Table

EXIT_GATE = 3
_Normal = Annotated[int | None, typer.Option(help="The label of normal rows; default: the recipe's.")]
_ArtifactIn = Annotated[Path, typer.Argument(help="A directory or zip that `telltale train` wrote.")]


def commands(app: typer.Typer) -> None:
    """Adds the trainer's commands to the one command."""
    for command in (train, evaluate, calibrate, encode, decode, denoise, sample):
        app.command()(command)


def train(
    data: reading.Data,
    out: Annotated[Path, typer.Option(help="Where the artifact goes: a directory, or a file ending in .zip.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a .toml file.")] = "sliding",
    seed: Annotated[int, typer.Option(min=0, help="Decides split, initial parameters and order of rows.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    name: Annotated[str | None, typer.Option(help="The artifact's name; default: that of OUT.")] = None,
    channels: reading.Channels = None,
    label_column: reading.LabelColumn = None,
    labels: reading.Labels = None,
    time_column: reading.TimeColumn = None,
    series_column: reading.SeriesColumn = None,
    image_shape: reading.ImageShape = None,
    config: reading.DaemonConfig = None,
    normal_class: _Normal = None,
    window: Annotated[int | None, typer.Option(help="Window length in samples, instead of the recipe's.")] = None,
    hop: Annotated[int | None, typer.Option(help="Samples from window to window, instead of the recipe's.")] = None,
    quantile: Annotated[
        float | None, typer.Option(help="Threshold: this quantile of held-out normal windows' scores.")
    ] = None,
    alarms_per_day: Annotated[
        float | None,
        typer.Option(help="Threshold: at most so many incidents a day and series on held-out normal data."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Directory to save to while fitting; the same command then goes on from there.")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Epochs from one checkpoint to the next.")] = 10,
    comparison: Annotated[
        bool, typer.Option(help="Whether test figures get intervals, PCA and nearest neighbours beside them.")
    ] = True,
    report: Annotated[bool, typer.Option(help="Whether report.html and MODEL_CARD.md are made too.")] = True,
) -> None:
    """Fit an autoencoder to normal data, choose its threshold, and write the artifact that the daemon serves."""
    from monitor.detector import storage
    from training import alert_policy, pipeline, recipes, sources, summary
    from training.checkpoints import Checkpoints, identity
    from training.progress import Progress

    _check_place(out)
    assumed = alert_policy.assumed(config)
    extras.require("optax", *(("plotly",) if report else ()))
    chosen = recipes.override(
        recipes.load(recipe),
        epochs=epochs,
        length=window,
        hop=hop,
        quantile=quantile,
        alarms_per_day=alarms_per_day,
        normal_class=normal_class,
    )
    options = reading.read_options(
        channels=channels,
        label_column=label_column,
        labels=labels,
        time_column=time_column,
        series_column=series_column,
        image_shape=image_shape,
        config=config,
        window_length=chosen.window.length or None,
        sampling_rate_hz=chosen.window.sampling_rate_hz,
    )
    # What is odd about times is in the report too, so the pipeline says it.
    tables, origins = sources.read(data, chosen.window.kind, options, _note, about_times=False)
    saved_at = None
    if checkpoint is not None:
        saved_at = Checkpoints(checkpoint, identity(chosen, tables, seed), checkpoint_every, _note)
    try:
        with Progress(chosen.fit.epochs) as progress:
            trained = pipeline.train(
                chosen,
                tables,
                seed=seed,
                name=name or out.name.removesuffix(".zip"),
                sources=origins,
                on_epoch=progress.advance,
                checkpoints=saved_at,
                with_comparison=comparison,
                with_report=report,
                command=_command(),
                alerting=assumed.alerting,
            )
    except KeyboardInterrupt:
        if checkpoint is not None:
            _note(f"interrupted; the same command goes on from what is saved in {checkpoint}")
        raise
    saved = storage.save(trained.artifact, out)
    for each in trained.results.notes:
        _note(each)
    if assumed.threshold is not None:
        _note(
            f"the daemon would use {assumed.threshold_source}, {assumed.threshold:.6g}, instead of this artifact's "
            "threshold"
        )
    typer.echo(summary.of_training(chosen, origins, trained, seed))
    typer.echo(f"artifact   {out}  (sha256 {saved.digest[:12]})")


def evaluate(
    artifact: _ArtifactIn,
    data: reading.Data,
    label_column: reading.LabelColumn = None,
    labels: reading.Labels = None,
    time_column: reading.TimeColumn = None,
    series_column: reading.SeriesColumn = None,
    config: reading.DaemonConfig = None,
    normal_class: _Normal = None,
    floors_from: Annotated[
        list[str] | None,
        typer.Option(
            help="Normal data, such as the artifact was trained on: PCA and nearest neighbours are fitted on it, and "
            "stand beside the figures. May be given several times."
        ),
    ] = None,
    min_auroc: Annotated[
        float | None, typer.Option(min=0, max=1, help=f"Exit with status {EXIT_GATE} where AUROC is lower, or unknown.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Figures as JSON.")] = False,
) -> None:
    """Score labelled data with an artifact: figures of windows, of series and their events, with floors beside them."""
    import msgspec

    from monitor.detector.served import load_verified
    from training import alert_policy, evaluation, sources, summary

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
    )
    tables, origins = sources.read(data, manifest.window.kind, options, _note)
    trained_on = {source["sha256"]: source["file"] for source in manifest.training.get("data", [])}
    for origin in origins:
        if origin.sha256 in trained_on:
            _note(f"{origin.file} is a file that the artifact was trained on; its figures flatter")
    normal: list[Table] = []
    for name in floors_from or ():
        normal += _normal_data(name, manifest.window.kind, options)
    results = evaluation.evaluate_artifact(
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
    """Data to fit floors on; that it has no column of labels is all right: then all of it is normal."""
    from monitor.detector import windowing
    from training import sources

    options = replace(options, labels=None)
    try:
        return sources.read([name], kind, options, _note)[0]
    except DataError:
        if options.label_column is None or windowing.whole_records(kind):
            raise
        found, _ = sources.read([name], kind, replace(options, label_column=None), _note)
        _note(f"{name}: no labels in a column {options.label_column}; floors take all of it for normal")
        return found


def _command() -> str:
    """The command as it was given; files by their names, not their places."""
    return shlex.join(["telltale", *map(_placeless, sys.argv[1:])])


def _placeless(word: str) -> str:
    try:
        return Path(word).name or word if Path(word).exists() else word
    except (OSError, ValueError):  # too long for a name: a list of channels, say
        return word


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


def _check_place(out: Path) -> None:
    """Refuses to write over something else before anything is computed."""
    from monitor.detector.artifact import MANIFEST

    if out.suffix == ".zip" or not out.exists() or (out / MANIFEST).is_file():
        return
    if out.is_file() or any(out.iterdir()):
        raise DataError(f"{out}: something that is not an artifact is there; choose another --out")
