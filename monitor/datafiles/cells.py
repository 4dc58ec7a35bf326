"""One cell of text: whether it is a number, a missing number or a time, and what to do about one that is none.

A decimal comma is read where it can be nothing else: between other separators, or in quotes, and only if the whole file
agrees. `1,234` alone may be one and a bit or a thousand.

Rules of this file: pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from monitor.datafiles.dates import looks_like_time
from monitor.detector.missing import is_missing
from monitor.errors import DataError

Convert = Callable[[str], float]

COMMA = re.compile(r"[-+]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+(?:[eE][-+]?\d+)?")  # 3,14 or 1.234,5
POINT = re.compile(r"[-+]?(?:\d+|\d{1,3}(?:,\d{3})+)\.\d+(?:[eE][-+]?\d+)?")  # 3.14 or 1,234.5
THOUSANDS = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:\.\d{3})+)")  # 1,234 or 1.234, which may be either
_FORTRAN = re.compile(r"^([-+]?\d*\.?\d+|[-+]?\d+\.)[dD]([-+]?\d{1,3})$")
_WITH_UNIT = re.compile(r"[-+]?\d[\d.,]*(?:[eE][-+]?\d+)? ?[%°A-Za-zµμΩ][\w/%°^.·-]{0,15}")
_WORD = re.compile(r"[A-Za-z*!#][\w /.*!#+-]{0,23}")  # what may be a marker, and is no document
NUMBER_LIKE = re.compile(r"[-+]?\d[\d.,_]*(?:[eE][-+]?\d+)?")


class CellError(DataError):
    """A cell of a column of numbers is none; `cell` is what it holds."""

    def __init__(self, what: str, cell: str, also: str = "") -> None:
        super().__init__(f"{what}; {advice(cell)}{also}")
        self.cell = cell

    @property
    def may_mean_missing(self) -> bool:
        """Whether it is a word, which may be declared to mean a missing number."""
        return _WORD.fullmatch(self.cell.strip()) is not None


def as_number(cell: str) -> float:
    """A cell as a number. Raises ValueError, also for Python's 1_000: nobody else reads it as a thousand."""
    if "_" in cell:
        raise ValueError(f"could not convert string to float: {cell!r}")
    return float(cell)


def is_number(cell: str, read: Convert = as_number) -> bool:
    """Whether `read` accepts a cell as a number; an empty one is a missing number."""
    try:
        read(cell or "nan")
    except ValueError:
        return not cell.strip()
    return True


@dataclass(frozen=True, slots=True)
class Markers:
    """What is declared to mean that a number is missing, besides the usual words: texts in lower case, and numbers."""

    texts: frozenset[str] = frozenset()
    numbers: tuple[float, ...] = ()

    @classmethod
    def of(cls, declared: Sequence[str]) -> Markers:
        """Those of a list such as `-9999`, `Bad`, `1e30`."""
        words = [word.strip() for word in declared]
        numbers = tuple(dict.fromkeys(float(word) for word in words if word and is_number(word)))
        return cls(frozenset(word.lower() for word in words if not is_number(word)), numbers)

    def mark(self, cell: str) -> bool:
        """Whether a cell that is no number says that one is missing."""
        return is_missing(cell) or (bool(self.texts) and cell.strip().lower() in self.texts)


@dataclass(frozen=True, slots=True)
class Cells:
    """How the cells of a file are read: with a decimal comma or not, and what is missing."""

    markers: Markers = field(default_factory=Markers)
    decimal_comma: bool = False

    def number(self, cell: str) -> float | None:
        """A cell's number, NaN where it is missing; None for any other text."""
        try:
            return self.comma_number(cell) if self.decimal_comma else as_number(cell)
        except ValueError:
            return float("nan") if self.markers.mark(cell) else _otherwise(cell)

    def comma_number(self, cell: str) -> float:
        """A cell as a number with a decimal comma, and points, if any, between thousands. Raises ValueError."""
        if "," not in cell and "." not in cell:
            return as_number(cell)
        text = cell.strip()
        if COMMA.fullmatch(text) or THOUSANDS.fullmatch(text):
            return float(text.replace(".", "").replace(",", "."))
        raise ValueError(f"could not convert string to float: {cell!r}")

    def is_text(self, cell: str) -> bool:
        """Whether a cell is neither a number nor a missing one, nor a number in another notation."""
        if self.number(cell) is not None:
            return False
        return looks_like_time(cell) or NUMBER_LIKE.fullmatch(cell.strip()) is None

    def is_name(self, cell: str) -> bool:
        """Whether a cell of the first line can only be a column's name. By Python's syntax 1_000 is none."""
        return not is_number(cell, float) and self.is_text(cell) and not looks_like_time(cell)


def _otherwise(cell: str) -> float | None:
    """A number with a typographic minus, or Fortran's exponent of double precision."""
    text = _FORTRAN.sub(r"\1e\2", cell.strip().replace("\u2212", "-"))
    if text == cell.strip():
        return None
    try:
        return as_number(text)
    except ValueError:
        return None


def has_comma(cell: str) -> bool:
    """Whether a cell that is no number may be one with a decimal comma."""
    return COMMA.fullmatch(cell.strip()) is not None


# Forms of cells, and what whoever writes them can do
_ADVICE = (
    (
        re.compile(
            r"[-+]?[0-9]+([.,_][0-9]+)+|[-+]?[0-9]{1,3}([ '\u2019\u00a0\u202f][0-9]{3})+([.,][0-9]+)?",
        ),
        "write numbers with a point, thousands without a separator, and names of columns with a letter",
    ),
    (
        re.compile(r"[<>]=? ?[-+]?[0-9.,]+"),
        "a number beyond a limit: write the limit itself, or leave the cell empty",
    ),
    (
        re.compile(r"[0-9]{1,2} ?[ap]\.?m\.?", re.IGNORECASE),
        "write times of day with minutes, 02:00 PM, in one column with the date or beside it",
    ),
)


def advice(cell: str) -> str:
    """What to do about a cell that is not a number."""
    word = cell.strip()
    for form, what in _ADVICE:
        if form.fullmatch(word):
            return what
    if looks_like_time(word):
        return "name the column of times with --time-column; where the first line holds no names, put them there"
    if _WITH_UNIT.fullmatch(word):
        return "write numbers without their units (in Grafana: export without formatting)"
    if word.lower() in ("true", "false", "on", "off", "yes", "no"):
        return "write states as 1 and 0, or leave the column out with --drop"
    declared = f", or declare what means that, --missing={word!r}" if _WORD.fullmatch(word) else ""
    return f"leave missing cells empty{declared}; or choose columns with --channels"
