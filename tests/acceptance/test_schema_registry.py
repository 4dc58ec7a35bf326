"""Avro on a real broker, with a schema registry that goes away in the middle and comes back."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.backends.kafka import FeedProducer, create_topic, read_topic
from monitor.datafiles import SeriesTable
from monitor.detector import storage
from monitor.errors import EXIT_CONFIG, EXIT_TEMPFAIL, SchemaRegistryError
from tests.acceptance.daemon_process import DaemonProcess, toml
from tests.helpers import make_artifact
from tests.schema_registry import SchemaRegistryServer, framed
from training.datasets import ReadOptions, read

pytestmark = pytest.mark.kafka

LENGTH, HOP = 10, 5
ARTIFACT = make_artifact(length=LENGTH, hop=HOP, channels=("flow", "pressure"), threshold=0.8, batch_rows=64)
START_MS = 1_764_600_000_000
TIME = {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}}
NUMBERS = [{"name": name, "type": ["null", "double"]} for name in ("flow", "pressure")]
OLDER = {"type": "record", "name": "Sample", "fields": [TIME, *NUMBERS]}
NEWER = {"type": "record", "name": "Sample", "fields": [*NUMBERS, {"name": "unit", "type": "string"}, TIME]}
CREDENTIALS = ("telltale", "s3cret")


def sample(number: int, schema: dict[str, Any], at: int) -> bytes:
    return framed(number, schema, {"ts": START_MS + at, "flow": 0.1, "pressure": 0.2, "unit": "bar"})


def document(directory: Path, bootstrap: str, registry: SchemaRegistryServer, topic: str) -> dict[str, dict[str, Any]]:
    password = directory / "password"
    password.write_text(f"{CREDENTIALS[1]}\n")
    password.chmod(0o600)
    storage.save(ARTIFACT, directory / "artifact")
    return {
        "kafka": {"bootstrap_servers": [bootstrap], "group_id": topic, "session_timeout_ms": 6000},
        "input": {"topics": [topic], "start": "earliest", "format": "avro"},
        "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
        "model": {"artifact": str(directory / "artifact")},
        "schema_registry": {
            "urls": [registry.url],
            "username": CREDENTIALS[0],
            "password_file": str(password),
            "timeout_ms": 2_000,
        },
    }


def test_an_outage_of_the_registry_loses_nothing(tmp_path: Path, kafka_bootstrap: str) -> None:
    topic = f"avro.{uuid.uuid4().hex[:8]}"
    create_topic(kafka_bootstrap, topic, 2)
    registry = SchemaRegistryServer(credentials=CREDENTIALS)
    registry.register(OLDER)
    sent = 0
    with registry, DaemonProcess(tmp_path, document(tmp_path, kafka_bootstrap, registry, topic)) as daemon:

        def send(producer: FeedProducer, count: int, *numbers: int) -> None:
            """`count` records to each of two partitions, in the schemas of these ids."""
            nonlocal sent
            for at in range(sent, sent + count):
                for partition, number in enumerate(numbers):
                    value = sample(number, NEWER if number == 2 else OLDER, at)
                    producer.send(topic, value, b"pump-%d" % partition, partition=partition, timestamp_ms=START_MS + at)
            producer.flush(30)
            sent += count

        def consumed() -> float:
            return daemon.metric("telltale_records_consumed_total")

        with FeedProducer(kafka_bootstrap) as producer:
            send(producer, 20, 1, 1)
            daemon.start()
            daemon.wait_until(lambda: consumed() == 40, "both partitions read")
            registry.stop()
            registry.register(NEWER)
            send(producer, 20, 2, 1)
            daemon.wait_until(
                lambda: consumed() == 60 and daemon.metric("telltale_held_partitions") == 1, "one is held"
            )
            status, why = daemon.get("/readyz")
            assert status == 503
            assert f"{topic}-0 is held: records from offset 20 on are written by schema 2" in why
            send(producer, 20, 1, 1)
            daemon.wait_until(lambda: consumed() == 80, "the other goes on")
            registry.start()
            back = time.monotonic()
            daemon.wait_until(lambda: consumed() == 120, "what waited is read")
            daemon.wait_until(lambda: daemon.get("/readyz")[0] == 200, "ready")
            assert time.monotonic() - back < 5 + 2 + 3
            daemon.wait_until(lambda: daemon.metric("telltale_windows_scored_total") == 2 * 11, "all windows scored")
        assert daemon.metric("telltale_records_rejected_total") == 0
        assert daemon.metric("telltale_samples_processed_total") == 120
        assert daemon.stop() == 0
    assert read_topic(kafka_bootstrap, f"{topic}.dead") == []
    (held,) = [line for line in daemon.events() if line["event"] == "Partition held; the others continue."]
    assert "Connection refused" in held["reason"]
    assert "continues by itself, within 7 s after the registry answers" in held["remedy"]


def test_training_reads_what_the_daemon_reads(tmp_path: Path, kafka_bootstrap: str) -> None:
    topic = f"avro.{uuid.uuid4().hex[:8]}"
    create_topic(kafka_bootstrap, topic, 1)
    registry = SchemaRegistryServer(credentials=CREDENTIALS)
    for schema in (OLDER, NEWER):
        registry.register(schema)
    with FeedProducer(kafka_bootstrap) as producer:
        for at in range(30):
            number = 2 if at % 3 == 2 else 7 if at == 10 else 1
            producer.send(topic, sample(number, NEWER if number == 2 else OLDER, at), b"pump", timestamp_ms=START_MS)
        producer.flush(30)
    notes: list[str] = []
    config = tmp_path / "telltale.toml"
    options = ReadOptions(config=config, channels=("flow", "pressure"))
    source = f"kafka://{kafka_bootstrap}/{topic}"
    with registry:
        config.write_text(toml(document(tmp_path, kafka_bootstrap, registry, topic)))
        (table,) = read(source, kind="sliding", options=options, note=notes.append)
    assert isinstance(table, SeriesTable)
    assert table.samples.shape == (30, 2)  # one of them missing
    assert np.isnan(table.samples).all(axis=1).sum() == 1
    assert "1 of 30 records can't be read: 1 unknown_schema" in notes[0]
    with pytest.raises(SchemaRegistryError, match="can't be reached"):
        read(source, kind="sliding", options=options)


def test_a_registry_that_can_not_be_used_is_said_at_the_start(tmp_path: Path, kafka_bootstrap: str) -> None:
    registry = SchemaRegistryServer(credentials=("telltale", "another"))
    with registry:
        options = document(tmp_path, kafka_bootstrap, registry, "avro")
        with DaemonProcess(tmp_path, options) as daemon:
            assert daemon.start(ready=False).wait(30) == EXIT_CONFIG
            assert "401 Unauthorized" in daemon.log_text()
            assert "check schema_registry.username and its password" in daemon.log_text()
    with DaemonProcess(tmp_path, options) as daemon:
        assert daemon.start(ready=False).wait(30) == EXIT_TEMPFAIL
        assert f"the schema registry at {registry.url} can't be reached" in daemon.log_text()
        assert "start it, or correct schema_registry.urls" in daemon.log_text()
