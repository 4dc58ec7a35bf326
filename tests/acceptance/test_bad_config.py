"""A daemon that can't work exits at once with a helpful message."""

from __future__ import annotations

import socket
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from monitor.backends.kafka import create_topic
from monitor.detector import storage
from tests.acceptance.daemon_process import DaemonProcess
from tests.helpers import make_artifact

# Promised: 10 s. Asserted: what a busy machine may take.
PROMISED_S, ASSERTED_S = 10.0, 45.0


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    storage.save(make_artifact(), tmp_path / "artifact")
    return tmp_path / "artifact"


def refused(directory: Path, code: int, document: dict[str, dict[str, Any]]) -> str:
    """The one message with which the daemon ends."""
    with DaemonProcess(directory / "daemon", document) as daemon:
        started = time.monotonic()
        daemon.start(ready=False)
        found = daemon.wait(ASSERTED_S)
        print(f"ended after {time.monotonic() - started:.1f} s; promised: {PROMISED_S:.0f} s")
        text = daemon.log_path.read_text()
    assert found == code, text
    assert "Traceback" not in text
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("telltale: "))
    assert all(line.startswith("{") for line in lines[:first]), "nothing before it but the log"
    assert not any(line.startswith("telltale: ") for line in lines[first + 1 :]), "one message"
    message = "\n".join(lines[first:])
    print(message)
    return message


def test_every_problem_of_a_file_at_once(tmp_path: Path) -> None:
    message = refused(
        tmp_path,
        78,
        {
            "kafka": {"group_idd": "g", "session_timeout_ms": "6000"},
            "input": {"topics": ["a", "a"], "max_series": 0},
            "alertin": {"open_after": 1},
            "model": {"artifact": "nowhere"},
            "http": {"port": 70_000},
        },
    )
    assert message.startswith(f"telltale: {tmp_path / 'daemon' / 'telltale.toml'}: 7 problems\n")
    for words in (
        'kafka.group_idd: unknown key; did you mean "group_id"?',
        "kafka.session_timeout_ms: input should be a valid integer (found '6000')",
        "input.topics: topic 'a' is listed twice",
        "input.max_series: input should be greater than or equal to 1 (found 0)",
        'alertin: unknown key; did you mean "alerting"?',
        "http.port: input should be less than or equal to 65535 (found 70000)",
        f"model.artifact: {tmp_path / 'daemon' / 'nowhere'}: does not exist; `telltale train` creates one",
    ):
        assert words in message


def test_no_artifact(tmp_path: Path) -> None:
    message = refused(tmp_path, 78, {"model": {"artifact": "../artifact"}})
    assert "model.artifact" in message
    assert "does not exist; `telltale train` creates one" in message


@pytest.mark.parametrize("name", ["manifest.json", "params.safetensors"])
@pytest.mark.parametrize("position", [0.01, 0.5, 0.99])
def test_a_flipped_byte_in_the_artifact(tmp_path: Path, artifact: Path, name: str, position: float) -> None:
    raw = bytearray((artifact / name).read_bytes())
    raw[int(len(raw) * position)] ^= 4
    (artifact / name).write_bytes(raw)
    message = refused(tmp_path, 78, {"model": {"artifact": str(artifact)}})
    assert f"artifact {artifact}: {name}" in message


def test_an_artifact_that_lost_a_file(tmp_path: Path, artifact: Path) -> None:
    (artifact / "params.safetensors").unlink()
    message = refused(tmp_path, 78, {"model": {"artifact": str(artifact)}})
    assert "params.safetensors: named by manifest.json but not there; copy the whole artifact" in message


def test_no_broker(tmp_path: Path, artifact: Path) -> None:
    with socket.socket() as nobody:  # bound, so that no other takes it; not listening, so that nobody responds
        nobody.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{nobody.getsockname()[1]}"
        document: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap_servers": [server]},
            "model": {"artifact": str(artifact)},
        }
        message = refused(tmp_path, 75, document)
    assert server in message
    assert "refused" in message.lower()


def test_a_taken_http_port(tmp_path: Path, artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = refused(tmp_path, 78, {"http": {"port": port}, "model": {"artifact": str(artifact)}})
    assert f"http: can't listen on 127.0.0.1:{port}" in message
    assert "choose another http.port" in message


@pytest.mark.kafka
def test_no_input_topics(tmp_path: Path, artifact: Path, kafka_bootstrap: str) -> None:
    one, two, there = (f"absent.{uuid.uuid4().hex[:8]}" for _ in range(3))
    create_topic(kafka_bootstrap, there, 1)
    document: dict[str, dict[str, Any]] = {
        "kafka": {"bootstrap_servers": [kafka_bootstrap], "group_id": one},
        "input": {"topics": [one, there, two]},
        "output": {"alerts": f"{one}.alerts", "dead_letters": f"{one}.dead", "create_topics": False},
        "model": {"artifact": str(artifact)},
    }
    message = refused(tmp_path, 78, document)
    # every topic that is not there, input and output, and no other
    assert all(name in message for name in (one, two, f"{one}.alerts", f"{one}.dead", f"{one}.state"))
    assert there not in message
    assert message.count("telltale kafka topics create ") == 5


@pytest.mark.kafka
def test_a_compacted_input_topic(tmp_path: Path, artifact: Path, kafka_bootstrap: str) -> None:
    topic = f"compacted.{uuid.uuid4().hex[:8]}"
    create_topic(kafka_bootstrap, topic, 1, topic_settings={"cleanup.policy": "compact"})
    document: dict[str, dict[str, Any]] = {
        "kafka": {"bootstrap_servers": [kafka_bootstrap], "group_id": topic},
        "input": {"topics": [topic]},
        "output": {"alerts": f"{topic}.alerts", "dead_letters": f"{topic}.dead"},
        "model": {"artifact": str(artifact)},
    }
    message = refused(tmp_path, 78, document)
    assert topic in message
    assert "cleanup.policy" in message
