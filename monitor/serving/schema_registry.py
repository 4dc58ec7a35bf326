"""A schema registry, over the REST protocol that Confluent's, Karapace, Apicurio and Redpanda speak.

Two GET requests are all that a reader needs, so this is a client of our own on the standard library. The known clients
bring a second HTTP stack or librdkafka with them, and decide by themselves how often to try again, while partitions
wait; here whoever asks decides.

Rules of this file: blocking, to be called where that delays nobody. Whether a schema is absent, which is the record's
fault, or can't be had now, which is nobody's who wrote a record, is decided here and nowhere else.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from monitor import __version__
from monitor.config import secrets
from monitor.config.connections import SchemaRegistryOptions
from monitor.errors import ConfigError, SchemaRegistryError
from monitor.formats.schemas import Reference, Schema

MAX_BYTES = 8 * 1024 * 1024  # of an answer
MOST_REFERENCES = 200  # of a schema, theirs included
# What says in a 404 that it is the registry's own, for a subject, a version or a schema that it does not have
_ABSENT = (40401, 40402, 40403)
_ACCEPTED = "application/vnd.schemaregistry.v1+json, application/json"


class _AbsentError(Exception):
    """The registry does not have what was asked for."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows none: the password would go where it points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class SchemaRegistry:
    """Answers which schema has an id."""

    def __init__(self, options: SchemaRegistryOptions) -> None:
        """Raises `ConfigError` where a file that the options name can't be used."""
        self._urls = [url.rstrip("/") for url in options.urls]
        self._timeout_s = options.timeout_ms / 1000
        self._headers = {"Accept": _ACCEPTED, "User-Agent": f"telltale/{__version__}"}
        if options.username:
            password = secrets.read_password("schema_registry", options.password, options.password_file)
            pair = base64.b64encode(f"{options.username}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"
        tls = urllib.request.HTTPSHandler(context=_tls(options))
        self._open = urllib.request.build_opener(tls, _NoRedirects).open

    def schema(self, number: int) -> Schema | str:
        """The schema with this id and all that it refers to, or a text that says what the registry does not have.

        Raises:
            SchemaRegistryError: there is no answer now, or none of a registry.
        """
        try:
            found = self._get(f"/schemas/ids/{number}")
        except _AbsentError as error:
            return (
                f"the schema registry has no schema with id {number} ({error}); register it again, or correct "
                "schema_registry.urls if the producer uses another registry"
            )
        references: list[Reference] = []
        try:
            self._refer(found, references, set())
        except _AbsentError as error:
            return f"schema {number} refers to others that can't be had: {error}; register them again"
        return Schema(found.get("schemaType", "AVRO"), found["schema"], tuple(references))

    def _refer(self, schema: Mapping[str, Any], found: list[Reference], seen: set[tuple[str, int]]) -> None:
        """Adds what a schema refers to, innermost first and each once."""
        for each in schema.get("references") or ():
            name, subject, version = each["name"], each["subject"], each["version"]
            if (subject, version) in seen:
                continue
            seen.add((subject, version))
            if len(seen) > MOST_REFERENCES:
                raise _AbsentError(f"there are more than {MOST_REFERENCES}")
            inner = self._get(f"/subjects/{quote(subject, safe='')}/versions/{version}?deleted=true")
            self._refer(inner, found, seen)
            found.append(Reference(name, inner["schema"]))

    def _get(self, path: str) -> dict[str, Any]:
        """What the first registry that answers says.

        Raises:
            _AbsentError, SchemaRegistryError: as `schema`.
        """
        failures = []
        for url in self._urls:
            try:
                return self._ask(url, path)
            except SchemaRegistryError as error:
                failures.append(error)
        reasons = "; ".join(failure.reason for failure in failures)
        raise SchemaRegistryError(reasons, failures[-1].remedy, refused=all(failure.refused for failure in failures))

    def _ask(self, url: str, path: str) -> dict[str, Any]:
        request = urllib.request.Request(url + path, headers=self._headers)  # noqa: S310 # the options allow http and https
        deadline = time.monotonic() + self._timeout_s
        try:
            with self._open(request, timeout=self._timeout_s) as answer:
                body = _read(answer, deadline)
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(url, error, _error_of(error, deadline)) from None
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(url, error, self._timeout_s) from None
        document = _json(body)
        if not isinstance(document, dict) or not _is_schema(document):
            raise _no_registry(url, f"its answer to {path} is no schema")
        return document


def check_access(options: SchemaRegistryOptions) -> None:
    """Asks the registry for a schema, any, before the daemon joins.

    Raises:
        BackendError: it does not answer.
        ConfigError: it does, and refuses; or a file that the options name can't be used.
    """
    try:
        SchemaRegistry(options).schema(1)
    except SchemaRegistryError as error:
        if error.refused:
            raise ConfigError(str(error)) from None
        raise


def _tls(options: SchemaRegistryOptions) -> ssl.SSLContext:
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        path = getattr(options, name)
        if path is not None and not path.is_file():
            raise ConfigError(f"schema_registry.{name}: {path}: no such file; expected a PEM file")
    try:
        context = ssl.create_default_context(cafile=options.ssl_cafile)
        if options.ssl_certfile is not None:
            context.load_cert_chain(options.ssl_certfile, options.ssl_keyfile)
    except (OSError, ValueError) as error:
        raise ConfigError(f"schema_registry: a PEM file can't be used: {error}; expected what OpenSSL reads") from None
    return context


def _read(answer: Any, deadline: float) -> bytes:
    """The body. Raises OSError where it takes too long, or is too large to be a schema."""
    body = bytearray()
    while part := answer.read1(65_536):
        body += part
        if len(body) > MAX_BYTES:
            raise OSError(f"an answer of more than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(body)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _is_schema(document: dict[str, Any]) -> bool:
    references = document.get("references") or []
    return (
        isinstance(document.get("schema"), str)
        and isinstance(document.get("schemaType", ""), str)
        and isinstance(references, list)
        and all(isinstance(each, dict) for each in references)
        and all(isinstance(each.get(name), str) for each in references for name in ("name", "subject"))
        and all(type(each.get("version")) is int for each in references)
    )


def _error_of(error: urllib.error.HTTPError, deadline: float) -> dict[str, Any]:
    """What a registry says of an error: `error_code` and `message`; nothing where it is not a registry's."""
    try:
        document = _json(_read(error, deadline))
    except (OSError, http.client.HTTPException):
        return {}
    return document if isinstance(document, dict) else {}


def _refused(url: str, error: urllib.error.HTTPError, said: dict[str, Any]) -> Exception:
    """What an answer other than 200 means."""
    message = str(said.get("message", ""))[:200]
    answer = f"the schema registry at {url} answers {error.code} {error.reason}" + (f" ({message})" if message else "")
    if error.code == HTTPStatus.NOT_FOUND:
        if said.get("error_code") in _ABSENT:
            return _AbsentError(f"{url} answers {said['error_code']} {message}".rstrip())
        return _no_registry(url, "it answers 404, and not as a registry does")
    if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        remedy = "check schema_registry.username and its password"
        if error.code == HTTPStatus.FORBIDDEN:
            remedy = "allow the user of schema_registry.username to read schemas by id"
        return SchemaRegistryError(answer, remedy, refused=True)
    if 300 <= error.code < 400:
        where = error.headers.get("Location", "nowhere")
        return SchemaRegistryError(f"{answer}, to {where}", "set schema_registry.urls to that place", refused=True)
    return SchemaRegistryError(answer, "see the registry's own log; it is asked again every few seconds")


def _no_registry(url: str, what: str) -> SchemaRegistryError:
    return SchemaRegistryError(
        f"{url} does not answer as a schema registry: {what}",
        "check schema_registry.urls, the path included (Apicurio's ends in /apis/ccompat/v7)",
        refused=True,
    )


def _unreachable(url: str, error: Exception, timeout_s: float) -> SchemaRegistryError:
    """What a failure to connect, or to read the answer, means."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return SchemaRegistryError(
            f"the certificate of the schema registry at {url} is not accepted: {cause.verify_message}",
            "set schema_registry.ssl_cafile to the authority that signed it, or use the name that it is made for",
            refused=True,
        )
    if isinstance(cause, TimeoutError):
        said = f"no answer within {timeout_s:g} s"
    else:
        said = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return SchemaRegistryError(
        f"the schema registry at {url} can't be reached: {said}", "start it, or correct schema_registry.urls"
    )
