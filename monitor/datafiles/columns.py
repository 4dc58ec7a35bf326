"""A table of numbers with names, whatever file it came from: its channels, its times, its labels.

Rules of this file: pure. Every error names file, row or line, and column. Missing numbers are NaN; other numbers that
are not finite in float32 are rejected, as the daemon rejects them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles.cells import CellError, Markers, is_number
from monitor.datafiles.dates import looks_like_time
from monitor.detector.arrays import Float32Array, Int64Array
from monitor.detector.missing import is_missing
from monitor.errors import DataError

Array = NDArray[Any]  # of any numeric type

# Names of label columns, unless they are given. To take a label for a channel would be the worst mistake.
LABEL_NAMES = ("label", "labels", "anomaly", "is_anomaly", "class", "target")
# Pandas' names of a nameless index in Arrow's formats, and of one that was read back from text.
_PANDAS_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The contents of a file: numbers (n, columns), and if known the columns' names and each row's line number.

    `texts` has columns kept as text (names, times), `times_us` columns that are µs since 1970 already, by column
    index; their numbers mean nothing. `nameless`: the first column has no name, although others have. `units` are the
    columns', if the file says them; `notes` what a person should know of how it was read.
    """

    numbers: Array
    names: tuple[str, ...] | None = None
    lines: Int64Array | None = None
    texts: Mapping[int, Sequence[str]] = field(default_factory=dict)
    times_us: Mapping[int, Int64Array] = field(default_factory=dict)
    nameless: bool = False
    units: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def location(self, row: int, at: int) -> str:
        """Where a cell is, for a message."""
        where = f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"
        return f"{where}, column {self.called[at]}"

    @property
    def indices(self) -> list[int]:
        """Indices of columns without names, as pandas writes its index."""
        names = self.names or ()
        return [at for at, name in enumerate(names) if _PANDAS_INDEX.fullmatch(name) or (at == 0 and self.nameless)]

    @property
    def are_numbered(self) -> bool:
        """Whether the names, if there are any, only number the columns."""
        indices = self.indices
        return all(name.isdecimal() for at, name in enumerate(self.names or ()) if at not in indices)

    @property
    def called(self) -> tuple[str, ...]:
        """The names, or those given to columns without names."""
        return self.names or unnamed(self.numbers.shape[1])


def unnamed(count: int) -> tuple[str, ...]:
    """The names given to `count` columns or channels without names."""
    return ("value",) if count == 1 else tuple(map(str, range(count)))


def find(path: Path, names: Sequence[str], wanted: str | None, usual: Sequence[str]) -> int | None:
    """The index of the column `wanted`, or if that is None, of one whose name is in `usual`."""
    if wanted is not None:
        if wanted not in names:
            raise DataError(f"{path}: no column {wanted!r}; there are: {', '.join(names[:50])}")
        return names.index(wanted)
    exactly = [at for at, name in enumerate(names) if name in usual]
    return next(iter(exactly or [at for at, name in enumerate(names) if name.lower() in usual]), None)


def find_unless_none(path: Path, names: Sequence[str], wanted: str | None, usual: Sequence[str]) -> int | None:
    """Like `find`, but "none" means no column, unless one has that name."""
    return None if wanted == "none" and "none" not in names else find(path, names, wanted, usual)


def choose(path: Path, names: Sequence[str], channels: Sequence[str] | None, taken: Sequence[int | None]) -> list[int]:
    """The indices of `channels`, in their order; if None, of all columns except those `taken`."""
    if channels is None:
        return [at for at in range(len(names)) if at not in taken]
    if twice := [name for name in channels if list(channels).count(name) > 1]:
        raise DataError(f"{path}: channel {twice[0]!r} is asked for twice; name each once")
    return [at for name in channels if (at := find(path, names, name, ())) is not None]


def row_numbers(
    path: Path, columns: Columns, taken: Sequence[int | None], is_count: Callable[[Array], bool], advice: str
) -> list[int]:
    """The `columns.indices` with numbers, except those `taken`: they are not channels.

    Raises:
        DataError: one is not a count by `is_count`, so it may be an index, a time, a label or a channel.
    """
    others = {*taken, *columns.texts, *columns.times_us}
    found = [at for at in columns.indices if at not in others]
    for at in found:
        if not is_count(columns.numbers[:, at]):
            what = f"column {columns.called[at]!r} has no name of its own, and does not count rows"
            raise DataError(f"{path}: {what}: leave an index out (pandas: index=False), {advice}")
    return found


def counts(column: Array, owners: Sequence[str] | None = None) -> bool:
    """Whether a column counts rows: 0, 1, 2, ..., of the file, of several joined files, or of each owner (series).

    Zeros and ones alone are a state, unless each owner's start with 0 and rise.
    """
    goes_on = bool(len(column)) and column[0] == 0 and np.isfinite(column).all()
    if goes_on and (column.max() > 1 or len(column) < 3) and ((np.diff(column) == 1) | (column[1:] == 0)).all():
        return True
    if owners is None:
        return False
    rows = Counter[str]()
    expected = np.empty(len(column))
    for at, owner in enumerate(owners):
        expected[at] = rows[owner]
        rows[owner] += 1
    return bool((column == expected).all())


def tells_apart(column: Array) -> bool:
    """Whether each row has a different integer, as an index has after rows were dropped or shuffled."""
    are_whole = np.isfinite(column) & (column == np.rint(column))
    return bool(are_whole.all()) and len(np.unique(column)) == len(column)


def whole(column: Array) -> NDArray[np.bool_]:
    """Which numbers can be labels: integers of at most 31 bits."""
    return np.asarray(np.isfinite(column) & (column == np.rint(column)) & (np.abs(column) < 2**31))


def labels(path: Path, columns: Columns, at: int) -> Int64Array:
    """A column of integer labels."""
    good = whole(columns.numbers[:, at])
    if not good.all():
        where = columns.location(int(np.argmin(good)), at)
        raise DataError(f"{path}, {where}: labels must be whole numbers; choose another with --label-column, or none")
    return columns.numbers[:, at].astype(np.int64)


def float32(path: Path, columns: Columns, chosen: Sequence[int]) -> Float32Array:
    """The chosen columns as float32; rejects text, and what is infinite in float32."""
    for at in chosen:
        if at in columns.texts or at in columns.times_us:
            raise _no_numbers(path, columns, at)
    with np.errstate(all="ignore"):
        narrow = columns.numbers[:, chosen].astype(np.float32)
    if np.isinf(narrow).any():
        row, at = np.argwhere(np.isinf(narrow))[0]
        found = f"{columns.location(row, chosen[at])}: {columns.numbers[row, chosen[at]]}"
        raise DataError(f"{path}, {found} is not finite in float32; leave the cell empty where a number is missing")
    return narrow


def _no_numbers(path: Path, columns: Columns, at: int) -> DataError:
    """What a chosen column holds instead of numbers."""
    if at in columns.times_us:
        what = f"column {columns.called[at]} holds times, not numbers"
        return DataError(f"{path}: {what}; name it with --time-column, or choose columns with --channels")
    cells = columns.texts[at]
    row = next((row for row, cell in enumerate(cells) if not (is_number(cell) or is_missing(cell))), 0)
    where = f"row {row + 1}" if columns.lines is None else f"line {columns.lines[row]}"
    what = f"column {columns.called[at]} holds text, not numbers ({cells[row][:40]!r} in {where})"
    names_series = len({*cells}) < len(cells) and not looks_like_time(cells[row])
    series = "; where it names series, use --series-column" if names_series else ""
    return CellError(f"{path}: {what}", cells[row], series)


def without_declared(numbers: Array, markers: Markers) -> Array:
    """Numbers with NaN instead of those that are declared to mean that one is missing."""
    if not markers.numbers or not numbers.size:
        return numbers
    declared = np.array(markers.numbers)
    found = np.isin(numbers, declared)
    if numbers.dtype == np.float32:  # 999.9 is another number there
        with np.errstate(over="ignore"):
            found |= np.isin(numbers, declared.astype(np.float32))
    if not found.any():
        return numbers
    kind = numbers.dtype if numbers.dtype.kind == "f" else np.float64
    return np.where(found, np.nan, numbers).astype(kind)
