"""How many records a second by their shape, from the broker to the commit, beside the raw client on the same topic?

`python -m tests.benchmarks.shapes [--rows plain,batch-1,...] [--rounds N] [--quick]`

Each row is a topic of its own, filled before the clock starts; in each round `KafkaConsumer.poll` and the daemon read
every topic once, each in a process of its own, and all ratios are of the same round. Rows are no faster than their
records are large or their batches small: what they show is whether the daemon costs more there than the client alone,
and, where a row differs from another in one thing, what that costs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from monitor.broker.cluster import LocalKafka
from monitor.detector import storage
from monitor.detector.arrays import Float32Array
from tests.benchmarks import report
from tests.benchmarks.contenders import HOP, LENGTH, SERIES, Result, Workload
from tests.benchmarks.end_to_end import PACKAGES, Rounds, ratios, run
from tests.benchmarks.workload import BATCH_ROWS, INCIDENT, OVER, WIDTHS, Filling, between, fill, signal, with_threshold
from tests.helpers import make_artifact, sliding_windows

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
    beside: str = ""  # the row it differs from in one thing, and how many times its time a record may take
    most: float = 0.0


WIDE = ("flow", "heat", "pressure")
SHAPES = {
    "plain": Shape(label="one number, large batches"),
    "batch-1": Shape(label="1 record a batch", batch_records=1, records=100_000),
    "batch-10": Shape(label="10 records a batch", batch_records=10, records=200_000),
    "batch-50": Shape(label="50 records a batch", batch_records=50, records=400_000),
    "ms-times": Shape(label="times in ms", write=milliseconds),
    "text-times": Shape(label="times as text (RFC 3339)", write=text_times, beside="ms-times", most=1.3),
    "tags": Shape(label="170 bytes, 3 channels and tags", write=tagged, channels=WIDE, records=300_000),
    "refused": Shape(label="1 % refused (not JSON)", spoil=lambda value: value[:-1], beside="plain", most=1.05),
    "lacking": Shape(
        label="170 bytes, 1 % lack a channel",
        write=tagged,
        channels=WIDE,
        records=300_000,
        spoil=lambda value: value.replace(b'"heat"', b'"head"'),
        beside="tags",
        most=1.05,
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
    with tempfile.TemporaryDirectory(prefix="telltale-bench-") as directory:
        place = Path(directory)
        with LocalKafka(place / "kafka", port=0) as kafka:
            topics = {}
            for name in names:
                shape = SHAPES[name]
                if asked.quick:
                    shape = replace(shape, records=max(20_000, 30 * shape.series))
                topics[name] = prepare(name, shape, kafka.bootstrap_servers, place)
            found = compete(topics, kafka.bootstrap_servers, 1 if asked.quick else asked.rounds)
    print(report.header("Records a second by their shape, to the committed alert", PACKAGES[:4]))
    heads = ["", "raw poll", "Telltale", "min - max", "of raw poll", "peak MiB"]
    print(report.table(heads, [line(name, found[name]) for name in names]))
    right = all(agrees(*topics[name], found[name]["ours"]) for name in names)
    print("\nthe daemon found what is in each topic" if right else "\nDISAGREE: the daemon found something else")
    print("\n".join(bars(found)))
    sys.exit(0 if right else 1)


def compete(topics: Mapping[str, tuple[Workload, int]], bootstrap: str, rounds: int) -> dict[str, Rounds]:
    """Every row in every round, so that a noisy minute meets all of them; each round begins with another one."""
    names = list(topics)
    found: dict[str, Rounds] = {name: {"raw": [], "ours": []} for name in names}
    for name in names:  # for the broker, not counted
        run("raw", topics[name][0], bootstrap, f"{name}-warm")
    for number in range(rounds):
        shift = number % len(names)
        for name in [*names[shift:], *names[:shift]]:
            for who in ("raw", "ours") if number % 2 else ("ours", "raw"):
                result = run(who, topics[name][0], bootstrap, f"{name}-{who}-{number}")
                found[name][who].append(result)
                print(f"  round {number + 1}: {name} {who} {result.records / result.seconds:,.0f}/s", file=sys.stderr)
    return found


def line(name: str, found: Rounds) -> list[str]:
    """One row of the table."""
    raw, ours = (report.spread([each.records / each.seconds for each in found[who]]) for who in ("raw", "ours"))
    ratio = statistics.median(ratios(found, "ours"))
    peak = max(result.peak_mib for result in found["ours"])
    return [SHAPES[name].label, raw[1], ours[1], f"{ours[0]} - {ours[2]}", f"{ratio:.0%}", f"{peak:.0f}"]


def bars(found: Mapping[str, Rounds]) -> list[str]:
    """What was to be reached, and whether it was."""
    slower = [name for name, rounds in found.items() if statistics.median(ratios(rounds, "ours")) < 1]
    lines = [report.bar("no row slower than raw poll" + (f": {', '.join(slower)}" if slower else ""), met=not slower)]
    for name, rounds in found.items():
        shape = SHAPES[name]
        if shape.beside in found:
            pair = {"ours": found[shape.beside]["ours"], "row": rounds["ours"]}
            cost = statistics.median(ratios(pair, "ours", "row"))
            text = f"{shape.label}: {cost:.2f} times the time of {SHAPES[shape.beside].label}, at most {shape.most:g}"
            lines.append(report.bar(text, met=cost <= shape.most))
    return lines


if __name__ == "__main__":
    main()
