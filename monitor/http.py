"""Health and metrics over HTTP, in a thread of its own: it can say that the loop is stuck because it is not the loop.

/livez    200 while the loop turns; 503 when it has not for `STUCK_S`
/readyz   200 when partitions are restored and read
/metrics  Prometheus text
"""

from __future__ import annotations

import socket
import threading
import time

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from monitor.config import Http
from monitor.errors import ConfigError
from monitor.telemetry import Telemetry, Vitals

STUCK_S = 60.0
_CLOSE_TIMEOUT_S = 2.0
_BACKLOG = 64


class HttpServer:
    """Serves until closed. `address` is what it really listens on."""

    def __init__(self, http: Http, telemetry: Telemetry, vitals: Vitals) -> None:
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
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", limit_concurrency=16, timeout_keep_alive=5,
            h11_max_incomplete_event_size=8192, server_header=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stops answering."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_CLOSE_TIMEOUT_S)
        self._socket.close()


def _routes(telemetry: Telemetry, vitals: Vitals) -> list[Route]:
    async def livez(_: Request) -> Response:
        idle = time.monotonic() - vitals.progressed_s
        if idle > STUCK_S:
            return PlainTextResponse(f"the loop has not turned for {idle:.0f} s\n", status_code=503)
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        if not vitals.ready:
            return PlainTextResponse("not ready: no partition is being read yet\n", status_code=503)
        return PlainTextResponse(f"ok: {vitals.partitions} partitions\n")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]
