"""SIGTERM while no broker responds: the stop takes a limited time, and a successor processes what was not committed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from monitor.backends.kafka import FeedProducer, create_topic, read_topic
from monitor.broker.cluster import LocalKafka
from monitor.detector import storage
from tests.acceptance.daemon_process import DaemonProcess
from tests.helpers import make_artifact
from tests.integration.broker_processes import brokers_of
from tests.kafka_fixture import require_kafka

pytestmark = pytest.mark.kafka

BOUND_S = 3.0
# To notice, to log, and for a busy machine
SLACK_S = 2.0


def stop_within_bound(daemon: DaemonProcess) -> int:
    began = time.monotonic()
    code = daemon.stop()
    assert time.monotonic() - began < BOUND_S + SLACK_S, daemon.log_text()
    return code


def test_a_stop_is_bounded_while_no_broker_responds(tmp_path: Path) -> None:
    require_kafka()
    storage.save(make_artifact(length=8, hop=4, threshold=0.8), tmp_path / "artifact")
    with LocalKafka(tmp_path / "kafka", port=0) as kafka:
        bootstrap = kafka.bootstrap_servers
        (broker,) = brokers_of(tmp_path / "kafka")
        document: dict[str, dict[str, Any]] = {
            "service": {"instance": "one"},
            "kafka": {"bootstrap_servers": [bootstrap], "group_id": "stopping", "session_timeout_ms": 6000},
            "input": {"start": "earliest"},
            "model": {"artifact": str(tmp_path / "artifact")},
            "limits": {"shutdown_timeout_ms": int(1000 * BOUND_S)},
        }
        create_topic(bootstrap, "telltale.input")
        with FeedProducer(bootstrap) as producer:
            for value in [0.0] * 9 + [9.0] * 9:
                producer.send("telltale.input", b'{"value": %f}' % value, b"a")
        with DaemonProcess(tmp_path / "running", document) as daemon:
            daemon.start()
            daemon.wait_until(lambda: daemon.metric("telltale_records_consumed_total") == 18, "all records")
            os.kill(broker, signal.SIGSTOP)
            assert stop_within_bound(daemon) == 75, "the last commit was not confirmed"
        with DaemonProcess(tmp_path / "starting", document) as daemon:
            daemon.start(ready=False)
            daemon.wait_until(lambda: any(e.get("event") == "Starting." for e in daemon.events()), "a start")
            assert stop_within_bound(daemon) == 75
        os.kill(broker, signal.SIGCONT)
        with DaemonProcess(tmp_path / "after", document) as daemon:
            daemon.start()
            daemon.wait_until(lambda: daemon.metric("telltale_consumer_lag_records") == 0, "caught up")
            assert stop_within_bound(daemon) == 0, daemon.log_text()
        alerts = [json.loads(record.value or b"") for record in read_topic(bootstrap, "telltale.alerts")]
        assert [(alert["subject"], alert["data"]["status"]) for alert in alerts] == [("a", "firing")]
