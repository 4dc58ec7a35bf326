"""Messy equals clean, through a real broker: 100,000 samples that come as real ones do give the alerts of clean ones.

Clean is one partition, whole samples, in order, once each, uncompressed. Messy is, with each of Kafka's codecs in turn,
eight partitions by series, a reading for each channel, up to the grace period late, one in twenty twice. Of each alert
series, status, times, score and missing share are compared: all but offsets, and what is made of them.

    python -m tests.benchmarks.messy
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from kafka import KafkaProducer

from monitor.backends.kafka import create_topic, read_topic
from monitor.broker.cluster import LocalKafka
from monitor.detector import storage
from monitor.messages.alerts import TYPE, Alert
from tests.acceptance.daemon_process import DaemonProcess
from tests.helpers import make_artifact

SERIES, GRACE_MS, PERIOD_MS, PARTITIONS = 50, 30_000, 10_000, 8
START_MS = 1_764_600_000_000
CODECS = (None, "gzip", "snappy", "lz4", "zstd")
Said = tuple[Any, ...]


class Sample(NamedTuple):
    """One of a series, or a reading of one of its channels."""

    time_ms: int
    series: int
    document: dict[str, Any]


def clean(count: int) -> list[Sample]:
    """Samples of all series in turn; each is anomalous for a while now and then, and a few numbers are missing."""
    rng = np.random.default_rng(3)
    found = []
    for place in range(count):
        step, series = divmod(place, SERIES)
        x, y = rng.normal(size=2) * (1.6 if (step + 7 * series) % 100 < 12 else 0.1)
        document: dict[str, float | None] = {"x": round(x, 5), "y": None if rng.random() < 0.01 else round(y, 5)}
        found.append(Sample(START_MS + step * PERIOD_MS + 100 * series, series, document))
    return found


def messy(stream: list[Sample]) -> list[Sample]:
    """Its readings, out of order, some twice."""
    rng = np.random.default_rng(4)
    readings = [
        Sample(time_ms, series, {name: document[name]}) for time_ms, series, document in stream for name in "xy"
    ]
    at = np.array([reading.time_ms for reading in readings]) + rng.integers(0, GRACE_MS, len(readings))
    again = np.flatnonzero(rng.random(len(readings)) < 0.05)
    order = np.argsort(np.concatenate([at, at[again] + rng.integers(0, 2 * GRACE_MS, len(again))]), kind="stable")
    return [readings[row] for row in np.concatenate([np.arange(len(readings)), again])[order].tolist()]


def send(bootstrap: str, topic: str, stream: list[Sample], partitions: int, codec: str | None) -> int:
    """Writes a topic, and a record of a later time to each partition; how many records."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, linger_ms=20)
    end_ms = max(sample.time_ms for sample in stream) + 2 * GRACE_MS
    ends = [(number, b"end-%d" % number, end_ms, {"x": 0.0, "y": 0.0}) for number in range(partitions)]
    rows = [(series % partitions, b"s%d" % series, time_ms, document) for time_ms, series, document in stream]
    for partition, key, time_ms, document in [*rows, *ends]:
        value = json.dumps({"ts": time_ms, **document}).encode()
        producer.send(topic, value, key=key, partition=partition, timestamp_ms=time_ms)
    producer.flush()
    producer.close()
    return len(rows) + len(ends)


def alerts_of(folder: Path, bootstrap: str, stream: list[Sample], partitions: int, codec: str | None, parts: bool) -> (
    Counter[Said]
):  # fmt: skip
    """What a daemon says of a stream."""
    topic = f"messy-{uuid.uuid4().hex[:8]}"
    create_topic(bootstrap, topic, partitions, topic_settings={"retention.ms": "-1"})  # the times are of last year
    sent = send(bootstrap, topic, stream, partitions, codec)
    document: dict[str, dict[str, Any]] = {
        "kafka": {"bootstrap_servers": [bootstrap], "group_id": topic},
        "input": {
            "topics": [topic],
            "start": "earliest",
            "grace_ms": GRACE_MS if parts else 0,
            "partial_records": parts,
        },
        "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
        "model": {"artifact": str(folder / "artifact")},
    }
    daemon = DaemonProcess(folder / topic, document).start()
    started = time.perf_counter()
    try:
        daemon.wait_until(lambda: daemon.metric("telltale_records_consumed_total") >= sent, "all is read", 120)
        took_s = time.perf_counter() - started
        late, twice = (daemon.metric(f"telltale_samples_{what}_total") for what in ("late", "duplicate"))
    finally:
        code = daemon.stop()
    assert code == 0
    found = []
    for record in read_topic(bootstrap, f"{topic}.alerts"):
        value = record.value or b""
        if json.loads(value)["type"] == TYPE:
            found.append(msgspec.json.decode(value, type=Alert))
    print(
        f"{codec or 'no codec':9} {sent} records, {partitions} partitions, {took_s:.0f} s: {len(found)} alerts", end=""
    )
    print(f", late {late:.0f}, duplicates {twice:.0f}", flush=True)
    return Counter(map(said, found))


def said(alert: Alert) -> Said:
    """What an alert says, but for offsets and what is made of them."""
    data = alert.data
    window, episode = data.window, data.episode
    return (
        data.series, data.status, data.severity, window.start, window.end, window.missing_ratio, data.score.value,
        episode.started_at, episode.windows, episode.peak_ratio,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artifact = make_artifact(length=16, hop=4, channels=("x", "y"), threshold=1.0, batch_rows=256)
        storage.save(artifact, folder / "artifact")
        kafka = LocalKafka(folder / "kafka", port=0)
        bootstrap = kafka.start()
        try:
            stream = clean(options.samples)
            expected = alerts_of(folder, bootstrap, stream, 1, None, parts=False)
            mess = messy(stream)
            wrong = [
                codec or "no codec"
                for codec in CODECS
                if alerts_of(folder, bootstrap, mess, PARTITIONS, codec, parts=True) != expected
            ]
        finally:
            kafka.stop()
    print(
        f"{sum(expected.values())} alerts, " + (f"other ones with {', '.join(wrong)}" if wrong else "the same in all")
    )
    sys.exit(bool(wrong) or not expected)


if __name__ == "__main__":
    main()
