"""Making kafka-python's clients so that a failure says why, and leaves nothing behind.

Rules of this file: whatever is made here and fails is closed here.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import kafka.net.inet as kafka_sockets
import kafka.producer.kafka as kafka_producer
from kafka.errors import KafkaConnectionError, KafkaError
from kafka.future import Future
from kafka.net.compat import KafkaNetClient

from monitor.backends.abstract import AbortedError
from monitor.backends.kafka.faults import unreachable
from monitor.backends.kafka.greeting import RefusedError, Server, greet
from monitor.backends.kafka.settings import PROBE_TIMEOUT_MS
from monitor.config.connections import KafkaOptions
from monitor.errors import BackendError, ConfigError

Client = TypeVar("Client")
# How long a client that is closed waits for metadata that are on their way.
_REFRESH_TIMEOUT_MS = 250
# Between two questions for a coordinator whose broker does not answer.
_LOOKUP_PAUSE_MS = 200
# How long an attempt to connect may take, whatever came before it (D40).
_CONNECT_TIMEOUT_MAX_MS = 10_000


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


class _Sockets(kafka_sockets.KafkaNetSocket):  # type: ignore[misc] # the client has no types
    """The client's sockets, closed where they can't be connected (D28)."""

    SCHEMES = ()

    async def sock_connect(self, net: Any, sock: socket.socket, *where: Any, **settings: Any) -> socket.socket:
        """Waits for the connection, in the client's way."""
        try:
            connected: socket.socket = await super().sock_connect(net, sock, *where, **settings)
        except BaseException:
            sock.close()
            raise
        return connected


# Looked up there for each connection.
kafka_sockets.KafkaNetSocket = _Sockets


def _back_off_from_who_hangs_up(manager: Any) -> None:
    """Makes a client pause between attempts at a node that takes connections and ends them.

    D39: the client takes it for connected, and tries again at once, hundreds of times a second.
    """
    reset = manager.reset_backoff

    def reset_backoff(node_id: Any) -> None:
        failed = manager.cluster.broker_metadata(node_id) is not None and not _is_connected(manager, node_id)
        (manager.update_backoff if failed else reset)(node_id)

    manager.reset_backoff = reset_backoff


def _is_connected(manager: Any, node_id: Any) -> bool:
    connection = manager._conns.get(node_id)
    return connection is not None and connection.connected


class _Network(KafkaNetClient):  # type: ignore[misc] # the client has no types
    """The client's network, which loses no transactional request, and is closed by the thread that reads from it.

    D31, kafka-python 3.0.12: `close()` takes sockets away in the caller's thread. Where the IO thread has just woken to
    read from one, it logs an error with a traceback (net/transport.py, `_sock_recv`: "'NoneType' object has no
    attribute 'recv'"), and an error too where metadata were on their way (cluster.py: "failed Cancelled").
    """

    def __init__(self, **settings: Any) -> None:
        # No setting of the consumer's or the producer's.
        super().__init__(**settings, socket_connection_setup_timeout_max_ms=_CONNECT_TIMEOUT_MAX_MS)
        self.lost_answers = 0  # to producers' requests, with their connections
        _back_off_from_who_hangs_up(self._manager)

    def send(self, node_id: Any, request: Any, **settings: Any) -> Any:
        """Sends a producer's request; returns the future of its answer."""
        answer = super().send(node_id, request, **settings)
        answer.add_errback(self._count_lost)
        return answer

    def _count_lost(self, error: BaseException) -> None:
        self.lost_answers += isinstance(error, KafkaConnectionError)

    def await_ready(self, node_id: Any, timeout_ms: float = 30_000) -> bool:
        """Whether requests may be sent to a node; waits up to about `timeout_ms` for its connection.

        D19: the client's own raises where they may not, and its sender then drops the transactional request it has
        just taken out of the queue. On False it looks the coordinator up again and keeps the request.
        """
        if self.connection_delay(node_id) > 0:
            # Without a pause the sender asks for the coordinator, which is the dead one until its session ends, as
            # fast as other brokers answer. A future that nobody completes makes poll() take the whole pause.
            self._net.poll(timeout_ms=min(_LOOKUP_PAUSE_MS, timeout_ms), future=Future())
        try:
            return bool(super().await_ready(node_id, timeout_ms=timeout_ms))
        except KafkaError:
            return False

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


def connect(make: Callable[..., Client], kafka: KafkaOptions, settings: dict[str, Any]) -> Client:
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


def probe(kafka: KafkaOptions) -> None:
    """Waits until some bootstrap server takes us, with TLS and SASL where asked for, up to `PROBE_TIMEOUT_MS`.

    Before kafka-python tries, because our own attempt can say what went wrong, and because kafka-python 3.0.12 leaves
    the socket of a failed TLS handshake open (D33).

    Raises:
        BackendError: none answers; the message says how each one failed.
        ConfigError: one answers, and refuses protocol, certificate or credentials.
    """
    deadline = time.monotonic() + PROBE_TIMEOUT_MS / 1000
    while failures := _greeted(kafka, max(0.1, deadline - time.monotonic())):
        if time.monotonic() >= deadline:
            raise unreachable(kafka, f"tried for {PROBE_TIMEOUT_MS // 1000} s ({'; '.join(failures)})")
        time.sleep(0.2)


def check_access(kafka: KafkaOptions) -> str:
    """How each server fails that is asked once; empty where one takes us. `probe` waits for one.

    Raises:
        ConfigError: as `probe`.
    """
    return "; ".join(_greeted(kafka, 2.0))


def _greeted(kafka: KafkaOptions, timeout_s: float) -> list[str]:
    """How greeting each server failed; nothing where one took us. Raises `ConfigError` where none did, one refused."""
    failures, refused = [], None
    for server in kafka.bootstrap_servers:
        host, _, port = server.rpartition(":")
        try:
            greet(Server(host.strip("[]"), int(port), min(2.0, timeout_s)), kafka)
        except RefusedError as error:
            refused = refused or ConfigError(f"Kafka at {server}: {error}")
        except OSError as error:
            failures.append(f"{server}: {error.strerror or error}")
        else:
            return []
    if refused is not None:
        raise refused
    return failures


@contextmanager
def for_now(doing: str) -> Iterator[None]:
    """Makes failures to connect at run time retriable, a refusal too: a password may be changing.

    The sentinel finds out whether a refusal lasts.
    """
    try:
        yield
    except (BackendError, ConfigError) as error:
        raise AbortedError(f"{doing}: {error}") from error


def discard_producer(producer: Any) -> None:
    """Ends a producer without sending anything more. Waits up to 2 s for its thread.

    The outcome of what was under way is settled by the successor's `init_transactions()`, never by this one.
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
