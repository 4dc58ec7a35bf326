"""Data files as named columns: what `telltale train`, `evaluate` and `replay` read.

Rules of this file: numpy and `monitor.errors` only; whatever the bytes are, the answer is a table or a `DataError` that
says where and what to do. Sizes are checked before anything is allocated. Nothing is unpickled. Empty cells and `nan`
are missing numbers (NaN); other numbers that are not finite in float32 are refused, as the daemon refuses them.

A file holds one series (`read_series`: rows are samples) or windows (`read_windows`: rows are windows), in any of

    text    cells separated by comma, semicolon, tab or spaces, with or without a header line; gzipped or not
    .npy    one array; gzipped or not
    .npz    arrays by name: channels of a series, or `windows` and `labels`
The content decides which, never the file's name.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import math
import warnings
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import DataError

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]
Array = NDArray[Any]  # of any kind of number

# Far over what fits a training run, far under what would bring a machine down unnoticed.
MAX_BYTES = 2 * 1024**3
MAX_COLUMNS = 100_001
# What columns are called where nobody said which they are. A label taken for a channel would be the worst of mistakes.
TIME_NAMES = ("timestamp", "datetime", "time", "date", "ts")
LABEL_NAMES = ("label", "labels", "anomaly", "is_anomaly", "class", "target")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A number is seconds, milliseconds, microseconds or nanoseconds since 1970 by its size: the limits are the year 5138.
_TIME_UNITS_US = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (float("inf"), 1e-3))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesTable:
    """One series: `samples` (n, channels) with NaN where missing; `time_us` event time and `labels`, (n,) if known."""

    samples: Float32Array
    channels: tuple[str, ...]
    time_us: Int64Array | None = None
    labels: Int64Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTable:
    """Windows cut elsewhere: `windows` (n, length, channels) with NaN where missing; `labels` (n,), the file's own."""

    windows: Float32Array
    channels: tuple[str, ...]
    labels: Int64Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """What a file holds: numbers (n, columns), and where known the columns' names and each row's line.

    `raw` keeps the text of a column of times: those need not be numbers.
    """

    numbers: Array
    names: tuple[str, ...] | None = None
    lines: Int64Array | None = None
    raw: Sequence[str] = ()

    def place(self, row: int, at: int) -> str:
        where = f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"
        return f"{where}, column {self.called[at]}"

    @property
    def called(self) -> tuple[str, ...]:
        """The names, or those that columns without names get."""
        count = self.numbers.shape[1]
        return self.names or (("value",) if count == 1 else tuple(map(str, range(count))))


def read_series(
    path: Path,
    *,
    channels: Sequence[str] | None = None,
    time_column: str | None = None,
    label_column: str | None = None,
) -> SeriesTable:
    """Reads one series, a row per sample.

    Args:
        path: text, .npy (n,) or (n, channels), or .npz with an array per channel.
        channels: which columns, in this order; by default all but time and label. Columns without names are called
            "0", "1", ..., or "value" where there is only one.
        time_column: default: a column called as in `TIME_NAMES`. ISO 8601 (UTC where nothing is said), or a number.
        label_column: default: a column called as in `LABEL_NAMES`. Whole numbers.

    Raises:
        DataError: names file, line and column, what was expected, what to do.
    """
    content = _content(path)
    if content.startswith(b"\x93NUMPY"):
        values = _npy(path, content)
        if values.ndim not in {1, 2}:
            raise DataError(f"{path}: an array of shape {values.shape}; a series is (samples,) or (samples, channels)")
        columns = _Columns(numbers=values if values.ndim == 2 else values[:, None])
    elif content.startswith(b"PK"):
        columns = _npz_columns(path, _npz(path, content))
    else:
        wanted = LABEL_NAMES if label_column is None else (label_column,)
        select = None if channels is None else frozenset([*channels, *wanted])
        columns = _text(path, content, TIME_NAMES if time_column is None else (time_column,), select)
        if columns.names is None and len(columns.numbers) == 1:
            columns = _Columns(numbers=columns.numbers.T)  # a series in one line, as some in the UCR archive
    names = columns.called
    time_at, label_at = _find(path, names, time_column, TIME_NAMES), _find(path, names, label_column, LABEL_NAMES)
    chosen = [at for at in range(len(names)) if at not in (time_at, label_at)]
    if channels is not None:
        chosen = [at for name in channels if (at := _find(path, names, name, ())) is not None]
    if not chosen or not len(columns.numbers):
        raise DataError(f"{path}: nothing to read: {len(columns.numbers)} rows, {len(chosen)} of {len(names)} columns")
    return SeriesTable(
        samples=_float32(path, columns, chosen),
        channels=tuple(names[at] for at in chosen),
        time_us=None if time_at is None else _times(path, columns, time_at),
        labels=None if label_at is None else _labels(path, columns, label_at),
    )


def read_text_column(path: Path, name: str) -> list[str]:
    """One column of a text file with a header line, as it stands: each row's series, say. Raises `DataError`."""
    columns = _text(path, _content(path), (name,), frozenset())
    if not columns.raw:
        raise DataError(f"{path}: no column {name!r}; the columns are {', '.join(columns.called)}")
    return list(columns.raw)


def read_windows(path: Path, *, channels: Sequence[str] | None = None, label_column: str | None = None) -> WindowTable:
    """Reads windows, a row each. Raises `DataError` as `read_series` does.

    Args:
        path: text (one channel: cells are samples), .npy (n, length) or (n, length, channels), or .npz with `windows`
            and optionally `labels`.
        channels: names for the channels; by default "value" where there is one, else "0", "1", ...
        label_column: text only: "first" (the UCR archive's form), "last" (TensorFlow's ecg.csv), "none", or a header's
            name. By default the side that holds whole numbers only.
    """
    content = _content(path)
    labels = None
    if content.startswith(b"\x93NUMPY"):
        windows = _npy(path, content)
    elif content.startswith(b"PK"):
        arrays = _npz(path, content)
        named = [name for name in arrays if name.lower() in LABEL_NAMES]
        rest = [name for name in arrays if name not in named]
        if len(rest) != 1 or len(named) > 1 or any(arrays[name].ndim != 1 for name in named):
            raise DataError(f"{path}: holds {sorted(arrays)}; expected one array of windows and at most one of labels")
        windows = arrays[rest[0]]
        labels = _labels(path, _Columns(numbers=arrays[named[0]][:, None], names=(named[0],)), 0) if named else None
    else:
        columns = _text(path, content)
        at = _label_side(path, columns, label_column)
        samples = [each for each in range(columns.numbers.shape[1]) if each != at]
        labels = None if at is None else _labels(path, columns, at)
        windows = _float32(path, columns, samples)
    if windows.ndim == 2:
        windows = windows[:, :, None]
    if windows.ndim != 3 or not windows.size:
        raise DataError(f"{path}: an array of shape {windows.shape}; windows are (n, length) or (n, length, channels)")
    if labels is not None and len(labels) != len(windows):
        raise DataError(f"{path}: {len(windows)} windows but {len(labels)} labels; give one label per window")
    flat = _Columns(numbers=windows.reshape(-1, windows.shape[2]), names=tuple(channels) if channels else None)
    if len(flat.called) != windows.shape[2]:
        raise DataError(f"{path}: {windows.shape[2]} channels, but {len(flat.called)} names for them")
    windows = _float32(path, flat, range(windows.shape[2])).reshape(windows.shape)
    return WindowTable(windows=windows, channels=flat.called, labels=labels)


def _find(path: Path, names: Sequence[str], wanted: str | None, usual: Sequence[str]) -> int | None:
    if wanted is not None:
        if wanted not in names:
            raise DataError(f"{path}: no column {wanted!r}; there are: {', '.join(names[:50])}")
        return names.index(wanted)
    exactly = [at for at, name in enumerate(names) if name in usual]
    return next(iter(exactly or [at for at, name in enumerate(names) if name.lower() in usual]), None)


def _label_side(path: Path, columns: _Columns, wanted: str | None) -> int | None:
    """Which column holds the labels of windows."""
    last = columns.numbers.shape[1] - 1
    if wanted == "none":
        return None
    if columns.names is not None:
        return _find(path, columns.names, wanted, LABEL_NAMES)
    if wanted is not None:
        if wanted not in {"first", "last"}:
            raise DataError(f"{path}: no header, so no column {wanted!r}; say --label-column first, last or none")
        return 0 if wanted == "first" else last
    sides = [at for at in (0, last) if last and _whole(columns.numbers[:, at]).all()]
    if len(sides) == 2:
        raise DataError(f"{path}: first and last column may both be labels; say --label-column first, last or none")
    return sides[0] if sides else None


def _whole(column: Array) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(column) & (column == np.rint(column)) & (np.abs(column) < 2**31))


def _labels(path: Path, columns: _Columns, at: int) -> Int64Array:
    whole = _whole(columns.numbers[:, at])
    if not whole.all():
        where = columns.place(int(np.argmin(whole)), at)
        raise DataError(f"{path}, {where}: labels must be whole numbers; choose another with --label-column")
    return columns.numbers[:, at].astype(np.int64)


def _float32(path: Path, columns: _Columns, chosen: Sequence[int]) -> Float32Array:
    """The chosen columns as float32; refuses infinities and what becomes one."""
    with np.errstate(all="ignore"):
        narrow = columns.numbers[:, chosen].astype(np.float32)
    if np.isinf(narrow).any():
        row, at = np.argwhere(np.isinf(narrow))[0]
        found = f"{columns.place(row, chosen[at])}: {columns.numbers[row, chosen[at]]}"
        raise DataError(f"{path}, {found} is not finite in float32; leave the cell empty where a number is missing")
    return narrow


def _times(path: Path, columns: _Columns, at: int) -> Int64Array:
    """A column as µs since 1970: ISO 8601, or numbers in one unit throughout, told by the largest."""
    values: list[float] | Array = columns.numbers[:, at]
    if columns.raw:
        parse = float if _number(columns.raw[0]) is not None else _iso_us
        values = []
        for row, text in enumerate(columns.raw):
            try:
                values.append(parse(text))
            except ValueError:
                raise DataError(
                    f"{path}, {columns.place(row, at)}: {text[:40]!r} is not a time; expected ISO 8601 "
                    "(2026-01-31T12:00:00Z) or a number since 1970, the same throughout the column"
                ) from None
        if parse is _iso_us:
            return np.array(values, dtype=np.int64)
    numbers = np.asarray(values, dtype=np.float64)
    if not (known := np.abs(numbers) < 9e18).all():
        row = int(np.argmin(known))
        raise DataError(f"{path}, {columns.place(row, at)}: {numbers[row]} is not a time; mend it or drop the row")
    unit = next(unit for limit, unit in _TIME_UNITS_US if np.abs(numbers).max() < limit)
    return np.rint(numbers * unit).astype(np.int64)


def _iso_us(text: str) -> int:
    moment = datetime.fromisoformat(text.strip())
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}; check the name and its permissions") from None
    if raw.startswith(b"\x1f\x8b"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as unpacked:
                raw = unpacked.read(MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: the gzip is damaged: {error}; fetch it again") from None
    if len(raw) > MAX_BYTES:
        raise DataError(f"{path}: more than {MAX_BYTES} bytes unpacked; split the file")
    return raw


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers from 1, and cells; blank lines are left out."""
    first = next((line for line in io.StringIO(text) if line.strip()), "")
    separator = next((mark for mark in ";,\t" if mark in first), None)
    if separator is None:
        yield from ((number, cells) for number, line in enumerate(text.splitlines(), 1) if (cells := line.split()))
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for cells in reader:
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not separated text: {error}") from None


def _text(path: Path, content: bytes, keep: Sequence[str] = (), select: frozenset[str] | None = None) -> _Columns:
    """Parses a text file; the first column called as in `keep` stays text, and of the others only `select` are read.

    A first line with a cell that is not a number is a header.
    """
    try:
        rows = _rows(path, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: neither text nor .npy, .npz or gzip (byte {error.start} is not UTF-8)") from None
    number, first = next(rows, (0, []))
    if len(first) > MAX_COLUMNS:
        raise DataError(f"{path}: {len(first)} columns, at most {MAX_COLUMNS} are read")
    names, kept, skipped = None, None, list[int]()
    if any(_number(cell) is None for cell in first):
        names = tuple(cell.strip() or f"column {at + 1}" for at, cell in enumerate(first))
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"{path}, line {number}: two columns are called {twice[0][:40]!r}; names must differ")
        kept = _find(path, names, None, keep)
        skipped = [at for at, name in enumerate(names) if select is not None and not {name, name.lower()} & select]
    elif first:
        rows = itertools.chain([(number, first)], rows)
    numbers, lines, raw = array("d"), array("q"), list[str]()
    for line, cells in rows:
        if len(cells) != len(first):
            raise DataError(f"{path}, line {line}: {len(cells)} cells, expected {len(first)} as in the first line")
        if kept is not None:
            raw.append(cells[kept])
            cells[kept] = "nan"
        for at in skipped:
            cells[at] = "nan"
        lines.append(line)
        numbers.extend(_numbers(path, line, cells, names))
    if not lines:
        raise DataError(f"{path}: no rows of numbers; expected text with one row per sample or window")
    table = np.frombuffer(numbers, dtype=np.float64).reshape(len(lines), -1)
    return _Columns(numbers=table, lines=np.frombuffer(lines, dtype=np.int64), names=names, raw=raw)


def _number(cell: str) -> float | None:
    try:
        return float(cell) if cell.strip() else float("nan")
    except ValueError:
        return None


def _numbers(path: Path, line: int, cells: list[str], names: tuple[str, ...] | None) -> list[float]:
    try:
        return list(map(float, cells))
    except ValueError:
        row = [_number(cell) for cell in cells]
    if None in row:
        at = row.index(None)
        what = f"column {names[at] if names else at + 1}: {cells[at][:40]!r} is not a number"
        raise DataError(f"{path}, line {line}, {what}; leave missing cells empty, and choose columns with --channels")
    return [number for number in row if number is not None]


def _npy(path: Path, content: bytes, member: str = "") -> Array:
    """One array of numbers; its header is believed only as far as there are bytes for it."""
    where = f"{path}{member and f', array {member}'}"
    file = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on headers written by Python 2, and on odd type names
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, column_major, dtype = read(file)
    except Exception as error:  # the header is a Python literal: its parser raises what it likes
        raise DataError(f"{where}: not a readable .npy: {str(error)[:200]}; save it again with numpy.save") from None
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise DataError(f"{where}: holds {dtype}, not plain numbers; save it as float32 or float64")
    size, rest = math.prod(shape), len(content) - file.tell()
    if any(side < 0 for side in shape) or size * dtype.itemsize != rest:
        raise DataError(f"{where}: {rest} bytes of data do not fit shape {shape} of {dtype}; fetch it again")
    flat = np.frombuffer(content, dtype=dtype, count=size, offset=file.tell())
    return flat.reshape(shape, order="F" if column_major else "C")


def _npz(path: Path, content: bytes) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            unpacked = [archive.read(entry) for entry in entries] if size <= MAX_BYTES else []
    except Exception as error:  # zipfile passes on what the decompressors raise
        raise DataError(f"{path}: not a readable .npz: {error}; save it again with numpy.savez") from None
    if size > MAX_BYTES:
        raise DataError(f"{path}: more than {MAX_BYTES} bytes unpacked; split the file")
    named = {entry.filename.removesuffix(".npy"): array for entry, array in zip(entries, unpacked, strict=True)}
    return {name: _npy(path, array, name) for name, array in named.items()}


def _npz_columns(path: Path, arrays: dict[str, Array]) -> _Columns:
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise DataError(f"{path}: arrays of shapes {shapes}; a series is one array (samples,) per channel")
    table = np.stack([array.astype(np.float64) for array in arrays.values()], axis=1)
    return _Columns(numbers=table, names=tuple(arrays))
