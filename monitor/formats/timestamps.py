"""When the samples of a record were taken, and whether that is possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.backends.abstract import RecordColumns
from monitor.detector.arrays import BoolArray, Float64Array, Int64Array, StructOfArrays
from monitor.detector.times import NEWEST_US, NO_TIME, duration, written
from monitor.errors import Reason
from monitor.formats.parsed import Parsed


def own_times_us(timestamps_ms: Int64Array, oldest_us: int) -> Int64Array:
    """Kafka's own timestamps in µs since 1970; `NO_TIME` where there is none, or an impossible one.

    They are ms by Kafka's protocol, and brokers, retention and other clients take them so: a clock that says 0, -1 or
    seconds is broken, and is not read in another unit here than everywhere else.
    """
    oldest_ms, newest_ms = -(-oldest_us // 1000), NEWEST_US // 1000
    if len(timestamps_ms) and timestamps_ms.min() >= oldest_ms and timestamps_ms.max() < newest_ms:
        return timestamps_ms * 1000
    there_are = (timestamps_ms >= oldest_ms) & (timestamps_ms < newest_ms)
    return np.where(there_are, np.where(there_are, timestamps_ms, 0) * 1000, NO_TIME)


@dataclass(frozen=True, slots=True)
class Times(StructOfArrays):
    """Per entry of a poll, (k,): its record's row; Kafka's timestamp as it is, in ms, and as a time, if it is one; the
    time of its first and last sample and the time between its samples (0 where there is one, or the rate is not
    known), in µs; and whether the time is its own statement.
    """

    rows: Int64Array
    record_ms: Int64Array
    own_us: Int64Array
    start_us: Int64Array
    end_us: Float64Array
    period_us: Float64Array
    stated: BoolArray

    @classmethod
    def of(cls, columns: RecordColumns, parsed: Parsed, rate_hz: float, oldest_us: int) -> Times:
        """The times of `parsed`'s records; `rate_hz` (NaN: unknown) counts for those that state no rate."""
        record_ms = columns.timestamps_ms[parsed.rows]
        own_us = own_times_us(record_ms, oldest_us)
        stated = parsed.stamps_us != NO_TIME
        start_us = np.where(stated, parsed.stamps_us, own_us)
        rates = np.where(np.isnan(parsed.rates_hz), rate_hz, parsed.rates_hz)
        with np.errstate(over="ignore", divide="ignore"):  # an infinite period is found by its end
            period_us: Float64Array = np.where((parsed.counts > 1) & ~np.isnan(rates), 1e6 / rates, 0.0)
            end_us: Float64Array = start_us + (parsed.counts - 1) * period_us
        return cls(parsed.rows, record_ms, own_us, start_us, end_us, period_us, stated)

    def impossible(self, oldest_us: int) -> BoolArray:
        """Before `oldest_us`, or in 2200 or later."""
        possible = (self.start_us >= oldest_us) & (self.start_us < NEWEST_US) & (self.end_us < NEWEST_US)
        return np.asarray(~possible)

    def problem(self, record: int, oldest_us: int) -> tuple[Reason, str]:
        """Why a record with an impossible time is rejected."""
        start_us = int(self.start_us[record])
        spans = f"{written(oldest_us)} (input.oldest_time) to the year 2200"
        if not oldest_us <= start_us < NEWEST_US:
            if self.stated[record]:
                text = f"the time is {written(start_us)}, expected {spans}; a number's unit is input.timestamp_unit"
            else:
                own = f"the record's Kafka timestamp {self.record_ms[record]} is no time in ms"
                text = f"the value states no time, and {own}, expected {spans}"
            return Reason.BAD_TIMESTAMP, text
        return Reason.BAD_TIMESTAMP, "rate_hz is so low that the chunk ends after the year 2200"

    def from_future(self, record: int, newest_us: int, max_future_ms: int) -> tuple[Reason, str]:
        """Why a record is refused that is not believed, where `newest_us` is the newest time that is."""
        end_us, own_us = float(self.end_us[record]), int(self.own_us[record])
        if own_us != NO_TIME and end_us - own_us > max_future_ms * 1000:
            ahead = f"{duration((end_us - own_us) / 1e6)} ahead of the record's own timestamp"
        elif newest_us != NO_TIME:
            ahead = f"{duration((end_us - newest_us) / 1e6)} ahead of the newest time in its partition and of the clock"
        else:
            ahead = f"{written(int(end_us))} is ahead of the clock here"
        return Reason.FUTURE_TIMESTAMP, f"{ahead} (input.max_future_ms = {max_future_ms:,})"
