"""From the bytes of a poll to columns of samples. What can't be read is rejected with a reason, never an exception.

A rejected record leaves a hole in its series: samples that were there, with unknown values. Windows over it are
filled as far as the artifact allows, or not scored. What is still known of the record says which series, how many
samples, and when; else it is one sample, right after the series' last.

Rules of this file: pure. Rejected records register no series, and move time no further than the others did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from monitor import extensions
from monitor.backends.abstract import Headers, RecordColumns
from monitor.detector import levels, windowing
from monitor.detector.arrays import Float32Array, Float64Array, Int64Array
from monitor.detector.event_time import Reached
from monitor.detector.spec import Channel, WindowSpec
from monitor.detector.times import NO_TIME, OLDEST_TIME, Unit, iso_us
from monitor.detector.windows import Samples, Windows
from monitor.errors import Reason
from monitor.formats.abstract import Format, FormatKind, RecordSpec
from monitor.formats.parsed import Parsed, Rejected, select, without
from monitor.formats.stream_time import StreamTime
from monitor.formats.timestamps import Times

__all__ = ["Decoded", "Decoder", "Holes", "InputRules", "Layout", "Reached", "Rejected", "StreamTime"]


@dataclass(frozen=True, kw_only=True, slots=True)
class InputRules:
    """What the configuration says of input records; `InputOptions` (`monitor/config/options.py`) documents each."""

    format: str = "json"
    series: str = "key"
    timestamp_field: str = "ts"
    timestamp_unit: Unit = "auto"
    oldest_time: str = OLDEST_TIME
    max_record_bytes: int = 1_048_576
    damaged_batches: str = "auto"
    max_samples_per_record: int = 10_000
    max_series: int = 20_000
    series_ttl: int = 0
    beyond_end: Literal["stop", "end", "beginning"] = "stop"
    max_rejected_ratio: float = 1.0
    max_rejected_run: int = 0
    on_rejected: Literal["hold", "stop"] = "hold"
    max_future_ms: int = 3_600_000


class Layout(Protocol):
    """What records are decoded against: an artifact's `Manifest`, or what a topic is read for before there is one."""

    @property
    def window(self) -> WindowSpec: ...

    @property
    def channels(self) -> Sequence[Channel]: ...


@dataclass(frozen=True, slots=True)
class Holes:
    """What the rejected records of one poll leave behind: as in `Decoded`, with `NO_TIME` where a time is not known."""

    rows: Int64Array
    counts: Int64Array
    keys: list[bytes | None]
    start_us: Int64Array
    period_us: NDArray[np.float64]

    def samples(self, series: Int64Array, offsets: Int64Array, channels: int) -> Samples:
        """Missing numbers for the records whose `series` is one; `offsets` are per record too."""
        kept = np.flatnonzero(series >= 0)
        record = np.repeat(kept, self.counts[kept])
        index = np.concatenate([np.arange(count) for count in self.counts[kept]] or [np.empty(0, dtype=np.int64)])
        start_us = self.start_us[record]
        untimed = start_us == NO_TIME
        period_us = np.where(untimed, 0.0, self.period_us[record])  # it may be infinite
        time_us = start_us + np.rint(index * period_us).astype(np.int64)
        return Samples(
            series=series[record],
            values=np.full((len(record), channels), np.nan, dtype=np.float32),
            time_us=time_us,
            clock_us=time_us,
            ties=untimed | ((index > 0) & (period_us < 1)),
            offset=offsets[record],
            index=index,
            hole=np.ones(len(record), dtype=np.bool_),
        )


@dataclass(frozen=True, slots=True)
class Decoded:
    """The readable records of one poll: k records, n samples; and what the others leave.

    `rows`, `counts`, `keys`, `start_us`, `period_us` and `stated` are per record: its row in the poll, its samples,
    its raw series, the time of its first sample, the time between its samples (0: unknown), and whether that time is
    the record's own statement. `values` is (n, channels), less the channels' levels. `reached` is the partition's time.
    """

    rows: Int64Array
    counts: Int64Array
    keys: list[bytes | None]
    start_us: Int64Array
    period_us: NDArray[np.float64]
    stated: NDArray[np.bool_]
    values: Float32Array
    rejected: list[Rejected]
    reached: Reached
    holes: Holes | None = None

    def where(self, good: NDArray[np.bool_]) -> Decoded:
        """The records where `good` (k,) is true."""
        return Decoded(
            rows=self.rows[good],
            counts=self.counts[good],
            keys=[key for key, keep in zip(self.keys, good, strict=True) if keep],
            start_us=self.start_us[good],
            period_us=self.period_us[good],
            stated=self.stated[good],
            values=self.values[np.repeat(good, self.counts)],
            rejected=self.rejected,
            reached=self.reached,
            holes=self.holes,
        )

    def samples(self, series: Int64Array, offsets: Int64Array) -> Samples:
        """The samples one by one, for cutting windows; `series` and `offsets` are per record.

        A sample's order is judged by its own time where the record states one. Else by the record's timestamp, the
        same for its whole chunk and allowed to tie, because producers' clocks tick in milliseconds, and jitter by more
        than a sample.
        """
        if len(self.values) == len(self.rows):  # one sample a record
            zeros = np.zeros(len(self.rows), dtype=np.int64)
            return Samples(series, self.values, self.start_us, self.start_us, ~self.stated, offsets, zeros)
        record = np.repeat(np.arange(len(self.rows)), self.counts)
        first = np.cumsum(self.counts) - self.counts
        index = np.arange(len(self.values)) - first[record]
        start_us, period_us, stated = self.start_us[record], self.period_us[record], self.stated[record]
        time_us = start_us + np.rint(index * period_us).astype(np.int64)
        return Samples(
            series=series[record],
            values=self.values,
            time_us=time_us,
            clock_us=np.where(stated, time_us, start_us),
            ties=~stated | ((index > 0) & (period_us < 1)),  # faster than the clock ticks
            offset=offsets[record],
            index=index,
        )

    def windows(self, series: Int64Array, offsets: Int64Array, length: int) -> Windows:
        """The records as windows, for artifacts whose records are windows. They stand alone: none is too late."""
        return Windows(
            series=series,
            values=self.values.reshape(-1, length, self.values.shape[1]),
            start_us=self.start_us,
            end_us=self.start_us + np.rint((length - 1) * self.period_us).astype(np.int64),
            first_offset=offsets,
            last_offset=offsets,
            last_index=np.full(len(series), length - 1, dtype=np.int64),
        )


class Decoder:
    """Decodes polls against one artifact's layout and one set of rules."""

    def __init__(self, layout: Layout, rules: InputRules, *, exact: bool = False) -> None:
        """`exact`: values stay float64 where records hold such, for a trainer that has yet to choose levels.

        Raises:
            ConfigError: the rules name a format that is not known, or can't be loaded.
        """
        self._rules = rules
        self._oldest_us = iso_us(rules.oldest_time)
        self._max_future_us = rules.max_future_ms * 1000
        self._rate_hz = layout.window.sampling_rate_hz or np.nan
        self._whole_records = windowing.whole_records(layout.window.kind)
        window_length = layout.window.length if self._whole_records else None
        max_samples = max(rules.max_samples_per_record, window_length or 0)
        series_field = rules.series.removeprefix("field:") if rules.series.startswith("field:") else None
        self._header = rules.series.removeprefix("header:") if rules.series.startswith("header:") else None
        self.wants_headers = self._header is not None
        taken_off = levels.of(layout.channels)
        kind: FormatKind = extensions.load_format(rules.format)
        self._format: Format = kind(
            RecordSpec(
                channels=[channel.name for channel in layout.channels],
                window_length=window_length,
                max_samples=max_samples,
                timestamp_field=rules.timestamp_field,
                timestamp_unit=rules.timestamp_unit,
                series_field=series_field,
                narrow=_as_it_is if exact else partial(levels.take_off, levels=taken_off),
                keeps_float32=taken_off is None,
            )
        )

    def decode(
        self, columns: RecordColumns, stream: StreamTime | None = None, now_us: int | None = None, *, live: bool = True
    ) -> Decoded:
        """Everything readable in `columns`, and why the rest is not.

        `stream` is what was read of the partition before, and is moved on; `now_us` and `live` as it has them.
        """
        stream = StreamTime() if stream is None else stream
        rows, rejected = self._sized(columns.values)
        parsed = self._format.parse(columns.values, rows)
        rejected += parsed.rejected
        times = Times.of(columns, parsed, self._rate_hz, self._oldest_us)
        bad = times.impossible(self._oldest_us)
        if bad.any():
            rejected += [times.rejected(record, self._oldest_us) for record in np.flatnonzero(bad).tolist()]
            parsed, times = select(parsed, ~bad), times[~bad]
        before_us, ends_us = stream.newest_us, np.rint(times.end_us).astype(np.int64)
        judged = stream.judge(
            columns.offsets[parsed.rows], ends_us, times.own_us, self._max_future_us, now_us, live=live
        )
        reached = Reached(parsed.rows, np.concatenate([[before_us], judged.newest_us]))
        if judged.refused.any():
            future = self._rules.max_future_ms
            for record in np.flatnonzero(judged.refused).tolist():
                rejected.append(times.from_future(record, int(judged.newest_us[record]), future))
            parsed, times = select(parsed, ~judged.refused), times[~judged.refused]
        rejected.sort()
        return Decoded(
            rows=parsed.rows,
            counts=parsed.counts,
            keys=self._keys(columns, parsed),
            start_us=times.start_us,
            period_us=times.period_us,
            stated=times.stated,
            values=parsed.values,
            rejected=rejected,
            reached=reached,
            holes=self._holes(columns, rejected, reached) if rejected else None,
        )

    def _holes(self, columns: RecordColumns, rejected: list[Rejected], reached: Reached) -> Holes:
        """What the `rejected`, in the order of the poll, leave behind."""
        rows = np.fromiter((each.row for each in rejected), np.int64, len(rejected))
        values = [b"" if each.reason is Reason.TOO_LARGE else columns.values[each.row] or b"" for each in rejected]
        known = self._format.outlines(values)
        nothing = np.empty((0, 0), dtype=np.float32)
        parsed = Parsed(rows, known.counts, nothing, known.stamps_us, known.rates_hz, rejected, known.series)
        times = Times.of(columns, parsed, self._rate_hz, self._oldest_us)
        # A record that can't be read proves no time: its own counts only as far as the log has come without it.
        untrusted = ~times.stated | times.impossible(self._oldest_us)
        untrusted |= times.end_us > reached.before(rows) + float(self._max_future_us)
        keys = self._keys(columns, parsed)
        return Holes(rows, parsed.counts, keys, np.where(untrusted, NO_TIME, times.start_us), times.period_us)

    def _sized(self, values: list[bytes | None]) -> tuple[list[int], list[Rejected]]:
        limit = self._rules.max_record_bytes
        rows: list[int] = list(range(len(values)))
        rejected: list[Rejected] = []
        if not all(values) or max(map(len, values), default=0) > limit:  # type: ignore[arg-type]
            rows = []
            for row, value in enumerate(values):
                if not value:
                    kind = "a tombstone (null value)" if value is None else "zero bytes"
                    rejected.append(Rejected(row, Reason.EMPTY, kind))
                elif len(value) > limit:
                    text = f"{len(value)} bytes, at most {limit} (input.max_record_bytes)"
                    rejected.append(Rejected(row, Reason.TOO_LARGE, text))
                else:
                    rows.append(row)
        return rows, rejected

    def _keys(self, columns: RecordColumns, parsed: Parsed) -> list[bytes | None]:
        if parsed.series is not None:
            return [*parsed.series]
        if self._header is not None:
            headers = columns.headers or [()] * len(columns.values)
            return [_header(headers[row], self._header) for row in parsed.rows]
        if len(parsed.rows) == len(columns.keys):
            return columns.keys
        if 2 * len(parsed.rows) < len(columns.keys):
            return [columns.keys[row] for row in parsed.rows.tolist()]
        absent = np.ones(len(columns.keys), dtype=np.bool_)
        absent[parsed.rows] = False
        return without(columns.keys, np.flatnonzero(absent).tolist())


def _as_it_is(numbers: Float64Array) -> Float32Array:
    return cast(Float32Array, numbers)


def _header(headers: Headers, name: str) -> bytes | None:
    return next((value for key, value in headers if key == name), None)
