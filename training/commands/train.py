"""`telltale train`: an artifact from normal data."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from monitor import extras
from monitor.errors import DataError
from training.commands import arguments as reading


def train(
    data: reading.Data,
    out: Annotated[Path, typer.Option(help="Where to write the artifact: a directory, or a file ending in .zip.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a .toml file.")] = "sliding",
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split, the initial parameters and the order of rows.")
    ] = 0,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    name: Annotated[str | None, typer.Option(help="The artifact's name; default: that of OUT.")] = None,
    channels: reading.Channels = None,
    drop: Annotated[str | None, typer.Option(help="Columns not to watch, separated by commas.")] = None,
    label_column: reading.LabelColumn = None,
    labels: reading.Labels = None,
    time_column: reading.TimeColumn = None,
    series_column: reading.SeriesColumn = None,
    time_unit: reading.TimeUnit = "auto",
    day_first: reading.DayFirst = None,
    missing: reading.Missing = None,
    image_shape: reading.ImageShape = None,
    config: reading.DaemonConfig = None,
    normal_class: reading.NormalClass = None,
    window: Annotated[int | None, typer.Option(help="Window length in samples, instead of the recipe's.")] = None,
    hop: Annotated[int | None, typer.Option(help="Samples from window to window, instead of the recipe's.")] = None,
    max_hold_ms: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="A number that is missing is the channel's last one, if that is no older than this: for channels that "
            "come less often; default: the recipe's.",
        ),
    ] = None,
    quantile: Annotated[
        float | None, typer.Option(help="Threshold: this quantile of held-out normal windows' scores.")
    ] = None,
    alarms_per_day: Annotated[
        float | None,
        typer.Option(help="Threshold: at most this many incidents per day and series on held-out normal data."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Directory for checkpoints while fitting; the same command resumes from there.")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Epochs from one checkpoint to the next.")] = 10,
    comparison: Annotated[
        bool, typer.Option(help="Whether test metrics get intervals, and PCA and nearest neighbours as baselines.")
    ] = True,
    report: Annotated[bool, typer.Option(help="Whether report.html and MODEL_CARD.md are made too.")] = True,
) -> None:
    """Fit an autoencoder to normal data, choose its threshold, and write the artifact that the daemon serves."""
    from monitor.detector import storage
    from training import pipeline, recipes
    from training.commands import summary
    from training.commands.progress import ProgressBar
    from training.datasets import sources
    from training.fitting.checkpoints import Checkpoints, identity
    from training.thresholds import alert_policy

    _check_out(out)
    assumed = alert_policy.assumed(config)
    extras.require("optax", *(("plotly",) if report else ()))
    chosen = recipes.override(
        recipes.load(recipe),
        epochs=epochs,
        length=window,
        hop=hop,
        max_hold_ms=max_hold_ms,
        quantile=quantile,
        alarms_per_day=alarms_per_day,
        normal_class=normal_class,
        missing_values=None if missing is None else reading.missing_values(missing, ()),
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
        missing=reading.missing_values(None, chosen.missing_values),
        drop=drop,
        time_unit=time_unit,
        day_first=day_first,
    )
    # What is odd about times and numbers is in the report too, so the pipeline says it.
    tables, origins = sources.read(data, chosen.window.kind, options, reading.note, about_contents=False)
    saved_at = None
    if checkpoint is not None:
        saved_at = Checkpoints(checkpoint, identity(chosen, tables, seed), checkpoint_every, reading.note)
    try:
        with ProgressBar() as progress:
            trained = pipeline.train(
                chosen,
                tables,
                seed=seed,
                name=name or out.name.removesuffix(".zip"),
                sources=origins,
                on_start=progress.start,
                on_epoch=progress.advance,
                checkpoints=saved_at,
                with_comparison=comparison,
                with_report=report,
                command=_command(),
                alerting=assumed.alerting,
            )
    except KeyboardInterrupt:
        if checkpoint is not None:
            reading.note(f"interrupted; the same command goes on from what is saved in {checkpoint}")
        raise
    saved = storage.save(trained.artifact, out)
    for each in trained.results.notes:
        reading.note(each)
    if assumed.threshold is not None:
        reading.note(
            f"the daemon would use {assumed.threshold_source}, {assumed.threshold:.6g}, instead of this artifact's "
            "threshold"
        )
    typer.echo(summary.of_training(chosen, origins, trained, seed))
    typer.echo(f"artifact   {out}  (sha256 {saved.digest[:12]})")


def _command() -> str:
    """The command as it was given, with files by their names, without directories."""
    return shlex.join(["telltale", *map(_without_directory, sys.argv[1:])])


def _without_directory(word: str) -> str:
    try:
        return Path(word).name or word if Path(word).exists() else word
    except (OSError, ValueError):  # too long for a name: a list of channels, say
        return word


def _check_out(out: Path) -> None:
    """Refuses to write over something else before anything is computed."""
    from monitor.detector.artifact import MANIFEST

    if out.suffix == ".zip" or not out.exists() or (out / MANIFEST).is_file():
        return
    if out.is_file() or any(out.iterdir()):
        raise DataError(f"{out}: something that is not an artifact is there; choose another --out")
