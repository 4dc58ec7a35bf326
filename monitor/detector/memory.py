"""What is remembered of many series: a table with a row for each, kept column by column.

A field of all rows lies in one piece, so that it is fast to look at one of all series, and to copy it of some.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import Int64Array


class Memory:
    """n rows of a `layout`: `memory["run"]` is a field of all of them, (n, ...), which may be written to.

    `take` and `put` copy all fields of some rows; those with channels many times faster than indexing does.
    """

    def __init__(self, layout: np.dtype[np.void], rows: int, columns: Mapping[str, NDArray[Any]]) -> None:
        self.layout = layout
        self._rows = rows
        self._columns = columns

    @classmethod
    def full(cls, rows: int, row: np.void) -> Self:
        """So many rows that are all the same."""
        fields = {name: row.dtype[name] for name in row.dtype.names or ()}
        columns = {name: np.full((rows, *kind.shape), row[name], kind.base) for name, kind in fields.items()}
        return cls(row.dtype, rows, columns)

    @classmethod
    def of(cls, table: NDArray[np.void]) -> Self:
        """The rows of a table."""
        return cls(table.dtype, len(table), {name: table[name] for name in table.dtype.names or ()})

    def table(self) -> NDArray[np.void]:
        """The rows one after the other, as a snapshot has them."""
        made = np.empty(len(self), self.layout)
        for name, column in self._columns.items():
            made[name] = column
        return made

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def __setitem__(self, name: str, values: NDArray[Any] | float) -> None:
        self._columns[name][...] = values

    def first(self, rows: int) -> Memory:
        """The first so many rows themselves, no copy."""
        return Memory(self.layout, rows, {name: column[:rows] for name, column in self._columns.items()})

    def take(self, rows: Int64Array) -> Memory:
        """A copy of some rows."""
        columns = {name: column.take(rows, axis=0) for name, column in self._columns.items()}
        return Memory(self.layout, len(rows), columns)

    def put(self, rows: slice | Int64Array, other: Memory) -> None:
        """Overwrites some rows."""
        for name, column in self._columns.items():
            _by_row(column)[rows] = _by_row(np.ascontiguousarray(other[name]))


def _by_row(column: NDArray[Any]) -> NDArray[Any]:
    """A column (n, ...) as n items, however many numbers each is."""
    if column.ndim == 1:
        return column
    return column.view((np.void, column.itemsize * math.prod(column.shape[1:]))).reshape(len(column))
