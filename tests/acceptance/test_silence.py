"""A topic of which nothing comes is reported by the daemon, once; one whose broker was away is not."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from monitor.backends.kafka import FeedProducer, create_topic
from tests.acceptance.cluster import Cluster
from tests.helpers import make_artifact

pytestmark = pytest.mark.kafka

ARTIFACT = make_artifact(length=8, hop=8, threshold=1e6)
SENSORS, PERIOD_MS, COUNT = 12, 300, 40
LIMIT_S = 10 * PERIOD_MS / 1000


def feed(cluster: Cluster, topic: str, count: int) -> None:
    """`count` readings of each sensor, the last of them now."""
    now_ms = time.time_ns() // 1_000_000
    with FeedProducer(cluster.servers) as producer:
        for number in range(count):
            for sensor in range(SENSORS):
                at_ms = now_ms - PERIOD_MS * (count - 1 - number)
                value = b'{"value": %d}' % (number % 3)
                producer.send(topic, value, b"s%02d" % sensor, partition=0, timestamp_ms=at_ms)


def published(cluster: Cluster, topic: str) -> list[tuple[str, str]]:
    return [(each["type"], each["data"]["summary"].split(" since ")[0]) for each in cluster.alerts(topic)]


def test_a_silent_topic_is_one_thing_and_an_outage_is_none(cluster: Cluster, tmp_path: Path) -> None:
    topic = f"silence.{uuid.uuid4().hex[:8]}"
    create_topic(cluster.servers, topic, 1)
    fallen = ("io.telltale.quality.digest.v1", f"nothing from any of the {SENSORS} series of {topic}-0")
    back = (fallen[0], f"all {SENSORS} series of {topic}-0 send again")
    quality = {"no_data_least_ms": PERIOD_MS}  # 9 s while a series is new
    with cluster.daemon(topic, tmp_path, ARTIFACT, quality=quality) as daemon:
        daemon.start()
        feed(cluster, topic, COUNT)
        daemon.wait_until(lambda: daemon.metric("telltale_records_consumed_total") == COUNT * SENSORS, "all read")
        daemon.wait_until(lambda: published(cluster, topic) == [fallen], "the silence", LIMIT_S + 20)

        daemon.kill()
        daemon.start()
        time.sleep(LIMIT_S + 3)
        assert published(cluster, topic) == [fallen], "once, whoever asks"
        feed(cluster, topic, 1)
        daemon.wait_until(lambda: published(cluster, topic) == [fallen, back], "the return", 20)

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
        assert published(cluster, topic) == [fallen, back], "nobody was silent"
