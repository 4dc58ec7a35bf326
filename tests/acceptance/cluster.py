"""A broker that can be taken away and brought back, and the daemons on it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from monitor.backends.kafka import read_topic
from monitor.broker import state
from monitor.broker.cluster import LocalKafka
from monitor.detector import storage
from monitor.detector.artifact import Artifact
from tests.acceptance.daemon_process import DaemonProcess
from tests.integration.broker_processes import SHORT_SESSION


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

    def daemon(self, topic: str, directory: Path, artifact: Artifact, **sections: dict[str, Any]) -> DaemonProcess:
        """A daemon that reads `topic` from its beginning; `sections` are further ones of its configuration."""
        storage.save(artifact, directory / "artifact")
        document: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap_servers": [self.servers], "group_id": topic},
            "input": {"topics": [topic], "start": "earliest"},
            "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
            "model": {"artifact": str(directory / "artifact")},
        }
        return DaemonProcess(directory / "daemon", document | sections)

    def alerts(self, topic: str) -> list[dict[str, Any]]:
        """What that daemon has published."""
        return [json.loads(record.value or b"") for record in read_topic(self.servers, f"{topic}.alerts")]
