"""What `--secure` adds to a local broker: listeners with TLS, a user with a password, and a client certificate.

Everything is in DATA/secure (mode 0700), created at the first start:

    ca.pem                   the certificate authority that clients trust
    server.pem               the brokers' key and certificate, for 127.0.0.1 and localhost
    client.pem, client.key   a client's certificate and key, for the listener that asks for one
    password                 of the user `telltale`, for SCRAM-SHA-512 and PLAIN
    kafka.toml               the section [kafka] of a Telltale configuration that uses them

Rules of this file: secrets are in files of mode 0600, never on a command line.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from monitor.broker.certificates import Authority
from monitor.broker.network import LOOPBACK
from monitor.broker.state import BrokerState, write_file
from monitor.errors import BrokerError

USER = "telltale"
MECHANISM = "SCRAM-SHA-512"
SECRET_MODE = 0o600
_DIRECTORY_MODE = 0o700
_MODULES = "org.apache.kafka.common.security"


def directory(data_dir: Path) -> Path:
    """The directory of a local broker's certificates and password."""
    return data_dir / "secure"


def password(data_dir: Path) -> str:
    """The password of the user `telltale`."""
    path = directory(data_dir) / "password"
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise BrokerError(f"{path}: can't be read ({error.strerror}); name a new directory with --data") from error


def prepare(data_dir: Path, brokers: Sequence[BrokerState]) -> None:
    """Creates missing files, and writes the brokers' current addresses into kafka.toml."""
    secure = directory(data_dir)
    if not (secure / "password").exists():
        secure.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        secure.chmod(_DIRECTORY_MODE)
        with Authority() as authority:
            server = authority.issue("localhost", ["localhost", LOOPBACK])
            client = authority.issue(USER)
        files = {
            "ca.pem": authority.certificate,
            "server.pem": server.key + server.chain,
            "client.pem": client.chain,
            "client.key": client.key,
            "password": secrets.token_urlsafe(24) + "\n",  # last: its existence means that all files exist
        }
        for name, content in files.items():
            write_file(secure / name, content.encode(), mode=SECRET_MODE)
    write_file(secure / "kafka.toml", _section(secure, brokers).encode(), mode=SECRET_MODE)


def listeners(broker: BrokerState) -> list[str]:
    """The TLS listeners, if the broker has any."""
    if not broker.is_secure:
        return []
    return [f"SASL_SSL://{LOOPBACK}:{broker.sasl_port}", f"SSL://{LOOPBACK}:{broker.tls_port}"]


def properties(data_dir: Path, broker: BrokerState) -> dict[str, str]:
    """The settings of those listeners."""
    if not broker.is_secure:
        return {}
    secure, sasl = directory(data_dir), "listener.name.sasl_ssl"
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(secure / "server.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(secure / "ca.pem"),
        "listener.name.ssl.ssl.client.auth": "required",
        f"{sasl}.sasl.enabled.mechanisms": f"{MECHANISM},PLAIN",
        f"{sasl}.{MECHANISM.lower()}.sasl.jaas.config": f"{_MODULES}.scram.ScramLoginModule required;",
        f"{sasl}.plain.sasl.jaas.config": (
            f'{_MODULES}.plain.PlainLoginModule required user_{USER}="{password(data_dir)}";'
        ),
    }


def _section(secure: Path, brokers: Sequence[BrokerState]) -> str:
    def listed(ports: Sequence[int]) -> str:
        return ", ".join(f'"{LOOPBACK}:{port}"' for port in ports)

    return f"""# Section of a Telltale configuration: `telltale kafka start --secure` wrote it.
[kafka]
bootstrap_servers = [{listed([broker.sasl_port for broker in brokers])}]
security_protocol = "SASL_SSL"
sasl_mechanism = "{MECHANISM}"
username = "{USER}"
password_file = {_quoted(secure / "password")}
ssl_cafile = {_quoted(secure / "ca.pem")}

# Or by a client certificate, without a password:
# bootstrap_servers = [{listed([broker.tls_port for broker in brokers])}]
# security_protocol = "SSL"
# ssl_cafile = {_quoted(secure / "ca.pem")}
# ssl_certfile = {_quoted(secure / "client.pem")}
# ssl_keyfile = {_quoted(secure / "client.key")}
"""


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
