"""Loopback ports: which are free, which process has one, and whether a Kafka broker responds there.

Only `monitor.backends` may import a Kafka client, so the requests that are needed here are written by hand.
"""

from __future__ import annotations

import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below the ephemeral ports (32768 on Linux, 49152 elsewhere): no outgoing connection takes one between our check
# and the broker's bind.
FREE_PORTS = range(20_000, 32_000)

API_VERSIONS = 18
METADATA = 3
MAX_RESPONSE_BYTES = 1 << 20


def is_free(port: int) -> bool:
    """Whether a listener can be bound to this loopback port, as Kafka binds it."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int, *, avoid: frozenset[int] = frozenset()) -> list[int]:
    """Free loopback ports, chosen at random so that concurrent callers get different ones."""
    ports: list[int] = []
    for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
        if port not in avoid and is_free(port):
            ports.append(port)
            if len(ports) == count:
                return ports
    raise OSError(f"fewer than {count} free ports between {FREE_PORTS.start} and {FREE_PORTS.stop}")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A broker's response about its cluster."""

    cluster_id: str | None
    nodes: frozenset[int]  # that are up: Kafka lists no fenced broker


CLOSED = Answer(cluster_id=None, nodes=frozenset())  # a broker that closes connections without authentication


def ask(port: int, timeout_secs: float = 2.0) -> Answer | None:
    """Ask the broker at this port for its cluster; None if no Kafka broker responds."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout_secs) as connection:
            connection.settimeout(timeout_secs)
            _ask(connection, API_VERSIONS, 0, b"")
            try:
                metadata = _ask(connection, METADATA, 2, struct.pack(">i", 0))
            except ConnectionError:
                return CLOSED
            return _answer(metadata)
    except (OSError, struct.error, UnicodeDecodeError):
        return None


def _ask(connection: socket.socket, api_key: int, version: int, body: bytes) -> bytes:
    """One request and the body of its response, after the correlation id."""
    request = struct.pack(">hhih", api_key, version, 0, -1) + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    (length,) = struct.unpack(">i", _receive(connection, 4))
    if not 4 <= length <= MAX_RESPONSE_BYTES:
        raise OSError("what responds there is not a Kafka broker")
    return _receive(connection, length)[4:]


def _receive(connection: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        chunk = connection.recv(count - len(received))
        if not chunk:
            raise ConnectionResetError("the connection was closed")
        received += chunk
    return bytes(received)


def _answer(metadata: bytes) -> Answer:
    """Read a Metadata response, version 2: an array of node id, host, port and rack, then the cluster id."""
    (count,) = struct.unpack_from(">i", metadata)
    nodes = set()
    position = 4
    for _ in range(count):
        node, host_bytes = struct.unpack_from(">ih", metadata, position)
        position += 6 + host_bytes + 4
        (rack_bytes,) = struct.unpack_from(">h", metadata, position)
        position += 2 + max(rack_bytes, 0)
        nodes.add(node)
    (id_bytes,) = struct.unpack_from(">h", metadata, position)
    cluster_id = metadata[position + 2 : position + 2 + id_bytes].decode() if id_bytes >= 0 else None
    return Answer(cluster_id=cluster_id, nodes=frozenset(nodes))


def owner(port: int) -> str | None:
    """The process that listens on a port, if /proc shows it: `pid 123 (java -cp ...)`."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":  # LISTEN
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        with suppress(OSError):
            if any(str(fd.readlink()) in inodes for fd in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
                return f"pid {process.name} ({_described(command)})"
    return None


def _described(command: list[str]) -> str:
    """A command line for an error message; for one of our brokers, its data directory."""
    for argument in command:
        if argument.startswith("-Dtelltale.data="):
            return f"a local Kafka of Telltale, data in {argument.partition('=')[2]}"
    line = " ".join(command)
    return line if len(line) <= 80 else f"{line[:80]}..."
