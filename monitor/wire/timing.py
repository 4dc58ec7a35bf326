"""When the samples of a record were taken, and whether that can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.backends.abstract import RecordColumns
from monitor.errors import Reason
from monitor.wire.parsed import MAX_STAMP_MS, Int64Array, Parsed, Rejected

Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Times:
    """Per record of a poll, (k,): its row, its Kafka timestamp, the time of its first and last sample, the time between
    its samples (0 where there is one, or the rate is not known), all in ms; and whether the time is its own statement.
    """

    rows: Int64Array
    record_ms: Int64Array
    start_ms: Float64Array
    end_ms: Float64Array
    period_ms: Float64Array
    stated: BoolArray

    @classmethod
    def of(cls, columns: RecordColumns, parsed: Parsed, rate_hz: float) -> Times:
        """The times of `parsed`'s records; `rate_hz` (NaN: unknown) counts for those that state no rate."""
        record_ms = columns.timestamps_ms[parsed.rows]
        stated = ~np.isnan(parsed.stamps_ms)
        start_ms = np.where(stated, parsed.stamps_ms, record_ms.astype(np.float64))
        rates = np.where(np.isnan(parsed.rates_hz), rate_hz, parsed.rates_hz)
        with np.errstate(over="ignore", divide="ignore"):  # an endless period is found by its end
            period_ms: Float64Array = np.where((parsed.counts > 1) & ~np.isnan(rates), 1e3 / rates, 0.0)
            end_ms: Float64Array = start_ms + (parsed.counts - 1) * period_ms
        return cls(parsed.rows, record_ms, start_ms, end_ms, period_ms, stated)

    def impossible(self) -> BoolArray:
        """Outside the years 1970 to 9999, which is what alerts can write."""
        return ~((self.start_ms >= 0) & (self.start_ms <= MAX_STAMP_MS) & (self.end_ms <= MAX_STAMP_MS))

    def future(self, max_future_ms: int) -> BoolArray:
        """Ending too far ahead of the record's own timestamp, where it has one; that would silence the series."""
        return self.stated & (self.record_ms >= 0) & (self.end_ms - self.record_ms > max_future_ms)

    def rejected(self, record: int) -> Rejected:
        """Why a record that is impossible, or of the future, can't be taken."""
        row, start_ms, end_ms = int(self.rows[record]), self.start_ms[record], self.end_ms[record]
        if not 0 <= start_ms <= MAX_STAMP_MS:
            if self.stated[record] or start_ms >= 0:
                return Rejected(row, Reason.BAD_TIMESTAMP, "the time is outside the years 1970 to 9999")
            return Rejected(row, Reason.BAD_TIMESTAMP, "neither the record nor its value has a time")
        if not end_ms <= MAX_STAMP_MS:
            return Rejected(row, Reason.BAD_TIMESTAMP, "rate_hz is so low that the chunk ends after the year 9999")
        ahead_s = (end_ms - self.record_ms[record]) / 1000
        text = f"{ahead_s:.0f} s ahead of the record's own timestamp (input.max_future_ms)"
        return Rejected(row, Reason.FUTURE_TIMESTAMP, text)

    def where(self, good: BoolArray) -> Times:
        """The records where `good` (k,) is true."""
        return Times(*(getattr(self, name)[good] for name in Times.__slots__))
