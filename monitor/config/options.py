"""The daemon's configuration: options, defaults and validation. `monitor.config.file` reads it.

Rules of this file: an option that changes *when or where* lives here; an option that changes a *score* lives in the
artifact. `telltale config init`, the JSON Schema and README's table are made from the fields' descriptions. Secrets
come from the environment or from files, never from the TOML itself.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from monitor import extensions
from monitor.config.connections import KafkaOptions, SchemaRegistryOptions
from monitor.config.input import InputOptions
from monitor.config.sections import NAME_LENGTH, FilePath, Options, TopicName, is_loopback
from monitor.detector.incidents import Policy
from monitor.detector.spec import MAX_FLOAT32, MIN_FLOAT32

MAX_WINDOWS = 1_000_000


class ServiceOptions(Options):
    """Identity of this daemon."""

    name: TopicName = Field("telltale", description="CloudEvents `source` of the alerts, and part of their ids.")
    instance: str = Field(
        "",
        pattern=r"^[a-zA-Z0-9._-]{0,200}$",
        description="Name of this process within the group, part of `transactional.id`; two running daemons need two "
        "names. Empty: the host name.",
    )

    @property
    def identity(self) -> str:
        return self.instance or socket.gethostname()


class OutputOptions(Options):
    """Topics to write."""

    alerts: TopicName = Field("telltale.alerts", description="Topic of the alerts, for consumers.")
    dead_letters: TopicName = Field(
        "telltale.deadletters", description="Dead-letter topic: rejected records, with the reason."
    )
    state: str = Field(
        "",
        pattern=r"^[a-zA-Z0-9._-]{0,249}$",
        description="Compacted topic for the daemon's state. Empty: GROUP_ID.state.",
    )
    create_topics: bool = Field(True, description="Create missing output topics.")
    replication_factor: int = Field(
        -1, ge=-1, description="`replication.factor` of topics that are created; -1: the brokers' default."
    )


class ModelOptions(Options):
    """The artifact that scores."""

    artifact: FilePath = Field(
        Path("artifact"), description="Artifact: a directory or a zip file; relative to this file."
    )
    threshold: float | None = Field(
        None, gt=0, examples=[0.05], description="Threshold of all series, instead of the artifact's own."
    )

    @field_validator("threshold")
    @classmethod
    def _float32(cls, threshold: float | None) -> float | None:
        if threshold is not None and not MIN_FLOAT32 <= threshold <= MAX_FLOAT32:
            raise ValueError(f"scores are float32: input should be from {MIN_FLOAT32:.3g} to {MAX_FLOAT32:.3g}")
        return threshold


class AlertingOptions(Options):
    """When an incident opens, is updated, and is resolved."""

    open_after: int = Field(
        1, ge=1, le=MAX_WINDOWS, description="Consecutive windows over the threshold that open an incident."
    )
    close_after: int = Field(
        3, ge=1, le=MAX_WINDOWS, description="Consecutive windows at or below the threshold that resolve it."
    )
    update_every: int = Field(
        20, ge=0, le=MAX_WINDOWS, description="Windows between updates while it is open; 0: no updates."
    )
    follow: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Raise a series' threshold over what is usual for it: what 95 % of its scores of the last day are "
        "below; auto: if the artifact says so.",
    )
    relearn_after_ms: int = Field(
        0,
        ge=0,
        description="After this time without a window below the threshold, take a series' scores for its new normal; "
        "0: never.",
    )
    error_ratio: float = Field(2.0, ge=1, description="Score divided by threshold from which the severity is error.")
    critical_ratio: float = Field(
        4.0, ge=1, description="Score divided by threshold from which the severity is critical."
    )
    include_window: Literal["none", "full"] = Field(
        "none", description="full: alerts contain the window and its reconstruction."
    )

    @model_validator(mode="after")
    def _severities_in_order(self) -> AlertingOptions:
        if self.critical_ratio < self.error_ratio:
            raise ValueError(f"critical_ratio {self.critical_ratio} is below error_ratio {self.error_ratio}")
        return self

    @property
    def policy(self) -> Policy:
        """The options that decide when an incident opens, is updated, and is resolved."""
        return Policy(**{name: getattr(self, name) for name in Policy.__struct_fields__})


class QualityOptions(Options):
    """Data quality: what is watched besides the score. Each check raises alerts of its own."""

    no_data: bool = Field(
        True, description="Report series that have stopped sending: after ten of their own usual intervals."
    )
    no_data_after_ms: int | None = Field(
        None,
        ge=1,
        examples=[600_000],
        description="Report a series after this time if it has sent too few records (9) to know how often it does.",
    )
    no_data_least_ms: int = Field(1_000, ge=1, description="Silence that is not longer is never reported.")
    no_data_resolves_after_ms: int = Field(
        3_600_000,
        ge=0,
        description="Resolve the score's incident of a series that is reported as silent, and stays so for this long, "
        "at least `input.grace_ms`; 0: never.",
    )
    flatline: bool = Field(True, description="Report channels that stay at one value far longer than usual.")
    nan_ratio: bool = Field(True, description="Report channels that are missing far more than usual.")
    out_of_range: bool = Field(
        True, description="Report channels whose numbers are far from all training data: other units, or codes."
    )
    late_burst: bool = Field(True, description="Report series of which many samples come too late.")
    schema_mismatch: bool = Field(True, description="Report series whose records are rejected.")
    drift: bool = Field(True, description="Report series that differ from their training data for seven days.")


class HttpOptions(Options):
    """HTTP server of health checks and metrics."""

    host: str = Field("127.0.0.1", description="Address on which /livez, /readyz and /metrics are served.")
    port: int = Field(8900, ge=0, le=65535, description="Port; 0: any free one, which is logged.")
    allow_remote: bool = Field(False, description="Allow a host that is not loopback; there is no authentication.")

    @model_validator(mode="after")
    def _loopback(self) -> HttpOptions:
        if not is_loopback(self.host) and not self.allow_remote:
            raise ValueError(
                f"host {self.host} is not loopback and nothing asks for a password; set allow_remote = true"
            )
        return self


class LimitsOptions(Options):
    """Latency, throughput and memory of the loop."""

    max_poll_records: int = Field(20_000, ge=1, description="Records per poll, at most.")
    max_buffer_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1,
        description="Approximate size of records that are fetched but not processed; partitions are paused meanwhile.",
    )
    max_commit_records: int = Field(100_000, ge=1, description="Records per commit while there is a backlog.")
    commit_interval_ms: int = Field(
        100, ge=1, description="Commit interval under load, while there is something to publish."
    )
    idle_commit_interval_ms: int = Field(1_000, ge=1, description="Commit interval while there is nothing to publish.")
    checkpoint_interval_ms: int = Field(
        5_000, ge=100, description="Interval between checkpoints of a partition's windows, at least."
    )
    ready_age_ms: int = Field(
        10_000,
        ge=1_000,
        description="Ready while every partition was committed, or known to be read to its end, within this time.",
    )
    stall_timeout_ms: int = Field(
        30_000, ge=1_000, description="If records wait unread for this long, the client is replaced."
    )
    shutdown_timeout_ms: int = Field(
        20_000, ge=1_000, description="Maximum time from SIGTERM to the exit of the process."
    )


class LogOptions(Options):
    """Logging to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else JSON lines."
    )


class Config(Options):
    """The whole configuration. Immutable."""

    service: ServiceOptions = ServiceOptions()
    kafka: KafkaOptions = KafkaOptions()
    input: InputOptions = InputOptions()
    output: OutputOptions = OutputOptions()
    model: ModelOptions = ModelOptions()
    alerting: AlertingOptions = AlertingOptions()
    quality: QualityOptions = QualityOptions()
    schema_registry: SchemaRegistryOptions = SchemaRegistryOptions()
    http: HttpOptions = HttpOptions()
    limits: LimitsOptions = LimitsOptions()
    log: LogOptions = LogOptions()

    @property
    def needs_schemas(self) -> bool:
        """Whether records are read by schemas of the registry."""
        return bool(self._with_schemas)

    @property
    def _with_schemas(self) -> list[str]:
        formats = self.input.formats
        return [name for name in formats if getattr(extensions.load_format(name), "needs_schemas", False)]

    @model_validator(mode="after")
    def _registry_is_named(self) -> Config:
        if self.needs_schemas and not self.schema_registry.urls:
            raise ValueError(f"input.format {self._with_schemas[0]} needs schema_registry.urls, where the schemas are")
        return self

    @model_validator(mode="after")
    def _silence_outlasts_grace(self) -> Config:
        """Else how records are polled would decide whether an incident ends before the windows of samples that wait."""
        after_ms, grace_ms = self.quality.no_data_resolves_after_ms, self.input.grace_ms
        if self.quality.no_data and 0 < after_ms < grace_ms:
            raise ValueError(
                f"quality.no_data_resolves_after_ms {after_ms} is below input.grace_ms {grace_ms}: incidents of a "
                f"series would be resolved while its samples still wait; set it to at least {grace_ms}, or to 0, so "
                "that silence resolves none"
            )
        return self

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
