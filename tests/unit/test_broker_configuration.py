"""What a broker is told, and the memory that it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitor.broker import configuration, memory
from monitor.broker.cluster import LocalKafka
from monitor.broker.state import BrokerState, ClusterState
from monitor.errors import BrokerError


def cluster(brokers: int, **settings: str) -> ClusterState:
    return ClusterState(
        cluster_id="x",
        phase="stopped",
        actor=None,
        heap_mb=512,
        settings=settings,
        brokers=tuple(BrokerState(node=n, port=9091 + n, controller_port=20000 + n) for n in range(1, brokers + 1)),
    )


@pytest.mark.parametrize(("brokers", "replicas", "in_sync"), [(1, "1", "1"), (3, "3", "2")])
def test_replication_follows_the_number_of_brokers(brokers: int, replicas: str, in_sync: str) -> None:
    state = cluster(brokers)
    properties = configuration.server_properties(state, state.brokers[-1], Path("/data"), Path("/data"))
    for key in ("default", "offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        assert properties[f"{key}.replication.factor"] == replicas
    for key in ("min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"):
        assert properties[key] == in_sync
    assert properties["node.id"] == str(brokers)
    assert properties["controller.quorum.voters"].count("@127.0.0.1:2000") == brokers


def test_all_listeners_are_on_loopback() -> None:
    state = cluster(1)
    properties = configuration.server_properties(state, state.brokers[0], Path("/data"), Path("/data"))
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:20001"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9092"


def test_the_users_settings_are_on_top_but_not_who_the_broker_is() -> None:
    state = cluster(1, **{"auto.create.topics.enable": "true"})
    properties = configuration.server_properties(state, state.brokers[0], Path("/data"), Path("/data"))
    assert properties["auto.create.topics.enable"] == "true"
    for key in configuration.FIXED:
        assert key in properties
        with pytest.raises(BrokerError, match=rf"--set {key}: Telltale sets this itself"):
            configuration.check_settings({key: "x"})
    for key in ("", "a b", "a=b", "a:b", "a\n"):
        with pytest.raises(BrokerError, match="not the name of a Kafka setting"):
            configuration.check_settings({key: "x"})


def test_properties_are_escaped_as_java_reads_them() -> None:
    # java.util.Properties: backslash escapes, blanks before the value are skipped, the file is ISO 8859-1.
    values = {"a": r"C:\x", "b": " blank", "c": "ü\n𝄞", "d": "=#!:", "e": ""}
    assert configuration.render(values) == (
        b"a=C:\\\\x\n" + b"b=\\ blank\n" + b"c=\\u00fc\\u000a\\ud834\\udd1e\n" + b"d==#!:\n" + b"e=\n"
    )


def test_the_command_line_shows_whose_it_is() -> None:
    command = configuration.broker_command(
        "java", "a.jar:b.jar", heap_mb=200, data_dir=Path("/data dir"), log=Path("/l.log"), properties=Path("/p")
    )
    assert command[0] == "java"
    assert command[-4:] == ["-cp", "a.jar:b.jar", "kafka.Kafka", "/p"]
    assert {"-Xmx200m", "-Dtelltale.data=/data dir", "-Dtelltale.log=/l.log"} < set(command)
    assert configuration.LOG4J_FILE.exists()


@pytest.mark.parametrize(
    ("text", "megabytes"), [("512m", 512), ("1g", 1024), ("1G", 1024), ("300", 300), ("1 GB", 1024)]
)
def test_heap(text: str, megabytes: int) -> None:
    assert memory.parse_heap(text) == megabytes


@pytest.mark.parametrize("text", ["", "much", "1t", "-1m", "1.5g", "63m"])
def test_heap_that_is_none(text: str) -> None:
    with pytest.raises(BrokerError, match="--heap"):
        memory.parse_heap(text)


def test_memory_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.available_mb() is None
    memory.check_available(3, 100_000)  # nobody knows: let it be tried
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048000 kB\n")
    assert memory.available_mb() == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_mb() == 2000
    (tmp_path / "memory.max").write_text(f"{1000 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{900 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {600 << 20}\n")
    assert memory.available_mb() == 700
    memory.check_available(1, 512)
    with pytest.raises(BrokerError, match=r"3 brokers with 384m of heap each may need 1542 MiB, 700 MiB are"):
        memory.check_available(3, 384)


def test_what_can_never_be_started_is_refused_at_once(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [{"brokers": 2}, {"port": -1}, {"port": 65534}, {"heap_mb": 1}]
    for arguments in [*wrong, {"settings": {"node.id": "7"}}]:
        with pytest.raises(BrokerError):
            LocalKafka(tmp_path, **arguments)
    with pytest.raises(BrokerError, match="comma"):
        LocalKafka(tmp_path / "a,b")
    with pytest.raises(BrokerError, match="no broker was ever started there"):
        _ = LocalKafka(tmp_path).bootstrap_servers
