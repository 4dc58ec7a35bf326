"""InfluxDB's CSV, with its annotations or without: tables of a field each, or pivoted, as one table.

    #datatype,string,long,dateTime:RFC3339,double,string,string,string
    #group,false,false,false,false,true,true,true
    #default,_result,,,,,,
    ,result,table,_time,_value,_field,_measurement,host
    ,,0,2026-01-31T12:00:00Z,3.1,flow,pump,h1

Fields become columns by `_time` and tags; tags that differ stay, as text, to name series by.

Rules of this file: pure; errors name file, line and column.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from monitor.datafiles.cells import CellError, Cells
from monitor.datafiles.columns import Columns
from monitor.datafiles.content import MAX_BYTES
from monitor.datafiles.layout import LINE
from monitor.detector.times import NO_TIME, texts_us
from monitor.errors import DataError

_TIME, _FIELD, _VALUE = "_time", "_field", "_value"
_NOT_TAGS = frozenset({"", "result", "table", "_start", "_stop", _TIME, _FIELD, _VALUE})
_NUMBERS = frozenset({"double", "long", "unsignedLong"})
_CELL_BYTES = 200  # of a row, approximately, while it is put together


@dataclass(slots=True)
class _Rows:
    """Rows by time and tags, as they come."""

    places: dict[tuple[str, ...], int] = field(default_factory=dict)
    lines: array[int] = field(default_factory=lambda: array("q"))
    fields: dict[str, dict[int, float]] = field(default_factory=dict)  # by name: row -> number
    tags: dict[str, dict[int, str]] = field(default_factory=dict)

    def place(self, line: int, time: str, tags: dict[str, str]) -> int:
        """The row of a time and its tags."""
        key = (time, *(part for pair in sorted(tags.items()) for part in pair))
        at = self.places.setdefault(key, len(self.places))
        if at == len(self.lines):
            self.lines.append(line)
            for name, value in tags.items():
                self.tags.setdefault(name, {})[at] = value
        return at


def columns(path: Path, text: str, cells: Cells, wanted: Collection[str], select: Collection[str] | None) -> Columns:
    """The file's table; tags that are `wanted` stay though they do not differ, only fields of `select` are read.

    Raises:
        DataError: a row has no time, or a cell is no number.
    """
    rows = _Rows()
    for line, row, kinds in _records(path, text):
        if not row.get(_TIME):
            raise DataError(f"{path}, line {line}: no _time; export rows with their times")
        if _FIELD in row:
            found = {row[_FIELD]: row.get(_VALUE, "")}
            tags = {name: cell for name, cell in row.items() if name not in _NOT_TAGS}
        else:
            rest = {name: cell for name, cell in row.items() if name not in _NOT_TAGS or name == _VALUE}
            found = {name: cell for name, cell in rest.items() if _is_field(name, cell, kinds, cells)}
            tags = {name: cell for name, cell in rest.items() if name not in found}
        at = rows.place(line, row[_TIME], tags)
        for name, cell in found.items():
            if select is None or name in select:
                rows.fields.setdefault(name, {})[at] = _number(path, line, name, cell, cells)
        if len(rows.places) * _CELL_BYTES > MAX_BYTES:
            raise DataError(f"{path}: over {len(rows.places)} rows are too many; split the file")
    if not rows.fields:
        raise DataError(f"{path}: no rows of numbers; expected InfluxDB's columns _time, _field and _value, or fields")
    return _table(path, rows, wanted)


def _records(path: Path, text: str) -> Iterator[tuple[int, dict[str, str], dict[str, str]]]:
    """Line numbers, cells by column, and the columns' types where they are said; a blank line ends a table."""
    number, names, kinds = 0, None, list[str]()
    lines = (found[0] for found in LINE.finditer(text))
    for number, line in enumerate(lines, 1):
        row = next(csv.reader([line]), [])
        if not any(row):
            names = None
        elif row[0].startswith("#"):
            names, kinds = None, row if row[0] == "#datatype" else kinds
        elif names is None:
            names = row
        elif len(row) != len(names):
            raise DataError(f"{path}, line {number}: {len(row)} cells, expected {len(names)} as in the table's header")
        else:
            said = dict(zip(names, kinds, strict=True)) if len(kinds) == len(names) else {}
            yield number, dict(zip(names, row, strict=True)), said


def _is_field(name: str, cell: str, kinds: dict[str, str], cells: Cells) -> bool:
    return kinds[name] in _NUMBERS if name in kinds else cells.number(cell) is not None


def _number(path: Path, line: int, name: str, cell: str, cells: Cells) -> float:
    found = cells.number(cell)
    if found is None:
        raise CellError(f"{path}, line {line}, column {name}: {cell[:40]!r} is not a number", cell)
    return found


def _table(path: Path, rows: _Rows, wanted: Collection[str]) -> Columns:
    """The rows by time."""
    count, times = len(rows.places), [key[0] for key in rows.places]
    known = texts_us(times)
    if (known == NO_TIME).any():
        at = int(np.argmax(known == NO_TIME))
        raise DataError(f"{path}, line {rows.lines[at]}, column _time: {times[at][:40]!r} is not a time")
    order = np.argsort(known, kind="stable")
    kept = [name for name, cells in rows.tags.items() if name in wanted or len({*cells.values()}) > 1]
    names = (_TIME, *kept, *rows.fields)
    numbers = np.full((count, len(names)), np.nan)
    for at, values in enumerate(rows.fields.values(), 1 + len(kept)):
        numbers[np.fromiter(values, np.int64, len(values)), at] = list(values.values())
    texts = {at: [rows.tags[name].get(row, "") for row in order.tolist()] for at, name in enumerate(kept, 1)}
    lines = np.frombuffer(rows.lines, dtype=np.int64)[order]
    return Columns(numbers=numbers[order], names=names, lines=lines, texts=texts, times_us={0: known[order]})
