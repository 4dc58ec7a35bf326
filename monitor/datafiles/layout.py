"""What stands before a text file's rows, and how their cells are separated.

Exporters write more than a header: Excel's `sep=;`, comments, a title, the name of a logger and a row of units. The
first lines decide, by what most of the following rows look like; nothing is skipped that could be a row of numbers.

Rules of this file: pure; it looks at the first lines only.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from monitor.datafiles.cells import NUMBER_LIKE, Cells
from monitor.datafiles.dates import looks_like_time
from monitor.detector.missing import is_missing

LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
SEPARATORS = ";,\t|"
_LOOK_AT = 64  # lines, at most
_LONGEST_LINE = 100_000  # characters: a longer one is no title
_SEP = re.compile(r'"?sep=(.)"?[;,\t ]*', re.IGNORECASE)  # Excel's own first line
_COMMENT = re.compile(r"[ \t]*#")
_COMMENTS = re.compile(r"(?:^|[\r\n])[ \t]*#")
_HAS_COMMA = re.compile(r"[-+]?\d+(,\d+)?|")
_ALIKE = 0.8  # of the rows looked at, those that have the same cells
_FLUX = ("#group", "#datatype", "#default")
_LOGGERS = {"toa5": 2, "toaci1": 0}  # Campbell Scientific's table files, and their rows of units


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the rows begin (index into the text, line number from 1), and what separates their cells; None: spaces.

    `names`: of the columns, where a comment holds them. `units`: rows of units after the header. `comments`: there may
    be lines that begin with #. `form`: rows of cells, or InfluxDB's CSV.
    """

    start: int = 0
    line: int = 1
    separator: str | None = None
    names: tuple[str, ...] | None = None
    units: int = 0
    comments: bool = False
    form: Literal["rows", "flux"] = "rows"


class Line(NamedTuple):
    """A line that is not blank: its number from 1, where it begins, and its text."""

    number: int
    start: int
    text: str

    def cells(self, separator: str | None) -> list[str]:
        """Its cells."""
        if separator is None:
            return spaced(self.text)
        if len(self.text) > _LONGEST_LINE or '"' not in self.text:
            return self.text.rstrip("\r\n").split(separator)
        try:
            return next(csv.reader([self.text], delimiter=separator), [])
        except csv.Error:
            return self.text.split(separator)


def of(text: str, cells: Cells) -> Layout:
    """The layout of a text."""
    lines = list(_beginning(text))
    separator: str | None = None
    if lines and (said := _SEP.fullmatch(lines[0].text.strip("\r\n"))):
        separator, lines = said[1], lines[1:]
    comments = list(itertools.takewhile(lambda line: is_comment(line.text), lines))
    lines = lines[len(comments) :]
    has_comments = _COMMENTS.search(text) is not None
    if any(line.text.strip().strip('"').lower().startswith(_FLUX) for line in comments):
        return Layout(separator=",", form="flux")
    if not lines:
        return Layout(separator=separator, comments=has_comments)
    if separator is None and (logger := lines[0].cells(",")[0].strip(' "').lower()) in _LOGGERS:
        first = lines[1] if len(lines) > 1 else lines[0]
        return Layout(first.start, first.number, ",", units=_LOGGERS[logger])
    if separator is None:
        lines = lines[_titles(lines, cells) :]
        separator = separator_of(lines[0].text)
    if {"_time", "_value"} <= set(lines[0].cells(",")) or {"result", "table", "_time"} <= set(lines[0].cells(",")):
        return Layout(separator=",", form="flux")
    names = _named_by(comments, lines[0], separator, cells)
    units = 0 if names is not None else _units(lines, separator, cells)
    return Layout(lines[0].start, lines[0].number, separator, names, units, has_comments)


def separator_of(line: str) -> str | None:
    """What separates the cells of a line; None for spaces."""
    found = [mark for mark in SEPARATORS if mark in line]
    others = [mark for mark in found if mark != ","]
    if found[:1] == [","] and others and all(map(_HAS_COMMA.fullmatch, map(str.strip, line.split(others[0])))):
        return others[0]  # the commas are decimal ones
    return next(iter(found), None)


def spaced(line: str, most: int = -1) -> list[str]:
    """The cells of a line between spaces, at most `most` and the rest; in quotes, as R writes them, they hold some."""
    if '"' not in line:
        return line.split(None, most)
    try:
        return next(csv.reader([line.strip()], delimiter=" ", skipinitialspace=True), [])
    except csv.Error:
        return line.split(None, most)


def is_comment(line: str) -> bool:
    """Whether a line is a comment, and does not begin with #N/A or the like."""
    if _COMMENT.match(line) is None:
        return False
    return not any(is_missing(line.split(mark, 1)[0].strip(' "\r\n')) for mark in (*SEPARATORS, " "))


def _beginning(text: str) -> Iterator[Line]:
    """The first lines that are not blank."""
    kept = 0
    for number, found in enumerate(LINE.finditer(text), 1):
        if found[0].strip():
            yield Line(number, found.start(), found[0])
            kept += 1
        if kept == _LOOK_AT:
            return


def _titles(lines: Sequence[Line], cells: Cells) -> int:
    """How many lines at the beginning are titles: they have fewer cells than the rows, or none of their separators."""
    if len(lines) < 4 or _alike(lines, separator_of(lines[0].text), len(lines[0].cells(separator_of(lines[0].text)))):
        return 0
    shapes = [(separator_of(line.text), len(line.cells(separator_of(line.text)))) for line in lines]
    (separator, count), _ = Counter(shapes[1:]).most_common(1)[0]
    at = shapes.index((separator, count))
    fewer = all(shape[0] != separator or shape[1] < count for shape in shapes[:at])
    header = lines[at].cells(separator)
    is_header = any(map(cells.is_name, header)) and not any(map(looks_like_time, header))
    return at if count > 1 and fewer and is_header and _alike(lines[at:], separator, count) else 0


def _alike(lines: Sequence[Line], separator: str | None, count: int) -> bool:
    """Whether nearly all lines have `count` cells, which are several."""
    return count > 1 and sum(len(line.cells(separator)) == count for line in lines) >= _ALIKE * len(lines)


def _named_by(comments: Sequence[Line], first: Line, separator: str | None, cells: Cells) -> tuple[str, ...] | None:
    """The columns' names in the last comment before rows that have no header."""
    row = first.cells(separator)
    if not comments or any(map(cells.is_name, row)):
        return None
    names = Line(0, 0, comments[-1].text.strip()).cells(separator)
    names = [names[0].lstrip("#").strip() or "#", *map(str.strip, names[1:])]
    if separator is None and names[0] == "#" and len(names) == len(row) + 1:
        names = names[1:]
    return tuple(names) if len(names) == len(row) else None


def _units(lines: Sequence[Line], separator: str | None, cells: Cells) -> int:
    """How many rows after the header hold units: texts, but no number or time, as the next row does.

    0 where a text comes again there: then it is a series' name, or a state.
    """
    header = lines[0].cells(separator)
    if not all(cells.is_name(cell) or not cell.strip() for cell in header):
        return 0
    for count, line in enumerate(lines[1:4]):
        row = line.cells(separator)
        names_columns = _lacks_times(row, lines[2 + count :], separator, cells)
        if any(_is_value(cell, cells) for cell in row) and not names_columns:
            again = any(
                cell.strip() and cell in row for other in lines[1 : 1 + count] for cell in other.cells(separator)
            )
            return 0 if again else count
        some = 2 * sum(not is_missing(cell) for cell in row) >= len(row)
        if len(row) != len(header) or not (some or names_columns):
            return 0
    return 0


def _lacks_times(row: Sequence[str], rows: Sequence[Line], separator: str | None, cells: Cells) -> bool:
    """Whether a row has texts, one of them where all following rows have times: so it says what the columns are."""
    others = [line.cells(separator) for line in rows]
    there = [at for at, cell in enumerate(row) if cell.strip() and not looks_like_time(cell)]
    no_times = [at for at in there if NUMBER_LIKE.fullmatch(row[at].strip()) is None and _times(others, at)]
    return bool(no_times) and any(cells.is_text(row[at]) for at in there if at not in no_times)


def _times(rows: Sequence[Sequence[str]], at: int) -> bool:
    return bool(rows) and all(at < len(row) and looks_like_time(row[at]) for row in rows)


def _is_value(cell: str, cells: Cells) -> bool:
    """A cell that holds a number, or a time."""
    return looks_like_time(cell) or not (cells.is_text(cell) or cells.markers.mark(cell))
