"""What the first rows of a text file say of its columns: their names and units, and which hold text.

Rules of this file: pure; errors name file and line.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monitor.datafiles import parts
from monitor.datafiles.cells import Cells, Markers
from monitor.datafiles.columns import find
from monitor.datafiles.dates import is_time_of_day, looks_like_time
from monitor.datafiles.layout import Layout
from monitor.errors import DataError

_DIGITS = 10  # a column number has fewer
_LEAST_TIME = 1e7  # 20260131, or seconds since 1970: smaller numbers of columns that are not asked for are not read


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which columns are read.

    For each of `keep` the first column with such a name stays text. Of the others only those of `select` are read, and
    those that may hold times; None reads all. A header must hold `required`; None requires nothing. `markers` are what
    else than the usual words means that a number is missing.
    """

    keep: Sequence[Sequence[str]] = ()
    select: frozenset[str] | None = None
    required: Sequence[str | None] = ()
    markers: Markers = field(default_factory=Markers)


@dataclass(frozen=True, slots=True)
class Head:
    """What the first rows say: `width` cells a row, `rows` of them before the data, the columns' names and units.

    Columns `kept` stay text, those `skipped` are not read. `rows_are_numbered`: by a cell before the first column.
    """

    width: int
    rows: int = 0
    names: tuple[str, ...] | None = None
    units: tuple[str, ...] = ()
    kept: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    nameless: bool = False
    rows_are_numbered: bool = False


def head_of(path: Path, form: Layout, beginning: Sequence[tuple[int, list[str]]], cells: Cells, wanted: Wanted) -> Head:
    """The head of a file that begins with these rows, each with its line number.

    Raises:
        DataError: two columns have one name, or a required one is not there.
    """
    rows = [row for _, row in beginning]
    if form.names is None and not (_has_names(rows, cells) or _are_numbers_of_columns(rows)):
        width = len(rows[0]) if rows else 0
        return Head(width, kept=tuple(_of_text(rows, width, cells)))
    before = 0 if form.names is not None else 1 + form.units
    data = rows[before:]
    written = _without_trailing(rows[0], data) if form.names is None else form.names
    names = tuple(cell.strip() or f"column {at + 1}" for at, cell in enumerate(written))
    numbered = _rows_are_numbered(len(names), data)
    _check_names(path, beginning[0][0] if beginning else 0, names, wanted.required)
    kept, skipped = _kept(path, names, [row[1:] for row in data] if numbered else data, cells, wanted)
    units = [cell.strip().strip("()[]") for cell in rows[1]] if form.units and len(rows) > 1 else []
    return Head(
        len(names),
        before,
        names,
        units=tuple(units) if len(units) == len(names) else (),
        kept=kept,
        skipped=skipped,
        nameless=not written[0].strip(),
        rows_are_numbered=numbered,
    )


def _check_names(path: Path, line: int, names: Sequence[str], required: Sequence[str | None]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}, line {line}: two columns are called {twice[0][:40]!r}; names must differ")
    for name in required:
        if name is not None and name not in names and not {*map(str.strip, name.split(","))} <= {*names}:
            find(path, names, name, ())


def _kept(
    path: Path, names: Sequence[str], rows: Sequence[Sequence[str]], cells: Cells, wanted: Wanted
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which columns stay text, and which are not read."""
    kept = {at for usual in wanted.keep if (at := find(path, names, None, usual)) is not None}
    rest = set[int]()
    if wanted.select is not None:
        others = {at for at, name in enumerate(names) if not {name, name.lower()} & wanted.select}
        rest = {at for at in others - kept if not parts.is_called(names[at])}
    skipped = {at for at in rest if not _may_be_times(rows, at, cells)}
    return tuple(sorted(({*_of_text(rows, len(names), cells)} | kept) - skipped)), tuple(sorted(skipped))


def _has_names(rows: Sequence[Sequence[str]], cells: Cells) -> bool:
    """Whether the first of some rows is a header: it has a name, or times where the next row has none."""
    if not rows:
        return False
    if any(map(cells.is_name, rows[0])):
        return True
    times = [at for at, cell in enumerate(rows[0]) if looks_like_time(cell)]
    return bool(times) and len(rows) > 1 and not any(looks_like_time(rows[1][at]) for at in times if at < len(rows[1]))


def _without_trailing(first: list[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A header without the empty cell after its last separator."""
    empty = all(len(row) == len(first) - 1 or (len(row) == len(first) and not row[-1].strip()) for row in rows)
    return first[:-1] if rows and empty and len(first) > 1 and not first[-1].strip() else first


def _rows_are_numbered(width: int, rows: Sequence[Sequence[str]]) -> bool:
    """Whether rows have a number before the first column, which has no name, as R writes it."""
    longer = bool(rows) and all(len(row) == width + 1 and row[-1].strip() for row in rows)
    return longer and all(row[0].strip() == str(at) for at, row in enumerate(rows, 1))


def _of_text(rows: Sequence[Sequence[str]], width: int, cells: Cells) -> Iterator[int]:
    """Columns whose first cell that is not missing is text."""
    for at in range(width):
        found = next((row[at] for row in rows if at < len(row) and not cells.markers.mark(row[at])), "")
        if found and cells.is_text(found):
            yield at


def _may_be_times(rows: Sequence[Sequence[str]], at: int, cells: Cells) -> bool:
    """Whether a column that is not asked for begins like one of times."""
    cell = next((row[at] for row in rows if at < len(row) and row[at].strip()), "")
    number = cells.number(cell)
    return looks_like_time(cell) or is_time_of_day(cell) or (number is not None and number >= _LEAST_TIME)


def _are_numbers_of_columns(beginning: Sequence[Sequence[str]]) -> bool:
    """Whether the first of some lines numbers columns, as pandas writes those without names after its index."""
    first, *rows = ([cell.strip() for cell in cells] for cells in beginning[:3] or [[]])
    if not rows or len(first) < 2 or first[0] or len(set(first)) < len(first):
        return False
    if all(cells[0] == str(at) for at, cells in enumerate(rows)):
        return True
    own = [int(cell) if cell.isdecimal() and len(cell) < _DIGITS else -1 for cell in first[1:]]
    return len(own) > 1 and own[0] >= 0 and all(one < other for one, other in itertools.pairwise(own))
