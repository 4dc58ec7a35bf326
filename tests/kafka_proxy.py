"""A network that fails as ordered: it stands between clients and one real broker, and knows Kafka's frames.

A connection falls silent from one request on, or from the answer to it. Nothing is made up: what does pass is what the
client and the broker have said, but for the broker's address, so that clients stay with us.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import NamedTuple, Self

PRODUCE, METADATA, FIND_COORDINATOR, JOIN_GROUP, END_TXN, TXN_OFFSET_COMMIT, DESCRIBE_CLUSTER = 0, 3, 10, 11, 26, 28, 60
_NAME_THE_BROKER = (METADATA, FIND_COORDINATOR, DESCRIBE_CLUSTER)


class Fate(Enum):
    """What becomes of a request."""

    ANSWERED = "both pass"
    LOST = "the broker never gets it, nor anything behind it"
    UNANSWERED = "the broker gets it, but the client gets no answer any more"


class Request(NamedTuple):
    """One request of a client: which API, and its bytes."""

    api_key: int
    body: bytes


Judge = Callable[[Request], Fate]


def always_answered(request: Request) -> Fate:
    return Fate.ANSWERED


class KafkaProxy:
    """Listens on a port of its own; `judge` says what becomes of each request, `seen` holds those that came."""

    def __init__(self, bootstrap: str) -> None:
        host, port = bootstrap.split(":")
        self._broker = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.bootstrap = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.judge: Judge = always_answered
        self.seen: list[Request] = []
        self._sockets: list[socket.socket] = []
        self._away = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def count(self, api_key: int) -> int:
        return sum(request.api_key == api_key for request in self.seen)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._away:
                    client.close()
                    continue
                _Connection(self, client, socket.create_connection(self._broker)).start()

    def start(self, client: socket.socket, broker: socket.socket, *targets: Callable[[], None]) -> None:
        self._sockets += [client, broker]
        for target in targets:
            thread = threading.Thread(target=target, daemon=True)
            self._threads.append(thread)
            thread.start()

    def rewritten(self, answer: bytes) -> bytes:
        """The answer with our port in place of the broker's."""
        ours = int(self.bootstrap.split(":")[1])
        theirs, named = (self._broker[0].encode() + struct.pack(">i", port) for port in (self._broker[1], ours))
        return answer.replace(theirs, named)

    def cut(self) -> None:
        """Ends all connections there are; new ones are taken."""
        _shut(*self._sockets)

    def go_away(self) -> None:
        """Every connection ends, and so does each new one, as where a broker has died."""
        self._away = True
        self.cut()

    def come_back(self) -> None:
        """Undoes `go_away`, for new connections."""
        self._away = False

    def close(self) -> None:
        _shut(self._listener, *self._sockets)
        for each in (self._listener, *self._sockets):
            each.close()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Connection:
    """One client's connection, a thread for each direction."""

    def __init__(self, proxy: KafkaProxy, client: socket.socket, broker: socket.socket) -> None:
        self._proxy, self._client, self._broker = proxy, client, broker
        self._asked: dict[int, int] = {}  # correlation id -> API
        self._unanswered: set[int] = set()

    def start(self) -> None:
        self._proxy.start(self._client, self._broker, self._requests, self._answers)

    def _requests(self) -> None:
        passing = True
        while (frame := _frame(self._client)) is not None:
            api_key, _, correlation = struct.unpack(">hhi", frame[:8])
            request = Request(api_key, frame)
            self._proxy.seen.append(request)
            fate = self._proxy.judge(request)
            self._asked[correlation] = api_key
            if fate is Fate.UNANSWERED:
                self._unanswered.add(correlation)
            passing = passing and fate is not Fate.LOST
            if passing:
                _send(self._broker, frame)
        self._end()

    def _answers(self) -> None:
        passing = True
        while (frame := _frame(self._broker)) is not None:
            (correlation,) = struct.unpack(">i", frame[:4])
            passing = passing and correlation not in self._unanswered
            if passing:
                named = self._asked[correlation] in _NAME_THE_BROKER
                _send(self._client, self._proxy.rewritten(frame) if named else frame)
        self._end()

    def _end(self) -> None:
        _shut(self._client, self._broker)


def _shut(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _send(to: socket.socket, frame: bytes) -> None:
    with contextlib.suppress(OSError):
        to.sendall(struct.pack(">i", len(frame)) + frame)


def _frame(source: socket.socket) -> bytes | None:
    """The next frame without its length; None where the connection has ended."""
    size = _exactly(source, 4)
    return None if size is None else _exactly(source, struct.unpack(">i", size)[0])


def _exactly(source: socket.socket, count: int) -> bytes | None:
    found = bytearray()
    while len(found) < count:
        try:
            part = source.recv(min(count - len(found), 1 << 16))
        except OSError:
            return None
        if not part:
            return None
        found += part
    return bytes(found)
