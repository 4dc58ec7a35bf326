"""Health and metrics over a real socket."""

from __future__ import annotations

import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.backends.abstract import Progress, TopicPartition
from monitor.config.options import HttpOptions
from monitor.errors import ConfigError
from monitor.processing.counts import Counts
from monitor.serving.health import STUCK_S
from monitor.serving.http import MAX_CONNECTIONS, PATIENCE_S, HttpServer
from monitor.serving.telemetry import Telemetry, Vitals


class Service:
    def __init__(self, http: HttpOptions) -> None:
        self.vitals, self.counts = Vitals(), Counts()
        info = {"name": "tiny", "version": "1", "sha256": "ab"}
        self.server = HttpServer(http, Telemetry(self.vitals, lambda: self.counts, info, 0.5), self.vitals)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.server.address}{path}", timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service(HttpOptions(port=0))
    made.server.start()
    yield made
    made.server.close()


def test_alive_while_the_loop_turns(service: Service) -> None:
    assert service.get("/livez") == (200, "ok\n")
    service.vitals.progressed_s = time.monotonic() - STUCK_S - 5
    code, text = service.get("/livez")
    assert (code, text.startswith("the loop has not turned for 6")) == (503, True)
    service.vitals.progressed_s = time.monotonic()
    assert service.get("/livez")[0] == 200


def test_ready_when_partitions_are_read(service: Service) -> None:
    assert service.get("/readyz") == (503, "not ready: no partition is being read yet\n")
    now = time.monotonic()
    watched = {TopicPartition("in", number): Progress(read=5, committed=5, assured_s=now) for number in range(3)}
    service.vitals.health.observe(watched, restoring=0)
    assert service.get("/readyz") == (200, "ok: 3 partitions\n")
    service.vitals.health.observe(watched, restoring=1)
    assert service.get("/readyz") == (503, "not ready: 1 partitions are yet to be restored\n")


def test_a_partition_that_is_stuck_under_a_new_client_too_wants_a_restart(service: Service) -> None:
    service.vitals.health.observe({TopicPartition("in", 0): Progress(read=5, stalls=2)}, restoring=0)
    assert service.get("/livez") == (503, "in-0 is not read beyond offset 5, even by a new client\n")


def test_metrics_are_prometheus_text(service: Service) -> None:
    service.counts.records["in"] = 7
    service.counts.rejected["in", "malformed"] = 2
    code, text = service.get("/metrics")
    assert code == 200
    found = {
        (s.name, *sorted(s.labels.items())): s.value for f in text_string_to_metric_families(text) for s in f.samples
    }
    assert found["telltale_records_consumed_total", ("topic", "in")] == 7
    assert found["telltale_records_rejected_total", ("reason", "malformed"), ("topic", "in")] == 2
    assert found["telltale_threshold",] == 0.5
    assert found["telltale_ready",] == 0


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "/livez?x=1"])
def test_other_paths(service: Service, path: str) -> None:
    assert service.get(path)[0] in {200, 404}
    assert service.get("/livez")[0] == 200


def test_nonsense_on_the_socket_costs_nothing(service: Service) -> None:
    host, _, port = service.server.address.rpartition(":")
    for nonsense in (b"\x16\x03\x01" + b"\x00" * 500, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", b""):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(100)
    assert service.get("/livez")[0] == 200


def test_a_taken_port_is_refused_with_a_remedy(service: Service) -> None:
    port = int(service.server.address.rpartition(":")[2])
    with pytest.raises(ConfigError, match=rf"can't listen on 127\.0\.0\.1:{port}: .*choose another http\.port"):
        Service(HttpOptions(port=port))


def test_a_port_is_taken_from_the_beginning() -> None:
    """Also by a server that does not answer yet: its thread would otherwise die later, and nobody would hear of it."""
    first = Service(HttpOptions(port=0))
    try:
        with pytest.raises(ConfigError, match="can't listen"):
            Service(HttpOptions(port=int(first.server.address.rpartition(":")[2])))
    finally:
        first.server.close()


def test_a_host_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"can't listen on 192\.0\.2\.1:0"):  # RFC 5737: nobody's
        Service(HttpOptions(host="192.0.2.1", port=0, allow_remote=True))


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost"])
def test_other_ways_to_say_loopback(host: str) -> None:
    if host != "localhost":
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on this machine")
    made = Service(HttpOptions(host=host, port=0))
    made.server.start()
    try:
        assert made.get("/livez") == (200, "ok\n")
    finally:
        made.server.close()


def test_closing_ends_it_and_is_idempotent() -> None:
    made = Service(HttpOptions(port=0))
    made.server.start()
    made.get("/livez")
    made.server.close()
    made.server.close()
    with pytest.raises(urllib.error.URLError):
        made.get("/livez")


def connect(service: Service, sent: bytes = b"") -> socket.socket:
    host, _, port = service.server.address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(sent)
    return connection


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has hung up; reads what there is, without waiting for more."""
    connection.setblocking(False)
    try:
        while connection.recv(1 << 20):
            pass
        return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def probe_all(service: Service, most_s: float) -> None:
    service.vitals.health.observe({TopicPartition("in", 0): Progress(assured_s=time.monotonic())}, restoring=0)
    for path in ("/livez", "/readyz", "/metrics"):
        started = time.monotonic()
        assert service.get(path)[0] == 200, path
        assert time.monotonic() - started < most_s, path


WHOLE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


def test_clients_that_stand_still_are_closed_and_keep_no_probe_out(service: Service) -> None:
    """A hundred half-sent heads, one that sends a byte at a time, one that reads nothing, one that is merely idle."""
    with ExitStack() as opened:
        begun = time.monotonic()
        still = [opened.enter_context(connect(service, b"GET /livez HTTP/1.1\r\nX-Half: ")) for _ in range(100)]
        still.append(
            opened.enter_context(connect(service, WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n1")))
        )
        still.append(opened.enter_context(connect(service, WHOLE.replace(b"livez", b"metrics") * 500)))
        still.append(opened.enter_context(connect(service, WHOLE)))
        slow = opened.enter_context(connect(service, b"G"))
        with pytest.raises(ConnectionError):  # noqa: PT012 - at whichever byte
            for byte in b"ET /livez HTTP/1.1\r\nX-Slow: " + b"a" * 20:
                probe_all(service, 10.0)
                slow.sendall(bytes([byte]))
                time.sleep(0.5)
        assert time.monotonic() - begun > PATIENCE_S
        deadline = time.monotonic() + 30
        while not all(map(is_closed, still)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert all(map(is_closed, still))


def test_connections_are_bounded_and_the_newest_is_served(service: Service) -> None:
    before = open_files()
    with ExitStack() as opened:
        many = [opened.enter_context(connect(service, b"GET /l")) for _ in range(MAX_CONNECTIONS + 100)]
        probe_all(service, 10.0)
        with connect(service, WHOLE) as newest:
            assert newest.recv(1000).startswith(b"HTTP/1.1 200")
        assert all(map(is_closed, many[:90]))
        assert not any(map(is_closed, many[-90:]))
        assert open_files() - before - len(many) <= MAX_CONNECTIONS + 10


def test_a_connection_is_used_again(service: Service) -> None:
    ports = set()
    connection = http.client.HTTPConnection(service.server.address, timeout=10)
    with closing(connection):
        for _ in range(3):
            connection.request("GET", "/livez")
            assert connection.getresponse().read() == b"ok\n"
            ports.add(connection.sock.getsockname()[1])
        assert len(ports) == 1
