"""The daemon's configuration: options, defaults and validation. `monitor.config.file` reads it.

Rules of this file: an option that changes *when or where* lives here; an option that changes a *score* lives in the
artifact. `telltale config init`, the JSON Schema and README's table are made from the fields'
descriptions. Secrets come from the environment or from files, never from the TOML itself.
"""

from __future__ import annotations

import re
import socket
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from monitor import extensions
from monitor.config.connections import KafkaOptions, SchemaRegistryOptions
from monitor.config.sections import (
    NAME_LENGTH,
    PATH,
    FieldPath,
    FilePath,
    OptionalPath,
    Options,
    TopicName,
    is_loopback,
)
from monitor.detector.incidents import Policy
from monitor.detector.spec import MAX_FLOAT32, MIN_FLOAT32
from monitor.detector.times import OLDEST_TIME, iso_us
from monitor.errors import ConfigError

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


class InputOptions(Options):
    """Topics to read, and how to decode them."""

    topics: list[TopicName] = Field(
        ["telltale.input"], min_length=1, description="Input topics, all with the same kind of signal."
    )
    format: str = Field(
        "json", description="Format of record values: json, f32, or a format that an installed package adds."
    )
    series: str = Field(
        "key",
        pattern=r"^(key|header:.+|field:.+)$",
        description="Where a record's series is named: key, header:NAME, or field:PATH, such as field:tags.host.",
    )
    timestamp_field: OptionalPath = Field(
        "ts",
        description="Path of the field with the time: a number since 1970, or RFC 3339. If absent, the record's own "
        "timestamp.",
    )
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns"] = Field(
        "auto",
        description="Unit of numbers in that field; auto: inferred from each number's magnitude, as the trainer does.",
    )
    channels: dict[str, FieldPath] = Field(
        {},
        description="Where a channel stands, if not in a field of its name: its path, as in "
        '{flow = "fields.flow"}; "*" says it for all others, as in {"*" = "fields.*"}. With channel_field: what the '
        "channel is called there.",
    )
    entries: OptionalPath = Field(
        "",
        description="Path of the part of a record that holds the sample, or of a list of such parts; all other paths "
        'are looked for in there, and those of time, series and quality in the whole record too. "$": records are '
        "lists. A record without that part is read as one itself.",
    )
    channel_field: OptionalPath = Field(
        "",
        description="Path of the field that names the channel, if each entry is one reading (long form). Readings of "
        "other channels are ignored, and counted.",
    )
    value_field: FieldPath = Field("value", description="With channel_field: path of the field with the number.")
    quality_field: OptionalPath = Field(
        "",
        description="Path of the field with the quality of an entry: unless it is one of good_quality, or absent, its "
        "numbers are missing.",
    )
    good_quality: list[str | bool | int | float] = Field(
        ["Good", 192, True], description="Qualities to believe; text in any case."
    )
    partial_records: bool = Field(
        False,
        description="Records may hold some of the channels only (report by exception): the others are not missing but "
        "come in other records. Records without any are ignored, and counted.",
    )
    text_numbers: bool = Field(
        False, description='Read numbers that are written as text, such as "3.1"; with a decimal point, never a comma.'
    )
    missing_values: list[str | int | float] = Field(
        [],
        description='Numbers and texts that stand for a missing number, as in [-9999, "Bad"], besides null, NaN, and '
        'the usual texts ("N/A", "-").',
    )
    connect_envelope: bool = Field(
        False,
        description="Records and keys may be in the envelope of Kafka Connect's JsonConverter, with schema and "
        "payload; quotes are removed from keys, and a key with one field is its value.",
    )
    oldest_time: str = Field(
        OLDEST_TIME,
        description="Records with an earlier time (a clock that was never set), or from 2200 on, go to the dead-letter "
        "topic.",
    )
    start: str = Field(
        "latest",
        description="Where a group without committed offsets begins: latest, earliest, or an RFC 3339 time.",
    )
    beyond_end: Literal["stop", "end", "beginning"] = Field(
        "stop",
        description="If a log ends before the group's committed offset: stop with an error, or continue at its end or "
        "beginning.",
    )
    max_record_bytes: int = Field(1_048_576, ge=1, description="Larger records go to the dead-letter topic.")
    max_batch_bytes: int = Field(
        67_108_864, ge=1, description="Maximum decompressed size of a record batch; a larger one counts as damaged."
    )
    damaged_batches: Literal["auto", "stop", "skip"] = Field(
        "auto",
        description="What to do at a record batch that can't be read. skip: write one dead letter for it and continue "
        "after it; stop: commit everything before it and exit; auto: skip a batch that its producer made unreadable, "
        "and hold the partition if the bytes are not those that were written (another replica may have them): the "
        "daemon is not ready, logs it once a minute, and the other partitions continue.",
    )
    max_samples_per_record: int = Field(10_000, ge=1, description="Longer chunks go to the dead-letter topic.")
    max_series: int | None = Field(
        None,
        ge=1,
        examples=[20_000],
        description="Series in memory per partition; if a new one exceeds it, the one silent longest is forgotten. "
        "Absent: as many as fit into 512 MiB, at most 100,000. It does not depend on the machine's memory, so that all "
        "members of the group forget the same series: a process with n partitions may need n times as much, and warns "
        "if that is too much.",
    )
    series_ttl: int = Field(
        7_776_000,
        ge=0,
        description="Seconds of the partition's event time without a sample after which a series is forgotten; 0: "
        "never.",
    )
    max_rejected_ratio: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Hold a partition if more than this share of 1,000 consecutive records is rejected, or all of the "
        "first 20 after it was taken over; 1: never, all go to the dead-letter topic.",
    )
    max_rejected_run: int = Field(
        1_000,
        ge=0,
        description="Hold it also if more than this many records are rejected one after the other; 0: no such limit. A "
        "max_rejected_ratio of 1 switches this off too.",
    )
    on_rejected: Literal["hold", "stop"] = Field(
        "hold",
        description="What to do at these limits. hold: the partition waits, the daemon is not ready and logs it once a "
        "minute, and the other partitions continue; stop: commit all others and exit with 78.",
    )
    grace_ms: int = Field(
        0,
        ge=0,
        le=86_400_000,
        description="How far behind the newest of its series a sample may come and still be put in order of time; each "
        "waits for so long. 0: samples must come in order, and none waits.",
    )
    join_tolerance_ms: int = Field(
        0,
        ge=0,
        le=3_600_000,
        description="Readings of one series with some channels each (channel_field, partial_records) are one sample if "
        "they are at most so much later than its first. It must be less than the time between two readings of a "
        "channel.",
    )
    max_future_ms: int = Field(
        3_600_000,
        ge=0,
        description="How far a record's time may be ahead of its partition's newest time, unless a silent period ends.",
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
                raise ValueError(f"topic {topic!r} is listed twice")
        return topics

    @model_validator(mode="after")
    def _fields(self) -> InputOptions:
        field = self.series.removeprefix("field:") if self.series.startswith("field:") else None
        named = {"series": field, **{name: getattr(self, name) for name in ("channels", "entries", "channel_field")}}
        named |= {"quality_field": self.quality_field, "partial_records": self.partial_records}
        asked = [name for name, value in named.items() if value]
        if asked and not extensions.load_format(self.format).names_fields:
            text = "series field:NAME" if asked[0] == "series" else asked[0]
            raise ValueError(f"{text} needs format json; {self.format} records hold numbers only")
        if field is not None and not re.fullmatch(PATH, field, re.DOTALL):
            raise ValueError(f"series {self.series!r} holds no path, such as field:tags.host")
        if field in {"values", "rate_hz", self.timestamp_field} or self.timestamp_field in {"values", "rate_hz"}:
            raise ValueError("series, timestamp_field, values and rate_hz must be four different fields")
        return self


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
    flatline: bool = Field(True, description="Report channels that stay at one value far longer than usual.")
    nan_ratio: bool = Field(True, description="Report channels that are missing far more than usual.")
    out_of_range: bool = Field(
        True, description="Report channels whose numbers are far from all training data: other units, or codes."
    )


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
        return bool(getattr(extensions.load_format(self.input.format), "needs_schemas", False))

    @model_validator(mode="after")
    def _registry_is_named(self) -> Config:
        if self.needs_schemas and not self.schema_registry.urls:
            raise ValueError(f"input.format {self.input.format} needs schema_registry.urls, where the schemas are")
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


def start_timestamp_ms(start: str) -> int | None:
    """Milliseconds since 1970 of an RFC 3339 time; None for any other text, and for times before 1970."""
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        return None
    return None if moment.tzinfo is None or moment.timestamp() < 0 else int(moment.timestamp() * 1000)
