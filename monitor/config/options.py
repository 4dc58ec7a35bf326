"""The daemon's configuration: what can be set, its defaults, and what is refused. `monitor.config.file` reads it.

Rules of this file: an option that changes *when or where* lives here; an option that changes a *score* lives in the
artifact. Every field's description is the one place from which `telltale config show`, the JSON Schema and the
README's table are made. Secrets come from the environment or from files, never from the TOML itself.
"""

from __future__ import annotations

import ipaddress
import socket
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from monitor import extensions
from monitor.detector.incidents import Policy
from monitor.detector.spec import MAX_FLOAT32, MIN_FLOAT32
from monitor.detector.times import OLDEST_TIME, iso_us
from monitor.errors import ConfigError

MAX_WINDOWS = 1_000_000
# Kafka's own rule for topic names (org.apache.kafka.common.internals.Topic): neither "." nor ".."
NAME = r"^\.*[a-zA-Z0-9_-][a-zA-Z0-9._-]*$"
NAME_LENGTH = 249
TopicName = Annotated[str, Field(pattern=NAME, max_length=NAME_LENGTH)]
FilePath = Annotated[Path, Field(strict=False)]  # TOML has no paths, only strings


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine. No name but localhost is trusted to."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


class Section(BaseModel):
    # strict: true is not 1, and "8900" is not a port
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False)


class Service(Section):
    """Who this daemon is."""

    name: TopicName = Field("telltale", description="CloudEvents source of its alerts, and part of their ids.")
    instance: str = Field(
        "",
        pattern=r"^[a-zA-Z0-9._-]{0,200}$",
        description="Identity of this process in the group; two running daemons need two. Empty: the host's name.",
    )

    @property
    def identity(self) -> str:
        return self.instance or socket.gethostname()


class Kafka(Section):
    """How to reach the cluster."""

    bootstrap_servers: list[str] = Field(["127.0.0.1:9092"], min_length=1, description="host:port of some brokers.")
    group_id: TopicName = Field("telltale", description="Consumer group, and prefix of the transactional id.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT and SASL_PLAINTEXT only on loopback unless allow_plaintext."
    )
    allow_plaintext: bool = Field(False, description="Allow an unencrypted connection that leaves this machine.")
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("", description="SASL mechanism.")
    username: str = Field("", description="SASL user name.")
    password: SecretStr = Field(
        SecretStr(""), description="SASL password; from TELLTALE__KAFKA__PASSWORD only, never from the file."
    )
    password_file: FilePath | None = Field(
        None, examples=["/run/secrets/kafka"], description="File that holds the SASL password; mode 0600 or less."
    )
    ssl_cafile: FilePath | None = Field(
        None, examples=["/etc/telltale/ca.pem"], description="Authorities (PEM) that the brokers are checked by."
    )
    ssl_certfile: FilePath | None = Field(
        None, examples=["/etc/telltale/client.pem"], description="Client certificate (PEM), for mutual TLS."
    )
    ssl_keyfile: FilePath | None = Field(
        None, examples=["/etc/telltale/client.key"], description="Key of the client certificate (PEM)."
    )
    session_timeout_ms: int = Field(15_000, ge=6_000, le=300_000, description="Silence after which we are taken over.")
    transaction_timeout_ms: int = Field(30_000, ge=10_000, le=900_000, description="Age at which a broker aborts ours.")

    @field_validator("bootstrap_servers")
    @classmethod
    def _host_and_port(cls, servers: list[str]) -> list[str]:
        for server in servers:
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"{server!r} is not host:port")
        return servers

    @model_validator(mode="after")
    def _security(self) -> Kafka:
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


class Input(Section):
    """What is read."""

    topics: list[TopicName] = Field(["telltale.input"], min_length=1, description="Topics of one kind of signal.")
    format: str = Field(
        "json", description="How a record's value is written: json, f32, or a format that an installed package adds."
    )
    series: str = Field(
        "key",
        pattern=r"^(key|header:.+|field:.+)$",
        description="Where a record names its series: key, header:NAME, or field:NAME (json).",
    )
    timestamp_field: str = Field(
        "ts",
        description="JSON field with the time: a number since 1970, or RFC 3339; where absent, the record's own time.",
    )
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns"] = Field(
        "auto",
        description="Unit of numbers in that field; auto: each number's by its size, as the trainer reads files.",
    )
    oldest_time: str = Field(
        OLDEST_TIME,
        description="A record of an earlier time, or of 2200 or later, goes to the dead letters: a clock never set.",
    )
    start: str = Field(
        "latest",
        description="Where a group that never was here begins: latest, earliest, or an RFC 3339 time.",
    )
    beyond_end: Literal["stop", "end", "beginning"] = Field(
        "stop",
        description="Where a log ends before the group's offset: stop, loudly; or go on at its end or beginning.",
    )
    max_record_bytes: int = Field(1_048_576, ge=1, description="A larger record goes to the dead letters.")
    max_batch_bytes: int = Field(
        67_108_864, ge=1, description="What a compressed batch of records may unpack to; a larger one is damaged."
    )
    damaged_batches: Literal["auto", "stop", "skip"] = Field(
        "auto",
        description="At a batch of records that can't be read. skip: a dead letter for it, and on behind it; stop: "
        "commit all before it and end; auto: skip what its sender made unreadable, and hold the partition where the "
        "bytes are not those that were written (another replica may hold them): it is left alone, not ready, and "
        "reported once a minute, while the others go on.",
    )
    max_samples_per_record: int = Field(10_000, ge=1, description="A longer chunk goes to the dead letters.")
    max_series: int | None = Field(
        None,
        ge=1,
        examples=[20_000],
        description="Series remembered per partition; for one more, the one silent longest is forgotten. Absent: as "
        "many as fit 512 MiB, at most 100,000. That is per partition, whatever memory there is, so that all members "
        "forget alike: a process that owns n of them may come to take n times as much, and warns where it is too much.",
    )
    series_ttl: int = Field(
        7_776_000,
        ge=0,
        description="Seconds of silence, in the partition's event time, after which a series is forgotten; 0: never.",
    )
    max_refused_ratio: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Hold a partition where more of 1,000 records in a row are refused, or all of the first 20 after "
        "it was taken over; 1: never, all go to the dead letters.",
    )
    max_future_ms: int = Field(
        3_600_000,
        ge=0,
        description="How far a time may lie ahead of the newest one of its partition, unless a silence has ended.",
    )

    @field_validator("format")
    @classmethod
    def _format(cls, name: str) -> str:
        if name not in extensions.FORMATS:
            try:
                extensions.load_format(name)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return name

    @field_validator("start", "oldest_time", mode="before")
    @classmethod
    def _time_as_text(cls, time: Any) -> Any:
        return time.isoformat() if isinstance(time, datetime) else time  # TOML's own times need no quotes

    @field_validator("oldest_time")
    @classmethod
    def _oldest_time(cls, time: str) -> str:
        if iso_us(time) < 0:
            raise ValueError(f"{time!r} is before 1970")
        return time

    @field_validator("start")
    @classmethod
    def _start(cls, start: str) -> str:
        if start not in ("latest", "earliest") and start_timestamp_ms(start) is None:
            raise ValueError(f"{start!r} is neither latest, earliest, nor a time like 2026-11-21T08:00:00Z")
        return start

    @field_validator("topics")
    @classmethod
    def _once(cls, topics: list[str]) -> list[str]:
        for topic in topics:
            if topics.count(topic) > 1:
                raise ValueError(f"topic {topic!r} is there twice")
        return topics

    @model_validator(mode="after")
    def _fields(self) -> Input:
        field = self.series.removeprefix("field:") if self.series.startswith("field:") else None
        if field is not None and not extensions.load_format(self.format).names_fields:
            raise ValueError(f"series field:NAME needs format json; {self.format} records hold numbers only")
        if field in {"values", "rate_hz", self.timestamp_field} or self.timestamp_field in {"values", "rate_hz"}:
            raise ValueError("series, timestamp_field, values and rate_hz must be four different fields")
        return self


class Output(Section):
    """What is written. All but `alerts` may be left as they are."""

    alerts: TopicName = Field("telltale.alerts", description="Alerts: what users subscribe to.")
    dead_letters: TopicName = Field(
        "telltale.deadletters", description="Records that could not be read, with the reason."
    )
    state: str = Field(
        "", pattern=r"^[a-zA-Z0-9._-]{0,249}$", description="Compacted state topic. Empty: GROUP_ID.state."
    )
    create_topics: bool = Field(True, description="Create missing output topics.")
    replication_factor: int = Field(-1, ge=-1, description="Replicas of created topics; -1: the broker's default.")


class Model(Section):
    """What scores."""

    artifact: FilePath = Field(Path("artifact"), description="Artifact directory or zip; relative to this file.")
    threshold: float | None = Field(
        None, gt=0, examples=[0.05], description="Use this instead of the artifact's own threshold."
    )

    @field_validator("threshold")
    @classmethod
    def _float32(cls, threshold: float | None) -> float | None:
        if threshold is not None and not MIN_FLOAT32 <= threshold <= MAX_FLOAT32:
            raise ValueError(f"scores are float32: input should be from {MIN_FLOAT32:.3g} to {MAX_FLOAT32:.3g}")
        return threshold


class Alerting(Section):
    """When an incident opens, is told of again, and closes."""

    open_after: int = Field(
        1, ge=1, le=MAX_WINDOWS, description="Windows over the threshold, in a row, that open an incident."
    )
    close_after: int = Field(
        3, ge=1, le=MAX_WINDOWS, description="Windows under the threshold, in a row, that resolve it."
    )
    update_every: int = Field(
        20, ge=0, le=MAX_WINDOWS, description="Windows between updates while it lasts; 0: no updates."
    )
    error_ratio: float = Field(2.0, ge=1, description="Score over threshold from which severity is error.")
    critical_ratio: float = Field(4.0, ge=1, description="Score over threshold from which severity is critical.")
    include_window: Literal["none", "full"] = Field(
        "none", description="Put the window and its reconstruction in alerts."
    )

    @model_validator(mode="after")
    def _severities_in_order(self) -> Alerting:
        if self.critical_ratio < self.error_ratio:
            raise ValueError(f"critical_ratio {self.critical_ratio} is below error_ratio {self.error_ratio}")
        return self

    @property
    def policy(self) -> Policy:
        """What of it decides when an incident opens, is reported again, and closes."""
        return Policy(**{name: getattr(self, name) for name in Policy.__struct_fields__})


class Http(Section):
    """Health and metrics."""

    host: str = Field("127.0.0.1", description="Address of /livez, /readyz, /metrics.")
    port: int = Field(8900, ge=0, le=65535, description="Port; 0 chooses a free one and logs it.")
    allow_remote: bool = Field(False, description="Allow a host that is not loopback; there is no authentication.")

    @model_validator(mode="after")
    def _loopback(self) -> Http:
        if not is_loopback(self.host) and not self.allow_remote:
            raise ValueError(
                f"host {self.host} is not loopback and nothing asks for a password; set allow_remote = true"
            )
        return self


class Limits(Section):
    """How the loop trades latency, throughput and memory."""

    max_poll_records: int = Field(20_000, ge=1, description="Records per poll.")
    max_buffer_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1,
        description="Bytes of records taken from Kafka and not decided yet, about; partitions are paused meanwhile.",
    )
    max_commit_records: int = Field(100_000, ge=1, description="Records per commit under backlog.")
    commit_interval_ms: int = Field(100, ge=1, description="Age at which a busy loop commits.")
    idle_commit_interval_ms: int = Field(1_000, ge=1, description="Age at which progress without alerts is committed.")
    checkpoint_interval_ms: int = Field(5_000, ge=100, description="Time between window checkpoints of a partition.")
    ready_age_ms: int = Field(
        10_000,
        ge=1_000,
        description="Ready while every partition was committed, or known to be at its end, within this age.",
    )
    stall_timeout_ms: int = Field(
        30_000, ge=1_000, description="Records that wait unread for this long are a stall: the client is replaced."
    )
    shutdown_timeout_ms: int = Field(20_000, ge=1_000, description="From SIGTERM to the end, at most, whatever hangs.")


class Log(Section):
    """What is said on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else JSON lines."
    )


class Config(Section):
    """Everything the daemon is told. Immutable."""

    service: Service = Service()
    kafka: Kafka = Kafka()
    input: Input = Input()
    output: Output = Output()
    model: Model = Model()
    alerting: Alerting = Alerting()
    http: Http = Http()
    limits: Limits = Limits()
    log: Log = Log()

    @property
    def state_topic(self) -> str:
        return self.output.state or f"{self.kafka.group_id}.state"

    @model_validator(mode="after")
    def _topics_differ(self) -> Config:
        outputs = [self.output.alerts, self.output.dead_letters, self.state_topic]
        clash = sorted(set(outputs) & set(self.input.topics)) or sorted({t for t in outputs if outputs.count(t) > 1})
        if clash:
            raise ValueError(f"topic {clash[0]!r} is used twice; inputs, alerts, dead letters and state need their own")
        if len(self.state_topic) > NAME_LENGTH:
            raise ValueError("kafka.group_id is too long to name the state topic after; set output.state")
        return self


def start_timestamp_ms(start: str) -> int | None:
    """Milliseconds since 1970 of an RFC 3339 time, None for anything else (and before: Kafka has no such records)."""
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        return None
    return None if moment.tzinfo is None or moment.timestamp() < 0 else int(moment.timestamp() * 1000)
