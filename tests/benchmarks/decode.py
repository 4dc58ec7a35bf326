"""How long does decoding a poll take, by the shape of its records? `python -m tests.benchmarks.decode [--rounds N]`

Polls of 20,000 records of 100 series, decoded by the daemon's own decoder and numbered, no Kafka and no windows. The
shapes take turns, so that noise meets them alike.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from monitor.backends.abstract import RecordColumns
from monitor.config.mappings import MAPPINGS
from monitor.formats.decoder import Decoder, InputRules
from monitor.formats.schemas import Schema
from monitor.processing.series_keys import SeriesNumbers
from tests.benchmarks import report
from tests.helpers import make_artifact, make_columns
from tests.schema_registry import framed

RECORDS, SERIES = 20_000, 100
START_MS = 1_764_600_000_000
PACKAGES = ("numpy", "msgspec", "fastavro")


def every_hundredth(value: bytes) -> Callable[[int], bytes]:
    return lambda at: value if at % 100 == 50 else plain(at)


def plain(at: int) -> bytes:
    return b'{"ts": %d, "value": %.4f}' % (START_MS + at, at * 0.001)


def text_time(at: int) -> bytes:
    moment = np.datetime64(START_MS + at, "ms")
    return b'{"ts": "%sZ", "value": %.4f}' % (str(moment).encode(), at * 0.001)


def text_zone(at: int) -> bytes:
    return text_time(at).replace(b"Z", b"+01:00")


def three(at: int) -> bytes:
    tags = b'"tags": {"host": "node-%04d", "site": "north", "unit": "bar", "line": "A7"}' % (at % SERIES)
    return b'{"ts": %d, "value": %.4f, "flow": 3.25, "pressure": 12.5, %s}' % (START_MS + at, at * 0.001, tags)


AVRO = {
    "type": "record",
    "name": "Sample",
    "fields": [
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        *({"name": name, "type": ["null", "double"]} for name in ("value", "flow", "pressure")),
        {"name": "tags", "type": {"type": "map", "values": "string"}},
    ],
}


def avro(at: int) -> bytes:
    return framed(1, AVRO, json.loads(three(at)))


def telegraf(at: int) -> bytes:
    fields = b'"fields": {"value": %.4f, "flow": 3.25, "pressure": 12.5}' % (at * 0.001)
    tags = b'"tags": {"host": "node-%04d", "site": "north"}' % (at % SERIES)
    return b'{%s, "name": "pump", %s, "timestamp": %d}' % (fields, tags, START_MS + at)


def telegraf_batch(at: int) -> bytes:
    return b'{"metrics": [%s]}' % b", ".join(telegraf(10 * at + number) for number in range(10))


def reading(at: int) -> bytes:
    return b'{"sensor": "node-%04d", "metric": "flow", "value": %.4f, "ts": %d}' % (
        at % SERIES,
        at * 0.001,
        START_MS + at,
    )


def packed(at: int) -> bytes:
    return msgspec.msgpack.encode({"ts": START_MS + at, "value": at * 0.001, "flow": 3.25, "pressure": 12.5})


def line(at: int) -> bytes:
    return b"%d,%.4f,3.25,12.5" % (START_MS + at, at * 0.001)


Channels = tuple[str, ...]
ONE: Channels = ("value",)
THREE: Channels = ("value", "flow", "pressure")
MAPPED = {**MAPPINGS["telegraf"], "partial_records": False}
SHAPES: dict[str, tuple[Callable[[int], bytes], Channels]] = {
    "plain: time in ms, one channel": (plain, ONE),
    "text times (Z)": (text_time, ONE),
    "text times (+01:00)": (text_zone, ONE),
    "1 % lack a channel": (every_hundredth(b'{"ts": 1764600000000}'), ONE),
    "1 % malformed": (every_hundredth(b'{"ts": 1764600000000, "value": '), ONE),
    "1 % bare NaN": (every_hundredth(b'{"ts": 1764600000000, "value": NaN}'), ONE),
    "three channels and tags": (three, THREE),
    "the same in Avro": (avro, THREE),
    "the same in MessagePack": (packed, THREE),
    "the same in CSV": (line, THREE),
    "Telegraf, three channels": (telegraf, THREE),
    "Telegraf, batches of ten": (telegraf_batch, THREE),
    "long form, one reading of three": (reading, THREE),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "the same in Avro": {"format": "avro"},
    "the same in MessagePack": {"format": "msgpack"},
    "the same in CSV": {"format": "csv", "csv_columns": ["ts", *THREE]},
    "Telegraf, three channels": MAPPED,
    "Telegraf, batches of ten": MAPPED,
    "long form, one reading of three": {"channel_field": "metric", "series": "field:sensor"},
}


def polls() -> dict[str, tuple[RecordColumns, Decoder]]:
    """A poll of each shape, and its decoder."""
    keys: list[bytes | None] = [b"s%04d" % (at % SERIES) for at in range(RECORDS)]
    stamps = range(START_MS, START_MS + RECORDS)
    manifests = {names: make_artifact(channels=names).manifest for names in (ONE, THREE)}
    return {
        name: (
            make_columns([make(at) for at in range(RECORDS)], keys=keys, timestamps_ms=stamps),
            Decoder(manifests[channels], InputRules(**OPTIONS.get(name, {}))),
        )
        for name, (make, channels) in SHAPES.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    made = polls()
    made["the same in Avro"][1].schemas.add(1, Schema("AVRO", json.dumps(AVRO)))
    table = SeriesNumbers()
    times: dict[str, list[float]] = {name: [] for name in made}
    gc.disable()  # as the daemon does
    for turn in range(-2, rounds):
        gc.collect()
        for name, (columns, decoder) in made.items():
            started = time.perf_counter()
            decoded = decoder.decode(columns)
            table.number(decoded.keys, decoded.rows)
            if turn >= 0:
                times[name].append((time.perf_counter() - started) * 1e9 / RECORDS)
    print(report.header(f"Decoding alone, {RECORDS} records a poll, n = {rounds}, nanoseconds a record", PACKAGES))
    first = float(np.median(next(iter(times.values()))))
    lines = [[name, *report.spread(found), f"{np.median(found) / first:.2f}"] for name, found in times.items()]
    print(report.table(["", "min", "median", "max", "of plain"], lines))


if __name__ == "__main__":
    main()
