"""Whole polls of records that name their fields, whatever encodes them, to columns.

Rules of this file: a poll is read by one bound decoder that knows one usual form of a record (`forms.py`), the first
that reads one of the first few; it decodes the fields that are needed and skips the others. What it does not take is
read again alone by `RecordReader`, which knows every form, and decoding continues after it. What a record is read as
never depends on its neighbours: a form takes only what `RecordReader` takes, and makes the same of it. Records are
never joined into one document: a crafted one could then shift its neighbours.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from monitor.detector.arrays import BoolArray, Float64Array, Int64Array
from monitor.detector.times import NO_TIME, numbers_us, text_us, texts_us
from monitor.errors import ConfigError, Reason, RecordError
from monitor.formats import envelopes, forms
from monitor.formats.abstract import RecordSpec
from monitor.formats.documents import Entry, Outline, RecordReader, is_name, label_of
from monitor.formats.forms import UNREADABLE, Codec, Form
from monitor.formats.layout import RecordLayout
from monitor.formats.numbers import has_infinity
from monitor.formats.parsed import Ignored, Outlines, Parsed, Rejected, drop_infinite, merged, refused, select
from monitor.formats.partial import together

_LOOK_AT = 3  # records that say what a poll is made of: the odd one may come first
_PLAIN = {float, int, type(None)}


class _Read(NamedTuple):
    """What a form makes of a poll: the entries without their times, their `stamps`, the records (by index) that it does
    not take, and the rows of readings that are of no channel."""

    parsed: Parsed
    stamps: list[Any]
    strange: Int64Array
    dropped: Int64Array


class Records:
    """Reads the values of a poll against the artifact's channels: the formats are this, with a codec each."""

    names_fields: ClassVar[bool] = True

    def __init__(self, expected: RecordSpec, codec: Codec) -> None:
        """Raises `ConfigError` where a path of the options is none."""
        try:
            self._layout = layout = RecordLayout(expected)
        except ValueError as error:
            raise ConfigError(f"input: {error}") from None
        self._codec = codec
        self._channels = len(expected.channels)
        self._max_samples = expected.max_samples
        self._narrow = expected.narrow
        self._numbers = expected.numbers
        self._unit = expected.timestamp_unit
        self._has_series = expected.fields.series is not None
        self._reader = RecordReader(expected, layout, codec.anyhow)
        self._forms = codec.forms(expected, layout)
        self._loosely = codec.decoder(forms.loose(layout))

    def parse(self, values: list[bytes | None], rows: list[int]) -> Parsed:
        """Reads the values at `rows` (none of them empty)."""
        taken = values if len(rows) == len(values) else [values[row] for row in rows]
        form = self._form_of(taken)
        records, odd = ([], [*range(len(taken))]) if form is None else _decoded(form.decode, taken)
        if form is None or len(odd) == len(taken):
            return self._finished(self._one_by_one(taken, rows), values)
        if odd:
            # Columns are made of all, with any record in place of the odd ones: to copy the list would cost more.
            stand_in = next(record for index, record in enumerate(records) if index >= len(odd) or index != odd[index])
            for index in odd:
                records[index] = stand_in
        there = np.arange(len(rows)) if taken is values else np.array(rows, dtype=np.int64)
        parsed, stamps, strange, dropped = (self._chunks if form.is_chunk else self._entries)(form, records, there)
        again = np.union1d(odd, strange).astype(np.int64) if len(odd) or len(strange) else _NONE
        if len(again):
            good = ~np.isin(parsed.rows, there[again])
            parsed, stamps = select(parsed, good), [*itertools.compress(stamps, good)]
        if self._layout.may_ignore:
            parsed = replace(parsed, ignored=_ignored(np.delete(there, again), parsed.rows, dropped))
        parsed = self._timed(parsed, stamps)
        if len(again):
            parsed = merged(parsed, self._one_by_one([taken[at] for at in again.tolist()], there[again].tolist()))
        return self._finished(parsed, values)

    def _finished(self, parsed: Parsed, values: list[bytes | None]) -> Parsed:
        """`parsed` without infinite numbers, readings of one time together, and with an example of what is ignored."""
        if parsed.ignored.rows:
            example = self._reader.described(self._codec.anyhow(values[parsed.ignored.rows[0]] or b""))
            parsed = replace(parsed, ignored=replace(parsed.ignored, example=example))
        parsed = drop_infinite(parsed)
        return together(parsed) if self._layout.partial else parsed

    def _form_of(self, taken: list[bytes | None]) -> Form | None:
        """The form that a poll is read in; None where no usual one reads any of the first records."""
        for value in taken[:_LOOK_AT]:
            for form in self._forms:
                try:
                    form.decode(value)
                except UNREADABLE:
                    continue
                return form
        return None

    def _entries(self, form: Form, records: list[Any], rows: Int64Array) -> _Read:
        """Samples by name, or readings in long form, of records that stand at `rows`."""
        columns = _Columns(form, records)
        found = self._samples(columns) if self._layout.channel is None else self._readings(columns)
        if self._layout.quality:
            found.values[self._bad(columns)] = np.nan
        at = rows if columns.owner is None else rows[columns.owner]
        odd = columns.too_many(self._max_samples) | found.odd
        series, nameless = self._series(columns)
        odd = odd | nameless
        stamps = columns["stamp"]
        parsed = Parsed(
            rows=at,
            counts=np.ones(len(at), dtype=np.int64),
            values=self._narrow(self._numbers.settle(found.values)),
            stamps_us=np.full(len(at), NO_TIME, dtype=np.int64),
            rates_hz=np.full(len(at), np.nan),
            rejected=[],
            series=series,
            carried=found.carried,
            labels=self._labels(columns),
        )
        if found.known.all():
            return _Read(parsed, stamps, columns.records(odd), _NONE)
        kept = [*itertools.compress(stamps, found.known)]
        return _Read(select(parsed, found.known), kept, columns.records(odd), at[~found.known])

    def _bad(self, columns: _Columns) -> BoolArray:
        """Which entries (k,) have a quality that is not to be believed."""
        bad = np.zeros(len(columns), dtype=np.bool_)
        for index in range(len(self._layout.quality)):
            bad |= np.array([*map(self._reader.is_bad, columns[f"quality_{index}"])], dtype=np.bool_)
        return bad

    def _samples(self, columns: _Columns) -> _Found:
        """Channels by name."""
        if columns.of_texts:
            return self._samples_of_texts(columns)
        names = [f"channel_{index}" for index in range(self._channels)]
        if not self._layout.partial:
            found = [np.array(columns[name], dtype=np.float64) for name in names]
            return _Found(np.stack(found, axis=1), None, _ALL, _NOT_ONE)
        listed = [columns[name] for name in names]
        carried = np.array([[value is not UNSET for value in values] for values in listed], dtype=np.bool_).T
        found = [np.array([None if each is UNSET else each for each in values], np.float64) for values in listed]
        return _Found(np.stack(found, axis=1), carried, np.asarray(carried.any(axis=1)), _NOT_ONE)

    def _samples_of_texts(self, columns: _Columns) -> _Found:
        """Channels by name, each of which all entries carry, or none."""
        there = np.array([f"channel_{index}" in columns for index in range(self._channels)], dtype=np.bool_)
        values, odd = np.full((len(columns), self._channels), np.nan), np.zeros(len(columns), dtype=np.bool_)
        for index in np.flatnonzero(there).tolist():
            values[:, index], refused_here = self._numbers.each(columns[f"channel_{index}"])
            odd |= refused_here
        if not self._layout.partial:
            return _Found(values, None, _ALL, odd)
        carried = np.tile(there, (len(columns), 1))
        return _Found(values, carried, np.asarray(carried.any(axis=1)), odd)

    def _readings(self, columns: _Columns) -> _Found:
        """One channel an entry, in long form."""
        names, values = columns["channel"], columns["value_0"]
        for index in range(1, len(self._layout.readings)):
            if UNSET in values:
                values = [
                    other if each is UNSET else each
                    for each, other in zip(values, columns[f"value_{index}"], strict=True)
                ]
        if set(map(type, names)) != {str}:
            names = [str(name) if is_name(name) else None for name in names]
        index_of = self._layout.index_of
        channel = np.fromiter((index_of.get(name, -1) for name in names), np.int64, len(names))
        known = channel >= 0
        numbers, odd = self._numbers_of(values, known)
        found = np.full((len(names), self._channels), np.nan)
        found[known, channel[known]] = numbers[known]
        carried = np.equal(np.arange(self._channels), channel[:, None])
        return _Found(found, carried, known, odd)

    def _numbers_of(self, values: list[Any], known: BoolArray) -> tuple[Float64Array, BoolArray]:
        """Values of any kind as numbers, as far as they are `known`; and which of those are none."""
        numbers, odd = np.full(len(values), np.nan), np.zeros(len(values), dtype=np.bool_)
        there = [*itertools.compress(values, known)]
        kinds = set(map(type, there))
        if kinds == {str} and not self._layout.envelope:
            numbers[known], odd[known] = self._numbers.each(there)
            return numbers, odd
        if kinds <= _PLAIN:
            with contextlib.suppress(OverflowError):
                numbers[known] = np.array(there, dtype=np.float64)
                return numbers, odd
        for index in np.flatnonzero(known).tolist():
            try:
                numbers[index] = self._numbers.one(values[index], "")
            except RecordError:
                odd[index] = True
            odd[index] |= self._layout.envelope and isinstance(values[index], str)  # it may be a decimal
        return numbers, odd

    def _series(self, columns: _Columns) -> tuple[list[bytes] | None, BoolArray]:
        """The series that each entry names (None: no field does), and which name none though something stands there."""
        if not self._has_series:
            return None, _NOT_ONE
        names = columns["series"]
        if set(map(type, names)) == {str}:
            return [name.encode("utf-8", "replace") for name in names], _NOT_ONE
        odd = np.array([name is not UNSET and not is_name(name) for name in names], dtype=np.bool_)
        return [b"" if name is UNSET else str(name).encode("utf-8", "replace") for name in names], odd

    def _labels(self, columns: _Columns) -> list[list[str | None]] | None:
        labels = [[*map(label_of, columns[f"label_{index}"])] for index in range(len(self._layout.labels))]
        return labels or None

    def _chunks(self, form: Form, records: list[Any], rows: Int64Array) -> _Read:
        """Chunks of records that stand at `rows`, one each."""
        columns = _Columns(form, records)
        rates = [math.nan if rate is UNSET else rate for rate in columns["rate"]]
        parts: list[Float64Array] = []
        odd = np.zeros(len(records), dtype=np.bool_)
        for index, (values, rate) in enumerate(zip(columns["values"], rates, strict=True)):
            try:
                parts.append(self._reader.chunk(values, typed=True))
            except RecordError:
                parts.append(np.empty((0, self._channels)))
            odd[index] = not len(parts[-1]) or rate <= 0
        counts = np.fromiter(map(len, parts), np.int64, len(parts))
        found = np.concatenate(parts)
        if self._layout.quality:
            found[np.repeat(self._bad(columns), counts)] = np.nan
        series, nameless = self._series(columns)
        odd = odd | nameless
        parsed = Parsed(
            rows=rows,
            counts=counts,
            values=self._narrow(self._numbers.settle(found)),
            stamps_us=np.full(len(rows), NO_TIME, dtype=np.int64),
            rates_hz=np.array(rates, dtype=np.float64),
            rejected=[],
            series=series,
            labels=self._labels(columns),
        )
        return _Read(parsed, columns["stamp"], columns.records(odd), _NONE)

    def _one_by_one(self, taken: Sequence[bytes | None], rows: Sequence[int]) -> Parsed:
        """Records of any form, at `rows`."""
        rejected: list[Rejected] = []
        at: list[int] = []
        entries: list[Entry] = []
        ignored, empty = 0, []
        for row, value in zip(rows, taken, strict=True):
            try:
                found, left_out = self._reader.read(self._document(value or b""))
            except RecordError as error:
                lacking = error.reason is Reason.MISSING_CHANNEL
                hint = envelopes.hint(self._codec.anyhow(value or b""), self._layout) if lacking else ""
                rejected.append(Rejected(row, error.reason, error.detail + hint))
                continue
            at += [row] * len(found)
            entries += found
            ignored += left_out
            if not found:
                empty.append(row)
        counts = np.fromiter((len(entry.values) for entry in entries), np.int64, len(entries))
        values, carried = [entry.values for entry in entries], self._carried(entries)
        labels = [[entry.labels[index] for entry in entries] for index in range(len(self._layout.labels))]
        parsed = Parsed(
            rows=np.array(at, dtype=np.int64),
            counts=counts,
            values=self._narrow(np.concatenate(values) if values else np.empty((0, self._channels))),
            stamps_us=np.full(len(at), NO_TIME, dtype=np.int64),
            rates_hz=np.array([entry.rate_hz for entry in entries], dtype=np.float64),
            rejected=rejected,
            series=[entry.series for entry in entries] if self._has_series else None,
            carried=None if carried is None else np.repeat(carried, counts, axis=0),
            labels=labels or None,
            ignored=Ignored(ignored, empty),
        )
        return self._timed(parsed, [entry.stamp for entry in entries])

    def _carried(self, entries: Sequence[Entry | Outline]) -> BoolArray | None:
        """Which channels each of k entries carries, (k, channels); None: all of them."""
        if all(entry.carried is None for entry in entries):
            return None
        whole = np.ones(self._channels, dtype=np.bool_)
        return np.array([whole if entry.carried is None else entry.carried for entry in entries])

    def _document(self, value: bytes) -> Any:
        """What a record says, as dictionaries and lists.

        Raises:
            RecordError: it can't be decoded.
        """
        try:
            try:
                return self._loosely(value)
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:
                repaired = self._codec.repaired(value)
                if repaired is value:
                    raise
                return self._loosely(repaired)
        except RecursionError:
            raise RecordError(Reason.MALFORMED, "nested too deeply") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordError(*_why(value, error)) from None

    def _timed(self, parsed: Parsed, stamps: list[Any]) -> Parsed:
        """`parsed` with the times that `stamps` say (none: no record states one), without those that can't be read."""
        kinds = set(map(type, stamps))
        if kinds <= {UnsetType}:
            return parsed
        times_us, unreadable = self._times_us(stamps, kinds)
        return refused(
            replace(parsed, stamps_us=times_us),
            unreadable,
            lambda entry: (Reason.BAD_TIMESTAMP, self._problem(stamps[entry])),
        )

    def _times_us(self, stamps: list[Any], kinds: set[type]) -> tuple[Int64Array, BoolArray]:
        """What stamps of these types say, in µs, `NO_TIME` where there are none; and which can't be read."""
        if kinds == {float}:
            times_us = numbers_us(np.array(stamps, dtype=np.float64), self._unit)
        elif kinds == {str}:
            times_us = texts_us(stamps, self._unit)
        else:
            times_us = np.full(len(stamps), NO_TIME, dtype=np.int64)
            floats, texts = (np.array([type(stamp) is one for stamp in stamps], np.bool_) for one in (float, str))
            times_us[floats] = numbers_us(np.array(list(itertools.compress(stamps, floats))), self._unit)
            times_us[texts] = texts_us(list(itertools.compress(stamps, texts)), self._unit)
            return times_us, (floats | texts) & (times_us == NO_TIME)
        return times_us, times_us == NO_TIME

    def _problem(self, stamp: float | str) -> str:
        if isinstance(stamp, str):
            try:
                text_us(stamp, self._unit)
            except ValueError as error:
                return f"{stamp[:40]!r} is {error}"
        return f"{stamp!r} is no time, since 1970 or otherwise"

    def outlines(self, values: Sequence[bytes]) -> Outlines:
        """What is known of records that are refused."""
        found = [self._reader.outline(self._codec.anyhow(value)) for value in values]
        entries = [entry for outline in found for entry in outline]
        stamps = [entry.stamp for entry in entries]
        return Outlines(
            counts=np.fromiter((entry.samples for entry in entries), np.int64, len(entries)),
            stamps_us=self._times_us(stamps, set())[0],
            rates_hz=np.fromiter((entry.rate_hz for entry in entries), np.float64, len(entries)),
            series=[entry.series for entry in entries] if self._has_series else None,
            records=np.repeat(np.arange(len(found)), [len(outline) for outline in found]),
            carried=self._carried(entries),
        )


class _Found(NamedTuple):
    """Numbers (k, channels) and which are carried (None: all); which entries (k,) are of a channel, and which odd."""

    values: Float64Array
    carried: BoolArray | None
    known: BoolArray
    odd: BoolArray


class _Columns:
    """The entries of records of one form, field by field. `owner` (k,) is each one's record (None: one entry each)."""

    def __init__(self, form: Form, records: list[Any]) -> None:
        self._form = form
        self.of_texts = form.of_texts
        self._around = records if form.root is None else [*map(form.root, records)]
        self._entries = self._around
        self._counts = np.ones(len(records), dtype=np.int64)
        self.owner: Int64Array | None = None
        if form.entries is not None:
            self._entries = [*map(form.entries, self._around)]
        if form.several:
            self._counts = np.fromiter(map(len, self._entries), np.int64, len(records))
            self.owner = np.repeat(np.arange(len(records)), self._counts)
            self._entries = [*itertools.chain.from_iterable(self._entries)]

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._form.body

    def __getitem__(self, name: str) -> list[Any]:
        """What each entry says, or the record around it."""
        inside, outside = self._form.body.get(name), self._form.around.get(name)
        if inside is None:
            return [UNSET] * len(self)
        if name == "stamp" and self._form.stamp_on_top:  # in half the time
            return [entry.stamp for entry in self._entries]
        found = [*map(inside, self._entries)]
        if outside is None or UNSET not in found:
            return found
        around = [*map(outside, self._around)]
        owner = range(len(found)) if self.owner is None else self.owner.tolist()
        return [around[record] if each is UNSET else each for each, record in zip(found, owner, strict=True)]

    def too_many(self, most: int) -> BoolArray:
        """Which entries (k,) are of a record that has more than `most`."""
        return _NOT_ONE if self.owner is None else (self._counts > most)[self.owner]

    def records(self, entries: BoolArray) -> Int64Array:
        """The records of the entries where a mask (k,) is true."""
        if not entries.any():
            return _NONE
        at = np.flatnonzero(entries)
        return at if self.owner is None else np.unique(self.owner[at])


def _why(value: bytes, error: Exception) -> tuple[Reason, str]:
    """Why a value can't be decoded; msgspec's own words where they say enough."""
    said = str(error)
    if "out of range" in said:
        return Reason.NOT_FINITE, said
    if isinstance(error, msgspec.ValidationError):
        return Reason.WRONG_TYPE, said
    if "trailing characters" in said and value[:1] in (b"{", b"["):
        return Reason.MALFORMED, f"{said}; a record is one JSON text, and several are a list (input.entries)"
    if "invalid character" in said and has_infinity(value):
        return Reason.NOT_FINITE, "a number is infinite"
    return Reason.MALFORMED, said


_NONE = np.empty(0, dtype=np.int64)
_NOT_ONE, _ALL = np.zeros(1, dtype=np.bool_), np.ones(1, dtype=np.bool_)


def _decoded(decode: Callable[[Any], Any], taken: list[bytes | None]) -> tuple[list[Any], list[int]]:
    """The records, and the indices of those that `decode` can't take, which are None."""
    records: list[Any] = []
    odd: list[int] = []
    pending = map(decode, taken)
    while True:
        try:
            records.extend(pending)  # keeps what came before an exception, and `pending` goes on after it
            return records, odd
        except UNREADABLE:
            odd.append(len(records))
            records.append(None)


def _ignored(rows: Int64Array, accepted: Int64Array, dropped: Int64Array) -> Ignored:
    """What is left out of records at `rows`: `accepted` have entries, and readings at `dropped` are of no channel."""
    dropped = dropped[np.isin(dropped, rows)]
    return Ignored(len(dropped), np.setdiff1d(rows, accepted).tolist())
