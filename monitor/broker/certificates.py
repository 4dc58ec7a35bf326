"""A certificate authority and certificates signed by it, as PEM, made by the Java runtime's `keytool`.

keytool writes keys into key stores only. Of its formats JKS is the one that the standard library can read: a private
key is protected by a chain of SHA-1 digests (sun.security.provider.KeyProtector). That is no real protection, so the
store is kept in a directory of its own (mode 0700) while certificates are made, and then deleted, with the authority's
key.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from monitor.broker.process import java
from monitor.errors import BrokerError

VALID_DAYS = 3650
TIMEOUT_SECS = 60.0
_MAGIC, _VERSION, _PRIVATE_KEY = 0xFEEDFEED, 2, 1
_DIGEST_BYTES = 20


@dataclass(frozen=True, slots=True)
class Certificate:
    """`chain` and `key` (PKCS 8, not encrypted) as PEM; the chain starts with the certificate itself."""

    chain: str
    key: str


class Authority(AbstractContextManager["Authority"]):
    """Signs certificates while it is open. `certificate` is the one that others must trust."""

    def __init__(self, name: str = "Telltale's local broker") -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="telltale-keys-")
        self._store = Path(self._directory.name, "store.jks")
        self._password = secrets.token_hex(16)
        self._make("ca", name, VALID_DAYS, ["-ext", "bc:c=ca:true", "-ext", "ku:c=keyCertSign"])
        self.certificate = self._read("ca").chain

    def issue(
        self, name: str, hosts: Sequence[str] = (), *, days: int = VALID_DAYS, starting: str = "-1d"
    ) -> Certificate:
        """A certificate for `name`, valid for `hosts`, from `starting` (as keytool's -startdate) for `days`."""
        names = [f"{'ip' if host.replace('.', '').isdecimal() else 'dns'}:{host}" for host in hosts]
        extensions = ["-ext", f"san={','.join(names)}"] if names else []
        alias = f"issued-{secrets.token_hex(4)}"
        self._make(alias, name, days, ["-signer", "ca", "-startdate", starting, *extensions])
        return self._read(alias)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._directory.cleanup()

    def _make(self, alias: str, name: str, days: int, options: Sequence[str]) -> None:
        words = [
            str(Path(java()).with_name("keytool")), "-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-genkeypair",
            "-keystore", str(self._store), "-storetype", "JKS", "-storepass:env", "TELLTALE_STORE", "-alias", alias,
            "-keypass:env", "TELLTALE_STORE", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", f"CN={name}",
            "-validity", str(days), *options,
        ]  # fmt: skip
        environment = os.environ | {"TELLTALE_STORE": self._password}
        try:
            done = subprocess.run(
                words, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BrokerError(f"certificates can't be made: {words[0]}: {error}") from error
        if done.returncode:
            said = (done.stdout + done.stderr).strip()[:500]
            raise BrokerError(f"certificates can't be made: {words[0]} says: {said}")

    def _read(self, alias: str) -> Certificate:
        key, chain = _entries(self._store.read_bytes())[alias]
        return Certificate(
            chain="".join(_pem("CERTIFICATE", each) for each in chain),
            key=_pem("PRIVATE KEY", _unprotected(_octets(key), self._password)),
        )


def _pem(kind: str, content: bytes) -> str:
    text = base64.encodebytes(content).decode().replace("\n", "")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])


def _entries(store: bytes) -> dict[str, tuple[bytes, list[bytes]]]:
    """The private keys of a JKS, still protected, and their certificate chains, by alias."""
    magic, version, count = struct.unpack_from(">III", store)
    if (magic, version) != (_MAGIC, _VERSION):
        raise BrokerError("certificates can't be made: keytool wrote no JKS of version 2")
    at, found = 12, {}

    def taken(form: str) -> bytes:
        """The next bytes, preceded by their length in the format `form`."""
        nonlocal at
        (length,) = struct.unpack_from(form, store, at)
        at += struct.calcsize(form) + length
        return store[at - length : at]

    for _ in range(count):
        (kind,) = struct.unpack_from(">I", store, at)
        if kind != _PRIVATE_KEY:
            raise BrokerError("certificates can't be made: keytool's store has an unexpected entry")
        at += 4
        alias = taken(">H").decode()
        at += 8  # when it was made
        key = taken(">I")
        (length,) = struct.unpack_from(">I", store, at)
        at += 4
        chain = []
        for _ in range(length):
            taken(">H")  # "X.509"
            chain.append(taken(">I"))
        found[alias] = key, chain
    return found


def _octets(info: bytes) -> bytes:
    """The octet string of an EncryptedPrivateKeyInfo, a DER sequence of the algorithm and that string."""
    _, start, _ = _der(info, 0)
    _, _, algorithm_end = _der(info, start)
    _, start, end = _der(info, algorithm_end)
    return info[start:end]


def _der(content: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start and end of the value at an offset."""
    tag, length = content[at], content[at + 1]
    at += 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(content[at : at + size], "big")
        at += size
    return tag, at, at + length


def _unprotected(octets: bytes, password: str) -> bytes:
    """Decrypts a key of a JKS: a salt, the key XORed with a chain of digests, and a digest to verify it."""
    word, digest = password.encode("utf-16-be"), octets[:_DIGEST_BYTES]
    hidden, check = octets[_DIGEST_BYTES:-_DIGEST_BYTES], octets[-_DIGEST_BYTES:]
    stream = bytearray()
    while len(stream) < len(hidden):
        digest = hashlib.sha1(word + digest, usedforsecurity=False).digest()
        stream += digest
    key = bytes(a ^ b for a, b in zip(hidden, stream, strict=False))
    if hashlib.sha1(word + key, usedforsecurity=False).digest() != check:
        raise BrokerError("certificates can't be made: keytool protected a key in an unknown way")
    return key
