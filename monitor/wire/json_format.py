"""JSON records: one sample with its channels by name, or a chunk of samples.

    {"ts": 1732177327310, "pressure": 3.1, "flow": null}                      one sample; null is a missing number
    {"ts": "2026-11-21T08:22:07.310Z", "rate_hz": 250, "values": [[..], ..]}  a chunk, (n, channels); (n,) for one
    [0.12, 0.14, null, 0.11]                                                  a chunk and nothing else

Rules of this file: the poll is read with one bound decoder in one comprehension; only when that raises is it gone
through record by record. Records are never joined into one document: a crafted one could then shift its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from monitor.errors import Reason, RecordError
from monitor.wire.parsed import MAX_STAMP_MS, Float32Array, Float64Array, Parsed, Rejected, drop_infinite

Number = float | None


class JsonFormat:
    """Reads `json` values against the artifact's channels."""

    def __init__(
        self,
        *,
        channels: Sequence[str],
        window_length: int | None,
        max_samples: int,
        timestamp_field: str,
        series_field: str | None,
    ) -> None:
        self._channels = tuple(channels)
        self._window_length = window_length
        self._max_samples = max_samples
        self._has_stamp = bool(timestamp_field)
        self._has_series = series_field is not None
        chunk: Any = list[Number] if len(channels) == 1 else list[list[Number]]
        self._decode = self._decoder(chunk, timestamp_field, series_field)
        self._decode_nested = self._decoder(list[list[Number]], timestamp_field, series_field)
        self._channel_of = [attrgetter(f"channel_{index}") for index in range(len(channels))]

    def _decoder(self, chunk: Any, timestamp_field: str, series_field: str | None) -> Callable[[Any], Any]:
        fields: list[tuple[str, Any, Any]] = [
            ("values", chunk | UnsetType, UNSET),
            ("rate_hz", float | UnsetType, UNSET),
            ("stamp", float | str | UnsetType, UNSET),
            ("series", str | int | UnsetType, UNSET),
        ]
        names = {"values": "values", "rate_hz": "rate_hz", "stamp": timestamp_field, "series": series_field or ""}
        for index, channel in enumerate(self._channels):
            fields.append((f"channel_{index}", Number | UnsetType, UNSET))
            names[f"channel_{index}"] = channel
        # The artifact's own channel names win over ours; a field without a name is never in a record.
        taken = set(self._channels)
        kept = [f for f in fields if f[0].startswith("channel_") or (names[f[0]] and names[f[0]] not in taken)]
        absent = {f[0]: UNSET for f in fields if f not in kept}
        record = msgspec.defstruct("Record", kept, rename={f[0]: names[f[0]] for f in kept}, namespace=absent, gc=False)
        return msgspec.json.Decoder(record | chunk).decode

    def parse(self, values: list[bytes | None], rows: list[int]) -> Parsed:
        """Reads the values at `rows` (none of them empty)."""
        decode = self._decode
        rejected: list[Rejected] = []
        try:
            if len(rows) == len(values):
                records = [decode(value) for value in values]
            else:
                records = [decode(values[row]) for row in rows]
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            rows, records, rejected = self._decode_one_by_one(values, rows)
        parsed = self._samples(records, rows, rejected) if self._window_length is None else None
        if parsed is None:
            parsed = self._mixed(records, rows, rejected)
        return drop_infinite(parsed)

    def _decode_one_by_one(
        self, values: list[bytes | None], rows: list[int]
    ) -> tuple[list[int], list[Any], list[Rejected]]:
        good, records, rejected = [], [], []
        for row in rows:
            try:
                records.append(self._decode_one(values[row] or b""))
                good.append(row)
            except RecordError as error:
                rejected.append(Rejected(row, error.reason, error.detail))
        return good, records, rejected

    def _decode_one(self, value: bytes) -> Any:
        try:
            try:
                return self._decode(value)
            except msgspec.ValidationError:
                return self._decode_nested(value)
        except RecursionError:
            raise RecordError(Reason.MALFORMED, "nested too deeply") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            text = str(error)
            reason = Reason.WRONG_TYPE if isinstance(error, msgspec.ValidationError) else Reason.MALFORMED
            if text.startswith("Number out of range"):
                reason = Reason.NOT_FINITE
            raise RecordError(reason, text) from None

    def _samples(self, records: list[Any], rows: list[int], rejected: list[Rejected]) -> Parsed | None:
        """The common case, all records one sample each and complete; None where one of them is anything else."""
        try:
            if [record.values for record in records].count(UNSET) != len(records):
                return None
            columns = [np.array(list(map(get, records)), dtype=np.float64) for get in self._channel_of]
        except (TypeError, AttributeError):  # a channel is missing, or a bare list
            return None
        stamps = self._stamps(records)
        if stamps is None:
            return None
        return Parsed(
            rows=np.array(rows, dtype=np.int64),
            counts=np.ones(len(rows), dtype=np.int64),
            values=_float32(np.stack(columns, axis=1)),
            stamps_ms=stamps,
            rates_hz=np.full(len(rows), np.nan),
            rejected=rejected,
            series=self._series(records) if self._has_series else None,
        )

    def _stamps(self, records: list[Any]) -> Float64Array | None:
        stamps = [record.stamp for record in records] if self._has_stamp else []
        if stamps.count(UNSET) == len(stamps):
            return np.full(len(records), np.nan)
        if set(map(type, stamps)) != {float}:
            return None
        array = np.array(stamps, dtype=np.float64)
        return array if ((array >= 0) & (array <= MAX_STAMP_MS)).all() else None

    def _series(self, records: list[Any]) -> list[bytes]:
        names = [record.series for record in records]
        return [b"" if name is UNSET else str(name).encode("utf-8", "replace") for name in names]

    def _mixed(self, records: list[Any], rows: list[int], rejected: list[Rejected]) -> Parsed:
        """Any mixture of samples, chunks and flawed records."""
        good: list[int] = []
        parts: list[Float32Array] = []
        stamps: list[float] = []
        rates: list[float] = []
        kept: list[Any] = []
        for row, record in zip(rows, records, strict=True):
            try:
                values, stamp, rate = self._one(record)
            except RecordError as error:
                rejected.append(Rejected(row, error.reason, error.detail))
                continue
            good.append(row)
            parts.append(values)
            stamps.append(stamp)
            rates.append(rate)
            kept.append(record)
        empty = np.empty((0, len(self._channels)), dtype=np.float32)
        return Parsed(
            rows=np.array(good, dtype=np.int64),
            counts=np.fromiter(map(len, parts), np.int64, len(parts)),
            values=np.concatenate(parts) if parts else empty,
            stamps_ms=np.array(stamps, dtype=np.float64),
            rates_hz=np.array(rates, dtype=np.float64),
            rejected=rejected,
            series=self._series([_NAMELESS if isinstance(r, list) else r for r in kept]) if self._has_series else None,
        )

    def _one(self, record: Any) -> tuple[Float32Array, float, float]:
        """One record's samples (n, channels), its time in ms and its rate in Hz, NaN where it has none."""
        if isinstance(record, list):
            return self._chunk(record), math.nan, math.nan
        stamp = _stamp(record.stamp)
        named = [get(record) for get in self._channel_of]
        if record.values is not UNSET:
            if any(value is not UNSET for value in named):
                raise RecordError(Reason.WRONG_SHAPE, "both values and channels; a record is one sample or one chunk")
            rate = math.nan if record.rate_hz is UNSET else record.rate_hz
            if rate <= 0:
                raise RecordError(Reason.WRONG_TYPE, f"rate_hz is {rate}, must be positive")
            return self._chunk(record.values), stamp, rate
        missing = [name for name, value in zip(self._channels, named, strict=True) if value is UNSET]
        if missing:
            raise RecordError(Reason.MISSING_CHANNEL, f"no channel {', '.join(map(repr, missing))}, and no values")
        if self._window_length not in (None, 1):
            raise RecordError(Reason.WRONG_SHAPE, f"one sample, a window has {self._window_length}")
        return _float32(np.array([named], dtype=np.float64)), stamp, math.nan

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
        if isinstance(values[0], list):
            if {len(sample) for sample in values} != {channels}:
                raise RecordError(Reason.WRONG_SHAPE, f"not every sample has {channels} numbers")
            return _float32(np.array(values, dtype=np.float64))
        return _float32(np.array(values, dtype=np.float64)[:, None])


class _Nameless:
    series = UNSET


_NAMELESS = _Nameless()


def _float32(values: Float64Array) -> Float32Array:
    with np.errstate(over="ignore"):  # becomes infinite, which `drop_infinite` rejects
        return values.astype(np.float32)


def _stamp(stamp: Any) -> float:
    if stamp is UNSET:
        return math.nan
    if isinstance(stamp, str):
        try:
            moment = datetime.fromisoformat(stamp)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise RecordError(Reason.BAD_TIMESTAMP, "the time is not RFC 3339 with a zone, like 2026-11-21T08:22:07Z")
        try:
            stamp = moment.timestamp() * 1000
        except (OverflowError, ValueError):
            stamp = -1.0
    if not 0 <= stamp <= MAX_STAMP_MS:
        raise RecordError(Reason.BAD_TIMESTAMP, "the time is outside the years 1970 to 9999")
    return float(stamp)
