"""Options of the section `input`: which topics are read, and how their records are decoded."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from monitor import extensions
from monitor.config.mappings import MAPPINGS
from monitor.config.sections import PATH, FieldPath, OptionalPath, Options, TopicName
from monitor.detector.times import OLDEST_TIME, iso_us
from monitor.errors import ConfigError

# CloudEvents' rule for the names of attributes
ATTRIBUTES = {
    "data", "datacontenttype", "dataschema", "id", "partitionkey", "source", "specversion", "subject", "time", "type",
}  # fmt: skip
LabelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,19}$")]
LabelPlace = Annotated[str, Field(pattern=rf"^(header:.+|field:{PATH})$")]
_FORM = ("entries", "channels", "channel_field", "quality_field", "partial_records")


class InputOptions(Options):
    """Topics to read, and how to decode them."""

    topics: list[TopicName] = Field(
        ["telltale.input"], min_length=1, description="Input topics, all with the same kind of signal."
    )
    format: str = Field(
        "json",
        description="Format of record values: json, msgpack, csv, f32, avro (with a schema registry), or a format that "
        "an installed package adds.",
    )
    format_header: str = Field(
        "",
        description="Header with the content type of each record, such as content-type: records with application/json, "
        "+json, application/msgpack or text/csv are in that format, those without it, or with "
        "application/octet-stream, text/plain or application/ and the name of format, in that of format, and others "
        "are rejected.",
    )
    content_types: dict[str, str] = Field(
        {},
        description='Formats of other content types, or of these, as in {"application/vnd.acme+avro" = "avro"}.',
    )
    mapping: Literal["", "telegraf", "debezium", "connect", "cloudevents", "sparkplug-json", "kepserverex"] = Field(
        "",
        description="Ready-made values of the options below for what a producer writes; options that are set here win. "
        "telegraf, debezium, connect (Kafka Connect's JsonConverter), cloudevents, sparkplug-json or kepserverex.",
    )
    series: str = Field(
        "key",
        pattern=r"^(key|header:.+|field:.+)$",
        description="Where a record's series is named: key, header:NAME, or field:PATH, such as field:tags.host.",
    )
    series_header: str = Field("", description="Header that names the series, if the field of series is absent.")
    timestamp_field: OptionalPath = Field(
        "ts",
        description="Path of the field with the time: a number since 1970, or RFC 3339. If absent, the record's own "
        "timestamp.",
    )
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns"] = Field(
        "auto",
        description="Unit of numbers in that field; auto: inferred from each number's magnitude, as the trainer does.",
    )
    timestamp_header: str = Field(
        "", description="Header with the time, if timestamp_field is absent: as there, in text."
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
    value_field: FieldPath | list[FieldPath] = Field(
        "value",
        description="With channel_field: path of the field with the number, or of several, the first there.",
    )
    quality_field: OptionalPath | list[FieldPath] = Field(
        "",
        description="Path of the field with the quality of an entry, or of several: unless each is one of "
        "good_quality, or absent, its numbers are missing.",
    )
    good_quality: list[str | bool | int | float] = Field(
        ["Good", 192, True], description='Qualities to believe; text in any case, and "192" as 192.'
    )
    partial_records: bool = Field(
        False,
        description="Records may hold some of the channels only (report by exception): the others are not missing but "
        "come in other records. Records without any are ignored, and counted.",
    )
    text_numbers: bool = Field(
        False, description='Read numbers that are written as text, such as "3.1"; with a decimal point, never a comma.'
    )
    csv_columns: list[str] = Field(
        [],
        description='With format csv: what the cells of a line are, such as ["ts", "flow", "pressure"]; "" is none. '
        "Absent: the artifact's channels, in its order.",
    )
    csv_delimiter: str = Field(",", min_length=1, max_length=1, description="With format csv: what divides cells.")
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
    labels: dict[LabelName, LabelPlace] = Field(
        {},
        description="Labels of series, which alerts carry: names with header:NAME or field:PATH each, as in "
        '{site = "header:site", line = "field:tags.line"}. They hold until a record says others.',
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
    max_missing_ratio: float | None = Field(
        None,
        ge=0,
        lt=1,
        examples=[0.2],
        description="Share of a window's numbers that may be missing; what is missing is filled in, and the alert says "
        "so. A window with more is not scored. Absent: what the artifact allows, 0.1 at least.",
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

    @property
    def wants_headers(self) -> bool:
        """Whether something of a record stands in its headers."""
        places = [self.series, *self.labels.values()]
        names = (self.series_header, self.timestamp_header, self.format_header)
        return any(each.startswith("header:") for each in places) or any(names)

    @property
    def formats(self) -> list[str]:
        """The formats that are named: that of all records, or those of content types too."""
        return [*dict.fromkeys([self.format, *self.content_types.values()])]

    @model_validator(mode="before")
    @classmethod
    def _mapped(cls, said: Any) -> Any:
        """What the mapping says, where the configuration does not."""
        name = said.get("mapping") if isinstance(said, dict) else None
        known = MAPPINGS.get(name) if isinstance(name, str) else None
        if known is None:
            return said
        unfit = {"good_quality"} if "quality_field" in said else set()  # it is of the mapping's own field
        return {name: value for name, value in known.items() if name not in unfit} | said

    @field_validator("format")
    @classmethod
    def _format(cls, name: str) -> str:
        if name not in extensions.FORMATS:
            try:
                extensions.load_format(name)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return name

    @field_validator("content_types")
    @classmethod
    def _content_types(cls, formats: dict[str, str]) -> dict[str, str]:
        for name, named in formats.items():
            if not name.strip() or ";" in name:
                raise ValueError(f"{name!r} is no content type, such as application/json; parameters are ignored")
            cls._format(named)
        return formats

    @field_validator("labels")
    @classmethod
    def _no_attribute(cls, labels: dict[str, str]) -> dict[str, str]:
        if taken := sorted(labels.keys() & ATTRIBUTES):
            raise ValueError(f"{taken[0]!r} is an attribute of CloudEvents; call the label something else")
        return labels

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
        asked = ["series field:NAME"] if field is not None else []
        asked += [name for name in _FORM if getattr(self, name)]
        asked += [f"labels.{name} = {place!r}" for name, place in self.labels.items() if place.startswith("field:")]
        nameless = [name for name in self.formats if not extensions.load_format(name).names_fields]
        if asked and nameless:
            raise ValueError(
                f"{asked[0]} needs a format whose records name their fields, such as json; {nameless[0]} records hold "
                "numbers only"
            )
        if self.content_types and not self.format_header:
            raise ValueError('content_types needs format_header, which is usually "content-type"')
        if field is not None and not re.fullmatch(PATH, field, re.DOTALL):
            raise ValueError(f"series {self.series!r} holds no path, such as field:tags.host")
        if field in {"values", "rate_hz", self.timestamp_field} or self.timestamp_field in {"values", "rate_hz"}:
            raise ValueError("series, timestamp_field, values and rate_hz must be four different fields")
        return self


def start_timestamp_ms(start: str) -> int | None:
    """Milliseconds since 1970 of an RFC 3339 time; None for any other text, and for times before 1970."""
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        return None
    return None if moment.tzinfo is None or moment.timestamp() < 0 else int(moment.timestamp() * 1000)
