"""Cases of a classification archive, as `.ts` and `.arff` files hold them: one or more dimensions, and a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitor.datafiles import SeriesTable, digits
from monitor.datafiles.cells import as_number
from monitor.datafiles.columns import Columns, float32, unnamed
from monitor.datafiles.content import MAX_BYTES
from monitor.detector.arrays import Float64Array, Int64Array
from monitor.errors import DataError
from training.datasets.grouping import joined
from training.datasets.options import Kind, ReadOptions, Table

MAX_CASE = 10_000_000  # numbers, which are Python's own while their line is read
_LINE_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """`values` hold each case as (length, dimensions); `labels` its class, one of `classes`, where there are classes.

    `lines` are where the cases stand in the file.
    """

    values: Sequence[Float64Array]
    lines: Sequence[int]
    labels: Sequence[str] | None = None
    classes: tuple[str, ...] = ()


def tables_of_cases(path: Path, cases: Cases, kind: Kind, options: ReadOptions) -> list[Table]:
    """Cases as windows, or each as a series called by its number from 1, labelled all through.

    Raises:
        DataError: no cases, other dimensions or lengths than the first one's, infinite numbers.
    """
    if not cases.values or not cases.values[0].size:
        raise DataError(f"{path}: no cases; expected one a line after @data")
    dimensions = cases.values[0].shape[1]
    names = tuple(options.channels or unnamed(dimensions))
    if len(names) != dimensions:
        raise DataError(f"{path}: {dimensions} dimensions, but {len(names)} names for them: {', '.join(names[:50])}")
    labels, classes = _numbered(cases)
    # All cases alike, so that they can be joined.
    keep = options.keeps_digits or any(digits.digits(values).lost.any() for values in cases.values)
    tables = []
    for at, (values, line) in enumerate(zip(cases.values, cases.lines, strict=True)):
        if values.shape[1] != dimensions:
            raise DataError(f"{path}, line {line}: {values.shape[1]} dimensions, expected {dimensions} as in the first")
        lines = np.full(len(values), line, dtype=np.int64)
        tables.append(
            SeriesTable(
                samples=float32(path, Columns(numbers=values, names=names, lines=lines), range(dimensions)),
                channels=names,
                labels=None if labels is None else np.full(len(values), labels[at], dtype=np.int64),
                series=str(at + 1),
                source=str(path),
                classes=classes,
                exact=digits.exact(values, always=keep),
            )
        )
    return [joined(path, tables)] if kind == "windows" else list(tables)


def lines_of(path: Path, text: str) -> list[str]:
    """A file's lines. Raises `DataError` where there would be too many, or too much in one."""
    lines, numbers = text.count("\n"), text.count(",")
    if _LINE_BYTES * lines > MAX_BYTES or 8 * numbers > MAX_BYTES:
        raise DataError(f"{path}: {lines} lines, {numbers} numbers: over {MAX_BYTES} bytes in memory; split the file")
    found = text.split("\n")
    wide = next((line for line, row in enumerate(found, 1) if row.count(",") > MAX_CASE), None)
    if wide is not None:
        raise DataError(f"{path}, line {wide}: over {MAX_CASE} numbers in one case; split the case")
    return found


def one_length(path: Path, line: int, dimensions: Sequence[Sequence[float]]) -> Float64Array:
    """A case's dimensions as (length, dimensions)."""
    if len({len(values) for values in dimensions}) != 1:
        lengths = ", ".join(str(len(values)) for values in dimensions)
        raise DataError(f"{path}, line {line}: dimensions of {lengths} samples; those of one case need one length")
    return np.array(dimensions, dtype=np.float64).T


def samples_of(path: Path, line: int, dimension: int, cells: Sequence[str]) -> list[float]:
    """One dimension's cells; `?` and empty ones are missing."""
    try:
        return [float("nan") if cell in ("?", "") else as_number(cell) for cell in map(str.strip, cells)]
    except ValueError as error:
        where = f"{path}, line {line}, dimension {dimension + 1}"
        raise DataError(f"{where}: {str(error)[:80]}; expected numbers, and ? where one is missing") from None


def _numbered(cases: Cases) -> tuple[Int64Array | None, tuple[str, ...]]:
    """Classes that are whole numbers stay what they are; others become their place in the header's list."""
    if cases.labels is None:
        return None, ()
    try:
        numbers = {name: as_number(name) for name in cases.classes}
    except ValueError:
        numbers = {}
    found = set(numbers.values())
    if len(found) == len(cases.classes) and all(value.is_integer() and abs(value) < 2**31 for value in found):
        return np.array([int(numbers[label]) for label in cases.labels], dtype=np.int64), ()
    places = {name: at for at, name in enumerate(cases.classes)}
    return np.array([places[label] for label in cases.labels], dtype=np.int64), cases.classes
