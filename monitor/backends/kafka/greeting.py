"""A first connection of our own, step by step: TCP, TLS, Kafka, SASL. What is refused says at which step, and why.

kafka-python 3.0.12 can't say it: it never reads a refusal that comes with the end of the connection (D17), takes a TLS
alert that comes after the handshake (TLS 1.3: of a client's certificate) for a lost connection, and tries all of them
again for ever. `OSError`: no broker answers, or not yet. `RefusedError`: one does, and a retry would not help.
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass

from kafka.net.sasl import get_sasl_mechanism

from monitor.backends.kafka.settings import read_password
from monitor.config.connections import KafkaOptions
from monitor.errors import ConfigError

_METADATA, _SASL_HANDSHAKE, _API_VERSIONS, _SASL_AUTHENTICATE = 3, 17, 18, 36
_UNSUPPORTED_MECHANISM, _ILLEGAL_STATE, _AUTHENTICATION_FAILED = 33, 34, 58
_MOST_BYTES = 1 << 24
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")  # an alert, a handshake


class RefusedError(Exception):
    """Somebody answers, but not to these settings. The message says what is wrong, and which option to change."""


@dataclass(frozen=True, slots=True)
class Server:
    """The server to connect to."""

    host: str
    port: int
    timeout_s: float

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=self.timeout_s)


def greet(server: Server, kafka: KafkaOptions) -> None:
    """Goes as far as the first request that needs every right to be there.

    Raises:
        RefusedError: see the message.
        ConfigError: our own files are not usable.
        OSError: nobody is there, or hangs up without a known reason.
    """
    context = tls_context(kafka) if kafka.security_protocol.endswith("SSL") else None
    with server.connect() as plain:
        if context is None:
            _talk(server, plain, kafka)
            return
        try:
            connection = context.wrap_socket(plain, server_hostname=server.host)
        except ssl.SSLCertVerificationError as error:
            raise RefusedError(_distrusted(server, error)) from error
        except (ssl.SSLError, ConnectionError) as error:
            raise _failed_handshake(server, kafka, error) from error
        with connection:
            try:
                _talk(server, connection, kafka)
            except ssl.SSLError as error:
                raise _failed_handshake(server, kafka, error) from error


def tls_context(kafka: KafkaOptions) -> ssl.SSLContext:
    """How brokers are verified, and how we authenticate. Raises `ConfigError`."""
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


def _talk(server: Server, connection: socket.socket, kafka: KafkaOptions) -> None:
    """Kafka's side of the greeting."""
    try:
        _converse(server, connection, kafka)
    except (_NotKafkaError, struct.error) as error:
        raise RefusedError(
            f"what listens there is not a Kafka broker (it answers {error}); change {_SERVERS}"
        ) from error


def _converse(server: Server, connection: socket.socket, kafka: KafkaOptions) -> None:
    with_sasl = kafka.security_protocol.startswith("SASL")
    try:
        _ask(connection, _API_VERSIONS, 0, b"")
    except _NotKafkaError as error:
        if error.began.startswith(_TLS_RECORDS):
            raise RefusedError(_speaks_tls(kafka)) from error
        raise RefusedError(
            f"what listens there is not a Kafka broker (it begins with {error.began!r}); change {_SERVERS}"
        ) from error
    except ConnectionError:
        if not isinstance(connection, ssl.SSLSocket) and _has_tls(server):
            raise RefusedError(_speaks_tls(kafka)) from None
        raise
    if with_sasl:
        _authenticate(server, connection, kafka)
        return
    try:
        _ask(connection, _METADATA, 1, struct.pack(">i", 0))
    except ConnectionError:
        wanted = _sasl_mechanisms(server, kafka)
        if wanted:
            raise RefusedError(
                f"the listener asks for SASL ({', '.join(wanted)}); set kafka.security_protocol to "
                f"SASL_{kafka.security_protocol}, with kafka.sasl_mechanism, kafka.username and kafka.password_file"
            ) from None
        raise


def _authenticate(server: Server, connection: socket.socket, kafka: KafkaOptions) -> None:
    code, mechanisms = _shake_hands(connection, kafka.sasl_mechanism)
    if code == _ILLEGAL_STATE:
        plain = kafka.security_protocol.removeprefix("SASL_")
        raise RefusedError(
            f"the listener does not use SASL; set kafka.security_protocol to {plain}, or change {_SERVERS}"
        )
    if code == _UNSUPPORTED_MECHANISM or (not code and kafka.sasl_mechanism not in mechanisms):
        raise RefusedError(
            f"the listener does not take kafka.sasl_mechanism {kafka.sasl_mechanism}; set it to one that it takes: "
            f"{', '.join(mechanisms)}"
        )
    if code:
        raise OSError(f"SASL handshake: Kafka's error {code}")
    mechanism = get_sasl_mechanism(kafka.sasl_mechanism)(
        host=server.host,
        security_protocol="SASL_SSL",  # the client warns of a password in the clear, which our configuration rules on
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_plain_username=kafka.username,
        sasl_plain_password=read_password(kafka),
    )
    while not mechanism.is_done():
        token = mechanism.auth_bytes()
        answer = _ask(connection, _SASL_AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
        (code,) = struct.unpack_from(">h", answer)
        message, at = _text(answer, 2)
        if code == _AUTHENTICATION_FAILED:
            raise RefusedError(
                f"the credentials of user {kafka.username!r} are refused ({kafka.sasl_mechanism}): {message}; correct "
                "kafka.username, or the password (kafka.password_file, TELLTALE__KAFKA__PASSWORD), or create the user"
            )
        if code:
            raise OSError(f"SASL authentication: Kafka's error {code}: {message}")
        (length,) = struct.unpack_from(">i", answer, at)
        try:
            mechanism.receive(answer[at + 4 : at + 4 + max(length, 0)])
        except Exception as error:  # the client's mechanisms raise anything
            raise RefusedError(f"the broker does not prove that it knows user {kafka.username!r}: {error}") from error
    if not mechanism.is_authenticated():
        raise RefusedError(f"the broker does not prove that it knows user {kafka.username!r}'s password")


_SERVERS = "kafka.bootstrap_servers (the port)"


def _speaks_tls(kafka: KafkaOptions) -> str:
    protocol = kafka.security_protocol.replace("PLAINTEXT", "SSL")
    return f"the listener speaks TLS; set kafka.security_protocol to {protocol}, and ssl_cafile, or change {_SERVERS}"


def _distrusted(server: Server, error: ssl.SSLCertVerificationError) -> str:
    reason = error.verify_message or str(error)
    if "expired" in reason:
        return f"the broker's certificate has expired ({reason}); renew it, and check this machine's clock"
    if "not yet valid" in reason:
        return f"the broker's certificate is not valid yet ({reason}); check this machine's clock"
    if "mismatch" in reason or "not valid for" in reason:
        return (
            f"the broker's certificate is not for {server.host} ({reason}); name a host that it holds in "
            "kafka.bootstrap_servers, or give the broker one that holds this name"
        )
    return (
        f"the broker's certificate is by an authority that is not trusted here ({reason}); set kafka.ssl_cafile to the "
        "certificate (PEM) of the authority that signed it"
    )


def _failed_handshake(server: Server, kafka: KafkaOptions, error: OSError) -> Exception:
    """What a TLS error of a broker that is there means; the error itself where it may only be going away."""
    reason = str(getattr(error, "reason", None) or error).replace("_", " ").lower()
    if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
        if kafka.ssl_certfile is None:
            return RefusedError(
                f"the listener asks for a client certificate ({reason}); set kafka.ssl_certfile and kafka.ssl_keyfile"
            )
        return RefusedError(
            f"the client certificate of kafka.ssl_certfile is refused ({reason}); give one that is valid and by an "
            "authority that the broker trusts (its ssl.truststore)"
        )
    if "alert" in reason and "version" in reason:
        return RefusedError(
            f"broker and client have no TLS version in common ({reason}); 1.2 and 1.3 are supported here"
        )
    if "wrong version number" in reason or _has_no_tls(server):
        protocol = kafka.security_protocol.replace("SSL", "PLAINTEXT")
        return RefusedError(
            f"the listener does not use TLS ({reason}); change {_SERVERS} to a listener with TLS, or set "
            f"kafka.security_protocol to {protocol}"
        )
    return error


def _has_tls(server: Server) -> bool:
    """Whether the port answers to TLS; what it shows is not looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with server.connect() as plain, context.wrap_socket(plain):
            return True
    except ssl.SSLError as error:
        return "alert" in str(error).lower()
    except OSError:
        return False


def _has_no_tls(server: Server) -> bool:
    """Whether the port answers to Kafka without TLS."""
    with suppress(OSError, _NotKafkaError), server.connect() as connection:
        _ask(connection, _API_VERSIONS, 0, b"")
        return True
    return False


def _sasl_mechanisms(server: Server, kafka: KafkaOptions) -> list[str]:
    """What a listener with SASL takes; nothing where it has none."""
    with suppress(OSError, _NotKafkaError), server.connect() as plain:
        if not kafka.security_protocol.endswith("SSL"):
            return _shake_hands(plain, "NONE")[1]
        with tls_context(kafka).wrap_socket(plain, server_hostname=server.host) as connection:
            return _shake_hands(connection, "NONE")[1]
    return []


def _shake_hands(connection: socket.socket, mechanism: str) -> tuple[int, list[str]]:
    """Kafka's error code, 0 for none, and the mechanisms that the listener takes."""
    name = mechanism.encode()
    answer = _ask(connection, _SASL_HANDSHAKE, 1, struct.pack(">h", len(name)) + name)
    code, count = struct.unpack_from(">hi", answer)
    at, mechanisms = 6, []
    for _ in range(count):
        text, at = _text(answer, at)
        mechanisms.append(text)
    return code, mechanisms


def _text(content: bytes, at: int) -> tuple[str, int]:
    """A string of Kafka's, with its length before it, and where it ends; "" for null."""
    (length,) = struct.unpack_from(">h", content, at)
    end = at + 2 + max(length, 0)
    return content[at + 2 : end].decode("utf-8", "replace"), end


class _NotKafkaError(Exception):
    def __init__(self, began: bytes) -> None:
        super().__init__(began)
        self.began = began


def _ask(connection: socket.socket, api_key: int, version: int, body: bytes) -> bytes:
    """One request, and its answer's body. Bytes that come before an end of file are an answer too."""
    request = struct.pack(">hhih", api_key, version, 0, -1) + body
    with suppress(BrokenPipeError, ConnectionResetError):  # what it sent before it hung up is read all the same
        connection.sendall(struct.pack(">i", len(request)) + request)
    began = _receive(connection, 4)
    (length,) = struct.unpack(">i", began)
    if not 4 <= length <= _MOST_BYTES:
        raise _NotKafkaError(began)
    return _receive(connection, length)[4:]


def _receive(connection: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        chunk = connection.recv(count - len(received))
        if not chunk:
            raise ConnectionResetError("the broker closed the connection")
        received += chunk
    return bytes(received)
