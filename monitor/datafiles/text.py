"""Reads separated text: cells between commas, semicolons, tabs or spaces, with or without a header line."""

from __future__ import annotations

import csv
import io
import itertools
import re
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles.columns import Columns, as_number, find, is_number
from monitor.datafiles.content import MAX_BYTES
from monitor.detector.times import iso_us
from monitor.errors import DataError

MAX_COLUMNS = 100_001
_NUMBER_BYTES, _TEXT_BYTES = 8, 32  # approximate size of a cell in memory
_DIGITS = 10  # a column number has fewer
# Quotes, other line ends, null, and four separators that NumPy strips from a number as spaces and `float` does not.
_NOT_PLAIN = '"\r\x00\x1c\x1d\x1e\x1f'
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")


def text_columns(
    path: Path,
    content: bytes,
    keep: Sequence[Sequence[str]] = (),
    select: frozenset[str] | None = None,
    required: Sequence[str | None] = (),
) -> Columns:
    """Parses a text file. A first line with a cell that is not a number is a header.

    Numbers after an empty cell are a header too, if they rise or the rows below are numbered: pandas writes columns
    without names like this.

    Args:
        path: for messages.
        content: UTF-8.
        keep: for each of these, the first column with such a name stays text.
        select: of the other columns only these are read; None reads all.
        required: names that a header must hold; None requires nothing.
    """
    text = decoded(path, content)
    rows = cells_by_line(path, text)
    beginning = list(itertools.islice(rows, 3))
    number, first = beginning[0] if beginning else (0, [])
    names, kept, skipped = None, dict[int, list[str]](), list[int]()
    # By Python's syntax of numbers: 1_000 is not a name, and will be rejected.
    has_names = any(not is_number(cell, float) for cell in first)
    if has_names or _are_numbers_of_columns([cells for _, cells in beginning]):
        names = tuple(cell.strip() or f"column {at + 1}" for at, cell in enumerate(first))
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"{path}, line {number}: two columns are called {twice[0][:40]!r}; names must differ")
        for name in required:
            find(path, names, name, ())
        kept = {at: [] for usual in keep if (at := find(path, names, None, usual)) is not None}
        skipped = [at for at, name in enumerate(names) if select is not None and not {name, name.lower()} & select]
    nameless = names is not None and not first[0].strip()
    header = 0 if names is None else 1
    if number == 1 and not kept and not skipped:
        plain = _plain(content, text, len(first), header)
        if plain is not None:
            numbered = np.arange(header + 1, header + 1 + len(plain), dtype=np.int64)
            return Columns(numbers=plain, lines=numbered, names=names, nameless=nameless)
    numbers, lines = array("d"), array("q")
    rest = next(_LINE.finditer(text)).end() if header else 0  # names often have a _
    convert = as_number if text.find("_", rest) >= 0 else float
    weight = _NUMBER_BYTES * len(first) + _TEXT_BYTES * len(kept)
    for line, cells in itertools.chain(beginning[header:], rows):
        if len(cells) != len(first):
            raise DataError(f"{path}, line {line}: {len(cells)} cells, expected {len(first)} as in the first line")
        if len(lines) * weight > MAX_BYTES:
            raise DataError(f"{path}: over {len(lines)} rows of {len(first)} columns are too many; split the file")
        for at, texts in kept.items():
            texts.append(cells[at])
            cells[at] = "nan"
        for at in skipped:
            cells[at] = "nan"
        lines.append(line)
        numbers.extend(_numbers(path, line, cells, names, convert))
    if not lines:
        raise DataError(f"{path}: no rows of numbers; expected text with one row per sample or window")
    table = np.frombuffer(numbers, dtype=np.float64).reshape(len(lines), -1)
    numbered = np.frombuffer(lines, dtype=np.int64)
    return Columns(numbers=table, lines=numbered, names=names, texts=kept, nameless=nameless)


def decoded(path: Path, content: bytes) -> str:
    """The file's text. Raises `DataError` if it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: neither text nor a known format (byte {error.start} is not UTF-8); save text as UTF-8"
        ) from None


def cells_by_line(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers from 1, and cells, without blank lines. One line at a time is in memory, of limited length."""
    separator = _separator(text)
    if separator is None:
        for number, found in enumerate(_LINE.finditer(text), 1):
            if cells := found[0].split(None, MAX_COLUMNS):
                if len(cells) > MAX_COLUMNS:
                    raise _too_wide(path, number)
                yield number, cells
        return
    held = 0  # cells of the current row, which quotes may extend over lines

    def bounded() -> Iterator[str]:
        nonlocal held
        for found in _LINE.finditer(text):
            held += found[0].count(separator) + 1
            if held > MAX_COLUMNS:
                raise _too_wide(path, reader.line_num + 1)
            yield found[0]

    reader = csv.reader(bounded(), delimiter=separator)
    try:
        for cells in reader:
            held = 0
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not separated text: {error}") from None


def _plain(content: bytes, text: str, columns: int, header: int) -> NDArray[np.float64] | None:
    """The rows after `header` lines, (n, columns), if there are only numbers and separators; else None.

    NumPy's reader takes half the time of ours. What it reads differently (empty cells, quotes, blank lines, anything
    that is wrong) is left to ours. `text` is `content` decoded; the latter is read line by line, as `StringIO`
    would hold four bytes for each character.
    """
    lines = text.count("\n") + (not text.endswith("\n")) - header
    if lines < 1 or lines * columns * _NUMBER_BYTES > MAX_BYTES or any(mark in text for mark in _NOT_PLAIN):
        return None
    by_line = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="\n")
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):  # of a file without rows
            table = np.loadtxt(by_line, delimiter=_separator(text), comments=None, skiprows=header, ndmin=2)
    except (ValueError, UserWarning):
        return None
    return table if table.shape == (lines, columns) else None


def _separator(text: str) -> str | None:
    """The separator, by the first line that is not blank; None for spaces."""
    first = next((found[0] for found in _LINE.finditer(text) if found[0].strip()), "")
    return next((mark for mark in ";,\t" if mark in first), None)


def _too_wide(path: Path, line: int) -> DataError:
    return DataError(f"{path}, line {line}: over {MAX_COLUMNS} columns, which is more than can be read; split the line")


def _are_numbers_of_columns(beginning: Sequence[Sequence[str]]) -> bool:
    """Whether the first of some lines numbers columns, as pandas writes those without names after its index."""
    first, *rows = ([cell.strip() for cell in cells] for cells in beginning or [[]])
    if not rows or len(first) < 2 or first[0] or len(set(first)) < len(first):
        return False
    if all(cells[0] == str(at) for at, cells in enumerate(rows)):
        return True
    own = [int(cell) if cell.isdecimal() and len(cell) < _DIGITS else -1 for cell in first[1:]]
    return len(own) > 1 and own[0] >= 0 and all(one < other for one, other in itertools.pairwise(own))


def _number(cell: str) -> float | None:
    try:
        return as_number(cell) if cell.strip() else float("nan")
    except ValueError:
        return None


def _numbers(
    path: Path, line: int, cells: list[str], names: tuple[str, ...] | None, convert: Callable[[str], float]
) -> list[float]:
    try:
        return list(map(convert, cells))
    except ValueError:
        row = [_number(cell) for cell in cells]
    if None in row:
        at = row.index(None)
        what = f"column {names[at] if names else at + 1}: {cells[at][:40]!r} is not a number"
        raise DataError(f"{path}, line {line}, {what}; {_advice(cells[at])}")
    return [number for number in row if number is not None]


def _advice(cell: str) -> str:
    """What to do about a cell that is not a number."""
    if re.fullmatch(r"[-+]?[0-9]+([,_][0-9]+)+(\.[0-9]+)?", cell.strip()):
        return "write numbers with a point, thousands without a separator, and names of columns with a letter"
    try:
        iso_us(cell)
    except ValueError:
        return "leave missing cells empty, and choose columns with --channels"
    return "name the column of times with --time-column; where the first line holds no names, put them there"
