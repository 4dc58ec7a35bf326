"""How many records a second by their shape, from the broker to the commit, beside the raw client on the same topic?

`python -m tests.benchmarks.shapes [--rows plain,batch-1,...] [--rounds N] [--quick]`

Each row is a topic of its own, filled before the clock starts; `KafkaConsumer.poll` and the daemon read it in turns,
each in a process of its own, and the ratio is that of a round. Rows are no faster than their records are large or their
batches small: what they show is whether the daemon costs more there than the client alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from monitor.arrays import Float32Array
from monitor.broker.cluster import LocalKafka
from monitor.detector import storage
from monitor.detector.windows import sliding_windows
from tests.benchmarks import report
from tests.benchmarks.contenders import HOP, LENGTH, SERIES, Result, Workload
from tests.benchmarks.end_to_end import PACKAGES, compete, ratios
from tests.benchmarks.workload import BATCH_ROWS, INCIDENT, OVER, WIDTHS, Filling, between, fill, signal, with_threshold
from tests.helpers import make_artifact

# A sample's numbers and its time, ms since 1970 -> a record's value
Writing = Callable[[list[float], int], bytes]


def plain(numbers: list[float], _: int) -> bytes:
    return b'{"value": %.6f}' % numbers[0]


def milliseconds(numbers: list[float], ms: int) -> bytes:
    return b'{"ts": %d, "value": %.6f}' % (ms, numbers[0])


def text_times(numbers: list[float], ms: int) -> bytes:
    moment = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    return b'{"ts": "%sZ", "value": %.6f}' % (moment.encode(), numbers[0])


def tagged(numbers: list[float], ms: int) -> bytes:
    """About 170 bytes: three channels among fields that are none."""
    text = (
        b'{"ts": %d, "site": "north-2", "device": {"model": "pump-xl", "firmware": "4.2.1"}, "flow": %.4f, "heat": %.4f'
    )
    return (text + b', "pressure": %.4f, "tags": ["line-7", "shift-b"], "ok": true}') % (ms, *numbers)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One row of the table: what records look like, and what is wrong with every hundredth, if anything is."""

    label: str
    write: Writing = plain
    records: int = 600_000
    series: int = SERIES
    channels: tuple[str, ...] = ("value",)
    length: int = LENGTH
    hop: int = HOP
    batch_records: int = 0  # 0: as many as fit
    spoil: Callable[[bytes], bytes] | None = None


WIDE = ("flow", "heat", "pressure")
SHAPES = {
    "plain": Shape(label="one number, large batches"),
    "batch-1": Shape(label="1 record a batch", batch_records=1, records=100_000),
    "batch-10": Shape(label="10 records a batch", batch_records=10, records=200_000),
    "batch-50": Shape(label="50 records a batch", batch_records=50, records=400_000),
    "ms-times": Shape(label="times in ms", write=milliseconds),
    "text-times": Shape(label="times as text (RFC 3339)", write=text_times),
    "tags": Shape(label="170 bytes, 3 channels and tags", write=tagged, channels=WIDE, records=300_000),
    "refused": Shape(label="1 % refused (not JSON)", spoil=lambda value: value[:-1]),
    "lacking": Shape(
        label="170 bytes, 1 % lack a channel",
        write=tagged,
        channels=WIDE,
        records=300_000,
        spoil=lambda value: value.replace(b'"heat"', b'"head"'),
    ),
    # Short windows, because windows of 140 would need millions of records
    "series-10000": Shape(label="10,000 series, windows of 20", series=10_000, length=20, hop=10),
    "series-50000": Shape(label="50,000 series, windows of 20", series=50_000, length=20, hop=10, records=1_500_000),
}


def rows(shape: Shape, values: Float32Array, first_ms: int) -> Iterator[bytes]:
    """Records' values in the order in which they are written: all series by turns, a turn a millisecond."""
    count = 0
    for turn, samples in enumerate(values.transpose(1, 0, 2)):
        for numbers in samples.tolist():
            value = shape.write(numbers, first_ms + turn)
            yield shape.spoil(value) if shape.spoil is not None and count % 100 == 99 else value
            count += 1


def prepare(name: str, shape: Shape, bootstrap: str, directory: Path) -> tuple[Workload, int]:
    """The filled topic, what is to be found in it (0 windows: unknown), and how many records are to be refused."""
    rng = np.random.default_rng(0)
    samples = shape.records // shape.series
    burst = max(1, INCIDENT * shape.hop - shape.length)
    columns = [signal(rng, samples, burst, series=shape.series) for _ in shape.channels]
    values = np.stack(columns, axis=2)
    artifact = make_artifact(
        length=shape.length, hop=shape.hop, channels=shape.channels, widths=WIDTHS, batch_rows=BATCH_ROWS
    )
    windows = np.concatenate([sliding_windows(series, shape.length, shape.hop) for series in values])
    scores = artifact.scorer()(np.ascontiguousarray(windows))
    threshold = between(scores, 1 - OVER)
    path = directory / f"artifact-{name}"
    storage.save(with_threshold(artifact, threshold), path)
    filling = Filling(series=shape.series, batch_records=shape.batch_records)
    topic = f"bench.{name}"
    filled = fill(bootstrap, topic, rows(shape, values, filling.first_ms), filling)
    known = shape.spoil is None
    workload = Workload(
        kind="json",
        topic=topic,
        artifact=str(path),
        weights="",
        records=filled,
        samples=filled,
        windows=len(scores) if known else 0,
        over=int((scores > np.float32(threshold)).sum()) if known else 0,
        threshold=threshold,
    )
    return workload, 0 if known else filled // 100


def agrees(workload: Workload, refused: int, results: list[Result]) -> bool:
    """Whether the daemon found, in every round, what is in the topic."""
    expected = (workload.records, refused)
    if any((result.records, result.refused) != expected for result in results):
        return False
    return not workload.windows or all((r.windows, r.over) == (workload.windows, workload.over) for r in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(SHAPES), help="any of %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one small round: does it run, not how fast")
    asked = parser.parse_args()
    names = asked.rows.split(",")
    unknown = [name for name in names if name not in SHAPES]
    if unknown:
        parser.error(f"--rows: {unknown[0]} is none of {', '.join(SHAPES)}")
    table, right, slower = [], True, []
    with tempfile.TemporaryDirectory(prefix="telltale-bench-") as directory:
        place = Path(directory)
        with LocalKafka(place / "kafka", port=0) as kafka:
            for name in names:
                shape: Any = SHAPES[name]
                if asked.quick:
                    shape = replace(shape, records=max(20_000, 30 * shape.series))
                workload, refused = prepare(name, shape, kafka.bootstrap_servers, place)
                rounds = 1 if asked.quick else asked.rounds
                found = compete(["raw", "ours"], workload, kafka.bootstrap_servers, rounds)
                right &= agrees(workload, refused, found["ours"])
                ratio = statistics.median(ratios(found, "ours"))
                slower += [name] if ratio < 1 else []
                rates = (report.spread([each.records / each.seconds for each in found[who]]) for who in found)
                raw, ours = rates
                peak = max(result.peak_mib for result in found["ours"])
                table.append([shape.label, raw[1], ours[1], f"{ours[0]} - {ours[2]}", f"{ratio:.0%}", f"{peak:.0f}"])
    print(report.header("Records a second by their shape, to the committed alert", PACKAGES[:4]))
    print(report.table(["", "raw poll", "Telltale", "min - max", "of raw poll", "peak MiB"], table))
    print("\nthe daemon found what is in each topic" if right else "\nDISAGREE: the daemon found something else")
    text = "no row slower than raw poll" + (f": {', '.join(slower)}" if slower else "")
    print(report.bar(text, met=not slower))
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
