"""A format: one sample a record, its numbers as text in the order of the channels, `1.5;`; an empty one is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from monitor.detector.times import NO_TIME
from monitor.errors import Reason
from monitor.formats.abstract import RecordSpec
from monitor.formats.parsed import Outlines, Parsed, Rejected, drop_infinite


class Semicolons:
    names_fields = False

    def __init__(self, expected: RecordSpec) -> None:
        self._channels = len(expected.channels)
        self._narrow = expected.narrow

    def parse(self, values: list[bytes | None], rows: list[int]) -> Parsed:
        good: list[int] = []
        samples: list[list[float]] = []
        rejected: list[Rejected] = []
        for row in rows:
            cells = (values[row] or b"").split(b";")
            try:
                sample = [float(cell) if cell else math.nan for cell in cells]
            except ValueError as error:
                rejected.append(Rejected(row, Reason.MALFORMED, str(error)))
                continue
            if len(sample) != self._channels:
                rejected.append(Rejected(row, Reason.WRONG_SHAPE, f"{len(sample)} numbers, expected {self._channels}"))
                continue
            good.append(row)
            samples.append(sample)
        numbers = np.array(samples, dtype=np.float64).reshape(-1, self._channels)
        ones, unknown = np.ones(len(good), dtype=np.int64), self.outlines([b""] * len(good))
        parsed = Parsed(
            np.array(good, dtype=np.int64), ones, self._narrow(numbers), unknown.stamps_us, unknown.rates_hz, rejected
        )
        return drop_infinite(parsed)

    def outlines(self, values: Sequence[bytes]) -> Outlines:
        count = len(values)
        no_times, no_rates = np.full(count, NO_TIME, dtype=np.int64), np.full(count, np.nan)
        return Outlines(np.ones(count, dtype=np.int64), no_times, no_rates)
