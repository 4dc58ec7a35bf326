"""A broker goes down and comes back: what the daemon logs and reports meanwhile, and how much."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from monitor.backends.kafka import FeedProducer, create_topic
from tests.acceptance.cluster import Cluster
from tests.helpers import make_artifact

pytestmark = pytest.mark.kafka

ARTIFACT = make_artifact(length=8, hop=4, threshold=0.8)
PARTITIONS = 8
MOVES = ("Partition assigned.", "Partition revoked.")


def feed(cluster: Cluster, topic: str, series: str, *numbers: float) -> None:
    with FeedProducer(cluster.servers) as producer:
        for partition in range(PARTITIONS):
            for number in numbers:
                key = f"{series}{partition}".encode()
                producer.send(topic, b'{"value": %f}' % number, key, partition=partition)


def alerts(cluster: Cluster, topic: str) -> list[tuple[str, str]]:
    return sorted((each["subject"], each["data"]["status"]) for each in cluster.alerts(topic))


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
    with cluster.daemon(topic, tmp_path, ARTIFACT, limits=limits) as daemon:
        daemon.start()
        feed(cluster, topic, "a", *[0.0] * 8, *[9.0] * 8)
        expected = [(f"a{partition}", "firing") for partition in range(PARTITIONS)]
        daemon.wait_until(lambda: alerts(cluster, topic) == expected, "alerts before it")
        daemon.wait_until(lambda: daemon.get("/readyz")[0] == 200, "ready")
        assert daemon.metric("telltale_broker_connected") == 1
        begin = daemon.log_path.stat().st_size
        # Read, and not committed when the broker goes: the commit is due a second later, and nobody responds (D5).
        feed(cluster, topic, "c", *[0.0] * 100)

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
        feed(cluster, topic, "b", *[0.0] * 8, *[9.0] * 8)
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
        # A member whose session ended meanwhile says which partitions it lost and has again: each once, or none.
        moves = [(e["event"], e["partition"]) for e in said if e["event"] in MOVES]
        assert sorted(moves) in ([], [(event, f"{topic}-{number}") for event in MOVES for number in range(PARTITIONS)])
        assert len(daemon.log_path.read_bytes()[begin:].splitlines()) - len(moves) <= 20
        assert daemon.stop() == 0
