"""Public data as streams, by the product alone: `telltale train` on the normal part, a real broker, `telltale run`.

    python -m tests.benchmarks.live skab      also: skab-normal, smd, nab, mitbih, ims; several, or none for all

Records are written before the daemon starts, compressed, in the order of their event times; the daemon is its own
process and reads them from the beginning; what is counted is what a read_committed consumer finds in the alerts topic.
The policy is the daemon's default but where a recipe's own text says otherwise. One seed: n = 1 run of each.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from monitor.backends.kafka import FeedProducer, create_topic, read_topic
from monitor.broker.cluster import LocalKafka
from monitor.config.options import AlertingOptions
from monitor.datafiles import SeriesTable
from monitor.detector import storage
from tests.acceptance.daemon_process import TELLTALE, DaemonProcess
from tests.benchmarks import report
from tests.benchmarks.live import counting
from tests.benchmarks.live.counting import Counts
from tests.benchmarks.live.sources import STREAMS, Record, Stream

PACKAGES = ("jax", "numpy", "kafka-python", "msgspec")
HEADS = (
    "", "events touched", "opened in them", "false incidents", "a day and series", "normal rows under one",
    "delay, median", "longest",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of a stream: alerts in the order of their topic, and how fast, in records a second."""

    alerts: list[dict[str, Any]]
    dead_letters: int
    late: int
    records: int
    rate: float


def train(stream: Stream, directory: Path) -> Path:
    """The artifact that `telltale train` makes of the learnt part. Raises CalledProcessError, having shown why."""
    data, out = directory / "learnt.csv", directory / "artifact"
    with data.open("w", newline="") as file:
        writer = csv.writer(file)
        labelled = stream.learnt[0].labels is not None
        writer.writerow(["series", "ts", *stream.learnt[0].channels, *(["label"] if labelled else [])])
        for table in stream.learnt:
            writer.writerows(_cells(table))
    command = [*TELLTALE, "train", str(data), "--out", str(out), "--recipe", stream.recipe, *stream.options]
    command += ["--series-column", "series", "--time-column", "ts", "--no-report", "--no-comparison"]
    if stream.config:
        (directory / "policy.toml").write_text(_alerting(stream))
        command += ["--config", str(directory / "policy.toml")]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return out


def _alerting(stream: Stream) -> str:
    options = "".join(f"{name} = {value}\n" for name, value in stream.config["alerting"].items())
    return f"[alerting]\n{options}"


def _cells(table: SeriesTable) -> Iterator[list[Any]]:
    assert table.time_us is not None
    labels = [] if table.labels is None else [table.labels.tolist()]
    rows = zip(table.time_us.tolist(), table.samples.astype(str).tolist(), *labels, strict=True)
    for time_us, numbers, *label in rows:
        yield [table.series, time_us, *numbers, *label]


def fill(bootstrap: str, topic: str, stream: Stream) -> int:
    """Writes the streamed part by event time, as it would have come; returns how many records."""
    create_topic(bootstrap, topic, stream.partitions, topic_settings={"retention.ms": "-1"})
    found: list[Record] = []
    for table in stream.streamed:
        found += stream.records(table)
    if len(stream.streamed) > 1:  # one series may step back in time by itself, which is part of the data
        found.sort(key=lambda record: record.time_us)
    with FeedProducer(bootstrap, compression=stream.compression) as producer:
        for record in found:
            producer.send(topic, record.value, record.key, timestamp_ms=record.time_us // 1000)
        producer.flush()
    return len(found)


def run(bootstrap: str, topic: str, stream: Stream, artifact: Path, directory: Path) -> Run:
    """Runs the daemon over a filled topic until it has committed the last record."""
    records = fill(bootstrap, topic, stream)
    document: dict[str, dict[str, Any]] = {
        "service": {"name": "streams", "instance": "one"},
        "kafka": {"bootstrap_servers": [bootstrap], "group_id": topic},
        "input": {"topics": [topic], "start": "earliest"},
        "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
        "model": {"artifact": str(artifact)},
        **stream.config,
    }
    with DaemonProcess(directory / "daemon", document) as daemon:
        daemon.start()
        began = _when(daemon, "Partition assigned.")
        daemon.wait_until(lambda: daemon.metric("telltale_records_consumed_total") >= records, "every record read", 300)
        ended = time.time()
        daemon.wait_until(lambda: daemon.metric("telltale_consumer_lag_records") == 0, "caught up")
        late = round(daemon.metric("telltale_samples_late_total"))
        time.sleep(1.5)  # so that what is known only once nothing more comes has its turn
        code = daemon.stop()
    if code:
        raise RuntimeError(f"telltale run ended with {code}")
    found = [json.loads(record.value or b"") for record in read_topic(bootstrap, f"{topic}.alerts")]
    dead = len(read_topic(bootstrap, f"{topic}.dead"))
    return Run(alerts=found, dead_letters=dead, late=late, records=records, rate=records / (ended - began))


def _when(daemon: DaemonProcess, event: str) -> float:
    """When an event was logged, seconds since 1970."""
    stamp = next(each["timestamp"] for each in daemon.events() if each.get("event") == event)
    return datetime.fromisoformat(stamp).timestamp()


def show(stream: Stream, artifact: Path, found: Run) -> None:
    """Prints a stream's numbers, baselines beside them."""
    manifest = storage.load(artifact).manifest
    length, policy = manifest.window.length, AlertingOptions(**stream.config.get("alerting", {})).policy
    ends = {table.series: int(table.time_us.max()) for table in stream.streamed if table.time_us is not None}
    spans, quality = counting.incidents(found.alerts, ends)
    ranges = counting.out_of_learnt_range(stream.learnt, stream.streamed, policy)
    rows = {
        f"`{stream.recipe}`": counting.count(stream.streamed, spans, length),
        "the same at random times": counting.by_chance(stream.streamed, spans, length),
        "beyond the learnt range": counting.count(stream.streamed, ranges, length),
        "always on": counting.always_on(stream.streamed, length),
    }
    days = sum(counting.days(table) for table in stream.streamed)
    print(f"\n{stream.title}; {found.records:,} records of {len(stream.streamed)} series, {days:.3g} days in all")
    print(
        f"{stream.compression}, read at {found.rate:,.0f} records/s; {len(found.alerts)} alerts, {found.dead_letters} "
        f"dead letters, {found.late} late samples; window of {length}, closes after {policy.close_after}\n"
    )
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for name, counts in rows.items():
        print(f"| {name} | {' | '.join(_columns(counts))} |")
    if stream.to_failure:
        print(_lead(stream, spans))
    _show_quality(quality, days)


def _columns(counts: Counts) -> list[str]:
    def number(value: float) -> str:
        return f"{value:.0f}" if value == int(value) else f"{value:.1f}"  # a mean of draws has decimals

    return [
        f"{number(counts.touched)} of {counts.events}",
        number(counts.own),
        f"{number(counts.false_alarms)} of {number(counts.incidents)}",
        f"{counts.per_day:.3g}",
        f"{counts.share:.1%}",
        "over half missed" if counts.median_delay_s is None else _duration(counts.median_delay_s),
        "" if counts.longest_delay_s is None else _duration(counts.longest_delay_s),
    ]


def _duration(seconds: float) -> str:
    if seconds < 300:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 18_000 else f"{seconds / 3600:.1f} h"


def _lead(stream: Stream, spans: counting.Spans) -> str:
    (table,) = stream.streamed
    assert table.time_us is not None
    end_us = int(table.time_us.max())
    opened = [first for first, last in spans.get(table.series, ()) if last >= end_us]
    if not opened:
        return "\nNo incident is open at the failure."
    return f"\nThe incident that is open at the failure opened {(end_us - opened[0]) / 3.6e9:.1f} h before it."


def _show_quality(quality: Counter[counting.Quality], days: float) -> None:
    if not quality:
        print("\nno data-quality alerts")
        return
    print("\n| quality rule | channel | opened | a week and series |\n|---|---|---|---|")
    for (rule, channel), opened in sorted(quality.items()):
        print(f"| {rule} | {channel} | {opened} | {opened * 7 / days:.3g} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("streams", nargs="*", metavar="STREAM", help=f"{', '.join(STREAMS)}; default: all")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TELLTALE_DATA", "../shared/data")))
    asked = parser.parse_args()
    unknown = [name for name in asked.streams if name not in STREAMS]
    if unknown:
        parser.error(f"{unknown[0]} is none of {', '.join(STREAMS)}")
    if not asked.data.is_dir():
        parser.error(f"the public data sets are not at {asked.data}; give --data, or set TELLTALE_DATA")
    print(report.header("Public data as streams: telltale train, a broker, telltale run", PACKAGES), flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="telltale-streams-") as directory,
        LocalKafka(Path(directory) / "kafka", port=0) as kafka,
    ):
        for name in asked.streams or STREAMS:
            stream, place = STREAMS[name](asked.data), Path(directory) / name
            place.mkdir()
            artifact = train(stream, place)
            show(stream, artifact, run(kafka.bootstrap_servers, f"streams.{name}", stream, artifact, place))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
