"""A topic of which nothing comes is reported by the daemon, once; one whose broker was away is not."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.backends.kafka import FeedProducer, create_topic, read_topic
from monitor.detector import storage
from tests.acceptance.daemon_process import DaemonProcess
from tests.acceptance.test_outage import Cluster
from tests.helpers import make_artifact
from tests.kafka_fixture import require_kafka

pytestmark = pytest.mark.kafka

ARTIFACT = make_artifact(length=8, hop=8, threshold=1e6)
SENSORS, PERIOD_MS, COUNT = 12, 300, 40
LIMIT_S = 10 * PERIOD_MS / 1000


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    require_kafka()
    made = Cluster(tmp_path / "kafka")
    yield made
    made.kafka.stop()


def daemon_of(cluster: Cluster, topic: str, directory: Path) -> DaemonProcess:
    storage.save(ARTIFACT, directory / "artifact")
    return DaemonProcess(
        directory / "daemon",
        {
            "kafka": {"bootstrap_servers": [cluster.servers], "group_id": topic},
            "input": {"topics": [topic], "start": "earliest"},
            "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
            "model": {"artifact": str(directory / "artifact")},
            "quality": {"no_data_least_ms": PERIOD_MS},  # 9 s while a series is new
        },
    )


def feed(cluster: Cluster, topic: str, count: int) -> None:
    """`count` readings of each sensor, the last of them now."""
    now_ms = time.time_ns() // 1_000_000
    with FeedProducer(cluster.servers) as producer:
        for number in range(count):
            for sensor in range(SENSORS):
                at_ms = now_ms - PERIOD_MS * (count - 1 - number)
                value = b'{"value": %d}' % (number % 3)
                producer.send(topic, value, b"s%02d" % sensor, partition=0, timestamp_ms=at_ms)


def told(cluster: Cluster, topic: str) -> list[tuple[str, str]]:
    found = [json.loads(each.value or b"") for each in read_topic(cluster.servers, f"{topic}.alerts")]
    return [(each["type"], each["data"]["summary"].split(" since ")[0]) for each in found]


def test_a_silent_topic_is_one_thing_and_an_outage_is_none(cluster: Cluster, tmp_path: Path) -> None:
    topic = f"silence.{uuid.uuid4().hex[:8]}"
    create_topic(cluster.servers, topic, 1)
    fallen = ("io.telltale.quality.digest.v1", f"nothing from any of the {SENSORS} series of {topic}-0")
    back = (fallen[0], f"all {SENSORS} series of {topic}-0 send again")
    with daemon_of(cluster, topic, tmp_path) as daemon:
        daemon.start()
        feed(cluster, topic, COUNT)
        daemon.wait_until(lambda: daemon.metric("telltale_records_consumed_total") == COUNT * SENSORS, "all read")
        daemon.wait_until(lambda: told(cluster, topic) == [fallen], "the silence", LIMIT_S + 20)

        daemon.kill()
        daemon.start()
        time.sleep(LIMIT_S + 3)
        assert told(cluster, topic) == [fallen], "once, whoever asks"
        feed(cluster, topic, 1)
        daemon.wait_until(lambda: told(cluster, topic) == [fallen, back], "the return", 20)

        time.sleep(1)
        cluster.take_away("killed")
        time.sleep(LIMIT_S + 3)
        cluster.bring_back("killed")
        daemon.wait_until(lambda: daemon.get("/readyz")[0] == 200, "ready again")
        time.sleep(4)
        read = daemon.metric("telltale_records_consumed_total")
        feed(cluster, topic, 1)
        daemon.wait_until(lambda: daemon.metric("telltale_records_consumed_total") == read + SENSORS, "read again")
        time.sleep(2)
        assert told(cluster, topic) == [fallen, back], "nobody was silent"
