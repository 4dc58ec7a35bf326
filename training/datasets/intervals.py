"""Labels beside the data: intervals that are anomalous, or one number a row.

    start,end                      CSV, with `series` first where there are several; times, or rows from 0
    [[120, 180], [900, 950]]       JSON; also {"start": .., "end": ..} for a pair
    {"realTraffic/speed.csv": [["2015-09-11 05:55:00", "2015-09-11 16:55:00"]]}
                                   JSON by series, or by the tail of the data file's path: NAB's combined_windows.json
    0\n0\n1\n                      one whole number a row: text, .npy or IDX; gzipped or not

Rules of this file: both ends lie inside an interval. Numbers under 1e8 are rows, larger ones and ISO 8601 are times;
where a series has times and not so many rows, 20260131 is a day.
What matches no series, or no row, is noted or refused.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from monitor.datafiles import SeriesTable, WindowTable
from monitor.datafiles.arrays import NPY, npy
from monitor.datafiles.cells import is_number
from monitor.datafiles.clocks import times
from monitor.datafiles.columns import Columns, labels
from monitor.datafiles.content import content
from monitor.datafiles.text import cells_by_line, decoded
from monitor.detector.arrays import Int64Array
from monitor.detector.times import compact_dates, iso_us
from monitor.errors import DataError
from training.datasets import idx
from training.datasets.options import Note, Table

_FIRST_TIME, _LAST_TIME = 1e8, 9e18  # as seconds since 1970 a day of 1973; as nanoseconds one of 2255
_MAX_JSON = 64 * 1024**2
_START, _END, _SERIES = ("start", "begin", "from"), ("end", "stop", "to"), ("series", "name", "id", "file")


@dataclass(frozen=True, slots=True)
class LabelledInterval:
    """From `start` to `end`, both inside: rows, or µs since 1970; `series` None: of the only one."""

    series: str | None
    start: int
    end: int
    is_time: bool
    place: str


def apply(tables: Sequence[Table], path: Path, note: Note) -> list[Table]:
    """`tables` with the labels that the file `path` gives them: 0 and 1, or the file's own numbers.

    Raises:
        DataError: the file can't be read, or does not fit the tables; says where.
    """
    raw = content(path)
    if raw.startswith(NPY):
        return _by_row(tables, path, npy(path, raw))
    if idx.is_idx(raw):
        return _by_row(tables, path, idx.parse(path, raw))
    text = decoded(path, raw)
    if text.lstrip()[:1] in ("{", "["):
        return _by_json(tables, path, text, note)
    rows = (row for row in cells_by_line(path, text) if any(map(str.strip, row[1])))
    first = next(rows, None)
    if first is not None and len(first[1]) == 1:
        header = not is_number(first[1][0])
        return _by_row(tables, path, _numbers(path, rows if header else itertools.chain([first], rows)))
    return by_interval(tables, list(_from_rows(path, [] if first is None else [first, *rows])), note)


def _numbers(path: Path, rows: Iterator[tuple[int, list[str]]]) -> Any:
    numbers = array("d")
    for line, cells in rows:
        if len(cells) != 1 or not is_number(cells[0]) or not cells[0].strip():
            found = ",".join(cells)[:40]
            raise DataError(f"{path}, line {line}: label {found!r}; expected one whole number a row")
        numbers.append(float(cells[0]))
    return np.array(numbers, dtype=np.float64)


def _by_row(tables: Sequence[Table], path: Path, values: Any) -> list[Table]:
    if values.ndim != 1 or len(tables) != 1:
        what = f"{values.ndim} dimensions" if values.ndim != 1 else f"one number a row, for {len(tables)} series"
        raise DataError(f"{path}: {what}; expected one number for each row of one series")
    count = _rows(tables[0])
    if len(values) != count:
        raise DataError(f"{path}: {len(values)} labels for {count} rows of {tables[0].source}; expected one each")
    return [replace(tables[0], labels=labels(path, Columns(numbers=values[:, None], names=("label",)), 0), classes=())]


def _from_rows(path: Path, rows: Sequence[tuple[int, list[str]]]) -> Iterator[LabelledInterval]:
    """Intervals of separated text."""
    if not rows:
        raise DataError(f"{path}: no labels; expected lines START,END or one number a row")
    names = [cell.strip().lower() for cell in rows[0][1]]
    found = [next((at for at, name in enumerate(names) if name in usual), None) for usual in (_SERIES, _START, _END)]
    series_at, start_at, end_at = found
    if start_at is not None and end_at is not None:
        rows = rows[1:]
    elif len(names) in (2, 3) and any(name[:1].isdigit() for name in names):
        series_at, start_at, end_at = None if len(names) == 2 else 0, len(names) - 2, len(names) - 1
    else:
        raise DataError(f"{path}: columns {', '.join(names[:8])}; expected START,END or SERIES,START,END, named or not")
    for line, cells in rows:
        if len(cells) != len(names):
            raise DataError(f"{path}, line {line}: {len(cells)} cells, expected {len(names)}")
        series = None if series_at is None else cells[series_at].strip()
        yield _interval(f"{path}, line {line}", series, cells[start_at], cells[end_at])


def _interval(place: str, series: str | None, start: Any, end: Any) -> LabelledInterval:
    (first, first_is_time), (last, last_is_time) = _bound(place, start), _bound(place, end)
    if first_is_time != last_is_time or last < first:
        fault = "ends before it starts" if first_is_time == last_is_time else "has a time and a row"
        raise DataError(f"{place}: the interval {str(start)[:40]} to {str(end)[:40]} {fault}")
    return LabelledInterval(series, first, last, first_is_time, place)


def _bound(place: str, bound: Any) -> tuple[int, bool]:
    """A row, or µs since 1970, and which of the two."""
    number = math.nan
    try:
        if isinstance(bound, str) and not is_number(bound):
            return iso_us(bound), True
        if isinstance(bound, int | float | str) and not isinstance(bound, bool):
            number = float(bound)
    except (ValueError, OverflowError):
        pass
    if number.is_integer() and 0 <= number < _FIRST_TIME:
        return int(number), False
    if _FIRST_TIME <= number < _LAST_TIME:
        return int(times(Path(place), Columns(numbers=np.array([[number]])), 0)[0][0]), True
    raise DataError(f"{place}: {str(bound)[:40]!r} is neither a time nor a row; expected ISO 8601, or a number from 0")


def by_interval(tables: Sequence[Table], intervals: Sequence[LabelledInterval], note: Note) -> list[Table]:
    """`tables` with 1 in the rows that an interval holds, 0 in others. Raises `DataError` as `apply` does."""
    if len(tables) > 1 and (nameless := next((each for each in intervals if each.series is None), None)):
        raise DataError(f"{nameless.place}: {len(tables)} series, and no column that says whose the interval is")
    known = {table.series for table in tables}
    whose: dict[str | None, list[LabelledInterval]] = {}
    for each in intervals:
        whose.setdefault(each.series, []).append(each)
    strangers = sorted({name for name in whose if name is not None} - known)
    if strangers:
        named = ", ".join(strangers[:5])
        note(f"labels: {len(strangers)} series with intervals are not in {tables[0].source or 'the data'}: {named}")
    return [_labelled(table, [*whose.get(None, ()), *whose.get(table.series, ())], note) for table in tables]


def _labelled(table: Table, intervals: Sequence[LabelledInterval], note: Note) -> Table:
    count = _rows(table)
    time_us = table.time_us if isinstance(table, SeriesTable) else None
    order: Int64Array = np.arange(count) if time_us is None else np.argsort(time_us, kind="stable")
    ordered = None if time_us is None else time_us[order]
    by_row, by_time = np.zeros(count + 1, dtype=np.int64), np.zeros(count + 1, dtype=np.int64)
    for found in intervals:
        interval = _dated(found) if time_us is not None and found.end >= count else found
        first, end, edges = interval.start, interval.end + 1, by_row
        if interval.is_time:
            if ordered is None:
                raise DataError(f"{interval.place}: a time, but {_called(table)} has none; give rows, or a time column")
            first, end = np.searchsorted(ordered, [first, end]).tolist()
            edges = by_time
            if first == end:
                note(f"labels: no sample of {_called(table)} lies in the interval of {interval.place}")
        elif end > count:
            raise DataError(
                f"{interval.place}: ends at row {interval.end}, but {_called(table)} has rows 0 to {count - 1}"
            )
        edges[first] += 1
        edges[end] -= 1
    marks = np.cumsum(by_row[:-1])
    marks[order] += np.cumsum(by_time[:-1])
    return replace(table, labels=(marks > 0).astype(np.int64), classes=())


def _dated(interval: LabelledInterval) -> LabelledInterval:
    """An interval whose bounds are days without marks as one of times; any other as it is."""
    dates = None if interval.is_time else compact_dates(np.array([interval.start, interval.end], dtype=np.float64))
    if dates is None or not dates[1].all():
        return interval
    return replace(interval, start=int(dates[0][0]), end=int(dates[0][1]), is_time=True)


def _by_json(tables: Sequence[Table], path: Path, text: str, note: Note) -> list[Table]:
    if len(text) > _MAX_JSON:
        raise DataError(f"{path}: {len(text)} characters of JSON, at most {_MAX_JSON} are read; give CSV: start,end")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable JSON: {str(error)[:100]}") from None
    if isinstance(document, list):
        return by_interval(tables, list(_pairs(str(path), None, document)), note)
    labelled = []
    for table in tables:
        key = _key(path, list(document), table)
        labelled.append(_labelled(table, list(_pairs(f"{path}, {key}", table.series, document[key])), note))
    return labelled


def _key(path: Path, keys: Sequence[str], table: Table) -> str:
    """The entry of a table: its series' name, else the longest tail of its file's path."""
    if table.series in keys:
        return table.series
    place = Path(table.source).absolute().as_posix().removesuffix(".gz")
    tails = sorted((key for key in keys if key and place.endswith("/" + key.lstrip("/"))), key=len)
    if tails:
        return tails[-1]
    wanted = table.series or place
    close = difflib.get_close_matches(wanted, keys, n=3, cutoff=0.4) or keys[:3]
    there = f"; there are {', '.join(close)}, ..." if close else ""
    raise DataError(f"{path}: no entry for {_called(table)}; give it [] where nothing is anomalous{there}")


def _pairs(place: str, series: str | None, entries: Any) -> Iterator[LabelledInterval]:
    if not isinstance(entries, list):
        raise DataError(f"{place}: expected a list of intervals, found {type(entries).__name__}")
    for at, entry in enumerate(entries):
        where = f"{place}, entry {at + 1}"
        if isinstance(entry, dict) and {"start", "end"} <= entry.keys():
            named = entry.get("series", series)
            if named is not None and not isinstance(named, str):
                raise DataError(f"{where}: series {str(named)[:40]!r}; expected a name")
            yield _interval(where, named, entry["start"], entry["end"])
        elif isinstance(entry, list) and len(entry) == 2:
            yield _interval(where, series, *entry)
        else:
            raise DataError(f'{where}: expected [start, end] or {{"start": .., "end": ..}}, found {str(entry)[:60]}')


def _rows(table: Table) -> int:
    return len(table.windows) if isinstance(table, WindowTable) else len(table.samples)


def _called(table: Table) -> str:
    return f"series {table.series!r} of {table.source}" if table.series else table.source or "the data"
