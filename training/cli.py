"""`telltale train` and `telltale evaluate`, as `monitor.cli` finds them by their entry point.

Rules of this file: what computes is imported inside the commands, so that `telltale --help` stays quick. Results go to
stdout, progress and notes to stderr. Errors are raised; `monitor.cli` turns them into messages and exit codes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.errors import DataError

if TYPE_CHECKING:
    from training.parts import Table

_Data = Annotated[list[Path], typer.Argument(help="Data files: text (CSV, UCR), .npy, .npz; gzipped or not.")]
_Channels = Annotated[
    str | None, typer.Option(help="Columns to watch, separated by commas; default: all but time and label.")
]
_Label = Annotated[
    str | None, typer.Option(help="Column of labels; for rows that are windows also first, last or none.")
]
_Time = Annotated[str | None, typer.Option(help="Column of timestamps; default: one called timestamp, time, date, ...")]
_Normal = Annotated[int | None, typer.Option(help="The label of normal rows; default: the recipe's.")]


def commands(app: typer.Typer) -> None:
    """Adds `train` and `evaluate` to the one command."""
    app.command()(train)
    app.command()(evaluate)


def train(
    data: _Data,
    out: Annotated[Path, typer.Option(help="Where the artifact goes: a directory, or a file ending in .zip.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a .toml file.")] = "sliding",
    seed: Annotated[int, typer.Option(min=0, help="Decides split, initial parameters and order of rows.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    name: Annotated[str | None, typer.Option(help="The artifact's name; default: that of OUT.")] = None,
    channels: _Channels = None,
    label_column: _Label = None,
    time_column: _Time = None,
    normal_class: _Normal = None,
    window: Annotated[int | None, typer.Option(help="Window length in samples, instead of the recipe's.")] = None,
    hop: Annotated[int | None, typer.Option(help="Samples from window to window, instead of the recipe's.")] = None,
    quantile: Annotated[
        float | None, typer.Option(help="Threshold: this quantile of held-out normal windows' scores.")
    ] = None,
) -> None:
    """Fit an autoencoder to normal data, choose its threshold, and write the artifact that the daemon serves."""
    from monitor.detector import storage
    from monitor.detector.artifact import MANIFEST
    from training import export, pipeline, recipes, summary
    from training.progress import Progress

    if out.suffix != ".zip" and out.exists() and not (out / MANIFEST).is_file() and _holds_something(out):
        raise DataError(f"{out}: something that is not an artifact is there; choose another --out")
    chosen = recipes.override(
        recipes.load(recipe), epochs=epochs, length=window, hop=hop, quantile=quantile, normal_class=normal_class
    )
    tables = [_read(path, chosen.window.kind, channels, label_column, time_column) for path in data]
    sources = [export.fingerprint(path, _rows(table)) for path, table in zip(data, tables, strict=True)]
    with Progress(chosen.fit.epochs) as progress:
        trained = pipeline.train(
            chosen,
            tables,
            seed=seed,
            name=name or out.name.removesuffix(".zip"),
            sources=sources,
            on_epoch=progress.advance,
        )
    saved = storage.save(trained.artifact, out)
    for note in trained.results.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(summary.of_training(chosen, sources, trained, seed))
    typer.echo(f"artifact   {out}  (sha256 {saved.digest[:12]})")


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="A directory or zip that `telltale train` wrote.")],
    data: _Data,
    label_column: _Label = None,
    time_column: _Time = None,
    normal_class: _Normal = None,
    json: Annotated[bool, typer.Option("--json", help="Figures as JSON.")] = False,
) -> None:
    """Score labelled data with an artifact; figures both ways, with what needs no model beside them."""
    import msgspec

    from monitor.detector import storage
    from monitor.detector.artifact import check_known_answers
    from training import export, pipeline, summary

    loaded = storage.load(artifact)
    scorer = loaded.scorer()
    check_known_answers(loaded, scorer)
    manifest = loaded.manifest
    channels = ",".join(channel.name for channel in manifest.channels)
    tables = [_read(path, manifest.window.kind, channels, label_column, time_column) for path in data]
    trained_on = {source["sha256"]: source["file"] for source in manifest.training.get("data", [])}
    for path, table in zip(data, tables, strict=True):
        if export.fingerprint(path, _rows(table)).sha256 in trained_on:
            typer.echo(f"note: {path} is a file that the artifact was trained on; its figures flatter", err=True)
    results = pipeline.evaluate_artifact(loaded, scorer, tables, normal_class=normal_class)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(results), indent=2).decode())
    else:
        typer.echo(summary.of_evaluation(results))


def _read(path: Path, kind: str, channels: str | None, label_column: str | None, time_column: str | None) -> Table:
    from monitor import datafiles

    names = [name.strip() for name in channels.split(",")] if channels else None
    if kind == "record":
        return datafiles.read_windows(path, channels=names, label_column=label_column)
    return datafiles.read_series(path, channels=names, label_column=label_column, time_column=time_column)


def _rows(table: Table) -> int:
    from monitor.datafiles import WindowTable

    return len(table.windows) if isinstance(table, WindowTable) else len(table.samples)


def _holds_something(path: Path) -> bool:
    return not path.is_dir() or any(path.iterdir())
