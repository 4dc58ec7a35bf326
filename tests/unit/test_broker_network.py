"""Ports, and the one request to a broker that is written by hand."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from monitor.broker import network


@contextmanager
def server(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Answers each request of one connection in turn, then closes it. Gives its port and the requests."""
    requests: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for answer in answers:
                requests.append(connection.recv(4096))
                connection.sendall(answer)

    with socket.create_server((network.LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], requests
        thread.join(5.0)


def framed(body: bytes) -> bytes:
    return struct.pack(">ii", len(body) + 4, 0) + body


def broker(node: int, rack: bytes | None = None) -> bytes:
    racked = struct.pack(">h", -1) if rack is None else struct.pack(">h", len(rack)) + rack
    return struct.pack(">ih", node, 9) + b"127.0.0.1" + struct.pack(">i", 9092) + racked


METADATA = struct.pack(">i", 2) + broker(1) + broker(3, b"rack") + struct.pack(">h", 2) + b"id" + b"\0" * 8


def test_a_broker_is_asked_for_its_cluster() -> None:
    with server(framed(b"\0\0" + b"\0" * 20), framed(METADATA)) as (port, requests):
        assert network.ask(port) == network.Answer(cluster_id="id", nodes=frozenset({1, 3}))
    # length, api key, version, correlation id, no client id; then an empty array of topics
    assert requests == [struct.pack(">ihhih", 10, 18, 0, 0, -1), struct.pack(">ihhihi", 14, 3, 2, 0, -1, 0)]


def test_a_broker_that_wants_a_login_is_a_broker() -> None:
    with server(framed(b"\0" * 6)) as (port, _):
        assert network.ask(port) == network.CLOSED


@pytest.mark.parametrize(
    "answers",
    [
        (),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        (b"\0\0",),
        (struct.pack(">i", 2) + b"xx",),
        (struct.pack(">i", -5),),
        (framed(b"\0" * 6), framed(b"\0\0\0\x09rubbish")),
        (framed(b"\0" * 6), framed(struct.pack(">ih", 0, 2) + b"\xff\xfe")),
        (framed(b"\0" * 6), framed(METADATA[:20])),
    ],
)
def test_what_is_no_broker_is_no_broker(answers: tuple[bytes, ...]) -> None:
    with server(*answers) as (port, _):
        assert network.ask(port, 1.0) is None


def test_nobody_there() -> None:
    assert network.ask(network.free_ports(1)[0]) is None


def test_ports() -> None:
    ports = network.free_ports(5)
    assert len(set(ports)) == 5
    assert all(port in network.FREE_PORTS and network.is_free(port) for port in ports)
    assert not set(network.free_ports(5, avoid=frozenset(range(20_000, 31_990)))) & set(range(20_000, 31_990))
    with socket.create_server((network.LOOPBACK, ports[0])):
        assert not network.is_free(ports[0])
        assert str(network.owner(ports[0])).startswith(f"pid {os.getpid()} (")
    assert network.is_free(ports[0])
    assert network.owner(ports[0]) is None


def test_one_of_our_own_is_named_as_such() -> None:
    command = ["/x/java", "-Xmx512m", "-Dtelltale.data=/home/my data", "-cp", "x" * 5000, "kafka.Kafka"]
    assert network._described(command) == "a local Kafka of Telltale, data in /home/my data"
    assert network._described(["nginx"]) == "nginx"
    assert len(network._described(["x" * 5000])) == 83
