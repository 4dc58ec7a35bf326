"""The options of connections that leave this machine: to the Kafka cluster, and to a schema registry.

Rules of this file: a password is sent unencrypted to no other machine unless an option allows it.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from monitor.config.sections import FilePath, Options, TopicName, is_loopback


class KafkaOptions(Options):
    """Connection to the cluster."""

    bootstrap_servers: list[str] = Field(
        ["127.0.0.1:9092"], min_length=1, description="`bootstrap.servers`: host:port of some brokers."
    )
    group_id: TopicName = Field(
        "telltale", description="`group.id` of the consumer, and prefix of the producer's `transactional.id`."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        description="`security.protocol`. PLAINTEXT and SASL_PLAINTEXT only on loopback, unless allow_plaintext.",
    )
    allow_plaintext: bool = Field(False, description="Allow unencrypted connections that leave this machine.")
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("", description="`sasl.mechanism`.")
    username: str = Field("", description="SASL user name.")
    password: SecretStr = Field(
        SecretStr(""), description="SASL password; only from TELLTALE__KAFKA__PASSWORD, never from this file."
    )
    password_file: FilePath | None = Field(
        None, examples=["/run/secrets/kafka"], description="File with the SASL password; mode 0600 or less."
    )
    ssl_cafile: FilePath | None = Field(
        None,
        examples=["/etc/telltale/ca.pem"],
        description="Certificate authorities (PEM) that the brokers' certificates are verified against.",
    )
    ssl_certfile: FilePath | None = Field(
        None, examples=["/etc/telltale/client.pem"], description="Client certificate (PEM), for mutual TLS."
    )
    ssl_keyfile: FilePath | None = Field(
        None, examples=["/etc/telltale/client.key"], description="Private key of the client certificate (PEM)."
    )
    session_timeout_ms: int = Field(
        15_000,
        ge=6_000,
        le=300_000,
        description="`session.timeout.ms` of the consumer: the group reassigns the partitions of a member that sends "
        "no heartbeat for this long.",
    )
    transaction_timeout_ms: int = Field(
        30_000,
        ge=10_000,
        le=900_000,
        description="`transaction.timeout.ms` of the producer: brokers abort a transaction that is older; a commit is "
        "given up at that age too.",
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _host_and_port(cls, servers: list[str]) -> list[str]:
        for server in servers:
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"{server!r} is not host:port")
        return servers

    @model_validator(mode="after")
    def _security(self) -> KafkaOptions:
        problems = []
        sasl = self.security_protocol.startswith("SASL")
        if not self.security_protocol.endswith("SSL") and not self.allow_plaintext:
            remote = [server for server in self.bootstrap_servers if not is_loopback(server.rpartition(":")[0])]
            if remote:
                problems.append(
                    f"security_protocol {self.security_protocol} would send to {remote[0]} unencrypted; "
                    "use SSL or SASL_SSL, or set allow_plaintext = true"
                )
        if sasl and not self.sasl_mechanism:
            problems.append("sasl_mechanism is needed with a SASL security_protocol")
        if sasl and not self.username:
            problems.append("username is needed with a SASL security_protocol")
        if sasl and not self.password.get_secret_value() and self.password_file is None:
            problems.append("a password is needed: password_file, or TELLTALE__KAFKA__PASSWORD in the environment")
        if bool(self.ssl_certfile) != bool(self.ssl_keyfile):
            problems.append("ssl_certfile and ssl_keyfile go together")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class SchemaRegistryOptions(Options):
    """Where the schemas of Avro records are: a registry that speaks Confluent's REST protocol."""

    urls: list[str] = Field(
        [],
        description="URLs of the registry, http:// or https://, with the path where there is one; the next is asked "
        "where one does not answer. Needed for `input.format` avro.",
    )
    username: str = Field("", description="User name of HTTP basic authentication, or API key.")
    password: SecretStr = Field(
        SecretStr(""),
        description="Password, or API secret; only from TELLTALE__SCHEMA_REGISTRY__PASSWORD, never from this file.",
    )
    password_file: FilePath | None = Field(
        None, examples=["/run/secrets/registry"], description="File with the password; mode 0600 or less."
    )
    allow_plaintext: bool = Field(False, description="Allow sending the password over http:// to another machine.")
    ssl_cafile: FilePath | None = Field(
        None,
        examples=["/etc/telltale/ca.pem"],
        description="Certificate authorities (PEM) for the registry's certificate; absent: the system's.",
    )
    ssl_certfile: FilePath | None = Field(
        None, examples=["/etc/telltale/client.pem"], description="Client certificate (PEM), for mutual TLS."
    )
    ssl_keyfile: FilePath | None = Field(
        None, examples=["/etc/telltale/client.key"], description="Private key of the client certificate (PEM)."
    )
    timeout_ms: int = Field(
        5_000,
        ge=100,
        le=60_000,
        description="Maximum time of an answer; partitions that need it wait, the others continue.",
    )

    @field_validator("urls")
    @classmethod
    def _urls(cls, urls: list[str]) -> list[str]:
        for url in urls:
            _check_url(url)
        return urls

    @model_validator(mode="after")
    def _security(self) -> SchemaRegistryOptions:
        problems = []
        secret = bool(self.password.get_secret_value()) or self.password_file is not None
        if self.username and not secret:
            problems.append(
                "a password is needed: password_file, or TELLTALE__SCHEMA_REGISTRY__PASSWORD in the environment"
            )
        for url in map(urlsplit, self.urls):
            if secret and url.scheme == "http" and not is_loopback(url.hostname or "") and not self.allow_plaintext:
                problems.append(
                    f"{url.geturl()} would be sent the password unencrypted; use https, or set allow_plaintext = true"
                )
        if bool(self.ssl_certfile) != bool(self.ssl_keyfile):
            problems.append("ssl_certfile and ssl_keyfile go together")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _check_url(url: str) -> None:
    """Raises ValueError where a URL is not one of a registry."""
    if "@" in url:  # not shown: it may hold a password
        raise ValueError("a URL here holds no user and no password; use username and password_file")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not http://HOST:PORT or https://HOST:PORT, with or without a path")
