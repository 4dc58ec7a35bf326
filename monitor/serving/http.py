"""Health and metrics over HTTP, in a thread of its own, so that it can report a loop that hangs.

No client can keep a probe out: connections that are slow are closed, and if there are too many, the one that has been
idle longest is, never the newest.

/livez    200 while the loop turns and reads; 503 if a restart is needed
/readyz   200 while every partition is read and committed; 503 with the reasons (`monitor.serving.health`)
/metrics  Prometheus text
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.config.options import HttpOptions
from monitor.errors import ConfigError
from monitor.serving.telemetry import Telemetry, Vitals

# From a connection's opening, or its last response, to its next response.
PATIENCE_S = 5.0
_CLOSE_TIMEOUT_S = 2.0
# Connections that wait to be accepted; if there are more, the system makes clients try again a second later.
_BACKLOG = 1024
# Connections accepted in one turn of the event loop.
_AT_ONCE = 64
# More than can arrive in the three turns before a request that came with its connection is read.
MAX_CONNECTIONS = 4 * _AT_ONCE


class HttpServer:
    """Serves until closed. `address` is the address it listens on."""

    def __init__(self, http: HttpOptions, telemetry: Telemetry, vitals: Vitals) -> None:
        host = http.host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, http.port))
            # Here, not in the thread: two may bind one port (SO_REUSEADDR), only one may listen.
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._socket.close()
            raise ConfigError(
                f"http: can't listen on {http.host}:{http.port}: {error.strerror}; choose another http.port "
                "(0 takes a free one)"
            ) from None
        self.address = f"{f'[{host}]' if ':' in host else host}:{self._socket.getsockname()[1]}"
        app = Starlette(routes=_routes(telemetry, vitals))
        # Errors only: any client can cause its warnings ("Invalid HTTP request received."), as often as it likes.
        config = uvicorn.Config(
            app, http=_Connection, loop="asyncio", backlog=_AT_ONCE, log_config=None, log_level="error",
            access_log=False, lifespan="off", h11_max_incomplete_event_size=8192, server_header=False,
        )  # fmt: skip
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )

    def start(self) -> None:
        """Starts to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stops serving."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_CLOSE_TIMEOUT_S)
        self._socket.close()


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or []:
            each.listen(_BACKLOG)  # asyncio has made it `_AT_ONCE`


class _Connection(H11Protocol):
    """One client, with `PATIENCE_S` for each request and for reading its response.

    uvicorn 0.54 has no deadline for a request's head, nor for reading a response, and its `limit_concurrency` counts
    open connections whatever they do: 16 that send nothing make it respond 503 to everybody else.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its parent's
        super().connection_made(transport)
        self._begin_waiting()
        others = [each for each in self.connections if isinstance(each, _Connection) and each.is_waiting]
        if len(others) > MAX_CONNECTIONS:
            min(others, key=lambda each: each.waiting_since_s).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._deadline.cancel()
        self._begin_waiting()
        super().on_response_complete()

    @property
    def is_waiting(self) -> bool:
        """Whether the client must act: send a request, or read a response."""
        answering = bool(self.cycle) and not self.cycle.response_complete
        return not self.transport.is_closing() and (not answering or self.flow.write_paused)

    def _begin_waiting(self) -> None:
        self.waiting_since_s = self.loop.time()
        self._deadline = self.loop.call_later(PATIENCE_S, self._expire)

    def _expire(self) -> None:
        if self.is_waiting or self.transport.is_closing():
            # Not close(): that waits until everything is read.
            self.transport.abort()
        else:
            self._begin_waiting()


def _routes(telemetry: Telemetry, vitals: Vitals) -> list[Route]:
    async def livez(_: Request) -> Response:
        return _answer(vitals.health.why_not_live(time.monotonic(), vitals.progressed_s), "ok")

    async def readyz(_: Request) -> Response:
        reasons = vitals.health.why_not_ready(time.monotonic())
        return _answer(
            reasons and [f"not ready: {reasons[0]}", *reasons[1:]], f"ok: {len(vitals.health.progress)} partitions"
        )

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]


def _answer(reasons: list[str], well: str) -> Response:
    """200, or 503 with the reasons."""
    return PlainTextResponse("; ".join(reasons or [well]) + "\n", status_code=503 if reasons else 200)
