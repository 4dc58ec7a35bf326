"""One contender in a process of its own: `python -m tests.benchmarks.contenders NAME WORKLOAD BOOTSTRAP GROUP`.

Prints one line of JSON. `raw` polls and does nothing; `ours` is the daemon as `telltale run` builds it. Both have the
same consumer settings, join a group, and are timed from the moment their partitions are let go to the last record (and
its commit). The others are in `peers.py`. This file imports little, so that memory is each contender's own.
"""

from __future__ import annotations

import gc
import importlib
import resource
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from monitor.backends.kafka import create_topic, settings
from monitor.config.options import Config

LENGTH, HOP, SERIES, PARTITIONS = 140, 14, 100, 4


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A filled topic, the artifact for it, and what is to be found: the same for every contender."""

    kind: str  # json: one sample a record; f32: one window a record
    topic: str
    artifact: str
    weights: str  # the artifact's parameters once more, as .npz
    records: int
    samples: int
    windows: int
    over: int
    threshold: float


class Result(msgspec.Struct, kw_only=True):
    """What one contender did in one round. `scoring_s` and counts of windows are None where there are none."""

    seconds: float
    cpu_s: float
    records: int
    peak_mib: float = 0.0
    windows: int | None = None
    over: int | None = None
    alerts: int | None = None
    refused: int | None = None
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


def configuration(workload: Workload, bootstrap: str, group: str) -> Config:
    """The daemon's configuration: defaults, but for names and `start`."""
    return Config.model_validate(
        {
            "service": {"name": group, "instance": group},
            "kafka": {"bootstrap_servers": [bootstrap], "group_id": group},
            "input": {"topics": [workload.topic], "format": workload.kind, "start": "earliest"},
            "output": {"alerts": f"{group}.alerts", "dead_letters": f"{group}.dead"},
            "model": {"artifact": workload.artifact},
            "http": {"port": 0},
            "log": {"level": "warning"},
        }
    )


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


# In the order of the table
CONTENDERS: dict[str, str] = {
    "raw": "tests.benchmarks.contenders:raw",
    "ours": "tests.benchmarks.ours:ours",
    "naive": "tests.benchmarks.peers:naive",
    "bytewax-keyed": "tests.benchmarks.peers:bytewax_keyed",
    "bytewax-bare": "tests.benchmarks.peers:bytewax_bare",
    "quix-memory": "tests.benchmarks.peers:quix_memory",
    "quix-exactly-once": "tests.benchmarks.peers:quix_exactly_once",
}


def peak_mib() -> float:
    """This process's largest resident memory. Not `ru_maxrss`, which on Linux counts the parent's before the exec."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    name, described, bootstrap, group = sys.argv[1:]
    workload = msgspec.json.decode(described, type=Workload)
    config = configuration(workload, bootstrap, group)
    create_topic(bootstrap, config.output.alerts)
    module, _, function = CONTENDERS[name].partition(":")
    result = getattr(importlib.import_module(module), function)(workload, config)
    result.peak_mib = peak_mib()
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


if __name__ == "__main__":
    main()
