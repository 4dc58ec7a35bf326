"""A table of numbers with names, whatever file it came from: its channels, its times, its labels.

Rules of this file: pure. Every refusal names file, row or line, and column. Empty cells and `nan` are missing numbers
(NaN); other numbers that are not finite in float32 are refused, as the daemon refuses them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles.tables import Float32Array, Int64Array
from monitor.errors import DataError

Array = NDArray[Any]  # of any kind of number

# What columns are called where nobody said which they are. A label taken for a channel would be the worst of mistakes.
TIME_NAMES = ("timestamp", "@timestamp", "datetime", "time", "date", "ts")
LABEL_NAMES = ("label", "labels", "anomaly", "is_anomaly", "class", "target")
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # what pandas calls an index without a name in Arrow's formats
_MOST_ROWS = 1e9  # a greater number counts no rows: it is a time
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A number is seconds, milliseconds, microseconds or nanoseconds since 1970 by its size: the limits are the year 5138.
_TIME_UNITS_US = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (float("inf"), 1e-3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What a file holds: numbers (n, columns), and where known the columns' names and each row's line.

    `texts` keeps columns as text (names, times), `times_us` columns that are µs since 1970 already, by place; their
    numbers mean nothing. `nameless`: the file gives the first column no name, though it names others.
    """

    numbers: Array
    names: tuple[str, ...] | None = None
    lines: Int64Array | None = None
    texts: Mapping[int, Sequence[str]] = field(default_factory=dict)
    times_us: Mapping[int, Int64Array] = field(default_factory=dict)
    nameless: bool = False

    def place(self, row: int, at: int) -> str:
        """Where a cell is, for a message."""
        where = f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"
        return f"{where}, column {self.called[at]}"

    @property
    def called(self) -> tuple[str, ...]:
        """The names, or those that columns without names get."""
        return self.names or unnamed(self.numbers.shape[1])


def unnamed(count: int) -> tuple[str, ...]:
    """What `count` columns or channels without names are called."""
    return ("value",) if count == 1 else tuple(map(str, range(count)))


def find(path: Path, names: Sequence[str], wanted: str | None, usual: Sequence[str]) -> int | None:
    """The place of the column `wanted`, or where None is wanted of one called as in `usual`."""
    if wanted is not None:
        if wanted not in names:
            raise DataError(f"{path}: no column {wanted!r}; there are: {', '.join(names[:50])}")
        return names.index(wanted)
    exactly = [at for at, name in enumerate(names) if name in usual]
    return next(iter(exactly or [at for at, name in enumerate(names) if name.lower() in usual]), None)


def find_unless_none(path: Path, names: Sequence[str], wanted: str | None, usual: Sequence[str]) -> int | None:
    """As `find`, but "none" is no column, unless one is called so."""
    return None if wanted == "none" and "none" not in names else find(path, names, wanted, usual)


def choose(path: Path, names: Sequence[str], channels: Sequence[str] | None, taken: Sequence[int | None]) -> list[int]:
    """The places of `channels`, in their order; of None all columns but those `taken` for something else."""
    if channels is None:
        return [at for at in range(len(names)) if at not in taken]
    if twice := [name for name in channels if list(channels).count(name) > 1]:
        raise DataError(f"{path}: channel {twice[0]!r} is asked for twice; name each once")
    return [at for name in channels if (at := find(path, names, name, ())) is not None]


def row_numbers(columns: Columns, owners: Sequence[str] | None = None) -> list[int]:
    """The places of what only counts rows, as pandas writes an index without a name: nobody means it for a channel.

    Of text a nameless first column of whole numbers that rise from row to row, or from row to row of each of `owners`
    (n,); they may skip some, where rows were left out. In Arrow's formats any numbers under pandas' own name for it.
    """
    numbers = [at for at in range(len(columns.called)) if at not in columns.texts and at not in columns.times_us]
    found = [at for at in numbers if _PANDAS_INDEX.fullmatch(columns.called[at])]
    if columns.nameless and 0 in numbers and _counts(columns.numbers[:, 0], owners):
        found.append(0)
    return found


def _counts(column: Array, owners: Sequence[str] | None) -> bool:
    if not whole(column).all() or not ((column >= 0) & (column < _MOST_ROWS)).all():
        return False
    if owners is None:
        return bool((np.diff(column) > 0).all())
    places = dict[str, int]()
    owner = np.fromiter((places.setdefault(name, len(places)) for name in owners), np.int64, len(owners))
    order = np.argsort(owner, kind="stable")
    return bool(((np.diff(column[order]) > 0) | (np.diff(owner[order]) > 0)).all())


def whole(column: Array) -> NDArray[np.bool_]:
    """Which numbers can be labels."""
    return np.asarray(np.isfinite(column) & (column == np.rint(column)) & (np.abs(column) < 2**31))


def labels(path: Path, columns: Columns, at: int) -> Int64Array:
    """A column of whole numbers."""
    good = whole(columns.numbers[:, at])
    if not good.all():
        where = columns.place(int(np.argmin(good)), at)
        raise DataError(f"{path}, {where}: labels must be whole numbers; choose another with --label-column, or none")
    return columns.numbers[:, at].astype(np.int64)


def float32(path: Path, columns: Columns, chosen: Sequence[int]) -> Float32Array:
    """The chosen columns as float32; refuses text, infinities and what becomes one."""
    for at in chosen:
        if at in columns.texts or at in columns.times_us:
            kind = "text" if at in columns.texts else "times"
            what = f"column {columns.called[at]} holds {kind}, not numbers"
            means = "name it with --time-column, or " if at in columns.times_us else ""
            raise DataError(f"{path}: {what}; {means}choose columns with --channels")
    with np.errstate(all="ignore"):
        narrow = columns.numbers[:, chosen].astype(np.float32)
    if np.isinf(narrow).any():
        row, at = np.argwhere(np.isinf(narrow))[0]
        found = f"{columns.place(row, chosen[at])}: {columns.numbers[row, chosen[at]]}"
        raise DataError(f"{path}, {found} is not finite in float32; leave the cell empty where a number is missing")
    return narrow


def times(path: Path, columns: Columns, at: int) -> Int64Array:
    """A column as µs since 1970: ISO 8601, or numbers in one unit throughout, told by the largest.

    Numbers that are dates throughout, 20260131 or 20260131235959, are dates.
    """
    if at in columns.times_us:
        return columns.times_us[at]
    values: list[float] | Array = columns.numbers[:, at]
    if texts := columns.texts.get(at):
        parse = as_number if is_number(texts[0]) else iso_us
        values = []
        for row, text in enumerate(texts):
            try:
                values.append(parse(text))
            except ValueError:
                raise DataError(
                    f"{path}, {columns.place(row, at)}: {text[:40]!r} is not a time; expected ISO 8601 "
                    "(2026-01-31T12:00:00Z) or a number since 1970, the same throughout the column"
                ) from None
        if parse is iso_us:
            return np.array(values, dtype=np.int64)
    numbers = np.asarray(values, dtype=np.float64)
    if not (known := np.abs(numbers) < 9e18).all():
        row = int(np.argmin(known))
        raise DataError(f"{path}, {columns.place(row, at)}: {numbers[row]} is not a time; mend it or drop the row")
    if (dates := _compact(numbers)) is not None:
        return dates
    unit = next(unit for limit, unit in _TIME_UNITS_US if np.abs(numbers).max() < limit)
    return np.rint(numbers * unit).astype(np.int64)


def iso_us(text: str) -> int:
    """µs since 1970 of a time in ISO 8601, UTC where it says nothing. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip())
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _compact(numbers: NDArray[np.float64]) -> Int64Array | None:
    """µs since 1970 of dates without marks, with or without a time of day; None where a number is none."""
    if not numbers.size or (numbers != np.rint(numbers)).any() or numbers.min() < 0 or numbers.max() >= 1e14:
        return None
    written = numbers.astype(np.int64) * (1_000_000 if numbers.max() < 1e8 else 1)
    days, clock = np.divmod(written, 1_000_000)
    years, months, days = days // 10_000, days // 100 % 100, days % 100
    hours, minutes, seconds = clock // 10_000, clock // 100 % 100, clock % 100
    fits = (years >= 1900) & (years < 2100) & (months >= 1) & (months <= 12) & (days >= 1)
    if not (fits & (hours < 24) & (minutes < 60) & (seconds < 60)).all():
        return None
    month = ((years - 1970) * 12 + months - 1).astype("datetime64[M]")
    day = month.astype("datetime64[D]") + (days - 1)
    if (day.astype("datetime64[M]") != month).any():  # the 31st of a month of 30
        return None
    found: Int64Array = day.astype("datetime64[s]").astype(np.int64) + hours * 3600 + minutes * 60 + seconds
    return found * 1_000_000


def as_number(cell: str) -> float:
    """A cell as a number. Raises ValueError, for Python's own form of 1_000 too: nobody else reads it as a thousand."""
    if "_" in cell:
        raise ValueError(f"could not convert string to float: {cell!r}")
    return float(cell)


def is_number(cell: str) -> bool:
    """Whether a cell can be read as a number; an empty one is a missing number."""
    try:
        as_number(cell or "nan")
    except ValueError:
        return not cell.strip()
    return True
