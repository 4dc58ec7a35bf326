"""What happens to topics and offsets while no daemon runs: each is logged, counted, and costs no more than it must."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition as KafkaPartition
from kafka.admin import KafkaAdminClient, MemberToRemove

from monitor.backends.kafka import FeedProducer, create_topic, delete_topic, read_topic
from monitor.detector import storage
from tests.acceptance.daemon_process import DaemonProcess
from tests.helpers import make_artifact

pytestmark = pytest.mark.kafka


class Setting:
    """A topic of one partition, and daemons on it, one after the other; windows of 8 samples, every 4."""

    def __init__(self, directory: Path, bootstrap: str) -> None:
        self.directory, self.bootstrap = directory, bootstrap
        self.topic = f"resume.{uuid.uuid4().hex[:8]}"
        storage.save(make_artifact(length=8, hop=4, threshold=0.8), directory / "artifact")
        create_topic(bootstrap, self.topic)

    def daemon(self, name: str, start: str) -> DaemonProcess:
        document: dict[str, dict[str, Any]] = {
            "service": {"name": self.topic, "instance": "one"},
            "kafka": {"bootstrap_servers": [self.bootstrap], "group_id": self.topic, "session_timeout_ms": 6000},
            "input": {"topics": [self.topic], "start": start},
            "output": {"alerts": f"{self.topic}.alerts", "dead_letters": f"{self.topic}.dead"},
            "model": {"artifact": str(self.directory / "artifact")},
        }
        return DaemonProcess(self.directory / name, document)

    def feed(self, *numbers: float) -> None:
        with FeedProducer(self.bootstrap) as producer:
            for number in numbers:
                producer.send(self.topic, b'{"value": %f}' % number, b"pump")

    def alerts(self) -> list[dict[str, Any]]:
        records = read_topic(self.bootstrap, f"{self.topic}.alerts")
        return [json.loads(record.value or b"")["data"] for record in records]

    def first_life(self) -> None:
        """An incident opens, and is open when the daemon stops at offset 16."""
        with self.daemon("first", "earliest") as daemon:
            daemon.start()
            self.feed(*[9.0] * 16)
            daemon.wait_until(lambda: len(self.alerts()) == 1, "an alert")
            daemon.wait_until(lambda: daemon.metric("telltale_records_consumed_total") == 16, "all records")
            assert daemon.stop() == 0

    def admin(self) -> KafkaAdminClient:
        return KafkaAdminClient(bootstrap_servers=self.bootstrap)


@pytest.fixture
def setting(tmp_path: Path, kafka_bootstrap: str) -> Setting:
    made = Setting(tmp_path, kafka_bootstrap)
    made.first_life()
    return made


def errors(daemon: DaemonProcess) -> list[dict[str, Any]]:
    return [event for event in daemon.events() if event.get("level") == "error"]


def resumed(daemon: DaemonProcess, reason: str) -> float:
    return daemon.metric("telltale_partitions_resumed_total", reason=reason)


def test_a_topic_that_is_made_again_ends_its_incidents_and_is_read_from_its_beginning(setting: Setting) -> None:
    admin = setting.admin()
    delete_topic(setting.bootstrap, setting.topic)
    while admin.describe_topics([setting.topic])[0]["error_code"] == 0:
        pass
    admin.close()
    create_topic(setting.bootstrap, setting.topic)
    setting.feed(*[9.0] * 20)  # so that the old offset exists in the new topic as well
    with setting.daemon("second", "latest") as daemon:
        daemon.start()
        daemon.wait_until(lambda: len(setting.alerts()) == 3, "the end, and a new incident")
        assert resumed(daemon, "topic_recreated") == 1
        assert daemon.metric("telltale_incidents_abandoned_total", reason="topic_recreated") == 1
        assert daemon.metric("telltale_records_consumed_total") == 20
        assert daemon.stop() == 0
    assert "deleted and recreated" in errors(daemon)[0]["event"]
    opened, ended, again = setting.alerts()
    assert (ended["status"], ended["reason"]) == ("resolved", "topic_recreated")
    assert ended["fingerprint"] == opened["fingerprint"]
    assert (again["status"], again["kafka"]["first_offset"]) == ("firing", 0)


def test_retention_that_overtook_the_group_costs_what_it_deleted_and_no_more(setting: Setting) -> None:
    setting.feed(*[9.0] * 10, *[0.01] * 30)
    admin = setting.admin()
    admin.delete_records({KafkaPartition(setting.topic, 0): 22})
    admin.close()
    with setting.daemon("second", "latest") as daemon:
        daemon.start()
        daemon.wait_until(lambda: len(setting.alerts()) == 2, "the incident's end")
        daemon.wait_until(lambda: daemon.metric("telltale_records_consumed_total") == 34, "all that is left")
        assert daemon.metric("telltale_records_lost_total") == 6
        assert resumed(daemon, "records_deleted") == 1
        assert daemon.stop() == 0
    said = errors(daemon)[0]
    assert (said["records"], said["offset"]) == (6, 22)
    ended = setting.alerts()[1]
    assert (ended["status"], ended["reason"]) == ("resolved", "recovered")


def test_without_the_groups_offset_the_state_says_where_to_go_on(setting: Setting) -> None:
    admin = setting.admin()
    admin.remove_group_members(setting.topic, [MemberToRemove(group_instance_id="one")])
    assert admin.delete_groups([setting.topic]) == {setting.topic: "OK"}
    admin.close()
    setting.feed(*[0.01] * 30)
    with setting.daemon("second", "latest") as daemon:
        daemon.start()
        daemon.wait_until(lambda: len(setting.alerts()) == 2, "the incident's end")
        daemon.wait_until(lambda: daemon.metric("telltale_records_consumed_total") == 30, "what was not decided yet")
        assert resumed(daemon, "offset_missing") == 1
        assert daemon.metric("telltale_starts_without_state_total") == 0
        assert daemon.stop() == 0
    assert "continuing from the last checkpoint" in errors(daemon)[0]["event"]
    assert [alert["status"] for alert in setting.alerts()] == ["firing", "resolved"]
