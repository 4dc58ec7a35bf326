"""The client of a schema registry against a server that speaks the registry's protocol: what it says of each answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.broker.certificates import Authority
from monitor.config.connections import SchemaRegistryOptions
from monitor.errors import ConfigError, SchemaRegistryError
from monitor.formats.schemas import Reference, Schema
from monitor.serving import schema_registry
from monitor.serving.schema_registry import SchemaRegistry, check_access
from tests.kafka_fixture import require_kafka
from tests.schema_registry import SchemaRegistryServer

LONG = json.dumps("long")


@pytest.fixture
def server() -> Iterator[SchemaRegistryServer]:
    with SchemaRegistryServer() as found:
        yield found


def client(server: SchemaRegistryServer, **options: Any) -> SchemaRegistry:
    return SchemaRegistry(SchemaRegistryOptions.model_validate({"urls": [server.url], "timeout_ms": 2_000} | options))


def failure(server: SchemaRegistryServer, **options: Any) -> SchemaRegistryError:
    with pytest.raises(SchemaRegistryError) as caught:
        client(server, **options).schema(1)
    assert str(caught.value) == f"{caught.value.reason}; {caught.value.remedy}"
    return caught.value


def test_a_schema_by_id(server: SchemaRegistryServer) -> None:
    server.register("long")
    server.register('syntax = "proto3";', kind="PROTOBUF")
    found = client(server)
    assert found.schema(1) == Schema("AVRO", "long")
    assert found.schema(2) == Schema("PROTOBUF", 'syntax = "proto3";')
    assert server.requests == ["/schemas/ids/1", "/schemas/ids/2"]


def test_references_come_innermost_first_and_once(server: SchemaRegistryServer) -> None:
    server.register("unit", subject="plant/unit")
    server.register("site", subject="site", references=[("Unit", "plant/unit", 1)])
    server.register("pump", subject="pump", references=[("Unit", "plant/unit", 1)])
    both = [("Site", "site", 1), ("Pump", "pump", 1), ("Unit", "plant/unit", 1)]
    number = server.register("all", references=both)
    found = client(server).schema(number)
    references = (Reference("Unit", "unit"), Reference("Site", "site"), Reference("Pump", "pump"))
    assert found == Schema("AVRO", "all", references)
    assert "/subjects/plant%2Funit/versions/1?deleted=true" in server.requests
    assert len(server.requests) == 4


def test_a_schema_that_is_not_there_is_the_records_fault(server: SchemaRegistryServer) -> None:
    found = client(server).schema(7)
    assert isinstance(found, str)
    assert "no schema with id 7" in found
    assert "40403 Schema not found" in found
    assert "register it again, or correct schema_registry.urls" in found


@pytest.mark.parametrize(("subject", "version", "code"), [("other", 1, 40401), ("unit", 2, 40402)])
def test_a_reference_that_is_not_there(server: SchemaRegistryServer, subject: str, version: int, code: int) -> None:
    server.register("unit", subject="unit")
    number = server.register("pump", references=[("Unit", subject, version)])
    found = client(server).schema(number)
    assert isinstance(found, str)
    assert f"schema {number} refers to others that can't be had" in found
    assert str(code) in found


def test_references_without_end(server: SchemaRegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.register("a", subject="a", references=[("B", "b", 1)])
    server.register("b", subject="b", references=[("A", "a", 1)])
    found = client(server).schema(1)
    assert isinstance(found, Schema)
    assert [name for name, _ in found.references] == ["A", "B"]
    monkeypatch.setattr(schema_registry, "MOST_REFERENCES", 1)
    found = client(server).schema(1)
    assert isinstance(found, str)
    assert "more than 1" in found


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_in_trouble(server: SchemaRegistryServer, status: int) -> None:
    server.failing = status
    error = failure(server)
    assert f"answers {status}" in error.reason
    assert "(Error in the backend data store)" in error.reason
    assert "log" in error.remedy
    assert not error.refused


def test_credentials(server: SchemaRegistryServer, tmp_path: Path) -> None:
    server.credentials = ("telltale", "s3cret")
    server.register("long")
    error = failure(server)
    assert "401 Unauthorized" in error.reason
    assert "schema_registry.username" in error.remedy
    assert error.refused
    path = tmp_path / "password"
    path.write_text("wrong\n")
    path.chmod(0o600)
    options = {"username": "telltale", "password_file": str(path)}
    assert "401" in failure(server, **options).reason
    path.write_text("s3cret\n")
    assert client(server, **options).schema(1) == Schema("AVRO", "long")
    assert client(server, username="telltale", password="s3cret").schema(1) == Schema("AVRO", "long")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"schema_registry\.password_file: .* mode 0644"):
        client(server, **options)


def test_no_password_follows_a_redirect(server: SchemaRegistryServer) -> None:
    with SchemaRegistryServer() as elsewhere:
        server.redirect = f"{elsewhere.url}/schemas/ids/1"
        error = failure(server, username="telltale", password="s3cret")
        assert f"to {elsewhere.url}" in error.reason
        assert not elsewhere.requests


@pytest.mark.parametrize(
    "body",
    [b"<html>Welcome</html>", b"[]", b"{}", b'{"schema": 5}', b'{"schema": "long", "references": [{}]}', b"[" * 9999],
)
def test_what_is_no_registry(server: SchemaRegistryServer, body: bytes) -> None:
    server.register("long")
    server.raw = body
    error = failure(server)
    assert "does not answer as a schema registry" in error.reason
    assert "/apis/ccompat/v7" in error.remedy
    assert error.refused


def test_a_path_that_the_registry_is_not_at(server: SchemaRegistryServer) -> None:
    """Whatever answers 404 there, no record is rejected for it."""
    server.register("long")
    error = failure(server, urls=[f"{server.url}/registry"])
    assert "answers 404, and not as a registry does" in error.reason


def test_an_answer_that_is_too_large(server: SchemaRegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_registry, "MAX_BYTES", 100)
    server.register("long" * 100)
    assert "more than 100 bytes" in failure(server).reason


def test_nobody_listens(server: SchemaRegistryServer) -> None:
    server.stop()
    error = failure(server)
    assert "Connection refused" in error.reason
    assert server.url in error.reason
    assert "start it, or correct schema_registry.urls" in error.remedy
    assert not error.refused


def test_slow_answers(server: SchemaRegistryServer) -> None:
    server.register("long")
    server.slow_s = 0.4
    started = time.monotonic()
    assert "no answer within 0.1 s" in failure(server, timeout_ms=100).reason
    assert time.monotonic() - started < 0.4


def test_an_answer_that_drips() -> None:
    """Each byte comes in time, the whole does not."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(100):
                    time.sleep(0.02)
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(SchemaRegistryError, match="no answer within"):
            SchemaRegistry(SchemaRegistryOptions(urls=[url], timeout_ms=200)).schema(1)
        assert time.monotonic() - started < 1
        thread.join()


def test_what_does_not_speak_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")  # a TLS alert

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(SchemaRegistryError, match="can't be reached"):
            SchemaRegistry(SchemaRegistryOptions(urls=[url])).schema(1)
        thread.join()


def test_the_next_registry_is_asked_where_one_does_not_answer(server: SchemaRegistryServer) -> None:
    server.register("long")
    with SchemaRegistryServer() as dead:
        pass
    assert client(server, urls=[dead.url, server.url]).schema(1) == Schema("AVRO", "long")
    server.stop()
    error = failure(server, urls=[dead.url, server.url])
    assert dead.url in error.reason
    assert server.url in error.reason


def test_at_the_start(server: SchemaRegistryServer) -> None:
    options = SchemaRegistryOptions(urls=[server.url])
    check_access(options)  # whether or not there is a schema with that id
    server.register("long")
    check_access(options)
    server.failing = 500
    with pytest.raises(SchemaRegistryError, match="500"):
        check_access(options)
    server.failing, server.credentials = 0, ("telltale", "s3cret")
    with pytest.raises(ConfigError, match="401"):
        check_access(options)


@pytest.mark.kafka  # for its keytool
def test_tls(tmp_path: Path) -> None:
    require_kafka()
    with Authority("tests") as authority:
        certificate = authority.issue("registry", ["127.0.0.1"])
        (tmp_path / "ca.pem").write_text(authority.certificate)
    server = SchemaRegistryServer()
    server.tls = tmp_path / "chain.pem", tmp_path / "key.pem"
    for path, text in zip(server.tls, (certificate.chain, certificate.key), strict=True):
        path.write_text(text)
    server.register("long")
    with server:
        assert client(server, ssl_cafile=str(tmp_path / "ca.pem")).schema(1) == Schema("AVRO", "long")
        error = failure(server)
        assert "certificate" in error.reason
        assert "schema_registry.ssl_cafile" in error.remedy
        assert error.refused
        plain = server.url.replace("https", "http")
        assert "can't be reached" in failure(server, urls=[plain]).reason
        with pytest.raises(ConfigError, match=r"schema_registry\.ssl_cafile: .*no such file"):
            client(server, ssl_cafile=str(tmp_path / "none.pem"))
        with pytest.raises(ConfigError, match="PEM file can't be used"):
            client(server, ssl_cafile=str(Path(__file__)))
