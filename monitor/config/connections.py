"""The options of connections that leave this machine.

Rules of this file: a password is sent unencrypted to no other machine unless an option allows it.
"""

from __future__ import annotations

from typing import Literal

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
