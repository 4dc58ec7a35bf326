"""A schema registry that speaks the real REST protocol over real HTTP, for tests; and records in its wire format.

What it answers is written down from Confluent's API reference: `GET /schemas/ids/{id}`, `GET
/subjects/{subject}/versions/{version}`, errors as `{"error_code": 40403, "message": "..."}`.
"""

from __future__ import annotations

import base64
import io
import json
import re
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import fastavro

MIME = "application/vnd.schemaregistry.v1+json"
NOT_FOUND = {40401: "Subject not found.", 40402: "Version not found.", 40403: "Schema not found"}


class SchemaRegistryServer:
    """One registry. `port` 0: any; a server that is started again on its port is the same registry, with its schemas.

    `failing` (a status) is what every request is answered with, `slow_s` how long it takes, `credentials` (user,
    password) what it asks for, `raw` what it answers instead of JSON, and `requests` the paths that were asked for.
    """

    def __init__(self, *, port: int = 0, credentials: tuple[str, str] | None = None) -> None:
        self.port = port
        self.credentials = credentials
        self.failing = 0
        self.slow_s = 0.0
        self.raw: bytes | None = None
        self.redirect = ""
        self.requests: list[str] = []
        self.tls: tuple[Path, Path] | None = None
        self._schemas: dict[int, dict[str, Any]] = {}
        self._subjects: dict[tuple[str, int], int] = {}
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def register(
        self,
        schema: Any,
        *,
        number: int | None = None,
        subject: str = "",
        kind: str = "",
        references: list[tuple[str, str, int]] | None = None,
    ) -> int:
        """Adds a schema (a text, or what is to be one) under an id; `references` are name, subject, version."""
        number = number or max(self._schemas, default=0) + 1
        found: dict[str, Any] = {"schema": schema if isinstance(schema, str) else json.dumps(schema)}
        if kind:
            found["schemaType"] = kind  # AVRO is not named
        if references:
            names = ("name", "subject", "version")
            found["references"] = [dict(zip(names, each, strict=True)) for each in references]
        self._schemas[number] = found
        subject = subject or f"subject-{number}"
        versions = [version for name, version in self._subjects if name == subject]
        self._subjects[subject, max(versions, default=0) + 1] = number
        return number

    def forget(self, number: int) -> None:
        """Removes a schema, and keeps who refers to it."""
        del self._schemas[number]
        self._subjects = {key: value for key, value in self._subjects.items() if value != number}

    def start(self) -> SchemaRegistryServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Takes no connection any more."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> SchemaRegistryServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def answer(self, path: str, authorization: str | None) -> tuple[int, Any]:
        """Status and document."""
        if self.credentials is not None:
            pair = base64.b64encode(":".join(self.credentials).encode()).decode()
            if authorization != f"Basic {pair}":
                return 401, {"error_code": 401, "message": "Unauthorized"}
        if self.failing:
            return self.failing, {"error_code": self.failing * 100 + 1, "message": "Error in the backend data store"}
        return self._found(path)

    def _found(self, path: str) -> tuple[int, Any]:
        if found := re.fullmatch(r"/schemas/ids/(\d+)", path):
            number = int(found[1])
            return (200, self._schemas[number]) if number in self._schemas else _absent(40403)
        if found := re.fullmatch(r"/subjects/([^/]+)/versions/(\d+)", path):
            subject, version = unquote(found[1]), int(found[2])
            if not any(name == subject for name, _ in self._subjects):
                return _absent(40401)
            if (subject, version) not in self._subjects:
                return _absent(40402)
            number = self._subjects[subject, version]
            return 200, {"subject": subject, "version": version, "id": number, **self._schemas[number]}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}


def _absent(code: int) -> tuple[int, Any]:
    return 404, {"error_code": code, "message": NOT_FOUND[code]}


def _handler(registry: SchemaRegistryServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            registry.requests.append(self.path)
            time.sleep(registry.slow_s)
            if registry.redirect:
                self.send_response(302)
                self.send_header("Location", registry.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            status, document = registry.answer(urlsplit(self.path).path, self.headers["Authorization"])
            body = json.dumps(document).encode() if registry.raw is None else registry.raw
            self.send_response(status)
            self.send_header("Content-Type", MIME)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def framed(number: int, schema: Any, document: Any) -> bytes:
    """A document as Confluent's serializers write it: a zero byte, the schema's id, Avro's binary encoding."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), document)
    return b"\0" + number.to_bytes(4, "big") + stream.getvalue()
