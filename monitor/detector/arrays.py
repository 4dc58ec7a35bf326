"""Arrays by the type of their numbers, and structs of arrays: what many samples or windows are, column by column."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.floating]  # of any width

# XLA on CPU reads arrays that begin at such an address where they lie. NumPy's seldom do; those it copies first, the
# larger ones in another thread.
ALIGNMENT = 64


class StructOfArrays:
    """Base of frozen dataclasses with slots, all of whose fields are arrays, or such structs, of one length n.

    A field may be None: then its numbers are all zero, or True for a field named in `full`.
    """

    __slots__: ClassVar[tuple[str, ...]] = ()
    full: ClassVar[tuple[str, ...]] = ()

    def __len__(self) -> int:
        return len(getattr(self, self.__slots__[0]))

    def __getitem__(self, rows: slice | Int64Array | BoolArray) -> Self:
        """The rows at a slice, at their indices, or where a mask (n,) is true."""
        columns = [getattr(self, name) for name in self.__slots__]
        return type(self)(*[None if column is None else column[rows] for column in columns])

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All rows of `parts`, at least one, in order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            *[_joined([getattr(part, name) for part in parts], parts, name in cls.full) for name in cls.__slots__]
        )

    def put(self, rows: slice | Int64Array, other: Self) -> None:
        """Overwrites some rows, but for fields that are None here."""
        for name in self.__slots__:
            column, new = getattr(self, name), getattr(other, name)
            if isinstance(column, StructOfArrays):
                column.put(rows, new)
            elif column is not None:
                column[rows] = new


def _joined(columns: Sequence[Any], parts: Sequence[Sized], full: bool) -> Any:
    there_are = [column for column in columns if column is not None]
    if not there_are:
        return None
    if isinstance(there_are[0], StructOfArrays):
        return type(there_are[0]).concatenate(there_are)
    shape, dtype = there_are[0].shape[1:], there_are[0].dtype
    return np.concatenate(
        [
            np.full((len(part), *shape), full, dtype) if column is None else column
            for column, part in zip(columns, parts, strict=True)
        ]
    )


def stable_order(numbers: Int64Array) -> Int64Array:
    """The order (n,) in which `numbers`, from 0 up to 2**32, do not fall; equal ones stay in their order.

    It is that of a stable `np.argsort`, and found many times faster: 16 bits are sorted by their digits.
    """
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    if numbers.max(initial=0) >= 1 << 16:
        order = order[np.argsort((numbers >> 16).astype(np.uint16)[order], kind="stable")]
    return order


def grown(column: NDArray[Any], size: int, fill: int = 0) -> NDArray[Any]:
    """`column` (n, ...) padded with `fill`, up to `size` rows."""
    room = np.full((size - len(column), *column.shape[1:]), fill, dtype=column.dtype)
    return np.concatenate([column, room])


def aligned_empty(shape: tuple[int, ...]) -> Float32Array:
    """An array that XLA on CPU reads where it lies; what it holds is not set."""
    size = np.dtype(np.float32).itemsize * math.prod(shape)
    room = np.empty(size + ALIGNMENT, dtype=np.uint8)
    first = -room.ctypes.data % ALIGNMENT
    return room[first : first + size].view(np.float32).reshape(shape)


def is_aligned(array: Float32Array) -> bool:
    """Whether XLA on CPU reads it where it lies."""
    return array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0
