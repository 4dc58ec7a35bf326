"""Reads separated text: cells between commas, semicolons, tabs, bars or spaces, with or without a header line."""

from __future__ import annotations

import csv
import io
import itertools
import warnings
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import commas, flux, layout
from monitor.datafiles.cells import CellError, Cells, as_number, has_comma
from monitor.datafiles.columns import Columns
from monitor.datafiles.content import MAX_BYTES
from monitor.datafiles.head import Head, Wanted, head_of
from monitor.datafiles.layout import LINE, Layout
from monitor.errors import DataError

MAX_COLUMNS = 100_001
_NUMBER_BYTES, _TEXT_BYTES = 8, 32  # approximate size of a cell in memory
# Quotes, other line ends, null, and four separators that NumPy strips from a number as spaces and `float` does not.
_NOT_PLAIN = '"\r\x00\x1c\x1d\x1e\x1f'
_LOOK_AT_ROWS, _LOOK_AT_CELLS = 24, 200_000  # to see which columns hold text


class _DecimalCommaError(Exception):
    """A cell may be a number with a decimal comma; the whole file has to agree."""


_ALL = Wanted()


def text_columns(path: Path, content: bytes, wanted: Wanted = _ALL) -> Columns:
    """Parses a text file, UTF-8, or UTF-16 as Excel writes it; `path` is for messages.

    A first line with a cell that can only be a name is a header. Numbers after an empty cell are a header too, if they
    rise or the rows below are numbered: pandas writes columns without names like this. `layout` says what stands before
    the header. Columns that begin with text stay text.
    """
    content = as_utf8(content)
    text = decoded(path, content)
    _refuse_documents(path, text)
    cells = Cells(wanted.markers)
    form = layout.of(text, cells)
    if form.form == "flux":
        kept = {name for usual in wanted.keep for name in usual}
        return flux.columns(path, text, cells, kept, wanted.select)
    try:
        return _table(path, content, text, form, cells, wanted, may_have_commas=True)
    except _DecimalCommaError:
        numbers = (cell for _, row in cells_by_line(path, text, form) for cell in row)
        # Who writes 1,234 between semicolons means no thousand.
        agreed = commas.agreed(numbers, by_default=form.separator == ";")
        cells = replace(cells, decimal_comma=agreed)
        return _table(path, content, text, form, cells, wanted, may_have_commas=False)


def _table(
    path: Path, content: bytes, text: str, form: Layout, cells: Cells, wanted: Wanted, *, may_have_commas: bool
) -> Columns:
    rows = cells_by_line(path, text, form)
    beginning = _beginning(rows)
    head = head_of(path, form, beginning, cells, wanted)
    made = Columns(numbers=np.empty((0, head.width)), names=head.names, units=head.units, nameless=head.nameless)
    if not (head.kept or head.skipped or head.rows_are_numbered or form.comments or form.units or cells.decimal_comma):
        plain = _plain(content, text, form, head)
        if plain is not None:
            first = form.line + head.rows
            numbered = np.arange(first, first + len(plain), dtype=np.int64)
            notes = commas.notes(path, form, plain, rows=cells_by_line(path, text, form), names=head.names)
            return replace(made, numbers=plain, lines=numbered, notes=notes)
    texts, numbers, lines = {at: list[str]() for at in head.kept}, array("d"), array("q")
    convert = as_number if "_" in text else float  # names often have one
    weight = _NUMBER_BYTES * head.width + _TEXT_BYTES * len(texts)
    header = beginning[0][1] if head.rows else None
    for line, found in itertools.chain(beginning[head.rows :], rows):
        if found == header or (texts and not any(map(str.strip, found))):
            continue  # files that were joined, and rows that a spreadsheet did not fill
        row = _fitting(path, line, found, head, form)
        if len(lines) * weight > MAX_BYTES:
            raise DataError(f"{path}: over {len(lines)} rows of {head.width} columns are too many; split the file")
        for at, column in texts.items():
            column.append(row[at])
            row[at] = "nan"
        for at in head.skipped:
            row[at] = "nan"
        lines.append(line)
        try:
            numbers.extend(map(cells.comma_number, row) if cells.decimal_comma else list(map(convert, row)))
        except ValueError:
            numbers.extend(_numbers(path, line, row, head.names, cells, may_have_commas=may_have_commas))
    if not lines:
        raise DataError(f"{path}: no rows of numbers; expected text with one row per sample or window")
    table = np.frombuffer(numbers, dtype=np.float64).reshape(len(lines), -1)
    notes = commas.notes(path, form, table, rows=cells_by_line(path, text, form), names=head.names)
    return replace(made, numbers=table, lines=np.frombuffer(lines, dtype=np.int64), texts=texts, notes=notes)


def as_utf8(content: bytes) -> bytes:
    """UTF-16, with its mark or without, as UTF-8; anything else as it is."""
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else _utf16(content[:1024])
    if not encoding or content.startswith(b"\xff\xfe\0\0"):  # which is UTF-32
        return content
    try:
        return content.decode(encoding).encode()
    except UnicodeDecodeError:
        return content


def _utf16(beginning: bytes) -> str:
    """The encoding of text that begins with every other byte 0; empty: it does not."""
    halves = beginning[::2], beginning[1::2]
    zeros = [half.count(0) / max(1, len(half)) for half in halves]
    if len(beginning) < 8 or max(zeros) < 0.9 or min(zeros) > 0:
        return ""
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def decoded(path: Path, content: bytes) -> str:
    """The file's text. Raises `DataError` if it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: neither text nor a known format (byte {error.start} is not UTF-8); save text as UTF-8"
        ) from None


def cells_by_line(path: Path, text: str, form: Layout | None = None) -> Iterator[tuple[int, list[str]]]:
    """Line numbers from 1, and cells, without blank lines and comments. One line at a time is in memory, of limited
    length. `form` says where rows begin and what separates them; None: all of the text, as the first line shows."""
    if form is None:
        first = next((found[0] for found in LINE.finditer(text) if found[0].strip()), "")
        form = Layout(separator=layout.separator_of(first))
    separator, number = form.separator, form.line - 1
    found = LINE.finditer(text, form.start)
    if separator is None:
        for number, line in enumerate(found, form.line):
            if form.comments and layout.is_comment(line[0]):
                continue
            if cells := layout.spaced(line[0], MAX_COLUMNS):
                if len(cells) > MAX_COLUMNS:
                    raise _too_wide(path, number)
                yield number, cells
        return
    held = 0  # cells of the current row, which quotes may extend over lines

    def bounded() -> Iterator[str]:
        nonlocal held, number
        for line in found:
            number += 1
            if form.comments and not held and layout.is_comment(line[0]):
                continue
            held += line[0].count(separator) + 1
            if held > MAX_COLUMNS:
                raise _too_wide(path, number)
            yield line[0]

    reader = csv.reader(bounded(), delimiter=separator, skipinitialspace=True)
    try:
        for cells in reader:
            held = 0
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield number, cells
    except csv.Error as error:
        raise DataError(f"{path}, line {number}: not separated text: {error}") from None


def _refuse_documents(path: Path, text: str) -> None:
    """Refuses what is text, but no rows of cells."""
    first = text[:200].lstrip()
    if first.startswith(("<!", "<html", "<?xml", "<HTML")):
        raise DataError(f"{path}: a page or a document, not rows of numbers; download or export the data itself")
    if first.startswith(('"TOB', "TOB")):
        raise DataError(f"{path}: a binary table of a Campbell logger; convert it to TOA5, as CardConvert does")
    if first.startswith(("{", "[{", "[[")):
        raise DataError(f"{path}: JSON, not rows of cells; write it as CSV or Parquet, or send it to a topic")


def _beginning(rows: Iterator[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    taken, count = list[tuple[int, list[str]]](), 0
    for row in rows:
        taken.append(row)
        count += len(row[1])
        if len(taken) >= _LOOK_AT_ROWS or (len(taken) >= 3 and count > _LOOK_AT_CELLS):
            break
    return taken


def _fitting(path: Path, line: int, row: list[str], head: Head, form: Layout) -> list[str]:
    """A row of as many cells as there are columns, without its number, or the separator at its end."""
    width = head.width
    if head.rows_are_numbered and len(row) == width + 1:
        return row[1:]
    if len(row) == width:
        return row
    if len(row) == width + 1 and not row[-1].strip():
        return row[:-1]
    what = f"{path}, line {line}: {len(row)} cells, expected {width} as in the first line"
    if form.separator == "," and len(row) > width and all(cell.strip("-+ ").isdigit() for cell in row[-width:]):
        what += "; where commas are decimal, separate cells by semicolons or write numbers with a point"
    raise DataError(what if len(row) != 1 else f"{what}; remove lines that are no rows")


def _plain(content: bytes, text: str, form: Layout, head: Head) -> NDArray[np.float64] | None:
    """The rows, (n, columns), if there are only numbers and separators; else None.

    NumPy's reader takes half the time of ours. What it reads differently (empty cells, quotes, blank lines, anything
    that is wrong) is left to ours. `text` is `content` decoded; the latter is read line by line, as `StringIO`
    would hold four bytes for each character.
    """
    lines = text.count("\n", form.start) + (not text.endswith("\n")) - head.rows
    if lines < 1 or lines * head.width * _NUMBER_BYTES > MAX_BYTES or any(mark in text for mark in _NOT_PLAIN):
        return None
    by_line = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="\n")
    before = form.line - 1 + head.rows
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):  # of a file without rows
            table = np.loadtxt(by_line, delimiter=form.separator, comments=None, skiprows=before, ndmin=2)
    except (ValueError, UserWarning):
        return None
    return table if table.shape == (lines, head.width) else None


def _too_wide(path: Path, line: int) -> DataError:
    return DataError(f"{path}, line {line}: over {MAX_COLUMNS} columns, which is more than can be read; split the line")


def _numbers(
    path: Path, line: int, row: list[str], names: tuple[str, ...] | None, cells: Cells, *, may_have_commas: bool
) -> list[float]:
    """A row's numbers, where some cell is none by Python's own reading."""
    found = list[float]()
    for at, cell in enumerate(row):
        number = cells.number(cell)
        if number is None:
            if may_have_commas and has_comma(cell):
                raise _DecimalCommaError
            what = f"column {names[at] if names else at + 1}: {cell[:40]!r} is not a number"
            raise CellError(f"{path}, line {line}, {what}", cell)
        found.append(number)
    return found
