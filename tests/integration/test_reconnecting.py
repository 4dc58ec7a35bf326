"""How often a client tries to connect where somebody listens and hangs up, as a load balancer without a broker does."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator

import pytest

from monitor.backends.kafka.clients import TopicReader, create_topic
from monitor.backends.kafka.connecting import _Network
from tests.kafka_proxy import KafkaProxy

pytestmark = pytest.mark.kafka
WATCHED_S = 2.0


@contextlib.contextmanager
def hanging_up(port: int) -> Iterator[list[float]]:
    """Takes connections at `port` and ends each at once; the times at which they came."""
    came: list[float] = []
    with socket.create_server(("127.0.0.1", port), backlog=100) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()
                    came.append(time.monotonic())

        thread = threading.Thread(target=accept)
        thread.start()
        yield came
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_listener_that_hangs_up_is_not_stormed(kafka_bootstrap: str) -> None:
    topic = f"reconnecting-{uuid.uuid4().hex[:8]}"
    create_topic(kafka_bootstrap, topic)
    with KafkaProxy(kafka_bootstrap) as proxy, TopicReader(proxy.bootstrap, topic) as reader:
        reader.poll()
        proxy.close()
        with hanging_up(int(proxy.bootstrap.split(":")[1])) as came:
            until = time.monotonic() + WATCHED_S
            while time.monotonic() < until:
                reader.poll()
    assert 1 <= len(came) <= 20, "50 ms between the first two, then up to a second"


def test_an_attempt_to_connect_gets_no_longer_after_failures(kafka_bootstrap: str) -> None:
    network = _Network(bootstrap_servers=[kafka_bootstrap])
    try:
        for _ in range(8):
            network._manager.update_backoff(1)
        assert network._manager.socket_connection_setup_timeout_ms(1) <= 12_000, "10 s, and the client's 20 %"
    finally:
        network.close()
