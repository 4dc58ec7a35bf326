"""The list of jars, and that nothing else reaches a class path."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath

import pytest

from monitor.broker import jars
from monitor.errors import BrokerError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TELLTALE_CACHE", str(tmp_path))
    return tmp_path / f"kafka-{jars.KAFKA_VERSION}"


def put(cache: Path, content: bytes) -> jars.Jar:
    """A jar in the cache, as the list names it."""
    jar = jars.Jar(path=PurePosixPath("org/x/a/1/a-1.jar"), sha256=hashlib.sha256(content).hexdigest())
    (cache / jar.path).parent.mkdir(parents=True)
    (cache / jar.path).write_bytes(content)
    return jar


def unexpected(sentence: str) -> None:
    raise AssertionError(f"nothing is to be fetched: {sentence}")


def test_the_committed_list() -> None:
    listed = jars.read_list()
    coordinates = [jar.coordinate for jar in listed]
    assert jars.KAFKA in coordinates
    assert jars.BINDING in coordinates
    assert len(set(coordinates)) == len(listed) > 40
    assert [jar.path for jar in listed] == sorted(jar.path for jar in listed)
    for jar in listed:
        assert jar.path.name == f"{jar.path.parts[-3]}-{jar.path.parts[-2]}.jar"
        assert len(bytes.fromhex(jar.sha256)) == 32
    versions = {jar.path.parts[-2] for jar in listed if jar.path.parts[:3] == ("org", "apache", "kafka")}
    assert versions == {jars.KAFKA_VERSION}, "one Kafka"
    log4j = {jar.path.parts[-2] for jar in listed if jar.path.parts[:3] == ("org", "apache", "logging")}
    assert len(log4j) == 1, "the binding is that of the log4j which Kafka brings"


def test_jars_that_are_there_are_not_fetched(cache: Path) -> None:
    jar = put(cache, b"right")
    assert jars.class_path(unexpected, jars=[jar]) == str(cache / jar.path)


def test_a_jar_that_differs_is_refused(cache: Path) -> None:
    jar = put(cache, b"right")
    (cache / jar.path).write_bytes(b"wrong")
    with pytest.raises(BrokerError, match=rf"{cache / jar.path}: rejected, .* expected {jar.sha256}\. Remove the file"):
        jars.class_path(unexpected, jars=[jar])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_jar_that_cannot_be_read(cache: Path) -> None:
    jar = put(cache, b"right")
    (cache / jar.path).chmod(0)
    with pytest.raises(BrokerError, match="can't be read"):
        jars.class_path(unexpected, jars=[jar])


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TELLTALE_CACHE", str(tmp_path / "file"))
    jar = jars.Jar(path=PurePosixPath("org/x/a/1/a-1.jar"), sha256="0" * 64)
    with pytest.raises(BrokerError, match="name a writable directory in TELLTALE_CACHE"):
        jars.class_path(lambda _: None, jars=[jar])


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELLTALE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert jars.cache_dir() == Path(f"/xdg/telltale/kafka-{jars.KAFKA_VERSION}")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert jars.cache_dir() == Path(f"/home/me/.cache/telltale/kafka-{jars.KAFKA_VERSION}")
    monkeypatch.setenv("TELLTALE_CACHE", "/mine")
    assert jars.cache_dir() == Path(f"/mine/kafka-{jars.KAFKA_VERSION}")
