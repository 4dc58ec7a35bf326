"""How the commands' options say how data is read: the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.datafiles.clocks import Reading
from monitor.detector.times import Unit
from monitor.errors import DataError
from training.datasets.options import Note, ReadOptions, Table

if TYPE_CHECKING:
    from monitor.detector.spec import Manifest

Data = Annotated[
    list[str],
    typer.Argument(
        help="Files (CSV, Parquet, Arrow, .npy, .npz, UCR and UEA .txt .tsv .ts .arff, WFDB records, IDX images; "
        "gzipped or not), or a range of a topic: kafka://host:port/topic?from=...&to=..."
    ),
]
Channels = Annotated[
    str | None, typer.Option(help="Columns to watch, separated by commas; default: all but time, series and label.")
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column of labels, or none; for rows that are windows also first or last.")
]
Labels = Annotated[
    Path | None, typer.Option(help="File of labels: one a row, intervals [series,] start, end, or NAB's windows JSON.")
]
TimeColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of timestamps, none, or DATE,TIME; default: one called timestamp, time, date, ..., or the only "
        "one that holds nothing but times."
    ),
]
TimeUnit = Annotated[
    Unit, typer.Option(help="Unit of times that are numbers; auto: by their size, as input.timestamp_unit.")
]
DayFirst = Annotated[
    bool | None,
    typer.Option("--day-first/--month-first", help="Whether 1/2/2026 is in February or in January, if unclear."),
]
Missing = Annotated[
    str | None,
    typer.Option(
        help="What means a missing number, besides empty cells, null, NA, No Data and the like: numbers and texts "
        "separated by commas, such as --missing=-9999,Bad; default: what the recipe says, or the artifact's did."
    ),
]
SeriesColumn = Annotated[str | None, typer.Option(help="Long form: the column that names each row's series.")]
ImageShape = Annotated[str | None, typer.Option(help="Windows are images of this height and width, such as 28x28.")]
DaemonConfig = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The daemon's configuration: incidents are counted by its section alerting (without it by the defaults) "
        "and its model.threshold, where it sets one; for topics its connection and input, too.",
    ),
]
KafkaConfig = Annotated[
    Path | None, typer.Option("--config", "-c", help="For topics: the daemon's configuration, for its connection.")
]


NormalClass = Annotated[int | None, typer.Option(help="The label of normal rows; default: the recipe's.")]
ArtifactIn = Annotated[Path, typer.Argument(help="A directory or zip that `telltale train` wrote.")]


def note(text: str) -> None:
    """What a person should know of, on stderr."""
    typer.echo(f"note: {text}", err=True)


def read_options(
    *,
    channels: str | tuple[str, ...] | None = None,
    label_column: str | None = None,
    labels: Path | None = None,
    time_column: str | None = None,
    series_column: str | None = None,
    image_shape: str | None = None,
    config: Path | None = None,
    window_length: int | None = None,
    sampling_rate_hz: float | None = None,
    levels: tuple[float, ...] | None = None,
    missing: tuple[str, ...] = (),
    drop: str | None = None,
    time_unit: Unit = "auto",
    day_first: bool | None = None,
) -> ReadOptions:
    """The options as `training.datasets` takes them; in one text `channels`, and those to `drop`, are separated by
    commas.

    Raises:
        DataError: one can't be meant.
    """
    named = tuple(name.strip() for name in channels.split(",")) if isinstance(channels, str) else channels
    return ReadOptions(
        channels=named if channels else None,
        label_column=label_column,
        labels=labels,
        time_column=time_column,
        series_column=series_column,
        image_shape=_image_shape(image_shape),
        config=config,
        window_length=window_length,
        sampling_rate_hz=sampling_rate_hz,
        levels=levels,
        missing=missing,
        dropped=_listed(drop),
        times=Reading(time_unit, day_first),
    )


def artifact_options(
    manifest: Manifest,
    *,
    label_column: str | None,
    time_column: str | None,
    series_column: str | None,
    config: Path | None,
    labels: Path | None = None,
    missing: str | None = None,
    time_unit: Unit = "auto",
    day_first: bool | None = None,
) -> ReadOptions:
    """How data for an artifact is read: its channels, by name and less their levels, in its windows; what means a
    missing number there is what meant one in its training, unless `missing` says it.
    """
    levels = tuple(channel.level for channel in manifest.channels)
    return read_options(
        channels=tuple(channel.name for channel in manifest.channels),
        label_column=label_column,
        labels=labels,
        time_column=time_column,
        series_column=series_column,
        config=config,
        window_length=manifest.window.length,
        sampling_rate_hz=manifest.window.sampling_rate_hz,
        levels=levels if any(levels) else None,
        missing=missing_values(missing, manifest.training.get("recipe", {}).get("missing_values", ())),
        time_unit=time_unit,
        day_first=day_first,
    )


def missing_values(given: str | None, otherwise: Sequence[str | float]) -> tuple[str, ...]:
    """What is declared to mean a missing number: `given` in one text, separated by commas, or `otherwise`."""
    return tuple(map(str, otherwise)) if given is None else _listed(given)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(word for word in map(str.strip, (text or "").split(",")) if word)


def tables_for(
    manifest: Manifest,
    source: str,
    *,
    label_column: str | None,
    time_column: str | None,
    series_column: str | None,
    note: Note,
    missing: str | None = None,
    time_unit: Unit = "auto",
    day_first: bool | None = None,
) -> list[Table]:
    """The tables of a file, read as an artifact's training would: what `telltale replay` asks for, by entry point.

    Raises:
        DataError: the file does not hold what the artifact's windows are made of, or is a topic.
    """
    from training import datasets
    from training.datasets.reading import TOPIC_SCHEME

    if source.startswith((TOPIC_SCHEME, TOPIC_SCHEME.replace("//", "/"))):
        raise DataError(f"{source}: replay reads files; `telltale evaluate` reads ranges of topics")
    options = artifact_options(
        manifest,
        label_column=label_column,
        time_column=time_column,
        series_column=series_column,
        config=None,
        missing=missing,
        time_unit=time_unit,
        day_first=day_first,
    )
    # With their levels: as records, whose numbers the daemon takes them off.
    options = replace(options, levels=None, exact=options.levels is not None)
    return datasets.read(source, kind=manifest.window.kind, options=options, note=note)


def _image_shape(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = re.fullmatch(r"([0-9]{1,6}) *[xX] *([0-9]{1,6})", text.strip())
    if sides is None:
        raise DataError(f"--image-shape {text[:40]!r}: expected height and width, such as 28x28")
    return int(sides[1]), int(sides[2])
