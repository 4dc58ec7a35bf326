"""A model that is slower than its backlog: it commits meanwhile, and a second member can join."""

from __future__ import annotations

import json
import time
import uuid
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka.admin import KafkaAdminClient

from monitor.backends.kafka import FeedProducer, create_topic, read_topic
from monitor.detector import storage
from monitor.detector.architectures import RecurrentSpec
from tests.acceptance.daemon_process import DaemonProcess
from tests.helpers import make_artifact

pytestmark = pytest.mark.kafka

PARTITIONS, RECORDS, SAMPLES = 2, 64, 200
LENGTH = 140


def test_a_slow_model_works_off_its_backlog_while_a_second_daemon_joins(tmp_path: Path, kafka_bootstrap: str) -> None:
    topic = f"slow.{uuid.uuid4().hex[:8]}"
    # Each sample closes a window: a chunk of 200 takes this model about 50 ms, the backlog about 6 s, and one poll
    # takes all of it.
    artifact = make_artifact(
        length=LENGTH, hop=1, threshold=1.5, batch_rows=64, sampling_rate_hz=100.0,
        model=RecurrentSpec(cell="lstm", units=64),
    )  # fmt: skip
    storage.save(artifact, tmp_path / "artifact")
    create_topic(kafka_bootstrap, topic, PARTITIONS)
    rng = np.random.default_rng(5)
    now_ms = int(time.time() * 1000) - RECORDS * SAMPLES * 10
    with FeedProducer(kafka_bootstrap) as producer:
        for number in range(RECORDS):
            for partition in range(PARTITIONS):
                level = 4.0 if number % 32 > 26 else 0.1
                chunk = rng.normal(size=SAMPLES).astype("<f4") * np.float32(level)
                at = now_ms + number * SAMPLES * 10
                producer.send(topic, chunk.tobytes(), b"s%d" % partition, partition=partition, timestamp_ms=at)
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)

    def committed() -> int:
        return sum(max(0, at.offset) for at in admin.list_group_offsets([topic])[topic].values())

    def daemon(name: str) -> DaemonProcess:
        document: dict[str, dict[str, Any]] = {
            "service": {"instance": name},
            "kafka": {"bootstrap_servers": [kafka_bootstrap], "group_id": topic, "session_timeout_ms": 6000},
            "input": {"topics": [topic], "start": "earliest", "format": "f32"},
            "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
            "model": {"artifact": str(tmp_path / "artifact")},
        }
        return DaemonProcess(tmp_path / name, document)

    with daemon("one") as one, daemon("two") as two:
        one.start()
        two.start(ready=False)
        began, seen = time.monotonic(), [0]
        while seen[-1] < PARTITIONS * RECORDS:
            assert time.monotonic() < began + 120, f"committed {seen}\n{one.log_text()}\n{two.log_text()}"
            time.sleep(0.2)
            seen.append(committed())
        assert seen == sorted(seen)
        assert next(filter(None, seen)) < PARTITIONS * RECORDS / 2, f"committed {seen}"
        assert len(set(seen)) > 4, f"committed {seen}"
        two.wait_until(lambda: any(e.get("event") == "Partition assigned." for e in two.events()), "its share")
        assert one.stop() == 0, one.log_text()
        assert two.stop() == 0, two.log_text()
    admin.close()
    alerts = [json.loads(record.value or b"") for record in read_topic(kafka_bootstrap, f"{topic}.alerts")]
    assert len({alert["id"] for alert in alerts}) == len(alerts) >= 4
    lives: dict[str, list[str]] = defaultdict(list)
    for alert in alerts:
        if alert["data"]["status"] != "update":
            lives[alert["subject"]].append(alert["data"]["status"])
    assert sorted(lives) == ["s0", "s1"]
    for statuses in lives.values():
        assert statuses[:2] == ["firing", "resolved"]
        assert all(a != b for a, b in pairwise(statuses)), "each opens and closes once"
