"""`telltale replay`: the daemon's own loop on a file, with the in-memory backend.

The file is read as the trainer reads it, by the entry point `telltale.readers`: training data can be replayed.

Rows become records so that alert ids equal a daemon's: a row is a record (of a series: one sample; of a file of
windows: one window), its key is the series, its partition murmur2(key) mod partitions as Kafka's producers choose it,
its offset the number of rows before it in that partition. Rows without times are spaced by the artifact's sampling
rate from 1970 on, or by a millisecond if it has none.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

import msgspec
import numpy as np
import typer
from numpy.typing import NDArray

from monitor.backends.kafka import partition_of
from monitor.backends.local import LocalBackend, LocalLog
from monitor.config.file import load, parse
from monitor.config.options import Config
from monitor.datafiles import SeriesTable, WindowTable, by_series, read_text_column, read_windows
from monitor.datafiles.cells import Markers
from monitor.datafiles.clocks import Reading
from monitor.datafiles.reading import series_columns, series_table
from monitor.detector import windowing
from monitor.detector.spec import Manifest
from monitor.detector.times import Unit
from monitor.errors import ConfigError, DataError
from monitor.processing.counts import Counts
from monitor.serving.assembly import load_model, make_processor
from monitor.serving.daemon import Daemon
from monitor.serving.telemetry import Telemetry, Vitals, configure_logging


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """A file, and how its rows become records; see the module's docstring. `series` empty: as the file says.

    `missing` is what means a missing number, separated by commas; None: what did in the artifact's training.
    """

    path: Path
    series: str = ""
    series_column: str = ""
    time_column: str | None = None
    label_column: str | None = None
    missing: str | None = None
    time_unit: Unit = "auto"
    day_first: bool | None = None
    partitions: int = 1


@dataclass(frozen=True, slots=True)
class Rows:
    """A file's rows as records: `keys`, JSON `values` and `timestamps_ms`, each of length n."""

    keys: list[bytes]
    values: list[bytes]
    timestamps_ms: list[int]


def replay_file(
    artifact_path: Path,
    source: FileSource,
    *,
    config: Path | None = None,
    alerts: Path | None = None,
    service: str | None = None,
    topic: str | None = None,
    threshold: float | None = None,
) -> None:
    """Writes the file's alerts as JSON lines, and a summary to standard error.

    Raises:
        ArtifactError, ConfigError, DataError: an input can't be used; says why.
    """
    published, counts, seconds = replayed(
        artifact_path, source, overridden(config, service=service, topic=topic, threshold=threshold)
    )
    text = b"".join(line + b"\n" for line in published)
    if alerts is None:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    else:
        try:
            alerts.write_bytes(text)
        except OSError as error:
            raise DataError(f"{alerts}: the alerts can't be written: {error.strerror}") from None
    typer.echo(summary(counts, seconds), err=True)


def replayed(artifact_path: Path, source: FileSource, config: Config) -> tuple[list[bytes], Counts, float]:
    """The alerts of `source` as a daemon with `config` publishes them, the counts, and the duration in seconds."""
    model = load_model(config, artifact_path)
    rows = read_rows(source, model.manifest)
    topic = config.input.topics[0]
    log = LocalLog({topic: source.partitions})
    partitions = {key: partition_of(key, source.partitions) for key in set(rows.keys)}
    assigned = np.fromiter((partitions[key] for key in rows.keys), np.int64, len(rows.keys))
    for number in range(source.partitions):
        mine = np.flatnonzero(assigned == number).tolist()
        log.extend(
            topic,
            number,
            [rows.keys[row] for row in mine],
            [rows.values[row] for row in mine],
            [rows.timestamps_ms[row] for row in mine],
        )
    processor = make_processor(config, model)
    vitals = Vitals()
    thresholds = model.thresholds
    telemetry = Telemetry(vitals, lambda: processor.counts, {}, thresholds.value, thresholds.chosen.series.values())
    backend = LocalBackend(log, config)
    started = time.monotonic()
    Daemon(config, backend, processor, model.scorer, telemetry, vitals).run(until_caught_up=True)
    seconds = time.monotonic() - started
    return sorted(_published(log, config.output.alerts), key=_event_time), processor.counts, seconds


def overridden(config: Path | None, *, service: str | None, topic: str | None, threshold: float | None) -> Config:
    """The daemon's configuration, to read from the beginning, overridden by the command line."""
    base = Config() if config is None else load(config, artifact_needed=False, connects=False)
    document = base.model_dump()
    document["input"] |= {"start": "earliest", "format": "json", "series": "key", "timestamp_field": "ts"}
    document["input"] |= {"max_rejected_ratio": 1.0}  # there is no group that could hold a partition
    document["input"] |= {"timestamp_unit": "ms", "oldest_time": "1970-01-01T00:00:00Z"}  # files may count from 0
    document["input"]["topics"] = [topic] if topic else base.input.topics[:1]
    if service:
        document["service"]["name"] = service
    if threshold is not None:
        document["model"]["threshold"] = threshold
    document["log"]["level"] = "warning"
    made, problems = parse(document)
    if made is None:
        raise ConfigError("replay: " + "; ".join(problems))
    configure_logging(made.log)
    return made


def read_rows(source: FileSource, manifest: Manifest) -> Rows:
    """The rows of a file as records for `manifest`.

    Raises:
        DataError: the file lacks channels of the artifact, or has windows of another shape.
    """
    tables = _tables(source, manifest)
    if windowing.whole_records(manifest.window.kind):
        return _rows_of_windows(source, manifest, [table for table in tables if isinstance(table, WindowTable)])
    series = [table for table in tables if isinstance(table, SeriesTable)]
    names = [table.series for table in series]
    if source.series:
        if len(series) > 1:
            raise DataError(
                f"{source.path}: it holds {len(series)} series, so --series can't name them all; leave it out"
            )
        names = [source.series]
    records = [_records(table, manifest) for table in series]
    firsts = np.cumsum([0, *(len(values) for values, _ in records)])
    positions = [
        first + np.arange(len(values)) if table.rows is None else table.rows
        for table, (values, _), first in zip(series, records, firsts[:-1], strict=True)
    ]
    order = np.argsort(np.concatenate(positions), kind="stable").tolist()
    keys = [name.encode() for name, (values, _) in zip(names, records, strict=True) for _ in values]
    values = [value for values, _ in records for value in values]
    times_ms = [time for _, times in records for time in times]
    return Rows([keys[row] for row in order], [values[row] for row in order], [times_ms[row] for row in order])


def _tables(source: FileSource, manifest: Manifest) -> list[SeriesTable | WindowTable]:
    """The file as the trainer reads it, with the trainer's notes on standard error.

    Without the trainer only text and NumPy's formats are read, by the same functions.
    """
    windows = windowing.whole_records(manifest.window.kind)
    reader = next(iter(entry_points(group="telltale.readers", name="files")), None)
    if reader is None:
        return [_windows(source, manifest)] if windows else [*_plain_series(source, manifest)]
    tables: list[SeriesTable | WindowTable] = reader.load()(
        manifest,
        str(source.path),
        label_column=source.label_column,
        time_column=source.time_column,
        series_column=None if windows else source.series_column or None,
        note=lambda text: typer.echo(f"note: {text}", err=True),
        missing=source.missing,
        time_unit=source.time_unit,
        day_first=source.day_first,
    )
    return tables


def _windows(source: FileSource, manifest: Manifest) -> WindowTable:
    exact = any(channel.level for channel in manifest.channels)
    missing = _missing(source, manifest)
    return read_windows(source.path, label_column=source.label_column, missing=missing, exact=exact)


def _missing(source: FileSource, manifest: Manifest) -> list[str]:
    """What means a missing number, besides the usual words."""
    if source.missing is not None:
        return source.missing.split(",")
    return [*map(str, manifest.training.get("recipe", {}).get("missing_values", ()))]


def _plain_series(source: FileSource, manifest: Manifest) -> list[SeriesTable]:
    names, column = [channel.name for channel in manifest.channels], source.series_column or None
    time, label = source.time_column, source.label_column
    markers = Markers.of(_missing(source, manifest))
    columns = series_columns(
        source.path,
        channels=names,
        time_column=time,
        label_column=label,
        series_column=column,
        markers=markers,
    )
    exact = any(channel.level for channel in manifest.channels)
    table = series_table(
        source.path,
        columns,
        channels=names,
        time_column=time,
        label_column=label,
        series_column=column,
        markers=markers,
        reading=Reading(source.time_unit, source.day_first),
        exact=exact,
    )
    if column is not None:
        return by_series(table, read_text_column(source.path, column))
    return [replace(table, series=source.path.name.removesuffix(".gz").rsplit(".", 1)[0])]


def _records(table: SeriesTable, manifest: Manifest) -> tuple[list[bytes], list[int]]:
    """The samples of one series as JSON records, with their times in ms."""
    names = table.channels
    columns = [_plain(column) for column in (table.samples if table.exact is None else table.exact).T]
    if table.time_us is None:
        times_us = _spaced(len(table.samples), manifest, 1)
        values = [_json(dict(zip(names, sample, strict=True))) for sample in zip(*columns, strict=True)]
    else:
        times_us = table.time_us
        stamps = (times_us / 1000).tolist()
        values = [
            _json({"ts": stamp, **dict(zip(names, sample, strict=True))})
            for stamp, sample in zip(stamps, zip(*columns, strict=True), strict=True)
        ]
    return values, (times_us // 1000).tolist()


def _rows_of_windows(source: FileSource, manifest: Manifest, tables: Sequence[WindowTable]) -> Rows:
    windows = np.concatenate([table.windows if table.exact is None else table.exact for table in tables])
    if windows.shape[1:] != manifest.window_shape:
        raise DataError(
            f"{source.path}: windows of {windows.shape[1]} samples x {windows.shape[2]} channels, the artifact's "
            f"are {manifest.window_shape[0]} x {manifest.window_shape[1]}"
        )
    times_us = _spaced(len(windows), manifest, manifest.window.length)
    values = [_json(_plain(window if window.shape[1] > 1 else window[:, 0])) for window in windows]
    keys = [(source.series or tables[0].series or source.path.name.split(".")[0]).encode()] * len(windows)
    if source.series_column:
        keys = [name.encode() for name in read_text_column(source.path, source.series_column)]
        if len(keys) != len(windows):
            raise DataError(f"{source.path}: {len(keys)} names in column {source.series_column!r}, {len(windows)} rows")
    return Rows(keys, values, (times_us // 1000).tolist())


def summary(counts: Counts, seconds: float) -> str:
    """One line of text about a replay."""
    records = sum(counts.records.values())
    alerts = ", ".join(f"{counts.alerts[status]} {status}" for status in ("firing", "update", "resolved"))
    rejected = Counter[str]()
    for (_, reason), count in counts.rejected.items():
        rejected[reason] += count
    reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items()) or "none"
    quality = Counter[str]()
    for (_, status), count in counts.quality.items():
        quality[status] += count
    found = ", ".join(f"{quality[status]} {status}" for status in ("firing", "update", "resolved") if quality[status])
    unmatched = f"series without a threshold of their own: {len(counts.unmatched)}; " if counts.unmatched else ""
    return (
        f"{records} records, {counts.windows} windows ({counts.windows_anomalous} over the threshold, "
        f"{counts.windows_unscorable} unscorable), alerts: {alerts}; data quality: {found or 'none'} (silence at the "
        f"file's end is not judged); rejected: {reasons}; "
        f"late: {counts.samples_late}; {unmatched}{records / max(seconds, 1e-9):,.0f} records/s"
    )


def _spaced(count: int, manifest: Manifest, samples: int) -> NDArray[np.int64]:
    period_us = 1000.0 if manifest.window.sampling_rate_hz is None else 1e6 / manifest.window.sampling_rate_hz
    spaced: NDArray[np.int64] = np.rint(np.arange(count) * (period_us * samples)).astype(np.int64)
    return spaced


def _plain(values: NDArray[np.floating]) -> list[object]:
    """Nested lists with None for missing numbers, for JSON."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    listed: list[object] = plain.tolist()
    return listed


_json = msgspec.json.Encoder().encode


def _published(log: LocalLog, topic: str) -> Iterator[bytes]:
    for each in log.partitions(topic):
        yield from (value for value in log.read(each.topic, each.partition).values if value is not None)


class _Event(msgspec.Struct):
    time: str


def _event_time(alert: bytes) -> str:
    # Without the Z, so that 10.5 s comes before 10.500250 s.
    return msgspec.json.decode(alert, type=_Event).time.removesuffix("Z")
