"""An artifact that does not fit its topic loses nothing: the partition is held, logged, and later read whole."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from monitor.backends.kafka import FeedProducer, create_topic, read_topic
from monitor.detector import storage
from tests.acceptance.daemon_process import DaemonProcess
from tests.helpers import make_artifact

pytestmark = pytest.mark.kafka

RECORDS = 120


def test_a_wrong_artifact_is_told_and_no_record_is_passed(tmp_path: Path, kafka_bootstrap: str) -> None:
    topic = f"wrong.{uuid.uuid4().hex[:8]}"
    create_topic(kafka_bootstrap, topic, 3)
    storage.save(make_artifact(length=8, hop=4, threshold=0.8, channels=("flow",)), tmp_path / "wrong")
    storage.save(make_artifact(length=8, hop=4, threshold=0.8, channels=("pressure",)), tmp_path / "right")
    with FeedProducer(kafka_bootstrap) as producer:
        for number in range(RECORDS):
            for partition in (0, 1):
                producer.send(topic, b'{"pressure": %f}' % (number % 3), b"p%d" % partition, partition=partition)
            producer.send(topic, b'{"flow": %f}' % (9.0 if number > 60 else 0.0), b"f", partition=2)

    def daemon(name: str, artifact: str, **options: Any) -> DaemonProcess:
        document: dict[str, dict[str, Any]] = {
            "service": {"instance": "one"},
            "kafka": {"bootstrap_servers": [kafka_bootstrap], "group_id": topic, "session_timeout_ms": 6000},
            "input": {"topics": [topic], "start": "earliest", **options},
            "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
            "model": {"artifact": str(tmp_path / artifact)},
        }
        return DaemonProcess(tmp_path / name, document)

    with daemon("first", "wrong") as one:
        one.start(ready=False)
        one.wait_until(lambda: any(e.get("event", "").startswith("Partition held") for e in one.events()), "held")
        hello = next(event for event in one.events() if event.get("event") == "Starting.")
        one._address = hello["http"]
        one.wait_until(lambda: one.metric("telltale_held_partitions") == 2, "both")
        one.wait_until(lambda: one.metric("telltale_alerts_published_total") > 0, "the third partition continues")
        code, text = one.get("/readyz")
        assert code == 503
        assert f"{topic}-0 is held: all of the first 20 records were refused; most often missing_channel" in text
        assert one.get("/livez")[0] == 200, "a restart does not help"
        assert one.stop() == 0
    lines = [event for event in one.events() if event.get("event", "").startswith("Partition held")]
    assert sorted(line["partition"] for line in lines) == [f"{topic}-0", f"{topic}-1"], "once each"
    assert all("missing_channel, as at offset" in line["reason"] for line in lines)
    assert read_topic(kafka_bootstrap, f"{topic}.dead") == []

    with daemon("second", "right", max_rejected_ratio=1) as two:
        two.start()
        two.wait_until(lambda: two.metric("telltale_windows_scored_total") == 2 * (RECORDS // 4 - 1), "all windows")
        assert two.metric("telltale_held_partitions") == 0
        assert two.stop() == 0
