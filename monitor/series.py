"""The series of one partition: their numbers, names and incidents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.detector.decision import Incident
from monitor.errors import Reason
from monitor.wire import Rejected

Int64Array = NDArray[np.int64]

MAX_SERIES_BYTES = 256


class SeriesTable:
    """Numbers series from 0 in the order in which they are first seen, and keeps the incidents that are not at rest."""

    def __init__(self, max_series: int | None) -> None:
        self.keys: list[bytes] = []
        self.names: list[str] = []
        self.incidents: dict[int, Incident] = {}
        self._rows: dict[bytes | None, int] = {}
        self._max_series = max_series

    def __len__(self) -> int:
        return len(self.keys)

    def number(self, keys: list[bytes | None], rows: Int64Array) -> tuple[Int64Array, list[Rejected]]:
        """The series of each record, new ones being registered; -1 and a rejection for a key that can't be one.

        Args:
            keys: k raw keys.
            rows: (k,) the records' places in their poll, for the rejections.
        """
        try:
            return np.fromiter(map(self._rows.__getitem__, keys), np.int64, len(keys)), []
        except KeyError:
            pass
        numbers = np.empty(len(keys), dtype=np.int64)
        rejected = []
        for place, key in enumerate(keys):
            number = self._rows.get(key)
            if number is None:
                problem = self._problem(key)
                if problem is not None:
                    rejected.append(Rejected(int(rows[place]), *problem))
                number = -1 if problem is not None else self.register(key or b"")
            numbers[place] = number
        return numbers, rejected

    def known(self, keys: list[bytes | None]) -> Int64Array:
        """The series of each of k raw keys, -1 where it was never seen; registers none."""
        return np.fromiter((self._rows.get(key, -1) for key in keys), np.int64, len(keys))

    def register(self, key: bytes) -> int:
        """The number of the series `key`.

        Raises:
            UnicodeDecodeError: `key` is not UTF-8; then nothing is registered.
        """
        number = self._rows.get(key)
        if number is None:
            name = key.decode()  # first of all: a key without its name would shift the names of all that follow
            number = self._rows[key] = len(self.keys)
            self.keys.append(key)
            self.names.append(name)
        return number

    def incident(self, key: bytes) -> Incident | None:
        """The incident of a series; None for one at rest, or not known."""
        number = self._rows.get(key)
        return None if number is None else self.incidents.get(number)

    def _problem(self, key: bytes | None) -> tuple[Reason, str] | None:
        if not key:
            return Reason.BAD_SERIES, "the record names no series; give it a key, or set input.series"
        if len(key) > MAX_SERIES_BYTES:
            return Reason.BAD_SERIES, f"the series' name has {len(key)} bytes, at most {MAX_SERIES_BYTES}"
        try:
            name = key.decode()
        except UnicodeDecodeError:
            return Reason.BAD_SERIES, "the series' name is not UTF-8"
        if not name.isprintable():
            return Reason.BAD_SERIES, "the series' name holds characters that can't be printed"
        if self._max_series is not None and len(self.keys) >= self._max_series:
            return Reason.TOO_MANY_SERIES, f"{len(self.keys)} series in this partition already (input.max_series)"
        return None
