"""How long from a record to its readable alert? `python -m tests.benchmarks.latency [--records N]`

The real command `telltale run`, one real broker, one record at a time. Each record is a whole window of a series that
was never seen before, and over the threshold, so that each causes exactly one alert, which says "firing". The clock
runs from the call of `send` to the poll of a `read_committed` consumer that returns the alert: producer, broker,
daemon, transaction with its commit markers, broker, consumer.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from kafka import KafkaProducer

from monitor.backends.kafka import TopicReader, create_topic
from monitor.broker.cluster import LocalKafka
from monitor.detector import storage
from tests.benchmarks import report
from tests.benchmarks.contenders import LENGTH, PARTITIONS
from tests.benchmarks.workload import BATCH_ROWS, WIDTHS, with_threshold
from tests.helpers import make_artifact

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kafka-python", "jax", "numpy")
INPUT, ALERTS = "latency.input", "latency.alerts"
PATIENCE_S = 30.0
MOST_PAUSE_S = 0.03  # so that records do not keep in step with anything
P50_MS, P99_MS = 20.0, 75.0

CONFIG = """
[service]
name = "latency"
instance = "latency-1"
[kafka]
bootstrap_servers = ["{bootstrap}"]
group_id = "latency"
[input]
topics = ["{input}"]
format = "{format}"
start = "earliest"
[output]
alerts = "{alerts}"
[model]
artifact = "{artifact}"
[http]
port = 0
[log]
level = "warning"
"""


def start_daemon(directory: Path, bootstrap: str, form: str) -> subprocess.Popen[bytes]:
    """`telltale run` on an artifact whose threshold any window is over."""
    artifact = make_artifact(kind="record", length=LENGTH, hop=LENGTH, widths=WIDTHS, batch_rows=BATCH_ROWS)
    storage.save(with_threshold(artifact, 1e-6), directory / "artifact")
    config = directory / "telltale.toml"
    config.write_text(
        CONFIG.format(bootstrap=bootstrap, input=INPUT, alerts=ALERTS, artifact=directory / "artifact", format=form)
    )
    return subprocess.Popen([sys.executable, "-m", "monitor", "run", "--config", str(config)], cwd=ROOT)


class Probe:
    """Sends a record, waits for its alert, says how long that took."""

    def __init__(self, bootstrap: str, form: str) -> None:
        self._form = form
        self._rng = np.random.default_rng(0)
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=0, acks="all")
        self._reader = TopicReader(bootstrap, ALERTS, isolation="read_committed", want_headers=False)
        self._count = 0

    def take(self, patience_s: float = PATIENCE_S) -> float:
        """Milliseconds of one record.

        Raises:
            TimeoutError: no alert came.
        """
        window = self._rng.normal(size=LENGTH).astype(np.float32)
        value = window.tobytes() if self._form == "f32" else json.dumps(window.round(4).tolist()).encode()
        series = b"series-%06d" % self._count
        self._count += 1
        began = time.perf_counter()
        sent = self._producer.send(INPUT, value, series)
        while True:
            found = self._reader.poll(timeout_s=1.0)
            ended = time.perf_counter()
            if any(record.key == series for record in found):
                sent.get(timeout=1)
                return (ended - began) * 1000
            if ended - began > patience_s:
                raise TimeoutError(f"no alert within {patience_s:.0f} s for record {self._count}")

    def close(self) -> None:
        self._producer.close(timeout=2)
        self._reader.close()


def measure(bootstrap: str, directory: Path, form: str, warm_up: int, records: int) -> list[float]:
    """Milliseconds of each record after the warm-up."""
    create_topic(bootstrap, INPUT, PARTITIONS)
    create_topic(bootstrap, ALERTS, 1)
    daemon = start_daemon(directory, bootstrap, form)
    probe = Probe(bootstrap, form)
    pauses = random.Random(0)
    try:
        times = []
        for _ in range(warm_up + records):
            times.append(probe.take())
            time.sleep(pauses.uniform(0, MOST_PAUSE_S))
    finally:
        probe.close()
        daemon.send_signal(signal.SIGTERM)
        code = daemon.wait(timeout=30)
    if code:
        raise RuntimeError(f"telltale run ended with {code}")
    return times[warm_up:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000)
    parser.add_argument("--warm-up", type=int, default=300, help="records before, not counted")
    parser.add_argument("--format", choices=("f32", "json"), default="f32", help="how a window is written")
    parser.add_argument("--quick", action="store_true", help="100 records: does it run, not how fast")
    asked = parser.parse_args()
    warm_up, records = (20, 100) if asked.quick else (asked.warm_up, asked.records)
    with (
        tempfile.TemporaryDirectory(prefix="telltale-latency-") as directory,
        LocalKafka(Path(directory) / "kafka", port=0) as kafka,
    ):
        times = measure(kafka.bootstrap_servers, Path(directory), asked.format, warm_up, records)
    print(report.header("Latency: from a record to its alert, read with read_committed", PACKAGES))
    p50, p90, p99 = np.percentile(times, (50, 90, 99)).tolist()
    print(f"{records:,} records of one {asked.format} window each, one at a time, {records:,} alerts; one broker")
    print(f"ms: min {min(times):.1f}  p50 {p50:.1f}  p90 {p90:.1f}  p99 {p99:.1f}  max {max(times):.1f}\n")
    print(report.bar(f"p50 {p50:.1f} ms, at most {P50_MS:.0f}", met=p50 <= P50_MS))
    print(report.bar(f"p99 {p99:.1f} ms, at most {P99_MS:.0f}", met=p99 <= P99_MS))


if __name__ == "__main__":
    main()
