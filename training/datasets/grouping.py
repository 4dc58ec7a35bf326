"""From columns to tables: one series, one per name in the long form, or rows that are windows.

Rules of this file: pure; the order of rows inside a series, and of series by their first row, is the source's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable, WindowTable, by_series
from monitor.datafiles.columns import Columns, find, whole
from monitor.datafiles.reading import series_table, windows_of_rows
from monitor.detector.arrays import Int64Array
from monitor.errors import DataError
from training.datasets.options import Kind, ReadOptions, Table

_NOT_DISTINCT = 2.0**53  # the first whole numbers that float64 holds only every other of


def tables_of(path: Path, columns: Columns, kind: Kind, options: ReadOptions) -> list[Table]:
    """The tables that `columns` hold; in the long form records are the series, all of one length.

    Raises:
        DataError: a column is missing or not what it should be; says where.
    """
    if options.series_column is None:
        if kind == "windows":
            exact = options.keeps_digits
            return [
                windows_of_rows(
                    path,
                    columns,
                    channels=options.channels,
                    label_column=options.label_column,
                    markers=options.markers,
                    exact=exact,
                )
            ]
        return [_series(path, columns, options)]
    at = find(path, columns.called, options.series_column, ())
    assert at is not None
    series = by_series(_series(path, columns, options), series_names(path, columns, at))
    return [joined(path, series)] if kind == "windows" else list(series)


def series_names(path: Path, columns: Columns, at: int) -> list[str]:
    """The name of each row's series; whole numbers are written without a point."""
    if at in columns.texts:
        names = [text.strip() for text in columns.texts[at]]
    else:
        column = columns.numbers[:, at].astype(np.float64)
        if (large := np.abs(column) >= _NOT_DISTINCT).any():
            where = columns.location(int(np.argmax(large)), at)
            raise DataError(f"{path}, {where}: series are distinct up to 2**53; write their names as text")
        good = whole(column)
        names = [str(int(value)) if is_whole else f"{value:.17g}" for value, is_whole in zip(column, good, strict=True)]
        names = ["" if missing else name for name, missing in zip(names, np.isnan(column), strict=True)]
    if "" in names:
        where = columns.location(names.index(""), at)
        raise DataError(f"{path}, {where}: no series is named; fill the cell, or drop the row")
    return names


def joined(path: Path, series: Sequence[SeriesTable]) -> WindowTable:
    """Series of one length as windows, with the one label that all rows of each have."""
    lengths = [len(table.samples) for table in series]
    if len(set(lengths)) != 1:
        other = next(table for table in series if len(table.samples) != lengths[0])
        raise DataError(
            f"{path}: record {series[0].series!r} has {lengths[0]} samples, {other.series!r} has {len(other.samples)}; "
            "windows need one length: cut or pad them, or choose a recipe with sliding windows"
        )
    labels: Int64Array | None = None
    if series[0].labels is not None:
        labels = np.array([_one_label(path, table) for table in series], dtype=np.int64)
    windows: NDArray[np.float32] = np.stack([table.samples for table in series])
    kept = [table.exact for table in series if table.exact is not None]
    return WindowTable(
        windows=windows,
        channels=series[0].channels,
        labels=labels,
        source=str(path),
        classes=series[0].classes,
        exact=np.stack(kept) if len(kept) == len(series) else None,
    )


def _one_label(path: Path, table: SeriesTable) -> int:
    assert table.labels is not None
    if (table.labels != table.labels[0]).any():
        row = int(np.argmax(table.labels != table.labels[0]))
        raise DataError(
            f"{path}: record {table.series!r} is labelled {table.labels[0]} and, at its row {row + 1}, "
            f"{table.labels[row]}; a window has one label"
        )
    return int(table.labels[0])


def _series(path: Path, columns: Columns, options: ReadOptions) -> SeriesTable:
    return series_table(
        path,
        columns,
        channels=options.channels,
        time_column=options.time_column,
        label_column=options.label_column,
        series_column=options.series_column,
        dropped=options.dropped,
        markers=options.markers,
        reading=options.times,
        exact=options.keeps_digits,
    )
