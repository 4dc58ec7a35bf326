"""A daemon that reads Avro while the schema registry comes and goes: nothing is lost, nothing is rejected for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from monitor.backends.abstract import TopicPartition
from monitor.backends.local import LocalBackend, LocalLog
from monitor.config.options import Config
from monitor.serving.daemon import Daemon
from monitor.serving.schema_registry import SchemaRegistry
from monitor.serving.schemas import CONFIRM_S, RETRY_S, Fetcher, SchemaGate
from monitor.serving.telemetry import Telemetry, Vitals
from tests.helpers import make_artifact, make_config, make_processor
from tests.schema_registry import SchemaRegistryServer, framed

ARTIFACT = make_artifact(length=4, hop=2, threshold=0.8)
SCORER = ARTIFACT.scorer()
TOPIC, STATE = "telltale.input", "telltale.state"
FIRST, SECOND = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
OLDER = {"type": "record", "name": "R", "fields": [{"name": "value", "type": "double"}]}
NEWER = {"type": "record", "name": "R", "fields": [{"name": "unit", "type": "string"}, *OLDER["fields"]]}


class Machine:
    """A daemon in memory, whose clock the test moves, at a registry that is real."""

    def __init__(self, registry: SchemaRegistryServer, log: LocalLog) -> None:
        self.log = log
        self.now_s = 1_000.0
        self.config: Config = make_config(
            input={"start": "earliest", "format": "avro"},
            schema_registry={"urls": [registry.url], "timeout_ms": 2_000},
            limits={"idle_commit_interval_ms": 1, "commit_interval_ms": 1},
        )
        self.processor = make_processor(self.config, ARTIFACT)
        self.vitals = Vitals()
        telemetry = Telemetry(self.vitals, lambda: self.processor.counts, {}, 1.0)
        self.backend = LocalBackend(log, self.config, self.clock)
        fetcher = Fetcher(SchemaRegistry(self.config.schema_registry).schema)
        self.gate = SchemaGate(self.processor.schemas, fetcher, self.clock)
        self.daemon = Daemon(
            self.config, self.backend, self.processor, SCORER, telemetry, self.vitals,
            clock=self.clock, schemas=self.gate, wait=lambda _: None,
        )  # fmt: skip
        self.backend.start()

    def clock(self) -> float:
        self.now_s += 0.001
        return self.now_s

    def turns(self, count: int = 8) -> None:
        for _ in range(count):
            self.daemon.turn()

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            self.daemon.turn()
        self.turns()

    def answered(self) -> None:
        """Until the registry has answered all that was asked."""
        self.turns()
        self.until(lambda: not self.gate.asking)

    def committed(self, partition: TopicPartition) -> int | None:
        return self.backend.progress()[partition].committed

    def why_not_ready(self) -> list[str]:
        return self.vitals.health.why_not_ready(self.now_s)

    def letters(self) -> list[dict[str, Any]]:
        topic = self.config.output.dead_letters
        return [
            json.loads(value)
            for partition in self.log.partitions(topic)
            for value in self.log.read(topic, partition.partition).values
            if value is not None
        ]


def feed(log: LocalLog, partition: TopicPartition, count: int, value: bytes) -> None:
    end = log.at(partition).end
    log.extend(TOPIC, partition.partition, [b"a"] * count, [value] * count, range(end, end + count))


@pytest.fixture
def registry() -> Iterator[SchemaRegistryServer]:
    with SchemaRegistryServer() as server:
        server.register(OLDER)
        yield server


OLD, NEW = framed(1, OLDER, {"value": 0.1}), framed(2, NEWER, {"value": 0.1, "unit": "bar"})


def test_an_outage_holds_the_partition_that_needs_a_new_schema(registry: SchemaRegistryServer) -> None:
    log = LocalLog({TOPIC: 2})
    machine = Machine(registry, log)
    feed(log, FIRST, 10, OLD)
    feed(log, SECOND, 10, OLD)
    machine.answered()
    assert (machine.committed(FIRST), machine.committed(SECOND)) == (10, 10)
    registry.stop()
    registry.register(NEWER)
    with structlog.testing.capture_logs() as lines:
        feed(log, FIRST, 5, OLD)
        feed(log, FIRST, 5, NEW)
        feed(log, SECOND, 5, OLD)
        machine.answered()
        assert (machine.committed(FIRST), machine.committed(SECOND)) == (15, 15)
        for _ in range(4):  # the registry is asked in vain; the others go on
            machine.now_s += RETRY_S
            feed(log, FIRST, 1, OLD)
            feed(log, SECOND, 1, OLD)
            machine.answered()
    assert (machine.committed(FIRST), machine.committed(SECOND)) == (15, 19)
    reason, *_ = machine.why_not_ready()  # and that it was not committed for so long
    assert "telltale.input-0 is held: records from offset 15 on are written by schema 2" in reason
    assert "can't be reached: Connection refused" in reason
    held = [line for line in lines if line["event"] == "Partition held; the others continue."]
    assert len(held) == 1  # once a minute
    assert "start it, or correct schema_registry.urls" in held[0]["remedy"]
    assert machine.vitals.held == 1
    registry.start()
    machine.now_s += RETRY_S
    machine.answered()
    assert machine.committed(FIRST) == log.at(FIRST).end
    assert machine.why_not_ready() == []
    assert machine.vitals.held == 0
    assert machine.letters() == []
    assert machine.processor.counts.samples == log.at(FIRST).end + log.at(SECOND).end
    machine.daemon.drain()


def test_a_recovery_in_an_outage_leaves_it_held(registry: SchemaRegistryServer) -> None:
    """What was read and waits is read again; no turn in between is ready."""
    log = LocalLog({TOPIC: 2})
    machine = Machine(registry, log)
    feed(log, FIRST, 10, OLD)
    feed(log, SECOND, 10, OLD)
    machine.answered()
    registry.failing = 503
    registry.register(NEWER)
    feed(log, FIRST, 5, NEW)
    machine.answered()
    assert machine.why_not_ready()
    log.fail_next_commit("after")
    feed(log, SECOND, 5, OLD)
    for _ in range(20):
        machine.daemon.turn()
        assert machine.why_not_ready()
    assert (machine.committed(FIRST), machine.committed(SECOND)) == (10, 15)
    registry.failing = 0
    machine.now_s += RETRY_S
    machine.answered()
    assert machine.committed(FIRST) == 15
    assert machine.why_not_ready() == []
    assert machine.letters() == []
    machine.daemon.drain()


def test_what_the_registry_does_not_have_is_rejected(registry: SchemaRegistryServer) -> None:
    log = LocalLog({TOPIC: 1})
    machine = Machine(registry, log)
    feed(log, FIRST, 10, OLD)
    feed(log, FIRST, 2, framed(77, OLDER, {"value": 0.1}))
    feed(log, FIRST, 3, OLD)
    machine.answered()
    assert machine.letters() == []
    machine.now_s += CONFIRM_S
    machine.answered()
    assert [(letter["reason"], letter["offset"]) for letter in machine.letters()] == [
        ("unknown_schema", 10), ("unknown_schema", 11),
    ]  # fmt: skip
    assert "no schema with id 77" in machine.letters()[0]["detail"]
    assert machine.committed(FIRST) == 15
    assert machine.why_not_ready() == []
    machine.daemon.drain()


def test_windows_are_refilled_by_the_same_schemas(registry: SchemaRegistryServer) -> None:
    """A successor reads again what its windows hold, before it decides."""
    registry.register(NEWER)
    log = LocalLog({TOPIC: 1})
    feed(log, FIRST, 5, OLD)
    feed(log, FIRST, 4, NEW)
    first = Machine(registry, log)
    first.answered()
    assert first.committed(FIRST) == 9
    assert first.processor.counts.windows == 3
    feed(log, FIRST, 2, OLD)
    second = Machine(registry, log)
    second.answered()
    assert second.committed(FIRST) == 11
    assert second.processor.counts.windows == 1
    assert second.letters() == []


def test_a_daemon_that_is_stopped_does_not_wait_for_the_registry(registry: SchemaRegistryServer) -> None:
    registry.slow_s = 1.5
    log = LocalLog({TOPIC: 1})
    machine = Machine(registry, log)
    feed(log, FIRST, 5, OLD)
    machine.turns()
    assert machine.gate.asking
    started = time.monotonic()
    assert machine.daemon.drain()
    assert time.monotonic() - started < 1
    registry.slow_s = 0
    successor = Machine(registry, log)
    successor.answered()
    assert successor.committed(FIRST) == 5
