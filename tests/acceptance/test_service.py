"""The daemon as a service: ready, live, stopped, restarted, and never twice under one name."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from monitor.backends.kafka import FeedProducer, create_topic, read_topic
from monitor.detector import storage
from tests.acceptance.daemon_process import DaemonProcess
from tests.helpers import make_artifact

pytestmark = pytest.mark.kafka

ARTIFACT = make_artifact(length=8, hop=4, threshold=0.8)


class Setting:
    """A topic of two partitions, a group, and a daemon's configuration."""

    def __init__(self, directory: Path, bootstrap: str) -> None:
        self.directory, self.bootstrap = directory, bootstrap
        self.topic = f"service.{uuid.uuid4().hex[:8]}"
        storage.save(ARTIFACT, directory / "artifact")
        create_topic(bootstrap, self.topic, 2)

    def daemon(self, name: str, instance: str = "one") -> DaemonProcess:
        return DaemonProcess(
            self.directory / name,
            {
                "service": {"instance": instance},
                "kafka": {
                    "bootstrap_servers": [self.bootstrap],
                    "group_id": self.topic,
                    "session_timeout_ms": 6000,
                    "transaction_timeout_ms": 10_000,
                },
                "input": {"topics": [self.topic], "start": "earliest"},
                "output": {"alerts": f"{self.topic}.alerts", "dead_letters": f"{self.topic}.dead"},
                "model": {"artifact": str(self.directory / "artifact")},
                "limits": {"checkpoint_interval_ms": 60_000},  # only a graceful stop writes one
            },
        )

    def feed(self, series: str, *numbers: float) -> None:
        with FeedProducer(self.bootstrap) as producer:
            for number in numbers:
                producer.send(self.topic, b'{"value": %f}' % number, series.encode())

    def statuses(self) -> list[tuple[str, str]]:
        records = read_topic(self.bootstrap, f"{self.topic}.alerts")
        return sorted((a["subject"], a["data"]["status"]) for a in (json.loads(r.value or b"") for r in records))


@pytest.fixture
def setting(tmp_path: Path, kafka_bootstrap: str) -> Setting:
    return Setting(tmp_path, kafka_bootstrap)


def assigned(daemon: DaemonProcess) -> list[dict[str, Any]]:
    return [event for event in daemon.events() if event.get("event") == "Partition assigned."]


def test_a_life(setting: Setting) -> None:
    with setting.daemon("first") as daemon:
        daemon.start()
        assert daemon.get("/livez") == (200, "ok\n")
        assert daemon.get("/readyz")[0] == 200
        setting.feed("a", *[0.0] * 9, *[9.0] * 9)
        setting.feed("b", *[0.0] * 6)
        daemon.wait_until(lambda: daemon.metric("telltale_records_consumed_total") == 24, "all records")
        daemon.wait_until(lambda: setting.statuses() == [("a", "firing")], "an alert that can be read")
        assert daemon.metric("telltale_windows_scored_total") == 3, "of 18 samples: 0-7, 4-11, 8-15; b has none yet"
        assert daemon.metric("telltale_compilations_total") == 2
        assert daemon.metric("telltale_incidents_open") in {0, 1}  # looked at once a second
        assert daemon.stop() == 0
    lines = daemon.log_path.read_text().splitlines()
    events = [json.loads(line) for line in lines]  # every line of it is JSON
    assert all({"event", "level", "timestamp"} <= event.keys() for event in events)
    said = [event["event"] for event in events]
    assert said[0] == "Starting."
    assert said[-1] == "Stopped."
    assert not [event for event in events if event["level"] in ("error", "critical")]

    with setting.daemon("second") as daemon:
        daemon.start()
        taken = assigned(daemon)
        assert sorted(event["offset"] for event in taken) in ([0, 24], [6, 18])
        assert [event["replayed"] for event in taken] == [0, 0], "the last one left a checkpoint"
        # the window of b began before the restart, and the incident of a is still known
        setting.feed("b", 9.0, 9.0)
        setting.feed("a", *[0.0] * 30)
        daemon.wait_until(lambda: daemon.metric("telltale_alerts_published_total") == 2, "two alerts")
        assert daemon.metric("telltale_records_replayed_total") == 0
        assert daemon.stop() == 0
    assert setting.statuses() == [("a", "firing"), ("a", "resolved"), ("b", "firing")]


def test_killed_it_reads_again_and_tells_nothing_twice(setting: Setting) -> None:
    with setting.daemon("first") as daemon:
        daemon.start()
        setting.feed("a", *[0.0] * 9, *[9.0] * 9)
        # The metric counts what was decided; only what can be read is committed.
        daemon.wait_until(lambda: setting.statuses() == [("a", "firing")], "an alert")
        daemon.kill()
    with setting.daemon("second") as daemon:
        daemon.start()
        setting.feed("a", *[0.0] * 30)
        daemon.wait_until(lambda: daemon.metric("telltale_alerts_published_total", status="resolved") == 1, "its end")
        assert max(event["replayed"] for event in assigned(daemon)) > 0
        assert daemon.stop() == 0
    assert setting.statuses() == [("a", "firing"), ("a", "resolved")]


def test_two_of_one_name_the_first_is_fenced_and_says_what_to_do(setting: Setting) -> None:
    with setting.daemon("first") as first, setting.daemon("second") as second:
        first.start()
        second.start(ready=False)
        started = time.monotonic()
        while True:  # its next commit, or poll, shows it
            setting.feed("a", 0.0)
            try:
                code = first.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                assert time.monotonic() - started < 60, first.log_text()
        assert code == 78, first.log_text()
        last = first.log_path.read_text().splitlines()[-1]
        assert last.startswith("telltale: ")
        assert "service.instance" in last
        assert "Traceback" not in first.log_path.read_text()
        # The first may have taken the transactional id back before the group knew of the second, whose first commit
        # then has an unknown outcome: it has taken over once one is through. Stopped before, it leaves with 75.
        second.wait_ready()
        second.wait_until(lambda: second.metric("telltale_commits_total") > 0, "a commit of the second")
        code = second.stop()
        assert code == 0, second.log_text()


def test_two_of_different_names_share_the_work(setting: Setting) -> None:
    with setting.daemon("first", "one") as first, setting.daemon("second", "two") as second:
        first.start()
        second.start(timeout_s=90)
        first.wait_until(lambda: first.metric("telltale_assigned_partitions") == 1, "one partition each")
        for series in ("a", "b", "c", "d"):
            setting.feed(series, *[9.0] * 8)
        first.wait_until(
            lambda: sum(d.metric("telltale_alerts_published_total") for d in (first, second)) == 4, "four alerts"
        )
        assert first.stop() == 0
        assert second.stop() == 0
    assert setting.statuses() == [(series, "firing") for series in "abcd"]
