"""JSON records: one sample with its channels by name, or a chunk of samples.

    {"ts": 1732177327310, "pressure": 3.1, "flow": null}                      one sample; null is a missing number
    {"ts": "2026-11-21T08:22:07.310Z", "rate_hz": 250, "values": [[..], ..]}  a chunk, (n, channels); (n,) for one
    [0.12, 0.14, null, 0.11]                                                  a chunk and nothing else

A missing number is null, or what producers make of one: NaN as C, Python, R and JavaScript print it, bare or as text,
and texts that say that there is none (`monitor.detector.missing`). Infinity is refused; so is any other text.

Rules of this file: a poll is read by one bound decoder that knows complete samples only (chunks only, where the poll
begins with them); what it refuses is read again alone, by decoders that know everything, and decoding continues after
it. What a record is read as never depends on its neighbours. Records are never joined into one document: a crafted
one could then shift its neighbours.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Annotated, Any, ClassVar, TypeGuard

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from monitor.detector.arrays import BoolArray, Float32Array, Int64Array
from monitor.detector.missing import NAN, is_missing
from monitor.detector.times import NO_TIME, numbers_us, text_us, texts_us
from monitor.errors import Reason, RecordError
from monitor.formats.abstract import RecordSpec
from monitor.formats.parsed import Outlines, Parsed, Rejected, drop_infinite, merged, select

# Whole strings, closed or not, so that nothing inside one is taken for a number; or a bare NaN.
_STRING_OR_NAN = re.compile(
    rb'"(?:[^"\\]+|\\.?)*+"?|(?<![\w.+-])' + NAN.encode() + rb"(?![\w.])", re.DOTALL | re.IGNORECASE
)
_MAY_BE_NAN = re.compile(rb"nan|1\.#", re.IGNORECASE)
_MAY_BE_LOOSE = re.compile(rb"nan|infinity|e\+?\d{3}|\d{300}", re.IGNORECASE)
_anything = msgspec.json.Decoder().decode

Number = float | None
_Never = Annotated[int, msgspec.Meta(gt=1, lt=0)]  # no value passes
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_LOOK_AT = 3  # records that say what a poll is made of: the odd one may come first


class JsonFormat:
    """Reads `json` values against the artifact's channels."""

    names_fields: ClassVar[bool] = True

    def __init__(self, expected: RecordSpec) -> None:
        self._channels = channels = tuple(expected.channels)
        self._window_length = expected.window_length
        self._max_samples = expected.max_samples
        self._narrow = expected.narrow
        named = {"stamp": expected.timestamp_field, "series": expected.series_field or ""}
        self._names = {"values": "values", "rate_hz": "rate_hz", **named}
        self._has_stamp = bool(expected.timestamp_field)
        self._unit = expected.timestamp_unit
        self._has_series = expected.series_field is not None
        self._channel_of = [attrgetter(f"channel_{index}") for index in range(len(channels))]
        # The artifact's own channel names win over ours; a field without a name is never in a record.
        for name in [name for name, field in self._names.items() if not field or field in self._channels]:
            del self._names[name]
        self._sample = _decoder(self._struct(Number, _Never, required=True))
        self._chunk_types: list[Any] = [list[list[Number]]] if len(channels) > 1 else [list[Number], list[list[Number]]]
        self._strict = [_decoder(self._struct(Number, chunk) | chunk) for chunk in self._chunk_types]
        loose = list[Number | str | list[Number | str]]
        self._loose = _decoder(self._struct(Number | str, loose) | loose)

    def _struct(self, number: Any, chunk: Any, *, required: bool = False) -> Any:
        """The type of a record whose channels are `number`s, all of them `required`, and whose values are `chunk`."""
        types = {"values": chunk, "rate_hz": float, "stamp": float | str, "series": str | int}
        channels = [f"channel_{index}" for index in range(len(self._channels))]
        fields: list[Any] = [(name, number) if required else (name, number | UnsetType, UNSET) for name in channels]
        fields += [(name, types[name] | UnsetType, UNSET) for name in self._names]
        rename = self._names | dict(zip(channels, self._channels, strict=True))
        absent = {name: UNSET for name in types if name not in self._names}
        return msgspec.defstruct("Record", fields, rename=rename, namespace=absent, gc=False)

    def parse(self, values: list[bytes | None], rows: list[int]) -> Parsed:
        """Reads the values at `rows` (none of them empty)."""
        taken = values if len(rows) == len(values) else [values[row] for row in rows]
        of_samples = self._window_length is None and self._begins_with_a_sample(taken)
        records, again = self._decode(self._sample if of_samples else self._strict[0], taken)
        if not of_samples:
            return drop_infinite(self._one_by_one(records, rows))
        if not again:
            return drop_infinite(self._samples(records, rows, again))
        odd = self._one_by_one([records[index] for index in again], [rows[index] for index in again])
        if len(again) == len(records):
            return drop_infinite(odd)
        # Columns are made of all, with any sample in place of the odd ones: to copy the list would cost more.
        stand_in = next(record for index, record in enumerate(records) if index >= len(again) or index != again[index])
        for index in again:
            records[index] = stand_in
        return drop_infinite(merged(self._samples(records, rows, again), odd))

    def _begins_with_a_sample(self, taken: list[bytes | None]) -> bool:
        for value in taken[:_LOOK_AT]:
            try:
                self._sample(value)
            except _UNREADABLE:
                continue
            return True
        return not taken

    def _decode(self, decode: Callable[[Any], Any], taken: list[bytes | None]) -> tuple[list[Any], list[int]]:
        """The records, a `RecordError` where one can't be read; and the indices of those that `decode` can't parse."""
        records: list[Any] = []
        again: list[int] = []
        pending = map(decode, taken)
        while True:
            try:
                records.extend(pending)  # keeps what came before an exception, and `pending` goes on after it
                return records, again
            except _UNREADABLE:
                again.append(len(records))
                try:
                    records.append(self._decode_one(taken[len(records)] or b""))
                except RecordError as error:
                    records.append(error)

    def _decode_one(self, value: bytes) -> Any:
        try:
            try:
                return self._decode_strictly(value)
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:
                if _MAY_BE_NAN.search(value) is None:
                    raise
                return self._decode_strictly(_STRING_OR_NAN.sub(_null_for_nan, value))
        except RecursionError:
            raise RecordError(Reason.MALFORMED, "nested too deeply") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            text = str(error)
            reason = Reason.WRONG_TYPE if isinstance(error, msgspec.ValidationError) else Reason.MALFORMED
            if text.startswith("Number out of range"):
                reason = Reason.NOT_FINITE
            raise RecordError(reason, text) from None

    def _decode_strictly(self, value: bytes) -> Any:
        """A record by the decoders that know everything. Raises what msgspec raises."""
        for decode in self._strict:
            try:
                return decode(value)
            except msgspec.ValidationError as error:
                problem = error
        try:
            record = self._loose(value)
        except msgspec.ValidationError:
            raise problem from None
        if not self._take_words(record):
            raise problem
        return record

    def _take_words(self, record: Any) -> bool:
        """Puts None for every text of `record` that is a missing number; whether it has no other text."""
        if isinstance(record, list):
            return _take_words(record)
        numbers = [get(record) for get in self._channel_of]
        good = not any(isinstance(number, str) for number in numbers) or _take_words(numbers)
        for index, number in enumerate(numbers):
            setattr(record, f"channel_{index}", number)
        return good and (record.values is UNSET or not isinstance(record.values, list) or _take_words(record.values))

    def _samples(self, records: list[Any], rows: Sequence[int], left_out: list[int]) -> Parsed:
        """Complete samples, one a record, at `rows`; without those at the indices `left_out`."""
        columns = [np.array(list(map(get, records)), dtype=np.float64) for get in self._channel_of]
        return self._timed(
            Parsed(
                rows=np.array(rows, dtype=np.int64),
                counts=np.ones(len(rows), dtype=np.int64),
                values=self._narrow(np.stack(columns, axis=1)),
                stamps_us=np.full(len(rows), NO_TIME, dtype=np.int64),
                rates_hz=np.full(len(rows), np.nan),
                rejected=[],
                series=self._series(records) if self._has_series else None,
            ),
            [record.stamp for record in records] if self._has_stamp else [],
            left_out,
        )

    def _one_by_one(self, records: list[Any], rows: Sequence[int]) -> Parsed:
        """Any mixture of samples, chunks and errors, at `rows`."""
        rejected: list[Rejected] = []
        good: list[int] = []
        parts: list[Float32Array] = []
        rates: list[float] = []
        kept: list[Any] = []
        for row, record in zip(rows, records, strict=True):
            try:
                values, rate = self._one(record)
            except RecordError as error:
                rejected.append(Rejected(row, error.reason, error.detail))
                continue
            good.append(row)
            parts.append(values)
            rates.append(rate)
            kept.append(_NAMELESS if isinstance(record, list) else record)
        empty = np.empty((0, len(self._channels)), dtype=np.float32)
        return self._timed(
            Parsed(
                rows=np.array(good, dtype=np.int64),
                counts=np.fromiter(map(len, parts), np.int64, len(parts)),
                values=np.concatenate(parts) if parts else empty,
                stamps_us=np.full(len(good), NO_TIME, dtype=np.int64),
                rates_hz=np.array(rates, dtype=np.float64),
                rejected=rejected,
                series=self._series(kept) if self._has_series else None,
            ),
            [record.stamp for record in kept],
        )

    def _timed(self, parsed: Parsed, stamps: list[Any], left_out: Sequence[int] = ()) -> Parsed:
        """`parsed` with the times that `stamps` say (none: no record states one), without those that can't be read."""
        good = np.ones(len(parsed.rows), dtype=np.bool_)
        good[list(left_out)] = False
        kinds = set(map(type, stamps))
        if not kinds <= {UnsetType}:
            times_us, unreadable = self._times_us(stamps, kinds)
            parsed = replace(parsed, stamps_us=times_us)
            for index in np.flatnonzero(unreadable & good).tolist():
                problem = self._problem(stamps[index])
                parsed.rejected.append(Rejected(int(parsed.rows[index]), Reason.BAD_TIMESTAMP, problem))
            good &= ~unreadable
        return parsed if good.all() else select(parsed, good)

    def _times_us(self, stamps: list[Any], kinds: set[type]) -> tuple[Int64Array, BoolArray]:
        """What stamps of these types say, in µs, `NO_TIME` where there are none; and which can't be read."""
        if kinds == {float}:
            times_us = numbers_us(np.array(stamps, dtype=np.float64), self._unit)
        elif kinds == {str}:
            times_us = texts_us(stamps, self._unit)
        else:
            times_us = np.full(len(stamps), NO_TIME, dtype=np.int64)
            floats, texts = (np.array([type(stamp) is one for stamp in stamps]) for one in (float, str))
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

    def _series(self, records: list[Any]) -> list[bytes]:
        names = [record.series for record in records]
        return [b"" if name is UNSET else str(name).encode("utf-8", "replace") for name in names]

    def _one(self, record: Any) -> tuple[Float32Array, float]:
        """One record's samples (n, channels), and its rate in Hz, NaN where it has none."""
        if isinstance(record, RecordError):
            raise record
        if isinstance(record, list):
            return self._chunk(record), math.nan
        named = [get(record) for get in self._channel_of]
        if record.values is not UNSET:
            if any(value is not UNSET for value in named):
                raise RecordError(Reason.WRONG_SHAPE, "both values and channels; a record is one sample or one chunk")
            rate = math.nan if record.rate_hz is UNSET else record.rate_hz
            if rate <= 0:
                raise RecordError(Reason.WRONG_TYPE, f"rate_hz is {rate}, must be positive")
            return self._chunk(record.values), rate
        missing = [name for name, value in zip(self._channels, named, strict=True) if value is UNSET]
        if missing:
            raise RecordError(Reason.MISSING_CHANNEL, f"no channel {', '.join(map(repr, missing))}, and no values")
        if self._window_length not in (None, 1):
            raise RecordError(Reason.WRONG_SHAPE, f"one sample, a window has {self._window_length}")
        return self._narrow(np.array([named], dtype=np.float64)), math.nan

    def _chunk(self, values: list[Any]) -> Float32Array:
        channels = len(self._channels)
        if not values:
            raise RecordError(Reason.WRONG_SHAPE, "no samples")
        if self._window_length is not None and len(values) != self._window_length:
            raise RecordError(Reason.WRONG_SHAPE, f"{len(values)} samples, a window has {self._window_length}")
        if len(values) > self._max_samples:
            raise RecordError(
                Reason.WRONG_SHAPE,
                f"{len(values)} samples, at most {self._max_samples} a record (input.max_samples_per_record)",
            )
        if channels == 1 and not isinstance(values[0], list):
            if any(isinstance(sample, list) for sample in values):
                raise RecordError(Reason.WRONG_SHAPE, "samples are numbers and lists by turns")
            return self._narrow(np.array(values, dtype=np.float64)[:, None])
        if {len(sample) if isinstance(sample, list) else -1 for sample in values} != {channels}:
            raise RecordError(Reason.WRONG_SHAPE, f"not every sample has {channels} numbers")
        return self._narrow(np.array(values, dtype=np.float64))

    def outlines(self, values: Sequence[bytes]) -> Outlines:
        """What is known of records that are refused."""
        found = [self._outline(value) for value in values]
        stamps = [stamp for _, stamp, _, _ in found]
        return Outlines(
            counts=np.fromiter((count for count, _, _, _ in found), np.int64, len(found)),
            stamps_us=self._times_us(stamps, set())[0],
            rates_hz=np.fromiter((rate for _, _, rate, _ in found), np.float64, len(found)),
            series=[series for _, _, _, series in found] if self._has_series else None,
        )

    def _outline(self, value: bytes) -> tuple[int, float | str | UnsetType, float, bytes]:
        """Samples, stamp, rate and series of a record."""
        record = _read_anyhow(value)
        if not isinstance(record, dict):
            return self._count(record), UNSET, math.nan, b""
        said = {name: record.get(field) for name, field in self._names.items()}
        stamp, rate, series = said.get("stamp"), said.get("rate_hz"), said.get("series")
        return (
            self._count(said.get("values")),
            stamp if isinstance(stamp, str) else float(stamp) if _is_number(stamp) and abs(stamp) < 1e30 else UNSET,
            float(rate) if _is_number(rate) and 0 < rate < 1e300 else math.nan,
            str(series).encode("utf-8", "replace") if type(series) in (str, int) else b"",
        )

    def _count(self, values: Any) -> int:
        return max(1, min(len(values), self._max_samples)) if isinstance(values, list) else 1


class _Nameless:
    series = stamp = UNSET


_NAMELESS = _Nameless()


def _decoder(kind: Any) -> Callable[[Any], Any]:
    return msgspec.json.Decoder(kind).decode


def _read_anyhow(value: bytes) -> Any:
    """Whatever a value says, None if nothing: the standard library's reader takes NaN, Infinity and 1e999 too."""
    try:
        return _anything(value)
    except _UNREADABLE:
        if _MAY_BE_LOOSE.search(value) is None:
            return None
    try:
        return json.loads(value.decode())
    except (ValueError, RecursionError):
        return None


def _null_for_nan(found: re.Match[bytes]) -> bytes:
    text = found[0]
    return text if text.startswith(b'"') else b"null"


def _take_words(numbers: list[Any]) -> bool:
    """Puts None for every text that is a missing number, in nested lists too; whether there is no other text."""
    for index, number in enumerate(numbers):
        if isinstance(number, list):
            if not _take_words(number):
                return False
        elif isinstance(number, str):
            if not is_missing(number):
                return False
            numbers[index] = None
    return True


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
