"""What `telltale doctor` proposes works as it stands: the commands that it prints are run, with fewer epochs."""

from __future__ import annotations

import json
import re
import shlex
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from monitor.backends.kafka import FeedProducer, create_topic
from monitor.cli import _load_extensions, app
from tests.acceptance.daemon_process import DaemonProcess
from tests.schema_registry import SchemaRegistryServer, framed

FILES = [
    "skab/anomaly-free/anomaly-free.csv",
    "skab/valve1/1.csv",
    "nab/data/realKnownCause/machine_temperature_system_failure.csv",
    "nab/data/realAWSCloudwatch/ec2_cpu_utilization_24ae8d.csv",
    "cmapss/train_FD001.txt.gz",
    "ims_bearing/merged_dataset_BearingTest_2.csv",
    "ecg5000/ECG5000_TRAIN.txt",
]
QUICK = ["--epochs", "1", "--no-report", "--no-comparison"]
START_MS = (int(time.time()) - 600) * 1000
STEPS = 250


def telltale(*words: str) -> str:
    """What a command prints to stdout."""
    if not any(command.name == "train" for command in app.registered_commands):
        _load_extensions()
    result = CliRunner().invoke(app, [*words], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def command(report: str, verb: str) -> list[str]:
    """The words of the command that a report proposes, without the program's name."""
    (line,) = re.findall(rf"^  (telltale {verb} .*)$", report, re.MULTILINE)
    return shlex.split(line)[1:]


@pytest.mark.data
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_trained_with_the_command_shown(
    name: str, data_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (data_directory / name).is_file():
        pytest.skip(f"no {name}")
    monkeypatch.chdir(tmp_path)
    words = command(telltale("doctor", str(data_directory / name)), "train")
    assert "artifact" in telltale(*words, *QUICK)
    assert json.loads(telltale("inspect", words[-1], "--json"))["channels"]


Records = Callable[[int, float, float], list[tuple[bytes | None, Any]]]


def plain(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """Two pumps, a record each and step."""
    return [
        (b"pump-%d" % pump, {"ts": START_MS + 1000 * step, "flow": flow + pump, "pressure": pressure, "seq": step})
        for pump in (1, 2)
    ]


def telegraf(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """A batch of Telegraf's JSON serializer, without a key."""
    metrics = [
        {
            "fields": {"flow": flow + pump, "pressure": pressure},
            "name": "pump",
            "tags": {"host": f"pump-{pump}"},
            "timestamp": START_MS // 1000 + step,
        }
        for pump in (1, 2)
    ]
    return [(b"telegraf", {"metrics": metrics})]


def kepware(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """KEPServerEX: readings of some tags, each with its quality and time."""
    now = START_MS + 1000 * step
    return [
        (
            b"pump-%d" % pump,
            {
                "timestamp": now + 3,
                "values": [
                    {"id": "flow", "v": flow + pump, "q": True, "t": now},
                    {"id": "pressure", "v": pressure, "q": True, "t": now},
                ],
            },
        )
        for pump in (1, 2)
    ]


def debezium(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """A change of a row, in the envelope of Kafka Connect, with a key of JSON."""
    now = START_MS + 1000 * step
    found: list[tuple[bytes | None, Any]] = []
    for pump in (1, 2):
        row = {"device": f"pump-{pump}", "flow": flow + pump, "pressure": pressure, "at": now}
        source = {"connector": "postgresql", "ts_ms": now + 2, "table": "pumps", "lsn": 1000 + 2 * step + pump}
        change = {"before": None, "after": row, "source": source, "op": "c", "ts_ms": now + 5}
        key = {"schema": {"type": "struct"}, "payload": {"device": f"pump-{pump}"}}
        found.append((json.dumps(key).encode(), {"schema": {"type": "struct"}, "payload": change}))
    return found


def connect(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """Kafka Connect's JsonConverter, with its envelope, and keys in quotes."""
    now = START_MS + 1000 * step
    return [
        (
            b'"pump-%d"' % pump,
            {"schema": {"type": "struct"}, "payload": {"flow": flow + pump, "p": pressure, "at": now}},
        )
        for pump in (1, 2)
    ]


def cloudevents(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """CloudEvents in structured mode."""
    now = datetime.fromtimestamp(START_MS // 1000 + step, UTC)
    return [
        (
            None,
            {
                "specversion": "1.0",
                "id": f"{pump}-{step}",
                "source": f"/site/pump-{pump}",
                "type": "com.example.reading",
                "time": now.isoformat().replace("+00:00", "Z"),
                "data": {"flow": flow + pump, "pressure": pressure},
            },
        )
        for pump in (1, 2)
    ]


def sparkplug(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """Sparkplug B as JSON."""
    now = START_MS + 1000 * step
    return [
        (
            b"spBv1.0/plant/DDATA/edge/pump-%d" % pump,
            {
                "timestamp": now,
                "metrics": [
                    {"name": "flow", "timestamp": now, "dataType": "Double", "value": flow + pump},
                    {"name": "pressure", "timestamp": now, "dataType": "Double", "value": pressure},
                ],
                "seq": step % 256,
            },
        )
        for pump in (1, 2)
    ]


def long_form(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """One reading a record."""
    return [
        (
            b"pump-%d" % pump,
            {"device": f"pump-{pump}", "metric": name, "value": value, "ts": START_MS + 1000 * step},
        )
        for pump in (1, 2)
        for name, value in (("flow", flow + pump), ("pressure", pressure))
    ]


def seconds_and_texts(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """Nested, numbers as text, a number that means missing, out of order by a second."""
    step = step - 1 if step % 10 == 9 else step + 1 if step % 10 == 8 else step
    return [
        (
            None,
            {
                "meta": {"device": f"pump-{pump}", "site": "north"},
                "data": {"flow": f"{flow + pump:.3f}", "pressure": -9999 if step % 100 == 50 else pressure},
                "when": START_MS // 1000 + step,
            },
        )
        for pump in (1, 2)
    ]


def one_field(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """Telegraf's batch, where each metric has one field, and counts something besides."""
    metrics = [
        {
            "fields": {name: value},
            "name": name,
            "tags": {"host": f"pump-{pump}"},
            "timestamp": START_MS // 1000 + step,
        }
        for pump in (1, 2)
        for name, value in (
            ("flow", flow + pump),
            ("pressure", pressure),
            ("bytes", 10**9 + 977 * step + round(9 * flow)),
        )
    ]
    return [(b"telegraf", {"metrics": metrics})]


def lines(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """Lines of cells, without names, with a code for a missing number."""
    pressure = -9999 if step % 100 == 50 else pressure
    return [(b"pump-%d" % pump, b"%d;%.3f;%.3f" % (START_MS + 1000 * step, flow, pressure)) for pump in (1, 2)]


def packed(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """MessagePack, with its own timestamps."""
    record = {"at": datetime.fromtimestamp(START_MS // 1000 + step, UTC), "flow": flow, "pressure": pressure}
    return [(b"pump-%d" % pump, msgspec.msgpack.encode(record)) for pump in (1, 2)]


def one_by_one(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """The readings of a sample in records of their own, with times that differ; one at every fifth step only."""
    return [
        (b"pump-%d" % pump, {"metric": name, "value": value, "ts": START_MS + 1000 * step + after})
        for pump in (1, 2)
        for name, value, after in (("flow", flow + pump, 0), ("pressure", pressure, 20 + step % 30))
        if name == "flow" or step % 5 == 0
    ]


def local_times(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
    """Times of another zone, which is not said."""
    now = datetime.fromtimestamp(START_MS // 1000 + step, UTC) + timedelta(hours=5, minutes=30)
    return [(b"pump-%d" % pump, {"ts": f"{now:%Y-%m-%d %H:%M:%S}", "flow": flow, "p": pressure}) for pump in (1, 2)]


EXAMPLES: dict[str, Records] = {
    each.__name__: each
    for each in (
        plain, telegraf, kepware, debezium, connect, cloudevents, sparkplug, long_form, seconds_and_texts, one_field,
        lines, packed, one_by_one, local_times,
    )
}  # fmt: skip
QUICKLY = {"plain", "one_field"}


@pytest.mark.kafka
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each in QUICKLY else pytest.mark.slow) for each in EXAMPLES]
)
def test_a_topic_is_watched_with_the_configuration_shown(
    name: str, kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"doctor.{name}.{uuid.uuid4().hex[:8]}"
    feed(kafka_bootstrap, topic, EXAMPLES[name])
    watch(["doctor", topic, "-b", kafka_bootstrap], topic, tmp_path, monkeypatch)


@pytest.mark.kafka
@pytest.mark.slow
def test_avro_is_watched_with_its_registry(
    kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the registry it is asked for."""
    pytest.importorskip("fastavro", reason="the extra avro is not installed")
    at = {"type": "long", "logicalType": "timestamp-millis"}
    fields = [{"name": "at", "type": at}, *({"name": name, "type": "double"} for name in ("flow", "pressure"))]
    schema = {"type": "record", "name": "Sample", "fields": fields}
    topic = f"doctor.avro.{uuid.uuid4().hex[:8]}"
    with SchemaRegistryServer() as registry:
        number = registry.register(schema)

        def encoded(step: int, flow: float, pressure: float) -> list[tuple[bytes | None, Any]]:
            record = {"at": START_MS + 1000 * step, "flow": flow, "pressure": pressure}
            return [(b"pump-%d" % pump, framed(number, schema, record)) for pump in (1, 2)]

        feed(kafka_bootstrap, topic, encoded)
        asked = telltale("doctor", topic, "-b", kafka_bootstrap)
        assert f"  telltale doctor {topic} -b {kafka_bootstrap} --registry http://REGISTRY:8081" in asked
        watch(["doctor", topic, "-b", kafka_bootstrap, "--registry", registry.url], topic, tmp_path, monkeypatch)


def watch(doctor: list[str], topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains and runs with what `doctor` proposes."""
    monkeypatch.chdir(tmp_path)
    report = telltale(*doctor, "--config-out", "telltale.toml")
    assert "none of the" in report, report
    telltale(*command(report, "train"), *QUICK)

    for option, value in {"INPUT__START": "earliest", "HTTP__PORT": "0", "LOG__FORMAT": "json"}.items():
        monkeypatch.setenv(f"TELLTALE__{option}", value)
    monkeypatch.setenv("TELLTALE__OUTPUT__ALERTS", f"{topic}.alerts")
    monkeypatch.setenv("TELLTALE__OUTPUT__DEAD_LETTERS", f"{topic}.dead")
    with DaemonProcess(tmp_path / "daemon", {}) as daemon:
        daemon.config = tmp_path / command(report, "run")[-1]
        daemon.start()
        daemon.wait_until(lambda: daemon.metric("telltale_windows_scored_total") > STEPS, "windows")
        daemon.wait_until(lambda: daemon.metric("telltale_consumer_lag_records") == 0, "all records")
        assert daemon.metric("telltale_records_rejected_total") == 0
        missing = 10 * daemon.metric("telltale_samples_missing_total")  # each is in ten windows
        assert daemon.metric("telltale_windows_unscorable_total") <= missing
        assert daemon.metric("telltale_series_active") in (2, 4), "without keys each is in both partitions"
        assert daemon.stop() == 0


def feed(bootstrap: str, topic: str, records: Records) -> None:
    """Two channels that swing, in the form that `records` gives each step."""
    create_topic(bootstrap, topic, 2)
    random = np.random.default_rng(3)
    with FeedProducer(bootstrap) as producer:
        for step in range(STEPS):
            flow = 3 + float(np.sin(step / 8) + 0.1 * random.normal())
            pressure = 10 + float(2 * np.cos(step / 8) + 0.1 * random.normal())
            for key, record in records(step, flow, pressure):
                value = record if isinstance(record, bytes) else json.dumps(record).encode()
                producer.send(topic, value, key, timestamp_ms=START_MS + 1000 * step)
