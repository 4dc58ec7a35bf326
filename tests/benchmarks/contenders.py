"""One contender in a process of its own: `python -m tests.benchmarks.contenders NAME WORKLOAD BOOTSTRAP GROUP`.

Prints one line of JSON. `raw` polls and does nothing; `ours` is the daemon as `telltale run` builds it. Both have the
same consumer settings, join a group, and are timed from the moment their partitions are let go to the last record (and
its commit). The peers are in `peers.py`.
"""

from __future__ import annotations

import gc
import importlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from numpy.typing import NDArray

from monitor.assembly import load_detector, make_processor
from monitor.backends.abstract import Commit, Position, TopicPartition
from monitor.backends.kafka import KafkaBackend, settings
from monitor.config import Config
from monitor.daemon import Daemon
from monitor.detector.scoring import Scorer
from monitor.http import HttpServer
from monitor.telemetry import Telemetry, Vitals, configure_logging
from tests.benchmarks.workload import PARTITIONS, Workload, configuration

Float32Array = NDArray[np.float32]


class Result(msgspec.Struct, kw_only=True):
    """What one contender did in one round. `scoring_s` and counts of windows are None where there are none."""

    seconds: float
    cpu_s: float
    records: int
    rss_mb: float = 0.0
    windows: int | None = None
    over: int | None = None
    alerts: int | None = None
    scoring_s: float | None = None


class Stopwatch:
    """Wall and CPU time of this process since `start`."""

    def __init__(self) -> None:
        self.started = False
        self._wall = self._cpu = 0.0

    def start(self) -> None:
        self.started = True
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


class _Silent(ConsumerRebalanceListener):  # type: ignore[misc]
    """Holds new partitions back, as our member of the group does, so that joining is not measured."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def on_partitions_assigned(self, assigned: Any) -> None:
        for partition in assigned:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)

    def on_partitions_revoked(self, revoked: Any) -> None: ...

    def on_partitions_lost(self, lost: Any) -> None: ...


def join(config: Config, workload: Workload) -> Any:
    """A consumer with the daemon's settings, its partitions assigned and paused."""
    options = settings.member(config, CooperativeStickyAssignor())
    consumer = KafkaConsumer(**options)
    consumer.subscribe(topics=[workload.topic], listener=_Silent(consumer))
    while len(consumer.assignment()) < PARTITIONS:
        consumer.poll(timeout_ms=100)
    consumer.poll(timeout_ms=100)
    return consumer


def raw(workload: Workload, config: Config) -> Result:
    """`poll`, and nothing done with what it returns; no cyclic garbage collection, as in the daemon."""
    consumer = join(config, workload)
    gc.collect()
    gc.freeze()
    gc.disable()
    watch = Stopwatch()
    watch.start()
    consumer.resume(*consumer.assignment())
    count = 0
    while count < workload.records:
        for records in consumer.poll(timeout_ms=500, max_records=config.limits.max_poll_records).values():
            count += len(records)
    seconds, cpu_s = watch.read()
    consumer.close(autocommit=False)
    return Result(seconds=seconds, cpu_s=cpu_s, records=count)


class TimedScorer:
    """A scorer that adds up its time."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.seconds = 0.0

    @property
    def compilations(self) -> int:
        return self._scorer.compilations

    def __call__(self, windows: Float32Array) -> tuple[Float32Array, Float32Array]:
        started = time.perf_counter()
        result = self._scorer(windows)
        self.seconds += time.perf_counter() - started
        return result


class TimedBackend(KafkaBackend):
    """The daemon's backend; starts the watch with the last partition's `begin`, calls `done` after the last commit."""

    def __init__(self, config: Config, records: int, watch: Stopwatch, done: Callable[[], None]) -> None:
        super().__init__(config)
        self._records = records
        self._watch = watch
        self._done = done
        self._offsets: dict[TopicPartition, int] = {}
        self._count = 0

    def begin(self, partition: TopicPartition, offset: int) -> None:
        super().begin(partition, offset)
        self._count += 1
        if self._count == PARTITIONS:
            self._watch.start()

    def commit(self, commit: Commit) -> dict[TopicPartition, Position]:
        positions = super().commit(commit)
        self._offsets |= {partition: position.offset for partition, position in positions.items()}
        if sum(self._offsets.values()) >= self._records:
            self._done()
        return positions


def ours(workload: Workload, config: Config) -> Result:
    """The daemon: decode, window, score, decide, publish alerts, all committed exactly once."""
    configure_logging(config.log)
    artifact, compiled = load_detector(workload.artifact)
    scorer = TimedScorer(compiled)
    processor = make_processor(config, artifact)
    vitals = Vitals()
    telemetry = Telemetry(vitals, lambda: processor.counts, {"name": "benchmark"}, workload.threshold)
    server = HttpServer(config.http, telemetry, vitals)
    server.start()
    watch = Stopwatch()
    results = []

    def done() -> None:
        if not results:
            seconds, cpu_s = watch.read()
            counts = processor.counts
            results.append(
                Result(
                    seconds=seconds,
                    cpu_s=cpu_s,
                    records=counts.records.total(),
                    windows=counts.windows,
                    over=counts.windows_anomalous,
                    alerts=counts.alerts.total(),
                    scoring_s=scorer.seconds,
                )
            )
            daemon.stop()

    backend = TimedBackend(config, workload.records, watch, done)
    daemon = Daemon(config, backend, processor, scorer, telemetry, vitals)  # type: ignore[arg-type]
    daemon.run()
    server.close()
    return results[0]


# In the order of the table
CONTENDERS: dict[str, str] = {
    "raw": "tests.benchmarks.contenders:raw",
    "ours": "tests.benchmarks.contenders:ours",
    "naive": "tests.benchmarks.peers:naive",
    "bytewax": "tests.benchmarks.peers:bytewax",
    "quix-memory": "tests.benchmarks.peers:quix_memory",
    "quix-exactly-once": "tests.benchmarks.peers:quix_exactly_once",
}


def main() -> None:
    name, described, bootstrap, group = sys.argv[1:]
    workload = msgspec.convert(msgspec.json.decode(described), Workload, dec_hook=lambda _, text: Path(text))
    module, _, function = CONTENDERS[name].partition(":")
    result = getattr(importlib.import_module(module), function)(workload, configuration(workload, bootstrap, group))
    result.rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


if __name__ == "__main__":
    main()
