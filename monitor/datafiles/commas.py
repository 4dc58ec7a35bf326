"""Decimal commas: whether a file's numbers have them, and what looks like one that was split into two columns.

Rules of this file: pure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles.cells import COMMA, NUMBER_LIKE, POINT, THOUSANDS
from monitor.datafiles.layout import Layout
from monitor.errors import DataError

_LOOK_AT = 500  # rows
_FEWEST = 20
_WHOLE = re.compile(r"[-+]?\d{1,9}")
_FEW_WHOLES = 9  # a signal's whole numbers, before the comma, differ by no more than this: else they are a column


def agreed(cells: Iterable[str], *, by_default: bool) -> bool:
    """Whether all numbers of a file can be read with a decimal comma, and some must be, or `by_default` may be."""
    must = by_default
    for text in map(str.strip, cells):
        if ("," not in text and "." not in text) or NUMBER_LIKE.fullmatch(text) is None:
            continue  # a whole number, a time, a name
        may_be_thousands = THOUSANDS.fullmatch(text) is not None and not re.match(r"[-+]?0", text)
        if COMMA.fullmatch(text) and not may_be_thousands:
            must = True
        elif POINT.fullmatch(text) and not may_be_thousands:
            return False  # 3.14
    return must


def notes(
    path: Path,
    form: Layout,
    numbers: NDArray[np.float64],
    *,
    rows: Iterator[tuple[int, list[str]]],
    names: tuple[str, ...] | None,
) -> tuple[str, ...]:
    """What a person should know of columns without names that may be halves of numbers with a decimal comma.

    Raises:
        DataError: they are: digits after a comma begin with zeros, whole numbers do not.
    """
    if names is not None or form.separator != "," or not len(numbers) or numbers.shape[1] % 2:
        return ()
    with np.errstate(invalid="ignore"):
        halves = numbers[:_LOOK_AT, 1::2]
        if not ((halves >= 0) & (halves == np.rint(halves))).all():
            return ()
    seen = [row for _, row in itertools.islice(rows, _LOOK_AT)]
    if not all(_WHOLE.fullmatch(cell.strip()) for row in seen for cell in row):
        return ()
    after = [cell.strip() for row in seen for cell in row[1::2]]
    example = f"{seen[0][0].strip()},{after[0]}"
    wholes = numbers[:_LOOK_AT, ::2]
    few = bool((np.ptp(wholes, axis=0) <= _FEW_WHOLES).all())
    if few and any(len(cell) > 1 and cell.startswith("0") for cell in after):
        raise DataError(
            f"{path}, line {form.line}: {example} is one number with a decimal comma; write numbers with a point, or "
            "separate columns by semicolons"
        )
    if few and len(seen) >= _FEWEST and len({*map(len, after)}) == 1 and len(after[0]) >= 3:
        what = f"{path}: {example} is read as two columns; where it is one number with a decimal comma"
        return (f"{what}, write numbers with a point, or separate columns by semicolons",)
    return ()
