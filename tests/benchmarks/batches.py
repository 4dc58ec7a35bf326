"""How fast are record batches read, by records a batch, beside the client's own reading? No broker, no network.

`python -m tests.benchmarks.batches [--quick]`

What a fetch brought (1 MiB of batches) is read to its end by the client's `PartitionRecords` and by ours, which the
daemon puts in its place, in turns; the table shows the best of the rounds, in records a second.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.structs import TopicPartition

from monitor.backends.kafka.batches import ColumnRecords
from tests.benchmarks import report

PLACE = TopicPartition("bench", 0)
FETCH_BYTES = 1024 * 1024
SIZES = (1, 2, 5, 10, 50, 500, 5000)
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
Headers = list[tuple[str, bytes]]
HEADERS: Headers = [("site", b"north"), ("device", b"pump-17")]


def fetched(size: int, codec: int, headers: list[tuple[str, bytes]]) -> tuple[bytes, int]:
    """About as much as a fetch brings of one partition: batches of `size` records; and how many records."""
    data, count = bytearray(), 0
    while len(data) < FETCH_BYTES and count < 50_000:
        builder = DefaultRecordBatchBuilder(2, codec, False, 7, 0, count, 1 << 30)
        for offset in range(size):
            series, value = b"series-%03d" % ((count + offset) % 100), b'{"value": %.6f}' % ((count + offset) % 997 / 7)
            builder.append(offset, 1_767_225_600_000 + count + offset, series, value, headers)
        batch = bytearray(builder.build())
        batch[:8] = count.to_bytes(8, "big")
        data += batch
        count += size
    return bytes(data), count


def seconds(kind: Callable[..., Any], data: bytes, count: int) -> float:
    """One reading of `data`, in polls of 20,000 records."""
    started = time.perf_counter()
    part = kind(0, PLACE, MemoryRecords(data), isolation_level=IsolationLevel.READ_COMMITTED)
    read = 0
    while part:
        read += len(part.take(20_000))
    taken = time.perf_counter() - started
    assert read == count, f"{read} of {count} records"
    return taken


def compare(size: int, codec: int, headers: list[tuple[str, bytes]], rounds: int) -> tuple[float, float]:
    """Records a second by the client and by us, the best of `rounds`."""
    data, count = fetched(size, codec, headers)
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for place, kind in enumerate((Fetcher.PartitionRecords, ColumnRecords)):
            gc.collect()
            gc.disable()
            best[place] = min(best[place], seconds(kind, data, count))
            gc.enable()
    return count / best[0], count / best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one small round: does it run, not how fast")
    asked = parser.parse_args()
    rounds, sizes = (1, (1, 50)) if asked.quick else (asked.rounds, SIZES)
    cases: list[tuple[str, int, Headers]] = [("none", size, []) for size in sizes] + [
        ("none, 2 headers", size, HEADERS) for size in sizes
    ]
    cases += [(codec, size, []) for codec in list(CODECS)[1:] for size in sizes if size in (1, 50, 5000)]
    rows, slowest = [], float("inf")
    for name, size, headers in cases:
        theirs, ours = compare(size, CODECS[name.partition(",")[0]], headers, rounds)
        slowest = min(slowest, ours / theirs)
        rows.append([f"{size} a batch, compression {name}", f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.1f}"])
    print(report.header("Reading record batches", ("kafka-python", "numpy", "crc32c")))
    print(report.table(["", "client, records/s", "ours", "times"], rows))
    print(report.bar(f"never slower than the client; the least is {slowest:.1f} times", met=slowest >= 1))


if __name__ == "__main__":
    main()
