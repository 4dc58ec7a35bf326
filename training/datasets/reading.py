"""One way in: whatever the source, its tables. The content decides the format; a name decides where content can't.

Rules of this file: whatever the bytes are, the answer is tables or a `DataError` that says where and what to do.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from monitor.datafiles import SeriesTable, WindowTable, read_windows
from monitor.datafiles.cells import Markers
from monitor.datafiles.columns import without_declared
from monitor.datafiles.content import beginning, content
from monitor.datafiles.reading import series_columns
from monitor.datafiles.text import decoded
from monitor.detector import windowing
from monitor.errors import DataError
from training.datasets import arff_format, formats, idx, intervals, levels, ts_format, wfdb_record
from training.datasets.cases import tables_of_cases
from training.datasets.formats import FileFormat
from training.datasets.grouping import tables_of
from training.datasets.options import Kind, Note, ReadOptions, Table

TOPIC_SCHEME = "kafka://"
_BEGINNING = 65_536  # enough to pass the comments before a .ts or .arff file's first tag
_AS_FOUND = ReadOptions()
_log = logging.getLogger(__name__)


def read(source: str, *, kind: str, options: ReadOptions = _AS_FOUND, note: Note = _log.warning) -> list[Table]:
    """The tables of a source: one per series, or one of windows.

    Args:
        source: a file's path, a WFDB record's, or `kafka://[host:port/]topic[?from=...&to=...]`, see `topic`.
        kind: the recipe's kind of window, a row of `windowing.KINDS`: rows or records are windows, or series.
        options: how to read it.
        note: is given what a person should know and would not see: records that could not be read, labels that
            match nothing.

    Raises:
        DataError: what was wrong, where, what was expected, what to do.
        BackendError, ConfigError: for topics, as the daemon raises them.
    """
    if source.startswith(TOPIC_SCHEME):
        from training.datasets import topic

        tables = topic.read(source, kind, options, note)
    else:
        path = Path(source)
        holds: Kind = "windows" if windowing.whole_records(kind) else "series"
        tables = [_named(table, path) for table in _of_file(path, holds, options)]
    for text in dict.fromkeys(text for table in tables if isinstance(table, SeriesTable) for text in table.notes):
        note(text)
    tables = [_without(without_markers(table, options.markers), options.dropped) for table in tables]
    if options.labels is not None:
        tables = intervals.apply(tables, options.labels, note)
    if not source.startswith(TOPIC_SCHEME):
        tables = _oldest_first(tables, note)
    tables = [_shaped(table, options.image_shape) for table in tables]
    return tables if options.levels is None else [levels.without(table, options.levels) for table in tables]


def _of_file(path: Path, kind: Kind, options: ReadOptions) -> list[Table]:
    header = wfdb_record.header_of(path)
    if header is not None:
        return [wfdb_record.read(header, kind, options)]
    form = formats.of_content(beginning(path, _BEGINNING))
    if form is FileFormat.ROWS:
        return _of_rows(path, kind, options)
    if form is FileFormat.ARROW:
        from training.datasets import arrow

        return arrow.read(path, content(path), kind, options)
    if form is FileFormat.IDX:
        if kind == "series":
            raise DataError(f"{path}: images are windows, not a series; choose a recipe for records")
        return [idx.read(path, options)]
    text = decoded(path, content(path))
    if form is FileFormat.ARFF:
        cases = arff_format.parse(path, text, label_column=options.label_column)
    else:
        cases = ts_format.parse(path, text, want_labels=options.label_column != "none")
    return tables_of_cases(path, cases, kind, options)


def _of_rows(path: Path, kind: Kind, options: ReadOptions) -> list[Table]:
    """Text and NumPy's formats, by the daemon's own reader."""
    if kind == "windows" and options.series_column is None:
        exact = options.keeps_digits
        label = options.label_column
        table = read_windows(path, channels=options.channels, label_column=label, missing=options.missing, exact=exact)
        return [table]
    columns = series_columns(
        path,
        channels=options.channels,
        time_column=options.time_column,
        label_column=options.label_column,
        series_column=options.series_column,
        markers=options.markers,
    )
    return tables_of(path, columns, kind, options)


def without_markers(table: Table, markers: Markers) -> Table:
    """`table` without the numbers that are declared to mean that one is missing."""
    if not markers.numbers:
        return table
    exact = None if table.exact is None else without_declared(table.exact, markers)
    if isinstance(table, WindowTable):
        return replace(table, windows=without_declared(table.windows, markers), exact=exact)
    return replace(table, samples=without_declared(table.samples, markers), exact=exact)


def _without(table: Table, dropped: Sequence[str]) -> Table:
    """`table` without these channels, where its reader has not left them out already: a topic's, a WFDB record's."""
    kept = [at for at, name in enumerate(table.channels) if name not in dropped]
    if len(kept) == len(table.channels):
        return table
    if not kept:
        raise DataError(f"{table.source}: no channel is left without {', '.join(dropped)}; drop fewer")
    names = tuple(table.channels[at] for at in kept)
    exact = None if table.exact is None else table.exact[..., kept]
    if isinstance(table, WindowTable):
        return replace(table, windows=table.windows[..., kept], channels=names, exact=exact)
    units = tuple(table.units[at] for at in kept) if table.units else ()
    return replace(table, samples=table.samples[..., kept], channels=names, units=units, exact=exact)


def _named(table: Table, path: Path) -> Table:
    """A file's only series is called by the file's name."""
    return table if table.series else replace(table, series=path.name.removesuffix(".gz").rsplit(".", 1)[0])


def _oldest_first(tables: Sequence[Table], note: Note) -> list[Table]:
    """`tables`, those of series whose rows are newest first, as many exports have them, from their last row on."""
    found = [at for at, table in enumerate(tables) if isinstance(table, SeriesTable) and _is_newest_first(table)]
    count = Counter(table.source for table in tables)
    for source, turned in Counter(tables[at].source for at in found).items():
        those = "" if turned == count[source] else f" of {turned} of {count[source]} series"
        note(f"{source}: rows{those} are newest first; they are read from the last one on")
    rows = [table.rows for table in tables if isinstance(table, SeriesTable) and table.rows is not None]
    last = max((int(each.max()) for each in rows if len(each)), default=0)
    return [_turned(table, last) if at in found else table for at, table in enumerate(tables)]


def _is_newest_first(table: SeriesTable) -> bool:
    steps_us = np.diff(table.time_us) if table.time_us is not None else np.empty(0)
    return bool((steps_us <= 0).all() and steps_us.any())


def _turned(table: Table, last: int) -> Table:
    """A series from its last row on, as if the source, whose last row is `last`, had been written so."""
    assert isinstance(table, SeriesTable)
    return replace(
        table,
        samples=table.samples[::-1],
        exact=None if table.exact is None else table.exact[::-1],
        time_us=None if table.time_us is None else table.time_us[::-1],
        labels=None if table.labels is None else table.labels[::-1],
        rows=None if table.rows is None else last - table.rows[::-1],
    )


def _shaped(table: Table, shape: tuple[int, int] | None) -> Table:
    """Windows that are images, as `image_shape` says."""
    if shape is None:
        return table
    if not isinstance(table, WindowTable):
        raise DataError(f"{table.source}: a series has no image shape; choose a recipe for records")
    windows = table.windows
    if windows.shape[1:] == shape:  # (n, height, width) in an array of three dimensions
        kept = None if table.exact is None else table.exact.reshape(len(windows), -1, 1)
        windows = windows.reshape(len(windows), -1, 1)
        return replace(table, windows=windows, channels=("value",), image_shape=shape, exact=kept)
    if windows.shape[1] != shape[0] * shape[1]:
        raise DataError(f"{table.source}: windows of {windows.shape[1]} samples are no {shape[0]} x {shape[1]} images")
    return replace(table, image_shape=shape)
