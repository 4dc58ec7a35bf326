"""Making kafka-python's clients so that a failure says why, and leaves nothing behind.

Rules of this file: whatever is made here and fails is closed here.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import kafka.producer.kafka as kafka_producer
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from monitor.backends.kafka.faults import unreachable
from monitor.backends.kafka.settings import PROBE_TIMEOUT_MS
from monitor.config import Kafka
from monitor.errors import ConfigError

Client = TypeVar("Client")
# How long a client that is closed waits for metadata that are on their way.
_REFRESH_TIMEOUT_MS = 250


class _Reasons(logging.Handler):
    """Remembers why connections failed: the client only logs it, and raises "unable to bootstrap"."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        causes = [str(cause) for cause in record.args if isinstance(cause, Exception)] if record.args else []
        # "Connection failed: CAUSE" holds the cause itself, the lines after it only repeat it.
        if causes:
            self.last = causes[-1]


@contextmanager
def _reasons() -> Iterator[_Reasons]:
    reasons = _Reasons()
    logger = logging.getLogger("kafka.net")
    logger.addHandler(reasons)
    try:
        yield reasons
    finally:
        logger.removeHandler(reasons)


class _Network(KafkaNetClient):  # type: ignore[misc] # the client has no types
    """The client's network, closed by the thread that reads from its sockets.

    D31, kafka-python 3.0.12: `close()` takes sockets away in the caller's thread. Where the IO thread has just woken to
    read from one, it logs an error with a traceback (net/transport.py, `_sock_recv`: "'NoneType' object has no
    attribute 'recv'"), and an error too where metadata were on their way (cluster.py: "failed Cancelled").
    """

    def close(self, node_id: Any = None) -> None:
        """Closes one connection, or all and the IO thread. Idempotent."""
        if node_id is None:
            # It raises where the IO thread is closed, or has died: then nobody reads any more.
            with suppress(Exception):
                self._net.run(self._close_connections)
        super().close(node_id)

    async def _close_connections(self) -> None:
        self.cluster.closed = True
        if self.cluster.metadata_refresh_in_progress:
            with suppress(Exception):
                await self._manager.wait_for(self.cluster._refresh_future, _REFRESH_TIMEOUT_MS)
        self._manager.close()


def connect(make: Callable[..., Client], kafka: Kafka, settings: dict[str, Any]) -> Client:
    """Makes a client. Waits up to `settings.BOOTSTRAP_TIMEOUT_MS` for a broker.

    Raises:
        BackendError: no broker answers.
        ConfigError: one answers, but not to this protocol or these credentials.
    """
    made: list[Any] = []

    def network(**configs: Any) -> Any:
        made.append(_Network(**configs))
        return made[-1]

    # D7: a producer that failed half-way, or was collected, leaves a null logger in its module for ever.
    kafka_producer.log = logging.getLogger(kafka_producer.__name__)
    with _reasons() as reasons:
        try:
            return make(**settings, kafka_client=network)
        except (KafkaError, OSError) as error:
            # D32, kafka-python 3.0.12: a constructor that raises leaves its sockets open and its IO thread running.
            for client in made:
                with suppress(Exception):
                    client.close()
            raise unreachable(kafka, reasons.last or str(error)) from error


def probe(kafka: Kafka) -> None:
    """Waits until some bootstrap server takes a TCP connection, and TLS where asked for, up to `PROBE_TIMEOUT_MS`.

    Before kafka-python tries, because our own attempt can say what went wrong, and because kafka-python 3.0.12 leaves
    the socket of a failed TLS handshake open (D33).

    Raises:
        BackendError: none does; the message says how each one failed.
        ConfigError: one does, but its certificate or ours is refused, or it does not speak TLS.
    """
    deadline = time.monotonic() + PROBE_TIMEOUT_MS / 1000
    context = _tls(kafka) if kafka.security_protocol.endswith("SSL") else None
    while True:
        failures = []
        for server in kafka.bootstrap_servers:
            host, _, port = server.rpartition(":")
            try:
                remaining = max(0.1, deadline - time.monotonic())
                _greet(host.strip("[]"), int(port), context, min(2.0, remaining))
            except ssl.SSLError as error:
                # What TLS refuses once it refuses again.
                raise unreachable(kafka, f"{server}: {error}") from error
            except OSError as error:
                failures.append(f"{server}: {error.strerror or error}")
            else:
                return
        if time.monotonic() >= deadline:
            tried = f"tried TCP for {PROBE_TIMEOUT_MS // 1000} s ({'; '.join(failures)})"
            raise unreachable(kafka, tried)
        time.sleep(0.2)


def _greet(host: str, port: int, context: ssl.SSLContext | None, timeout_s: float) -> None:
    with socket.create_connection((host, port), timeout=timeout_s) as plain:
        if context is not None:
            with context.wrap_socket(plain, server_hostname=host):
                pass


def _tls(kafka: Kafka) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_cafile)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if kafka.ssl_certfile is not None:
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"kafka.ssl_cafile, ssl_certfile or ssl_keyfile: not usable: {error}; expected PEM"
        ) from error
    return context


def discard_producer(producer: Any) -> None:
    """Ends a producer without sending another byte of its own accord. Waits up to 2 s for its thread.

    What was under way is settled by the successor's `init_transactions()`, never by this one.
    """
    # D6: close() flushes first, and when that times out the sender is never stopped. Stopping it first makes the
    # flush return at once.
    producer._sender.force_close()
    if threading.current_thread() is not producer._sender:
        producer._sender.join(timeout=2)
    try:
        producer.close(timeout=0)
    except Exception:
        # D6: whatever close() says, nothing may escape before the reference is dropped.
        # D7: __del__ and atexit would close once more, with null_logger=True.
        producer._unregister_cleanup()
        producer._closed = True
