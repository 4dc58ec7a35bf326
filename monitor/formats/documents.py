"""What a record says that was read into dictionaries and lists: every form, one record at a time.

    {"ts": 1732177327310, "pressure": 3.1, "flow": null}                      one sample; null is a missing number
    {"ts": "2026-11-21T08:22:07.310Z", "rate_hz": 250, "values": [[..], ..]}  a chunk, (n, channels); (n,) for one
    [0.12, 0.14, null, 0.11]                                                  a chunk and nothing else
    {"sensor": "pump-7", "metric": "flow", "value": 3.1, "ts": ...}           one reading (`input.channel_field`)
    {"timestamp": ..., "values": [{"id": "flow", "v": 3.1, "t": ...}, ..]}    several entries (`input.entries`)

An entry is what has one series and one time. It stands where `input.entries` says, alone or in a list; a record where
nothing stands there is itself one. What an entry does not say of its series, time, quality and labels, the record
around it may. `records.py` reads whole polls of the usual forms faster, and the same from each record.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from monitor.detector.arrays import BoolArray, Float64Array
from monitor.errors import Reason, RecordError
from monitor.formats import envelopes
from monitor.formats.abstract import RecordSpec
from monitor.formats.connect_decimals import decimals, put_numbers
from monitor.formats.layout import DTYPE, PAYLOAD, SCHEMA, RecordLayout, quality_key
from monitor.formats.numbers import as_float, is_number, shown
from monitor.formats.paths import RecordPath

# Types of numbers in binary `values`, little-endian, as NumPy and as its users write them
_DTYPES = {
    name: np.dtype(f"<{code}")
    for code, long in zip(
        ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"),
        ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        strict=True,
    )
    for name in (code, f"<{code}", long)
}
_OBJECTS = 'the list holds objects, expected numbers; input.entries = "$" reads records that are lists of entries'
EXPECTED_TIME = "expected a number since 1970, or RFC 3339"
MAX_LABEL = 256  # characters; the rest is cut off
_SHOWN_NAMES, _SHOWN_LETTERS = 5, 60
_SCHEMAS = 256  # of envelopes, remembered

Stamp = float | str | UnsetType


class Entry(NamedTuple):
    """What has one series and one time: samples (n, channels), which channels they carry (channels,), None for all."""

    values: Float64Array
    carried: BoolArray | None
    rate_hz: float
    stamp: Stamp
    series: bytes
    labels: tuple[str | None, ...]


class Outline(NamedTuple):
    """What is known of an entry of a record that is refused: how many samples, and the rest as in `Entry`."""

    samples: int
    carried: BoolArray | None
    rate_hz: float
    stamp: Stamp
    series: bytes

    def and_of(self, other: Outline) -> Outline:
        """Both entries, of one series and time, as one."""
        carried = None if self.carried is None or other.carried is None else self.carried | other.carried
        return self._replace(samples=max(self.samples, other.samples), carried=carried)


class RecordReader:
    """Reads records that are dictionaries and lists, with what `RecordLayout` names in them at least."""

    def __init__(self, expected: RecordSpec, layout: RecordLayout, decode: Callable[[bytes], Any]) -> None:
        """`decode` makes of a part of a record what it says, None if nothing."""
        self._decoded = decode
        self._decimals_of = lru_cache(_SCHEMAS)(self._decimals)
        self._names = [*expected.channels]
        self._layout = layout
        self._numbers = expected.numbers
        self._window_length = expected.window_length
        self._max_samples = expected.max_samples

    def read(self, record: Any) -> tuple[list[Entry], int]:
        """The entries of a record, and how many of its readings are of no channel.

        Raises:
            RecordError: it can't be read.
        """
        found: list[Entry] = []
        ignored = samples = 0
        bodies = self._bodies(record)
        for number, (body, root) in enumerate(bodies):
            try:
                entry = self._entry(body, root)
            except RecordError as error:
                if body is root and len(bodies) == 1:
                    raise
                raise RecordError(error.reason, f"entry {number + 1} of {len(bodies)}: {error.detail}") from None
            if entry is None:
                ignored += 1
                continue
            found.append(entry)
            samples += len(entry.values)
        self._check_size(samples)
        return found, ignored

    def _bodies(self, record: Any) -> list[tuple[Any, Any]]:
        """The entries as they stand in a record, each with what stands around it: where a record is a list of others
        that have entries, the one of those.
        """
        root = self._unwrapped(record)
        if self._layout.entries is None or not isinstance(root, list) or not any(isinstance(e, dict) for e in root):
            return [(body, root) for body in self._bodies_of(root, empty=root is None is not record)]
        self._check_size(len(root))
        if (odd := next((each for each in root if not isinstance(each, dict)), UNSET)) is not UNSET:
            raise RecordError(Reason.WRONG_TYPE, f"a record of the list is {shown(odd)}, expected an object")
        return [(body, each) for each in root for body in self._bodies_of(each)]

    def _unwrapped(self, record: Any) -> Any:
        """The record without Kafka Connect's envelope, where it is in one, and with numbers for its decimals."""
        if not (self._layout.envelope and isinstance(record, dict) and SCHEMA in record and PAYLOAD in record):
            return record
        root, schema = record[PAYLOAD], record[SCHEMA]
        if isinstance(schema, msgspec.Raw):
            put_numbers(root, self._decimals_of(bytes(schema)))
        return root

    def _decimals(self, schema: bytes) -> list[tuple[tuple[str, ...], int | None]]:
        """Where numbers are expected that a schema says are decimals, and how many digits follow the point."""
        layout, places = self._layout, [*self._layout.channels, *self._layout.readings]
        before = [(), *([] if layout.entries is None else [layout.entries.names, (layout.entries.whole,)])]
        expected = {(*way, *names) for way in before for where in places for names in (where.names, (where.whole,))}
        found = decimals(self._decoded(schema))
        return [(path, digits) for path, digits in found.items() if path in expected]

    def _bodies_of(self, root: Any, *, empty: bool = False) -> list[Any]:
        """The entries as they stand in one record; `empty`: it is an envelope with none."""
        layout = self._layout
        if isinstance(root, list):
            if not layout.of_lists:
                return [root]
            bodies = root
        elif not isinstance(root, dict):
            if empty:
                return []
            raise RecordError(Reason.WRONG_TYPE, f"the record is {shown(root)}, expected an object or a list")
        elif layout.entries is None or (found := layout.entries.find(root)) is UNSET:
            return [root]
        elif found is None or isinstance(found, dict):
            return [] if found is None else [found]
        elif isinstance(found, list):
            bodies = found
        else:
            where = layout.entries.whole
            raise RecordError(Reason.WRONG_TYPE, f"{where} is {shown(found)}, expected entries (input.entries)")
        self._check_size(len(bodies))
        return bodies

    def _check_size(self, samples: int) -> None:
        if samples > self._max_samples:
            raise RecordError(
                Reason.WRONG_SHAPE,
                f"{samples} samples, at most {self._max_samples} a record (input.max_samples_per_record)",
            )

    def _entry(self, body: Any, root: Any) -> Entry | None:
        """One entry; None where it is of no channel."""
        layout = self._layout
        if isinstance(body, list) and not layout.channel and body is root:
            values = self._numbers.settle(self.chunk(body))
            return Entry(values, None, math.nan, UNSET, b"", (None,) * len(layout.labels))
        if not isinstance(body, dict):
            raise RecordError(Reason.WRONG_TYPE, f"an entry is {shown(body)}, expected an object")
        bad = any(self.is_bad(_either(where, body, root)) for where in layout.quality)
        found = self._reading(body, root, bad=bad) if layout.channel else self._wide(body, bad=bad)
        if found is None:
            return None
        values, carried, rate_hz = found
        return Entry(
            values=self._numbers.settle(values),
            carried=carried,
            rate_hz=rate_hz,
            stamp=self._stamp(body, root),
            series=self._series(body, root),
            labels=tuple(label_of(_either(where, body, root)) for where in layout.labels),
        )

    def is_bad(self, quality: Any) -> bool:
        """Whether a quality says that a reading is not to be believed; one that is not there says nothing."""
        return quality is not UNSET and quality is not None and quality_key(quality) not in self._layout.good_quality

    def _reading(
        self, body: dict[str, Any], root: Any, *, bad: bool
    ) -> tuple[Float64Array, BoolArray | None, float] | None:
        """One reading of one channel, in long form."""
        layout = self._layout
        assert layout.channel is not None
        name = _either(layout.channel, body, root)
        index = layout.index_of.get(name if isinstance(name, str) else str(name)) if is_name(name) else None
        if index is None:
            return None
        values = np.full((1, len(self._names)), np.nan)
        carried = np.zeros(len(self._names), dtype=np.bool_)
        carried[index] = True
        if not bad:
            there_are = [(where, value) for where in layout.readings if (value := where.find(body)) is not UNSET]
            if not there_are:
                fields = " or ".join(repr(where.whole) for where in layout.readings)
                detail = f"no field {fields} with the value of {name!r} (input.value_field)"
                raise RecordError(Reason.MISSING_CHANNEL, detail)
            where, value = there_are[0]
            values[0, index] = self._numbers.one(value, where.whole)
        self._check_window(1)
        return values, None if carried.all() else carried, math.nan

    def _wide(self, body: dict[str, Any], *, bad: bool) -> tuple[Float64Array, BoolArray | None, float] | None:
        """A sample with its channels by name, or a chunk of samples."""
        layout = self._layout
        found = [where.find(body) for where in layout.channels]
        chunk = UNSET if layout.values is None else layout.values.find(body)
        rate = self._rate(body)
        if chunk is not UNSET:
            if any(value is not UNSET for value in found):
                raise RecordError(Reason.WRONG_SHAPE, "both values and channels; a record is one sample or one chunk")
            if isinstance(chunk, bytes):
                values = self._unpacked(chunk, DTYPE.find(body))
                return np.full_like(values, np.nan) if bad else values, None, rate
            if not isinstance(chunk, list):
                raise RecordError(Reason.WRONG_TYPE, f"values is {shown(chunk)}, expected a list of numbers")
            if rate <= 0:
                raise RecordError(Reason.WRONG_TYPE, f"rate_hz is {rate}, must be positive")
            values = self.chunk(chunk)
            return np.full_like(values, np.nan) if bad else values, None, rate
        carried = None
        if UNSET in found:
            if not layout.partial:
                raise RecordError(Reason.MISSING_CHANNEL, self._missing(found))
            carried = np.array([value is not UNSET for value in found])
            if not carried.any():
                return None
        self._check_window(1)
        if bad:
            return np.full((1, len(found)), np.nan), carried, math.nan
        numbers = [
            math.nan if value is UNSET else self._numbers.one(value, where.whole)
            for value, where in zip(found, layout.channels, strict=True)
        ]
        return np.array([numbers]), carried, math.nan

    def _missing(self, found: list[Any]) -> str:
        """Which channels are not there, and where they were looked for if that is not their name."""
        absent = [
            repr(name) if where.whole == name else f"{name!r} (at {where.whole})"
            for name, where, value in zip(self._names, self._layout.channels, found, strict=True)
            if value is UNSET
        ]
        return f"no channel {', '.join(absent)}, and no values"

    def _rate(self, body: dict[str, Any]) -> float:
        rate = UNSET if self._layout.rate is None else self._layout.rate.find(body)
        if rate is UNSET:
            return math.nan
        if rate is None or (isinstance(rate, str) and not self._numbers.texts):
            raise RecordError(Reason.WRONG_TYPE, f"rate_hz is {shown(rate)}, expected a number")
        return self._numbers.one(rate, "rate_hz")

    def _check_window(self, samples: int) -> None:
        if self._window_length not in (None, samples):
            said = f"{samples} samples" if samples != 1 else "one sample"
            raise RecordError(Reason.WRONG_SHAPE, f"{said}, a window has {self._window_length}")

    def chunk(self, values: list[Any], *, typed: bool = False) -> Float64Array:
        """The samples of a chunk, (n, channels); `typed`: it holds numbers and null, and lists of those, only.

        Raises:
            RecordError: it can't be read.
        """
        channels = len(self._names)
        if not values:
            raise RecordError(Reason.WRONG_SHAPE, "no samples")
        self._check_window(len(values))
        self._check_size(len(values))
        if channels == 1 and not isinstance(values[0], list):
            if any(isinstance(sample, dict) for sample in values):
                raise RecordError(Reason.WRONG_TYPE, _OBJECTS)
            if any(isinstance(sample, list) for sample in values):
                raise RecordError(Reason.WRONG_SHAPE, "samples are numbers and lists by turns")
            return self._read(values, typed=typed)[:, None]
        if any(isinstance(sample, dict) for sample in values):
            raise RecordError(Reason.WRONG_TYPE, _OBJECTS)
        if (text := next((sample for sample in values if isinstance(sample, str)), None)) is not None:
            raise RecordError(Reason.WRONG_TYPE, f"a sample is the text {text[:40]!r}, expected {channels} numbers")
        if {len(sample) if isinstance(sample, list) else -1 for sample in values} != {channels}:
            raise RecordError(Reason.WRONG_SHAPE, f"not every sample has {channels} numbers")
        if typed:
            return np.array(values, dtype=np.float64)
        return self._read([number for sample in values for number in sample]).reshape(-1, channels)

    def _unpacked(self, raw: bytes, name: Any) -> Float64Array:
        """The samples of a chunk in binary, (n, channels)."""
        dtype = _DTYPES.get(name) if isinstance(name, str) else None
        if name is UNSET:
            dtype = _DTYPES["f4"]
        if dtype is None:
            raise RecordError(Reason.WRONG_TYPE, f"dtype is {shown(name)}, expected f4, f8, i2 or another of NumPy's")
        channels = len(self._names)
        if not raw or len(raw) % (dtype.itemsize * channels):
            text = f"{len(raw)} bytes of values are not whole samples of {channels} {dtype.name}"
            raise RecordError(Reason.WRONG_SHAPE, text)
        values = np.frombuffer(raw, dtype).astype(np.float64).reshape(-1, channels)
        self._check_window(len(values))
        self._check_size(len(values))
        return values

    def _read(self, values: list[Any], *, typed: bool = False) -> Float64Array:
        if typed or set(map(type, values)) <= {float, type(None)}:
            return np.array(values, dtype=np.float64)
        return np.array([self._numbers.one(value, "a number of values") for value in values], dtype=np.float64)

    def _stamp(self, body: dict[str, Any], root: Any) -> Stamp:
        where = self._layout.stamp
        stamp = UNSET if where is None else _either(where, body, root)
        if where is None or stamp is UNSET or isinstance(stamp, str):
            return stamp
        if isinstance(stamp, datetime):  # MessagePack's own timestamps
            return stamp.isoformat()
        if not is_number(stamp):
            raise RecordError(Reason.WRONG_TYPE, f"the time {where.whole} is {shown(stamp)}, {EXPECTED_TIME}")
        return as_float(stamp)

    def _series(self, body: dict[str, Any], root: Any) -> bytes:
        where = self._layout.series
        name = UNSET if where is None else _either(where, body, root)
        if where is None or name is UNSET:
            return b""
        if not is_name(name):
            raise RecordError(Reason.WRONG_TYPE, f"the series {where.whole} is {shown(name)}, expected a text")
        return str(name).encode("utf-8", "replace")

    def described(self, record: Any) -> str:
        """What a record holds that is of no channel, and what was expected."""
        where = self._layout.channel
        try:
            bodies = self._bodies(record)
        except RecordError as error:
            return error.detail
        if where is not None:
            names = [name for body, root in bodies if is_name(name := _either(where, body, root))]
            return f"{where.whole} is {_listed(names)}, expected one of {_listed([*self._layout.index_of])}"
        names = [name for body, _ in bodies if isinstance(body, dict) for name in body]
        expected = _listed([place.whole for place in self._layout.channels])
        return f"it has {_listed(names)}, expected one of {expected}{envelopes.hint(record, self._layout)}"

    def outline(self, record: Any) -> list[Outline]:
        """What is known of the entries of a record that is refused; readings of other channels are none of them."""
        try:
            bodies = self._bodies(record) or [(None, record)]
        except RecordError:
            return [_NOTHING]
        found: dict[tuple[bytes, Stamp], Outline] = {}
        for body, root in bodies:
            each = self._outline(body, root)
            if each is not None:
                before = found.get((each.series, each.stamp))
                found[each.series, each.stamp] = each if before is None else before.and_of(each)
        return [*found.values()]

    def _outline(self, body: Any, root: Any) -> Outline | None:
        layout = self._layout
        if (
            layout.channel is not None
            and is_name(name := _either(layout.channel, body, root))
            and str(name) not in layout.index_of
        ):
            return None
        if isinstance(body, list):
            return _NOTHING._replace(samples=self._count(body))
        if not isinstance(body, dict):
            return _NOTHING
        stamp = UNSET if layout.stamp is None else _either(layout.stamp, body, root)
        rate = UNSET if layout.rate is None else layout.rate.find(body)
        series = UNSET if layout.series is None else _either(layout.series, body, root)
        return Outline(
            samples=self._count(UNSET if layout.values is None else layout.values.find(body)),
            carried=self._named(body, root),
            rate_hz=float(rate) if is_number(rate) and 0 < rate < 1e300 else math.nan,
            stamp=stamp
            if isinstance(stamp, str)
            else float(stamp)
            if is_number(stamp) and abs(stamp) < 1e30
            else UNSET,
            series=str(series).encode("utf-8", "replace") if is_name(series) else b"",
        )

    def _named(self, body: dict[str, Any], root: Any) -> BoolArray | None:
        """The channels that an entry speaks of, as far as that is known and is not all of them."""
        layout = self._layout
        if not layout.partial:
            return None
        if layout.channel is not None:
            index = layout.index_of.get(str(_either(layout.channel, body, root)))
            carried = np.arange(len(self._names)) == (-1 if index is None else index)
        else:
            carried = np.array([where.find(body) is not UNSET for where in layout.channels])
        return carried if carried.any() else None

    def _count(self, values: Any) -> int:
        return max(1, min(len(values), self._max_samples)) if isinstance(values, list) else 1


_NOTHING = Outline(1, None, math.nan, UNSET, b"")


def _either(where: RecordPath, body: Any, root: Any) -> Any:
    """What an entry says, or the record around it."""
    found = where.find(body)
    return where.find(root) if found is UNSET and body is not root else found


def is_name(value: Any) -> bool:
    """Whether a value can name something: a text, or a whole number."""
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def label_of(value: Any) -> str | None:
    """A label's text; None where there is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:MAX_LABEL] if isinstance(value, str | int | float) else None


def _listed(names: list[Any]) -> str:
    few = [*dict.fromkeys(names)]
    text = ", ".join(repr(str(name)[:_SHOWN_LETTERS]) for name in few[:_SHOWN_NAMES]) or "nothing"
    return text + (", ..." if len(few) > _SHOWN_NAMES else "")
