"""Which keys name a series, and the numbers of the series of one partition for those who forget none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.detector.arrays import Int64Array
from monitor.errors import Reason
from monitor.formats.decoder import Rejected
from monitor.formats.schemas import id_of, is_framed

MAX_SERIES_BYTES = 256


def problem_of(key: bytes | None, named_by: str = "key") -> tuple[Reason, str] | None:
    """Why `key` names no series; None where it does. `named_by` is the option `input.series`."""
    if not key:
        return Reason.BAD_SERIES, _nameless(named_by)
    if is_framed(key) and id_of(key):
        return Reason.BAD_SERIES, (
            f"the key begins like one of schema {id_of(key)} of a schema registry, and such keys are not read; name "
            'a field of the value that holds the series: input.series = "field:NAME"'
        )
    if len(key) > MAX_SERIES_BYTES:
        return Reason.BAD_SERIES, f"the series' name has {len(key)} bytes, at most {MAX_SERIES_BYTES}"
    try:
        name = key.decode()
    except UnicodeDecodeError:
        return Reason.BAD_SERIES, "the series' name is not UTF-8"
    if not name.isprintable():
        return Reason.BAD_SERIES, "the series' name holds characters that can't be printed"
    return None


def _nameless(named_by: str) -> str:
    where, _, name = named_by.partition(":")
    if not name:
        return "the record names no series; give it a key, or set input.series"
    return f"the record names no series: no {where} {name!r} does; correct input.series, or have the producer write it"


class SeriesNumbers:
    """Numbers series from 0 in the order in which they are first seen. What the daemon has is a `SeriesRegistry`."""

    def __init__(self, named_by: str = "key") -> None:
        """`named_by` is the option `input.series`."""
        self.names: list[str] = []
        self._named_by = named_by
        self._rows: dict[bytes | None, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, keys: Sequence[bytes | None], rows: Int64Array) -> tuple[Int64Array, list[Rejected]]:
        """The series of each record, new ones being registered; -1 and a rejection for a key that can't be one.

        Args:
            keys: k raw keys.
            rows: (k,) the records' rows in their poll, for the rejections.
        """
        try:
            return np.fromiter(map(self._rows.__getitem__, keys), np.int64, len(keys)), []
        except KeyError:
            pass
        numbers = np.empty(len(keys), dtype=np.int64)
        rejected = []
        for index, key in enumerate(keys):
            number = self._rows.get(key)
            if number is None:
                problem = problem_of(key, self._named_by)
                if problem is not None:
                    rejected.append(Rejected(int(rows[index]), *problem))
                number = -1 if problem is not None else self._register(key or b"")
            numbers[index] = number
        return numbers, rejected

    def known(self, keys: Sequence[bytes | None]) -> Int64Array:
        """The series of each of k raw keys, -1 where it was never seen; registers none."""
        return np.fromiter((self._rows.get(key, -1) for key in keys), np.int64, len(keys))

    def _register(self, key: bytes) -> int:
        number = self._rows[key] = len(self.names)
        self.names.append(key.decode())
        return number
