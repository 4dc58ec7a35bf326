"""Device turnover: a million names through a partition that remembers 20,000, among them some that stay.

    python -m tests.benchmarks.turnover

What must hold: no record is refused, memory stays flat, and the living series' alerts are those that a partition gives
which forgets nobody. Prints the rate, the memory after each tenth, and what was forgotten.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from monitor.backends.abstract import RecordColumns
from monitor.detector.scoring import Scorer
from monitor.messages.alerts import encode
from monitor.processing.processor import Processor
from tests.helpers import make_artifact, make_columns, make_config, make_processor_at_zero, score_all

ARTIFACT = make_artifact(length=8, hop=4, threshold=1.2, batch_rows=1024)
LIVING = 500
POLL = 20_000
NAME_RECORDS = 2  # of each passing name, one after the other


def polls(names: int, rng: np.random.Generator) -> Iterator[RecordColumns]:
    """Every other record is a passing name's, the rest are the living series' in turn; faults in 6 of 100 rounds."""
    passing = names * NAME_RECORDS
    for first in range(0, 2 * passing, POLL):
        count = min(POLL, 2 * passing - first)
        place = np.arange(first, first + count)
        numbers = np.where((place // (2 * LIVING)) % 100 < 6, 4.0, 0.1) * rng.normal(size=count)
        keys: list[bytes | None] = [
            b"device-%d" % (at // 2 // NAME_RECORDS) if at % 2 else b"living-%d" % (at // 2 % LIVING)
            for at in place.tolist()
        ]
        values = [b'{"value": %.4f}' % number for number in numbers.tolist()]
        yield make_columns(values, keys=keys, first_offset=first)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def run(names: int, limit: int, scorer: Scorer) -> tuple[tuple[int, str], list[float], float, Processor]:
    """How many alerts the living series had and their checksum, MB after each tenth, seconds, and the processor."""
    config = make_config(input={"max_series": limit}, alerting={"close_after": 2})
    processor = make_processor_at_zero(config, ARTIFACT)
    told, checksum = 0, hashlib.sha256()
    memory: list[float] = []
    spent, polled = 0.0, 0
    total = 2 * names * NAME_RECORDS
    for columns in polls(names, np.random.default_rng(0)):
        started = time.perf_counter()
        processor.receive(columns)
        score_all(processor, scorer)
        outputs = processor.take_outputs()
        spent += time.perf_counter() - started
        assert not outputs.dead_letters, outputs.dead_letters[0]
        for alert in outputs.alerts:  # kept as a checksum: the alerts themselves would be what grows
            if alert.subject.startswith("living"):
                told += 1
                checksum.update(encode(alert))
        polled += len(columns.offsets)
        if polled * 10 // total > len(memory):
            memory.append(resident_mb())
    return (told, checksum.hexdigest()), memory, spent, processor


def measure(names: int, limit: int) -> None:
    scorer = ARTIFACT.scorer()
    told, memory, seconds, processor = run(names, limit, scorer)
    records = 2 * names * NAME_RECORDS
    print(f"{names:,} names through {limit:,}: {records / seconds:,.0f} records/s, {processor.series_count():,} series")
    print("memory after each tenth, MB:", ", ".join(f"{each:.0f}" for each in memory))
    print(f"forgotten: {dict(processor.counts.forgotten)}; dead letters: {processor.counts.rejected.total()}")
    growth = memory[-1] - memory[2]
    assert growth < 30, f"memory grew by {growth:.0f} MB"
    uncapped, memory, seconds, _ = run(names, 2 * names + LIVING, scorer)
    print(f"with no cap: {records / seconds:,.0f} records/s, {memory[-1]:.0f} MB")
    assert told == uncapped, "the living series' alerts are others"
    print(f"{told[0]:,} alerts of {LIVING} living series, the same bytes both times")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--max-series", type=int, default=20_000)
    options = parser.parse_args()
    measure(options.names, options.max_series)
