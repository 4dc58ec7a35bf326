"""Values that are lines of cells: what divides them, what the cells are called, and what each line says.

Rules of this file: pure; lines are split as `csv_format.py` splits them.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from monitor.datafiles.cells import has_comma
from monitor.datafiles.dates import is_time_of_day, looks_like_time
from monitor.doctor.fields import can_be_named, is_text_number

_DELIMITERS = (",", ";", "\t", "|")
_CLEAR = (";", "\t", "|")  # of them, those that stand in no number
_LOOK_AT = 200  # values
_SHARE = 0.9  # of the lines that have one width, and of a column's cells that are numbers


@dataclass(frozen=True, slots=True)
class Lines:
    """How lines are read: the names of their cells, whether a line says them, and what divides cells."""

    columns: list[str]
    delimiter: str
    named: bool = True
    notes: list[str] = field(default_factory=list)

    def read(self, value: bytes) -> Any:
        """What the lines of a value say, an object each, with numbers as such; `UNSET` where they are none."""
        rows = _rows(value, self.delimiter)
        if rows is None or any(len(row) != len(self.columns) for row in rows):
            return UNSET
        return [
            {name: _cell(cell) for name, cell in zip(self.columns, row, strict=True)}
            for row in rows
            if row != self.columns
        ]


def look(values: Sequence[bytes]) -> Lines | None:
    """How values are read that are lines of cells; None where they are none."""
    found = [lines for delimiter in _DELIMITERS if (lines := _by(values[:_LOOK_AT], delimiter)) is not None]
    return max(found, key=lambda lines: len(lines.columns), default=None)


def _by(values: Sequence[bytes], delimiter: str) -> Lines | None:
    rows = [row for value in values for row in _rows(value, delimiter) or ()]
    width, count = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
    if not width or count < _SHARE * len(rows):
        return None
    rows = [row for row in rows if len(row) == width]
    if any(
        2 * sum(other in cell for row in rows for cell in row) >= len(rows) for other in _CLEAR if other != delimiter
    ):
        return None  # it stands inside of cells, as a decimal comma does
    named = Counter(tuple(row) for row in rows if _may_be_names(row)).most_common(1)
    header = list(named[0][0]) if named else []
    data = [row for row in rows if row != header]
    if not data or not any(_are_numbers([row[at] for row in data]) for at in range(width)):
        return None
    if header:
        return Lines(header, delimiter)
    if width == 1:
        return Lines(["value"], delimiter)
    columns = [f"c{at}" for at in range(1, width + 1)]
    said = f"no line names the cells, so they are called {columns[0]} to {columns[-1]} here; change that in csv_columns"
    return Lines(columns, delimiter, named=False, notes=[said])


def _rows(value: bytes, delimiter: str) -> list[list[str]] | None:
    try:
        text = value.decode("utf-8-sig")
        if not all(line.replace("\t", " ").isprintable() for line in text.splitlines()):
            return None
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        return [row for row in reader if row]
    except (UnicodeDecodeError, csv.Error):
        return None


def _may_be_names(row: Sequence[str]) -> bool:
    """Whether cells are all names, each once."""
    if len(set(row)) < len(row) or len(row) < 2:
        return False
    return all(can_be_named(cell) and not is_text_number(cell) and not _is_time(cell) for cell in row)


def _is_time(cell: str) -> bool:
    return looks_like_time(cell) or is_time_of_day(cell)


def _are_numbers(cells: Sequence[str]) -> bool:
    return sum(is_text_number(cell) or has_comma(cell) for cell in cells) >= _SHARE * len(cells)


def _cell(text: str) -> Any:
    cell = text.strip()
    if is_text_number(cell):
        return float(cell) if any(each in cell for each in ".eE") else int(cell)
    return cell or None
