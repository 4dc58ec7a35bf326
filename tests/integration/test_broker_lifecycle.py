"""The local broker's ordinary life: start, stop, start again on the same data; one broker and three."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.broker.cluster import LocalKafka
from monitor.errors import BrokerError
from tests.integration.broker_processes import COMMAND, SHORT_SESSION, brokers_of, clear_away, telltale_kafka
from tests.integration.kafka_client import client
from tests.kafka_fixture import require_kafka

pytestmark = pytest.mark.kafka


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    require_kafka()
    directory = tmp_path / "blanks and ünïcode"
    yield directory
    clear_away(directory)


def test_records_outlive_a_stop_and_a_kill(data_dir: Path) -> None:
    with LocalKafka(data_dir, port=0, settings=SHORT_SESSION) as kafka:
        bootstrap_servers = kafka.bootstrap_servers
        client("create", bootstrap_servers, "kept", "1")
        client("write", bootstrap_servers, "kept", "one")
    assert brokers_of(data_dir) == []

    assert kafka.start() == bootstrap_servers, "the address stays the same"
    client("write", bootstrap_servers, "kept", "two")
    [pid] = brokers_of(data_dir)
    kafka.kill()

    said = f"Broker 1 (pid {pid}) has ended without being stopped: killed, or failed."
    status = telltale_kafka("status", "--data", data_dir)
    assert status.returncode == 3
    assert said in status.stdout
    stopped = telltale_kafka("stop", "--data", data_dir)
    assert stopped.returncode == 0
    assert stopped.stdout == f"{said}\nNothing to stop: no broker runs in {data_dir}.\n"

    kafka.restart()
    assert kafka.status().notes == ()
    assert client("read", bootstrap_servers, "kept", "2") == ["one", "two"]


def test_the_command_line(data_dir: Path) -> None:
    options = ("--data", data_dir)
    never = telltale_kafka("status", *options)
    assert (never.returncode, never.stdout) == (3, f"No local Kafka is running with its data in {data_dir}\n")
    assert telltale_kafka("stop", *options).stdout.startswith("Nothing to stop: no broker was ever started in")
    assert not data_dir.exists(), "asking makes nothing"

    started = telltale_kafka("start", *options, "--port", "0", "--heap", "200m", "--set", "num.io.threads=3")
    assert started.returncode == 0, started.stderr
    address = re.search(r"listens on (127\.0\.0\.1:\d+)\n", started.stdout)[1]  # type: ignore[index]
    [pid] = brokers_of(data_dir)
    assert f"pid {pid}" in started.stdout
    assert b"-Xmx200m" in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert "num.io.threads = 3" in (data_dir / "broker-1.log").read_text()

    again = telltale_kafka("start", *options, "--heap", "200m")
    assert (again.returncode, again.stderr) == (0, "Apache Kafka 4.3.0 already runs.\n")
    assert address in again.stdout

    other = telltale_kafka("start", *options, "--heap", "1g", "--set", "num.io.threads=4")
    assert other.returncode == 75
    assert "--heap 1024 requested, 200 found; --set num.io.threads=4 requested, num.io.threads=3 found" in other.stderr
    assert len(other.stderr.splitlines()) == 1

    status = telltale_kafka("status", *options, "--json")
    document = json.loads(status.stdout)
    assert status.returncode == 0
    assert document["bootstrap_servers"] == address
    assert document["running"] is True
    assert document["brokers"][0]["pid"] == pid
    assert document["notes"] == []

    stopped = telltale_kafka("stop", *options)
    assert stopped.stdout == f"Stopped Apache Kafka at {address}; its data stay in {data_dir}.\n"
    assert brokers_of(data_dir) == []
    assert telltale_kafka("status", *options, "--json").returncode == 3


def test_two_starts_at_once_give_one_broker(data_dir: Path) -> None:
    command = [*COMMAND, "start", "--data", str(data_dir), "--port", "0"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0][0] == outputs[1][0] or "MiB" in outputs[0][0]
    assert sorted(output[1] for output in outputs) == ["", "Apache Kafka 4.3.0 already runs.\n"]
    assert len(brokers_of(data_dir)) == 1


def test_three_brokers_survive_the_loss_of_one(data_dir: Path) -> None:
    with LocalKafka(data_dir, port=0, brokers=3, settings=SHORT_SESSION) as kafka:
        bootstrap_servers = kafka.bootstrap_servers
        assert len(brokers_of(data_dir)) == len(bootstrap_servers.split(",")) == 3
        client("create", bootstrap_servers, "replicated", "3")
        client("write", bootstrap_servers, "replicated", "before")
        kafka.kill(2)
        status = kafka.status()
        assert status.running
        assert [broker.is_alive for broker in status.brokers] == [True, False, True]
        assert re.fullmatch(r"Broker 2 \(pid \d+\) has ended without being stopped: .*", status.notes[0])
        client("write", bootstrap_servers, "replicated", "without")
        notes: list[str] = []
        LocalKafka(data_dir, report=notes.append).start()
        assert notes == list(status.notes)
        assert kafka.status().notes == ()
        assert client("read", bootstrap_servers, "replicated", "2") == ["before", "without"]
        with pytest.raises(BrokerError, match="--brokers 1 requested, 3 found"):
            LocalKafka(data_dir, brokers=1).start()
    assert brokers_of(data_dir) == []
    with pytest.raises(BrokerError, match="holds the data of 3 brokers, asked for 1"):
        LocalKafka(data_dir, brokers=1).start()
