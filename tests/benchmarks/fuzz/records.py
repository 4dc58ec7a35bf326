"""Arbitrary records: good ones as producers write them, what goes wrong with those on the way, and plain noise.

Rules of this file: all is drawn from the generator that is handed in, so that a seed says which records there were.
Nothing here knows a format's code: every record may come to every decoder.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import fastavro
import msgspec

from monitor.backends.abstract import Headers

BASE_MS = 1_764_600_000_000  # 2025-12-01, in the past of whoever runs this
SERIES = ("pump-1", "pump-2", "Pumpe Süd", "5")
LARGE = 1_100_000  # bytes, more than input.max_record_bytes allows by default
DEEP = 20_000
Document = Any
Encode = Callable[[Document], bytes]


class Row(NamedTuple):
    """One record, as a broker would hand it over."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers


class Good(NamedTuple):
    """What a good record says: its series, its time in ms, and a number for each channel."""

    series: str
    ms: int
    channels: Sequence[str]
    numbers: list[float | None]

    @property
    def named(self) -> dict[str, float | None]:
        return dict(zip(self.channels, self.numbers, strict=True))

    @property
    def iso(self) -> str:
        return datetime.fromtimestamp(self.ms / 1000, UTC).isoformat().replace("+00:00", "Z")


# What producers write, by the names of those who do.
SHAPES: dict[str, Callable[[Good], Document]] = {
    "sample": lambda good: {"ts": good.ms, "sensor": good.series} | good.named,
    "text time": lambda good: {"ts": good.iso, "sensor": good.series} | good.named,
    "text numbers": lambda good: {"ts": str(good.ms)} | {name: str(each) for name, each in good.named.items()},
    "some channels": lambda good: {"ts": good.ms} | dict([*good.named.items()][: 1 + good.ms % 3]),
    "chunk": lambda good: {"ts": good.ms, "rate_hz": 10, "values": [good.numbers] * (1 + good.ms % 4)},
    "bare chunk": lambda good: [good.numbers] * 4,
    "one channel's chunk": lambda good: [*good.numbers, *good.numbers],
    "reading": lambda good: {
        "sensor": good.series,
        "metric": good.channels[good.ms % len(good.channels)],
        "value": good.numbers[0],
        "ts": good.ms,
    },
    "telegraf": lambda good: {
        "fields": good.named,
        "name": "pump",
        "tags": {"host": good.series, "site": "north"},
        "timestamp": good.ms // 1000,
    },
    "telegraf batch": lambda good: {
        "metrics": [
            {"fields": good.named, "name": "pump", "tags": {"host": host}, "timestamp": good.ms // 1000 + at}
            for at, host in enumerate(SERIES[:2])
        ]
    },
    "kepserver": lambda good: {
        "timestamp": good.ms,
        "values": [
            {"id": name, "v": number, "q": good.ms % 7 != 0, "t": good.ms} for name, number in good.named.items()
        ],
    },
    "debezium": lambda good: {
        "before": None,
        "after": {"id": 1, "sensor": good.series, "ts": good.ms} | good.named,
        "source": {"connector": "postgresql", "ts_ms": good.ms, "table": "readings"},
        "op": "cudr"[good.ms % 4],
        "ts_ms": good.ms,
    },
    "debezium with schema": lambda good: {"schema": {"type": "struct"}, "payload": SHAPES["debezium"](good)},
    "connect": lambda good: {
        "schema": {"type": "struct", "fields": [{"field": name, "type": "double"} for name in good.channels]},
        "payload": {"ts": good.ms, "sensor": good.series} | good.named,
    },
    "cloudevents": lambda good: {
        "specversion": "1.0",
        "id": str(good.ms),
        "source": f"/{good.series}",
        "type": "org.example.reading",
        "time": good.iso,
        "subject": good.series,
        "data": good.named,
    },
    "sparkplug": lambda good: {
        "timestamp": good.ms,
        "metrics": [
            {"name": name, "timestamp": good.ms, "dataType": "Double", "value": number}
            for name, number in good.named.items()
        ],
        "seq": good.ms % 256,
    },
    "quality": lambda good: {"ts": good.ms, "quality": ("Good", "Bad", 192)[good.ms % 3]} | good.named,
    "list of samples": lambda good: [{"ts": good.ms + at * 1000} | good.named for at in range(2)],
}


def as_json(document: Document) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def as_msgpack(document: Document) -> bytes:
    try:
        return msgspec.msgpack.encode(document)
    except (OverflowError, UnicodeEncodeError, RecursionError):
        return b"\xc1"


def as_csv(document: Document) -> bytes:
    """The numbers and texts of a document one after the other, whatever they meant."""
    return ",".join("" if leaf is None else str(leaf) for leaf in _leaves(document)).encode("utf-8", "replace")


def as_avro(document: Document) -> bytes:
    """By the schema of flat records where it fits, else by that of anything."""
    for number, schema in _PARSED.items():
        stream = io.BytesIO(b"\x00" + number.to_bytes(4, "big"))
        stream.seek(0, io.SEEK_END)
        try:
            fastavro.schemaless_writer(stream, schema, document, strict=True)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, struct.error, UnicodeEncodeError):
            continue
        return stream.getvalue()
    return b"\x00\x00\x00\x00\x63" + as_msgpack(document)


def _any(depth: int) -> list[Any]:
    inner = _any(depth - 1) if depth else []
    several = [{"type": "array", "items": inner}, {"type": "map", "values": inner}] if depth else []
    return ["null", "boolean", "long", "double", "string", *several]


AVRO_SCHEMAS: dict[int, Any] = {
    1: {
        "type": "record",
        "name": "Reading",
        "fields": [
            {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "sensor", "type": "string"},
            *({"name": name, "type": ["null", "double"]} for name in ("flow", "heat", "pressure")),
        ],
    },
    2: _any(4),
}
_PARSED = {number: fastavro.parse_schema(schema) for number, schema in AVRO_SCHEMAS.items()}


def as_f32(document: Document) -> bytes:
    numbers = [leaf for leaf in _leaves(document) if isinstance(leaf, float) and abs(leaf) < 1e38]
    return struct.pack(f"<{len(numbers)}f", *numbers)


ENCODINGS: dict[str, Encode] = {"json": as_json, "msgpack": as_msgpack, "csv": as_csv, "f32": as_f32, "avro": as_avro}


def _leaves(document: Document) -> list[Any]:
    found, pending = [], [document]
    while pending:
        at = pending.pop(0)
        if isinstance(at, dict | list):
            pending += at.values() if isinstance(at, dict) else at
        else:
            found.append(at)
    return found


ODD_LEAVES: tuple[Any, ...] = (
    None, True, False, 0, -0.0, -1, 1.5, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, -1e308, 1e39,
    5e-324, float("nan"), float("inf"), float("-inf"), "", "NaN", "nan", "N/A", "null", "-", "1.5", "1,5", "1e999",
    "0x10", "٣", " 7 ", "\ud800", "\x00", "A" * 300, "9" * 40,
    "2026-02-30T00:00:00Z", "2025-12-01T00:00:00+99:99", "2025-12-01t00:00:00.5z",
    [], {}, [[]], [None], [1.0, [2.0]], {"": None}, {"value": 1}, [[1.0, 2.0, 3.0]] * 5, ["x"] * 3, [*range(12_000)],
    0.0, -9999, 1e-45, 3.4028236e38, 4_102_444_800_000, 253_402_300_800_000, -62_135_596_800_000, 1_764_600_000, 1e18,
)  # fmt: skip


def oddly_leaved(document: Document, rng: random.Random) -> Document:
    """A document in which one value, somewhere, is another."""
    if isinstance(document, dict) and document and rng.random() < 0.9:
        name = rng.choice([*document])
        return document | {name: oddly_leaved(document[name], rng)}
    if isinstance(document, list) and document and rng.random() < 0.9:
        at = rng.randrange(len(document))
        return [*document[:at], oddly_leaved(document[at], rng), *document[at + 1 :]]
    return rng.choice(ODD_LEAVES)


def restructured(document: Document, rng: random.Random) -> Document:
    """A document that lacks a field, calls it something else, or stands in another one."""
    if isinstance(document, dict) and document:
        name = rng.choice([*document])
        rest = {each: value for each, value in document.items() if each != name}
        other = rng.choice(
            ["", name.upper(), name + ".", "values", "payload", "schema", "ts", "\ud800", "value", "é" * 90]
        )
        return rng.choice(
            [rest, rest | {other: document[name]}, {other: document}, document | {other: rng.choice(ODD_LEAVES)}]
        )
    if isinstance(document, list):
        return rng.choice([document[:-1], document + document, [document], [*document[:1], None]])
    return [document]


def _bits(value: bytes, rng: random.Random, _: bytes) -> bytes:
    flipped = bytearray(value)
    for _number in range(rng.choice((1, 1, 2, 8)) if flipped else 0):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _truncated(value: bytes, rng: random.Random, _: bytes) -> bytes:
    return value[: rng.randrange(len(value) + 1)]


def _spliced(value: bytes, rng: random.Random, other: bytes) -> bytes:
    return value[: rng.randrange(len(value) + 1)] + other[rng.randrange(len(other) + 1) :]


def _repeated(value: bytes, rng: random.Random, _: bytes) -> bytes:
    first, last = sorted((rng.randrange(len(value) + 1), rng.randrange(len(value) + 1)))
    return value[:last] + value[first:last] * rng.choice((1, 2, 50)) + value[last:]


def _inserted(value: bytes, rng: random.Random, _: bytes) -> bytes:
    at = rng.randrange(len(value) + 1)
    what = rng.choice(
        (b"\x00", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b'"', b"{", b"]", b",", b"\\u", b"NaN", b"1e999", b"\n")
    )
    return value[:at] + what + value[at:]


def _doubled_field(value: bytes, rng: random.Random, _: bytes) -> bytes:
    """The same name twice in an object, with another value."""
    name = rng.choice((b"ts", b"value", b"flow", b"values", b"fields", b"payload", b"sensor"))
    return value.replace(b"{", b'{"%b": %b, ' % (name, rng.choice((b"1", b"null", b'"x"', b"[]", b"{}"))), 1)


def _digits(value: bytes, rng: random.Random, _: bytes) -> bytes:
    """A number of hundreds of digits where one was."""
    for at, byte in enumerate(value):
        if 48 <= byte <= 57 and rng.random() < 0.2:
            return (
                value[:at]
                + rng.choice((b"9" * 400, b"1e400", b"-0.0e-999", b"1" + b"0" * 30, b"1_0"))
                + value[at + 1 :]
            )
    return value


def _reencoded(value: bytes, rng: random.Random, _: bytes) -> bytes:
    text = value.decode("utf-8", "replace")
    return rng.choice(
        (
            lambda: text.encode("utf-16"),
            lambda: text.encode("utf-16-le"),
            lambda: text.encode("latin-1", "replace"),
            lambda: gzip.compress(value, 1, mtime=0),
            lambda: json.dumps(text).encode(),
        )
    )()


def _wrapped(value: bytes, rng: random.Random, other: bytes) -> bytes:
    prefix = rng.choice(
        (b"\xef\xbb\xbf", b"\xff\xfe", b"\x00\x00\x00\x00\x07", b"\x00" + rng.randbytes(4), b"\x1f\x8b", b"  \n")
    )
    return rng.choice(
        (prefix + value, value + b"\n", value + b"\x00", value + other, b"[" + value + b"]", b"\x01" + value)
    )


def _noise(value: bytes, rng: random.Random, _: bytes) -> bytes:
    return rng.randbytes(rng.choice((1, 3, 4, 12, 16, 48, 200)))


def _deep(value: bytes, rng: random.Random, _: bytes) -> bytes:
    depth = rng.choice((3, 40, 600, DEEP))
    opens, closes = rng.choice(
        ((b"[", b"]"), (b'{"ts":', b"}"), (b'{"payload":', b"}"), (b"\x91", b""), (b"\x81\xa1a", b""))
    )
    return opens * depth + value + closes * depth


def _large(value: bytes, rng: random.Random, _: bytes) -> bytes:
    size = rng.choice((40_000, 40_000, 40_000, 900_000, LARGE))
    return rng.choice(
        (b'{"ts": "' + b"x" * size + b'"}', b"[" + b"1," * (size // 2) + b"1]", b"\x00" * size, value + b" " * size)
    )


def _nothing(value: bytes, rng: random.Random, _: bytes) -> bytes:
    return rng.choice(
        (b"", b" ", b"null", b"0", b'""', b"{}", b"[]", b"[[]]", b"\x00", b"\xc0", b",,,", b"true", b"\xc1")
    )


# Twice where it is likelier; the last ones cost time, and are rare.
_USUAL = (
    _bits,
    _bits,
    _truncated,
    _spliced,
    _repeated,
    _inserted,
    _inserted,
    _doubled_field,
    _digits,
    _reencoded,
    _wrapped,
)
BYTES = (*_USUAL * 6, *(_noise, _nothing) * 4, _deep, _deep, _large)


CONTENT_TYPES = (
    b"application/json", b'"Application/JSON; charset=utf-8"', b"application/cloudevents+json", b"application/msgpack",
    b"text/csv", b"application/octet-stream", b"avro/binary", b"", b";", b"\xff", b"x" * 300,
)  # fmt: skip


class Maker:
    """Draws rows whose good ones are of some shapes, in some encoding, for an artifact's channels."""

    def __init__(self, rng: random.Random, channels: Sequence[str], shapes: Sequence[str], encoding: str) -> None:
        self._rng = rng
        self._channels = channels
        self._shapes = [SHAPES[name] for name in shapes]
        self._encode = ENCODINGS[encoding]
        self._at = 0
        self._last = b"{}"

    def rows(self, count: int) -> list[Row]:
        """The next so many."""
        return [self._row() for _ in range(count)]

    def _row(self) -> Row:
        rng, ms = self._rng, self._ms()
        series = rng.choice(SERIES) if rng.random() < 0.97 else f"new-{rng.randrange(10**9)}"
        value = self._value(Good(series, ms, self._channels, self._numbers()))
        stamp = ms if rng.random() < 0.98 else rng.choice((0, -1, ms // 1000, 2**62, 4_102_444_800_000, ms - 10**9))
        return Row(self._key(series), value, stamp, self._headers(series))

    def _ms(self) -> int:
        self._at += self._rng.choice((0, 1, 1, 1, 2))
        ms = BASE_MS + self._at * 1000
        drawn = self._rng.random()
        if drawn < 0.97:
            return ms
        return ms + self._rng.choice((-5_000, -1_000, -86_400_000, 400_000, 7_200_000, 10**12))

    def _numbers(self) -> list[float | None]:
        rng = self._rng
        scale = 5.0 if (self._at // 40) % 8 == 0 else 0.3
        return [None if rng.random() < 0.02 else round(rng.gauss(0, scale), 4) for _ in self._channels]

    def _value(self, good: Good) -> bytes | None:
        rng = self._rng
        drawn, shape = rng.random(), rng.choice(self._shapes)
        if drawn > 0.99:
            return None
        if drawn > 0.93:
            shape = rng.choice([*SHAPES.values()])
        document = shape(good)
        if 0.5 < drawn < 0.65:
            document = (oddly_leaved if rng.random() < 0.7 else restructured)(document, rng)
        encode = self._encode if drawn < 0.9 else rng.choice([*ENCODINGS.values()])
        try:
            value = encode(document)
        except (ValueError, struct.error):  # an integer too long to be written as text
            value = b"1" + b"0" * 5_000
        if 0.65 < drawn < 0.95:
            for _ in range(rng.choice((1, 1, 2))):
                value = rng.choice(BYTES)(value, rng, self._last)
        self._last = value[:400]
        return value

    def _key(self, series: str) -> bytes | None:
        rng, name = self._rng, series.encode()
        if rng.random() < 0.95:
            return name
        return rng.choice(
            (None, b"", b"\xff\xfe", b"\x00", name * 300, b'"' + name + b'"', b'{"payload":null}',
             b'{"schema":{"type":"string"},"payload":"pump-1"}', b"\x00\x00\x00\x00\x01" + name, name + b"\n",
             b"[" * 5_000)
        )  # fmt: skip

    def _headers(self, series: str) -> Headers:
        rng = self._rng
        found: list[tuple[str, bytes]] = [("sensor", series.encode())] if rng.random() < 0.95 else []
        if rng.random() < 0.2:
            found.append(("content-type", rng.choice(CONTENT_TYPES)))
        if rng.random() < 0.05:
            found.append(("sensor", rng.choice((b"", b"\xff", b"twice"))))
        return found
