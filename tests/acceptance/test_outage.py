"""A broker goes down and comes back: what the daemon logs and reports meanwhile, and how much."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.backends.kafka import FeedProducer, create_topic, read_topic
from monitor.broker import state
from monitor.broker.cluster import LocalKafka
from monitor.detector import storage
from tests.acceptance.daemon_process import DaemonProcess
from tests.helpers import make_artifact
from tests.integration.broker_processes import SHORT_SESSION
from tests.kafka_fixture import require_kafka

pytestmark = pytest.mark.kafka

ARTIFACT = make_artifact(length=8, hop=4, threshold=0.8)
PARTITIONS = 8


class Cluster:
    """One broker, that can be stopped in two ways."""

    def __init__(self, directory: Path) -> None:
        self.kafka = LocalKafka(directory, port=0, settings=SHORT_SESSION)
        self.servers = self.kafka.start()

    def take_away(self, how: str) -> None:
        if how == "killed":
            self.kafka.kill()
        else:
            os.kill(self._pid(), signal.SIGSTOP)

    def bring_back(self, how: str) -> None:
        if how == "killed":
            self.kafka.restart()
        else:
            os.kill(self._pid(), signal.SIGCONT)

    def _pid(self) -> int:
        found = state.load(self.kafka.data_dir)
        assert found is not None
        (broker,) = found.brokers
        assert broker.process is not None
        return broker.process.pid

    def feed(self, topic: str, series: str, *numbers: float) -> None:
        with FeedProducer(self.servers) as producer:
            for partition in range(PARTITIONS):
                for number in numbers:
                    key = f"{series}{partition}".encode()
                    producer.send(topic, b'{"value": %f}' % number, key, partition=partition)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    require_kafka()
    made = Cluster(tmp_path / "kafka")
    yield made
    made.kafka.stop()


def daemon_of(cluster: Cluster, topic: str, directory: Path, **limits: int) -> DaemonProcess:
    storage.save(ARTIFACT, directory / "artifact")
    return DaemonProcess(
        directory / "daemon",
        {
            "kafka": {"bootstrap_servers": [cluster.servers], "group_id": topic},
            "input": {"topics": [topic], "start": "earliest"},
            "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
            "model": {"artifact": str(directory / "artifact")},
            "limits": limits,
        },
    )


def alerts(cluster: Cluster, topic: str) -> list[tuple[str, str]]:
    records = read_topic(cluster.servers, f"{topic}.alerts")
    return sorted((a["subject"], a["data"]["status"]) for a in (json.loads(r.value or b"") for r in records))


@pytest.mark.parametrize(
    ("how", "outage_s", "limits"),
    [
        pytest.param("killed", 8.0, {"ready_age_ms": 3_000}, id="short"),
        pytest.param("killed", 180.0, {}, marks=pytest.mark.slow, id="killed"),
        pytest.param("stopped", 180.0, {}, marks=pytest.mark.slow, id="stopped"),
    ],
)
def test_an_outage(cluster: Cluster, tmp_path: Path, how: str, outage_s: float, limits: dict[str, int]) -> None:
    topic = f"outage.{uuid.uuid4().hex[:8]}"
    create_topic(cluster.servers, topic, PARTITIONS)
    within_s = min(15.0, 1.5 * limits.get("ready_age_ms", 10_000) / 1000)
    with daemon_of(cluster, topic, tmp_path, **limits) as daemon:
        daemon.start()
        cluster.feed(topic, "a", *[0.0] * 8, *[9.0] * 8)
        expected = [(f"a{partition}", "firing") for partition in range(PARTITIONS)]
        daemon.wait_until(lambda: alerts(cluster, topic) == expected, "alerts before it")
        daemon.wait_until(lambda: daemon.get("/readyz")[0] == 200, "ready")
        assert daemon.metric("telltale_broker_connected") == 1
        begin = daemon.log_path.stat().st_size
        # Read, and not committed when the broker goes: the commit is due a second later, and nobody responds (D5).
        cluster.feed(topic, "c", *[0.0] * 100)

        cluster.take_away(how)
        gone = time.monotonic()
        daemon.wait_until(lambda: daemon.get("/readyz")[0] == 503, "not ready", within_s)
        daemon.wait_until(lambda: "no broker has responded for" in daemon.get("/readyz")[1], "the reason", within_s)
        time.sleep(max(0.0, outage_s - (time.monotonic() - gone)))
        assert daemon.get("/livez")[0] == 200, "a restart would not bring the broker back"
        assert daemon.metric("telltale_broker_connected") == 0
        assert daemon.metric("telltale_broker_silence_seconds") > outage_s - 10
        assert "telltale_consumer_lag_records{" not in daemon.get("/metrics")[1], "unknown is not 0"

        cluster.bring_back(how)
        away_s = time.monotonic() - gone
        daemon.wait_until(lambda: daemon.get("/readyz")[0] == 200, "ready again", 15.0)
        assert daemon.metric("telltale_broker_connected") == 1
        cluster.feed(topic, "b", *[0.0] * 8, *[9.0] * 8)
        expected += [(f"b{partition}", "firing") for partition in range(PARTITIONS)]
        daemon.wait_until(lambda: alerts(cluster, topic) == expected, "alerts after it")
        time.sleep(1.0)
        said = daemon.events(begin)
        assert [e["event"] for e in said if "Contact" in e["event"]] == [
            "Contact with Kafka lost.",
            "Contact with Kafka is back.",
        ]
        (lost, back) = [e for e in said if "Contact" in e["event"]]
        if how == "killed":  # the cause, not the timeout of our request
            assert lost["reason"] == f"{cluster.servers}: Connection refused"
        assert outage_s - 5 < back["silent_s"] < away_s + 15
        assert len(daemon.log_path.read_bytes()[begin:].splitlines()) <= 20
        assert daemon.stop() == 0
