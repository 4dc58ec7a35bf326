"""From the bytes of a poll to columns of samples. What can't be read is rejected with a reason, never an exception.

A rejected record leaves a hole in its series: samples that were there, with unknown values. Windows over it are
filled as far as the artifact allows, or not scored. What is still known of the record says which series, how many
samples, and when; else it is one sample, right after the series' last.

Rules of this file: pure. Rejected records register no series, and move time no further than the others did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from monitor.backends.abstract import RecordColumns
from monitor.detector import levels, windowing
from monitor.detector.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from monitor.detector.event_time import Reached
from monitor.detector.spec import Channel, WindowSpec
from monitor.detector.times import NO_TIME, iso_us, texts_us
from monitor.detector.windows import Samples, Windows
from monitor.errors import Reason
from monitor.formats.abstract import RecordSpec
from monitor.formats.content_types import RecordFormats, header_of
from monitor.formats.documents import EXPECTED_TIME, MAX_LABEL
from monitor.formats.keys import unwrapped
from monitor.formats.numbers import Numbers, shown
from monitor.formats.parsed import NOTHING_IGNORED, Ignored, Parsed, Rejected, refused, without
from monitor.formats.rules import InputRules
from monitor.formats.schemas import Schemas
from monitor.formats.stream_time import StreamTime
from monitor.formats.timestamps import Times

__all__ = [
    "NOTHING_IGNORED",
    "Decoded",
    "Decoder",
    "Holes",
    "Ignored",
    "InputRules",
    "Layout",
    "Reached",
    "Rejected",
    "StreamTime",
]


class Layout(Protocol):
    """What records are decoded against: an artifact's `Manifest`, or what a topic is read for before there is one."""

    @property
    def window(self) -> WindowSpec: ...

    @property
    def channels(self) -> Sequence[Channel]: ...


@dataclass(frozen=True, slots=True)
class Holes:
    """What the rejected records of one poll leave behind: as in `Decoded`, with `NO_TIME` where a time is not known.

    `carried` (k, channels; None: all) marks the channels that a rejected entry spoke of.
    """

    rows: Int64Array
    counts: Int64Array
    keys: list[bytes | None]
    start_us: Int64Array
    period_us: NDArray[np.float64]
    carried: BoolArray | None = None

    def samples(self, series: Int64Array, offsets: Int64Array, channels: int) -> Samples:
        """Missing numbers for the records whose `series` is one; `offsets` are per record too."""
        entry, number, index = _numbered(self.rows, self.counts)
        kept = series[entry] >= 0
        entry, number, index = entry[kept], number[kept], index[kept]
        start_us = self.start_us[entry]
        untimed = start_us == NO_TIME
        period_us = np.where(untimed, 0.0, self.period_us[entry])  # it may be infinite
        time_us = start_us + np.rint(number * period_us).astype(np.int64)
        return Samples(
            series=series[entry],
            values=np.full((len(entry), channels), np.nan, dtype=np.float32),
            time_us=time_us,
            clock_us=time_us,
            ties=untimed | ((number > 0) & (period_us < 1)),
            offset=offsets[entry],
            index=index,
            hole=np.ones(len(entry), dtype=np.bool_),
            carried=None if self.carried is None else self.carried[entry],
        )


def _numbered(rows: Int64Array, counts: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """For each sample of k entries its entry, its number in that, and its index in the whole record.

    `rows` (k,) are the entries' records, never falling; `counts` (k,) their samples.
    """
    entry = np.repeat(np.arange(len(rows)), counts)
    number = np.arange(len(entry)) - (np.cumsum(counts) - counts)[entry]
    return entry, number, number if _increasing(rows) else number + _before(rows, counts)[entry]


def _before(rows: Int64Array, counts: Int64Array) -> Int64Array:
    """How many samples (k,) each of k entries has before it in its record; `rows` and `counts` as in `_numbered`."""
    first = np.cumsum(counts) - counts
    before: Int64Array = first - first[np.searchsorted(rows, rows)]
    return before


@dataclass(frozen=True, slots=True)
class Decoded:
    """The readable records of one poll: k entries, n samples; and what the others leave.

    `rows`, `counts`, `keys`, `start_us`, `period_us` and `stated` are per entry: its record's row in the poll, its
    samples, its raw series, the time of its first sample, the time between its samples (0: unknown), and whether that
    time is the record's own statement. `values` is (n, channels), less the channels' levels, `carried` (n, channels)
    as in `Samples`. `reached` is the partition's time. `ignored` is what was left out because it is of no channel.
    `labels` holds k texts for each label of the rules (None: the rules have none), None where a record does not say it.
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
    carried: BoolArray | None = None
    ignored: Ignored = NOTHING_IGNORED
    labels: list[list[str | None]] | None = None

    def where(self, good: BoolArray) -> Decoded:
        """The entries where `good` (k,) is true."""
        samples = np.repeat(good, self.counts)
        return replace(
            self,
            rows=self.rows[good],
            counts=self.counts[good],
            keys=list(compress(self.keys, good)),
            start_us=self.start_us[good],
            period_us=self.period_us[good],
            stated=self.stated[good],
            values=self.values[samples],
            carried=None if self.carried is None else self.carried[samples],
            labels=None if self.labels is None else [list(compress(texts, good)) for texts in self.labels],
        )

    def samples(self, series: Int64Array, offsets: Int64Array) -> Samples:
        """The samples one by one, for cutting windows; `series` and `offsets` are per entry.

        A sample's order is judged by its own time where the record states one. Else by the record's timestamp, the
        same for its whole chunk and allowed to tie, because producers' clocks tick in milliseconds, and jitter by more
        than a sample.
        """
        if len(self.values) == len(self.rows) and _increasing(self.rows):  # one sample a record
            zeros, times_us = np.zeros(len(self.rows), dtype=np.int64), self.start_us
            return Samples(series, self.values, times_us, times_us, ~self.stated, offsets, zeros, carried=self.carried)
        entry, number, index = _numbered(self.rows, self.counts)
        start_us, period_us, stated = self.start_us[entry], self.period_us[entry], self.stated[entry]
        time_us = start_us + np.rint(number * period_us).astype(np.int64)
        return Samples(
            series=series[entry],
            values=self.values,
            time_us=time_us,
            clock_us=np.where(stated, time_us, start_us),
            ties=~stated | ((number > 0) & (period_us < 1)),  # faster than the clock ticks
            offset=offsets[entry],
            index=index,
            carried=self.carried,
        )

    def windows(self, series: Int64Array, offsets: Int64Array, length: int) -> Windows:
        """The entries as windows, for artifacts whose records are windows. They stand alone: none is too late."""
        return Windows(
            series=series,
            values=self.values.reshape(-1, length, self.values.shape[1]),
            start_us=self.start_us,
            end_us=self.start_us + np.rint((length - 1) * self.period_us).astype(np.int64),
            first_offset=offsets,
            last_offset=offsets,
            last_index=self.counts - 1 + _before(self.rows, self.counts),
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
        window_length = layout.window.length if windowing.whole_records(layout.window.kind) else None
        max_samples = max(rules.max_samples_per_record, window_length or 0)
        self._header = rules.series.removeprefix("header:") if rules.series.startswith("header:") else None
        self.schemas = Schemas()  # what the records to come were written with, where their format needs that
        taken_off = levels.of(layout.channels)
        self._formats = RecordFormats(
            rules,
            RecordSpec(
                channels=[channel.name for channel in layout.channels],
                window_length=window_length,
                max_samples=max_samples,
                timestamp_unit=rules.timestamp_unit,
                fields=rules.fields,
                numbers=Numbers(rules.missing_values, text_numbers=rules.text_numbers),
                csv_columns=rules.csv_columns,
                csv_delimiter=rules.csv_delimiter,
                narrow=_as_it_is if exact else partial(levels.take_off, levels=taken_off),
                keeps_float32=taken_off is None,
                schemas=self.schemas,
            ),
        )
        self.with_schemas = self._formats.with_schemas

    def decode(
        self, columns: RecordColumns, stream: StreamTime | None = None, now_us: int | None = None, *, live: bool = True
    ) -> Decoded:
        """Everything readable in `columns`, and why the rest is not.

        `stream` is what was read of the partition before, and is moved on; `now_us` and `live` as it has them.
        """
        stream = StreamTime() if stream is None else stream
        rows, rejected, tombstones = self._sized(columns)
        parsed = self._formats.parse(columns, rows)
        if tombstones:
            parsed = replace(parsed, ignored=Ignored(0, tombstones, _TOMBSTONE).followed_by(parsed.ignored))
        if self._rules.timestamp_header:
            parsed = self._timed_by_header(columns, parsed)
        parsed, times = self._possible(columns, parsed)
        before_us, ends_us = stream.newest_us, np.rint(times.end_us).astype(np.int64)
        record, firsts = _records(parsed.rows)
        last_us = ends_us if isinstance(firsts, slice) else np.maximum.reduceat(ends_us, firsts)
        there = parsed.rows[firsts]
        judged = stream.judge(
            columns.offsets[there], last_us, times.own_us[firsts], self._max_future_us, now_us, live=live
        )
        reached = Reached(there, np.concatenate([[before_us], judged.newest_us]))
        if judged.refused.any():
            too_far = judged.refused[record] & (ends_us == last_us[record])
            newest_us, future = judged.newest_us[record], self._rules.max_future_ms
            good = ~judged.refused[record]
            parsed = refused(parsed, too_far, lambda at: times.from_future(at, int(newest_us[at]), future))
            times = times[good]
        rejected = sorted(rejected + parsed.rejected)
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
            carried=parsed.carried,
            ignored=parsed.ignored,
            labels=self._labels(columns, parsed) if self._rules.labels else None,
        )

    def _timed_by_header(self, columns: RecordColumns, parsed: Parsed) -> Parsed:
        """`parsed` with the time of a header, for entries that state none."""
        stamps_us, name, unit = parsed.stamps_us.copy(), self._rules.timestamp_header, self._rules.timestamp_unit
        untimed = np.flatnonzero(stamps_us == NO_TIME)
        texts = [_text_of(columns, row, name) for row in parsed.rows[untimed].tolist()]
        there_are = np.array([text is not None for text in texts], dtype=np.bool_)
        texts_of = dict(zip(untimed.tolist(), texts, strict=True))
        found = texts_us([text or "" for text in texts], unit)
        stamps_us[untimed] = np.where(there_are, found, NO_TIME)
        bad = np.zeros(len(stamps_us), dtype=np.bool_)
        bad[untimed] = there_are & (found == NO_TIME)
        return refused(
            replace(parsed, stamps_us=stamps_us),
            bad,
            lambda entry: (Reason.BAD_TIMESTAMP, f"header {name} is {shown(texts_of[entry])}, {EXPECTED_TIME}"),
        )

    def _possible(self, columns: RecordColumns, parsed: Parsed) -> tuple[Parsed, Times]:
        """`parsed` without records whose times are impossible, and the times of the others."""
        times = Times.of(columns, parsed, self._rate_hz, self._oldest_us)
        bad = times.impossible(self._oldest_us)
        if bad.any():
            parsed = refused(parsed, bad, lambda entry: times.problem(entry, self._oldest_us))
            times = Times.of(columns, parsed, self._rate_hz, self._oldest_us)
        return parsed, times

    def _holes(self, columns: RecordColumns, rejected: list[Rejected], reached: Reached) -> Holes:
        """What the `rejected`, in the order of the poll, leave behind."""
        rows = np.fromiter((each.row for each in rejected), np.int64, len(rejected))
        values = [b"" if each.reason is Reason.TOO_LARGE else columns.values[each.row] or b"" for each in rejected]
        known = self._formats.outlines(columns, rows.tolist(), values)
        rows = rows if known.records is None else rows[known.records]
        nothing = np.empty((0, 0), dtype=np.float32)
        parsed = Parsed(rows, known.counts, nothing, known.stamps_us, known.rates_hz, rejected, known.series)
        times = Times.of(columns, parsed, self._rate_hz, self._oldest_us)
        # A record that can't be read proves no time: its own counts only as far as the log has come without it.
        untrusted = ~times.stated | times.impossible(self._oldest_us)
        untrusted |= times.end_us > reached.before(rows) + float(self._max_future_us)
        start_us = np.where(untrusted, NO_TIME, times.start_us)
        return Holes(rows, parsed.counts, self._keys(columns, parsed), start_us, times.period_us, known.carried)

    def _sized(self, columns: RecordColumns) -> tuple[list[int], list[Rejected], list[int]]:
        """The rows of values that can be read, those that can't, and those of tombstones to be ignored: where tables
        are written to topics, a deleted row is followed by one.
        """
        limit, sizes = self._rules.max_record_bytes, columns.sizes
        rows: list[int] = list(range(len(sizes)))
        rejected: list[Rejected] = []
        tombstones: list[int] = []
        if not sizes.all() or sizes.max(initial=0) > limit:
            rows = []
            for row, value in enumerate(columns.values):
                if value is None and self._rules.connect_envelope:
                    tombstones.append(row)
                elif not value:
                    kind = _TOMBSTONE if value is None else "zero bytes"
                    rejected.append(Rejected(row, Reason.EMPTY, kind))
                elif len(value) > limit:
                    text = f"{len(value)} bytes, at most {limit} (input.max_record_bytes)"
                    rejected.append(Rejected(row, Reason.TOO_LARGE, text))
                else:
                    rows.append(row)
        return rows, rejected, tombstones

    def _keys(self, columns: RecordColumns, parsed: Parsed) -> list[bytes | None]:
        """The series of each entry, as far as it is named."""
        keys = self._raw_keys(columns, parsed)
        return [*map(unwrapped, keys)] if self._rules.connect_envelope and parsed.series is None else keys

    def _raw_keys(self, columns: RecordColumns, parsed: Parsed) -> list[bytes | None]:
        if name := self._header if parsed.series is None else self._rules.series_header:
            headers, rows = columns.headers or [()] * len(columns.values), parsed.rows.tolist()
            named = parsed.series or [b""] * len(rows)
            return [key or header_of(headers[row], name) for key, row in zip(named, rows, strict=True)]
        if parsed.series is not None:
            return [*parsed.series]
        once = _increasing(parsed.rows)
        if once and len(parsed.rows) == len(columns.keys):
            return columns.keys
        if not once or 2 * len(parsed.rows) < len(columns.keys):
            return [columns.keys[row] for row in parsed.rows.tolist()]
        absent = np.ones(len(columns.keys), dtype=np.bool_)
        absent[parsed.rows] = False
        return without(columns.keys, np.flatnonzero(absent).tolist())

    def _labels(self, columns: RecordColumns, parsed: Parsed) -> list[list[str | None]]:
        """What each entry says of each label."""
        of_fields = iter(parsed.labels or ())
        rows, found = parsed.rows.tolist(), []
        for path in self._rules.labels.values():
            if path.startswith("header:"):
                found.append([_text_of(columns, row, path.removeprefix("header:")) for row in rows])
            else:
                found.append(next(of_fields, [None] * len(rows)))
        return found


_TOMBSTONE = "a tombstone (null value)"


def _increasing(rows: Int64Array) -> bool:
    """Whether no row comes twice."""
    return bool((rows[1:] > rows[:-1]).all())


def _records(rows: Int64Array) -> tuple[Int64Array, Int64Array | slice]:
    """Which record each of k entries is of, counting from 0, and each record's first entry: all, of one entry each."""
    if _increasing(rows):
        return np.arange(len(rows)), slice(None)
    new = np.append(np.ones(min(1, len(rows)), dtype=np.bool_), rows[1:] > rows[:-1])
    return np.cumsum(new) - 1, np.flatnonzero(new)


def _as_it_is(numbers: Float64Array) -> Float32Array:
    return cast(Float32Array, numbers)


def _text_of(columns: RecordColumns, row: int, name: str) -> str | None:
    """The header of a record, as text."""
    found = None if columns.headers is None else header_of(columns.headers[row], name)
    return None if found is None else found.decode("utf-8", "replace")[:MAX_LABEL]
