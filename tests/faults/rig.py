"""What the fault commands share: a load, a reader that records the time of each alert, and an oracle.

The oracle is the processor in memory on the whole input: a fault must not change one byte of what the daemons publish.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from monitor.backends.abstract import RecordColumns
from monitor.backends.kafka import FeedProducer, TopicReader, create_topic, end_offsets
from monitor.config.options import Config
from monitor.detector import storage
from monitor.errors import TelltaleError
from monitor.messages import alerts
from tests.acceptance.daemon_process import DaemonProcess
from tests.helpers import make_artifact, make_processor_at_zero, work

ARTIFACT = make_artifact(length=8, hop=4, threshold=0.8)
INPUT, ALERTS = "faults.input", "faults.alerts"
PARTITIONS = 6
SERIES = 24
TICK_S = 0.1  # each series has one sample in each
CYCLE, HIGH = 48, 16  # ticks: an incident opens and closes once in each


class Load(threading.Thread):
    """Writes samples of all series at a steady rate until stopped; while brokers are down it waits."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(name="load", daemon=True)
        self._servers = bootstrap
        self._ended = threading.Event()
        self.sent = 0

    def run(self) -> None:
        tick = 0
        while not self._ended.is_set():
            try:
                with FeedProducer(self._servers) as producer:
                    while not self._ended.wait(TICK_S):
                        tick += 1
                        self._write(producer, tick)
            except TelltaleError as error:
                # What was not written is missing in the log, and so for the oracle, too.
                print(f"  load: {error}")

    def _write(self, producer: FeedProducer, tick: int) -> None:
        for number in range(SERIES):
            high = (tick + 7 * number) % CYCLE < HIGH
            producer.send(INPUT, b'{"value": %d.%03d}' % (9 if high else 0, tick % 1000), b"pump-%d" % number)
        self.sent += SERIES

    def stop(self) -> None:
        """Waits until everything is written."""
        self._ended.set()
        self.join(60)


class Watch(threading.Thread):
    """Reads the alerts as a consumer does, and records when each arrived."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(name="watch", daemon=True)
        self._servers = bootstrap
        self._ended = threading.Event()
        self.arrivals: list[float] = []
        self.values: list[bytes] = []

    def run(self) -> None:
        positions: Any = "earliest"
        while not self._ended.is_set():
            try:
                with TopicReader(self._servers, ALERTS, start=positions) as reader:
                    while not self._ended.is_set():
                        found = reader.poll(0.1)
                        self.arrivals += [time.monotonic()] * len(found)
                        self.values += [record.value or b"" for record in found]
                        positions = reader.positions()
            except TelltaleError as error:
                print(f"  watch: {error}")
                time.sleep(0.5)

    def longest_gap(self, since: float, until: float) -> float:
        """The longest time without an alert between two times, in seconds."""
        moments = [since, *(at for at in self.arrivals if since < at < until), until]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    def stop(self) -> None:
        self._ended.set()
        self.join(30)


@dataclass(frozen=True)
class Verdict:
    """The alerts in the topic compared with the expected ones."""

    expected: int
    lost: int
    duplicated: int
    unexpected: int

    @property
    def holds(self) -> bool:
        return self.expected > 0 and not (self.lost or self.duplicated or self.unexpected)

    def __str__(self) -> str:
        return f"{self.expected} alerts: {self.lost} lost, {self.duplicated} duplicated, {self.unexpected} unexpected"


class Rig:
    """Topics, an artifact, daemons of one group, their load and their watch."""

    def __init__(self, directory: Path, bootstrap: str, daemons: int, **sections: dict[str, Any]) -> None:
        self._directory, self._bootstrap = directory, bootstrap
        storage.save(ARTIFACT, directory / "artifact")
        create_topic(bootstrap, INPUT, PARTITIONS)
        self.document: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap_servers": bootstrap.split(","), "group_id": "faults"},
            "input": {"topics": [INPUT], "start": "earliest"},
            "output": {"alerts": ALERTS, "dead_letters": "faults.dead"},
            "model": {"artifact": str(directory / "artifact")},
        }
        for section, options in sections.items():
            self.document[section] = self.document.get(section, {}) | options
        self.daemons = [self._daemon(f"daemon-{number}") for number in range(1, daemons + 1)]
        self.load = Load(bootstrap)

    def _daemon(self, name: str) -> DaemonProcess:
        return DaemonProcess(self._directory / name, self.document | {"service": {"instance": name}})

    def __enter__(self) -> Self:
        for daemon in self.daemons:
            daemon.start(timeout_s=120)
        self.watch = Watch(self._bootstrap)
        self.watch.start()
        self.load.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.load.stop()
        self.watch.stop()
        for daemon in self.daemons:
            daemon.__exit__(None, None, None)

    def exits(self) -> dict[str, int]:
        """Daemons that have ended, and their codes."""
        codes = {daemon.log_path.parent.name: daemon.exit_code() for daemon in self.daemons}
        return {name: code for name, code in codes.items() if code is not None}

    def finish(self, timeout_s: float = 120.0) -> Verdict:
        """Ends the load, lets the daemons catch up, stops them, and compares."""
        self.load.stop()
        deadline = time.monotonic() + timeout_s
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 5:
            if time.monotonic() > deadline:
                raise AssertionError(f"the daemons did not catch up within {timeout_s:.0f} s")
            lag = sum(daemon.metric("telltale_consumer_lag_records") for daemon in self.daemons)
            owned = sum(daemon.metric("telltale_assigned_partitions") for daemon in self.daemons)
            if lag or owned != PARTITIONS:
                quiet_since = time.monotonic()
            time.sleep(0.2)
        codes = [daemon.stop(60) for daemon in self.daemons]
        if any(codes):
            raise AssertionError(f"SIGTERM ended the daemons with {codes}")
        return self._compare()

    def _compare(self) -> Verdict:
        expected = Counter(alerts.encode(alert) for alert in self._expected())
        found = Counter(value for columns in self._read(ALERTS) for value in columns.values if value is not None)
        for what, rest in (("lost", expected - found), ("not called for", found - expected)):
            for value in list(rest)[:2]:
                print(f"  {what}: {value.decode()}")
        return Verdict(
            expected=expected.total(),
            lost=(expected - found).total(),
            duplicated=sum(count - 1 for value, count in found.items() if value in expected),
            unexpected=sum(count for value, count in found.items() if value not in expected),
        )

    def _expected(self) -> list[alerts.Alert]:
        config = Config.model_validate(self.document)
        polls = self._read(INPUT)
        partitions = sorted({columns.partition for columns in polls})
        artifact = storage.load(config.model.artifact)  # as the daemons have it, digest and all
        processor = make_processor_at_zero(config, artifact, *partitions)
        return work(processor, artifact.scorer(), *polls)

    def _read(self, topic: str) -> list[RecordColumns]:
        ends = end_offsets(self._bootstrap, topic)
        polls: list[RecordColumns] = []
        with TopicReader(self._bootstrap, topic, want_headers=False) as reader:
            deadline = time.monotonic() + 60
            while any(reader.positions()[partition] < end for partition, end in ends.items()):
                assert time.monotonic() < deadline, f"{topic} could not be read to its end"
                polls += reader.poll_columns()
        return polls
