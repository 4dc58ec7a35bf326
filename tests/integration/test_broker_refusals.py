"""What the local broker refuses, and that it says why in words a person can act on."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.broker import jars
from monitor.broker.cluster import LocalKafka
from monitor.errors import BrokerError
from tests.integration.broker_processes import COMMAND, brokers_of, clear_away, telltale_kafka
from tests.kafka_fixture import require_kafka

pytestmark = pytest.mark.kafka

GIB = 1 << 30


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    require_kafka()
    yield tmp_path / "kafka"
    clear_away(tmp_path / "kafka")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that holds every jar, as links to the real one's."""
    jars.class_path(lambda _: None)
    for jar in jars.read_list():
        link = tmp_path / "cache" / f"kafka-{jars.KAFKA_VERSION}" / jar.path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(jars.cache_dir() / jar.path)
    return tmp_path / "cache"


def test_port_taken(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        started = telltale_kafka("start", "--data", data_dir, "--port", str(port))
    assert started.returncode == 75
    assert started.stderr.startswith(f"telltale: port {port} is taken by pid {os.getpid()} (")
    assert started.stderr.endswith("; choose another with --port, or any that is free with --port 0\n")


def test_jar_that_differs(data_dir: Path, cache: Path) -> None:
    jar = jars.read_list()[0]
    path = cache / f"kafka-{jars.KAFKA_VERSION}" / jar.path
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.unlink()
    path.write_bytes(content)
    environment = {**os.environ, "TELLTALE_CACHE": str(cache)}
    started = telltale_kafka("start", "--data", data_dir, "--port", "0", environment=environment)
    assert started.returncode == 75
    assert started.stderr.startswith(f"telltale: {path}: rejected, it is not the jar that Telltale was tested with")
    assert jar.sha256 in started.stderr
    assert brokers_of(data_dir) == []


def test_jar_that_cannot_be_fetched(data_dir: Path, cache: Path, tmp_path: Path) -> None:
    """Without a network, with one jar absent: as on the first start."""
    jar = jars.read_list()[0]
    (cache / f"kafka-{jars.KAFKA_VERSION}" / jar.path).unlink()
    nowhere = dict.fromkeys(("https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **nowhere, "no_proxy": "", "TELLTALE_CACHE": str(cache)}
    started = telltale_kafka("start", "--data", data_dir, "--port", "0", environment=environment)
    assert started.returncode == 75
    assert f"Downloading Apache Kafka {jars.KAFKA_VERSION} (1 jars) to {cache}" in started.stderr
    assert f"Tried 3 times to get {jar.coordinate}: ProxyError" in started.stderr
    assert "once, for about 45 MB" in started.stderr
    assert not list((cache / f"kafka-{jars.KAFKA_VERSION}").glob("fetch-*"))


def test_more_heap_than_there_is(data_dir: Path) -> None:
    with pytest.raises(BrokerError, match=r"not enough memory: a broker with 10000000m of heap may need"):
        LocalKafka(data_dir, port=0, heap_mb=10_000_000).start()


def test_java_gets_no_memory(data_dir: Path) -> None:
    """The system refuses what the machine seemed to have: Java's own words, and what to do."""
    start = ["start", "--data", str(data_dir), "--port", "0"]
    started = subprocess.run(
        # The shell sets the limit: Python's way, preexec_fn, forks a process in which JAX may have threads.
        ["sh", "-c", f'ulimit -v {GIB // 1024} && exec "$@"', "sh", *COMMAND, *start],
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 75
    assert "Error occurred during initialization of VM" in started.stderr
    assert "Java did not get its memory: close other programs, or choose another --heap" in started.stderr


def test_setting_that_is_wrong_is_not_remembered(data_dir: Path) -> None:
    wrong = telltale_kafka("start", "--data", data_dir, "--port", "0", "--set", "num.io.threads=many")
    assert wrong.returncode == 75
    assert "ConfigException: Invalid value many for configuration num.io.threads" in wrong.stderr
    assert "see what was given with --set" in wrong.stderr
    assert "\tat " not in wrong.stderr
    assert brokers_of(data_dir) == []
    assert LocalKafka(data_dir).status().notes == ()
    assert telltale_kafka("start", "--data", data_dir).returncode == 0

    foreign = LocalKafka(data_dir)
    foreign.stop()
    meta = data_dir / "broker-1" / "storage" / "meta.properties"
    meta.write_text(meta.read_text().replace("cluster.id=", "cluster.id=x"))
    with pytest.raises(BrokerError, match="was formatted by another cluster"):
        foreign.start()
    assert not foreign.status().running


def test_directory_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(BrokerError, match="holds files that are not a local broker's"):
        LocalKafka(tmp_path, port=0).start()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match="the broker's data can't be kept there"):
        LocalKafka(tmp_path / "file" / "kafka", port=0).start()
