"""What the configuration says of input records, for those who do not know the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from monitor.detector.arrivals import Order
from monitor.detector.times import OLDEST_TIME, Unit
from monitor.formats.abstract import Fields


@dataclass(frozen=True, kw_only=True, slots=True)
class InputRules:
    """What the configuration says of input records; `InputOptions` (`monitor/config/input.py`) documents each."""

    format: str = "json"
    format_header: str = ""
    content_types: Mapping[str, str] = field(default_factory=dict)
    series: str = "key"
    timestamp_field: str = "ts"
    series_header: str = ""
    timestamp_header: str = ""
    timestamp_unit: Unit = "auto"
    oldest_time: str = OLDEST_TIME
    max_record_bytes: int = 1_048_576
    damaged_batches: str = "auto"
    max_samples_per_record: int = 10_000
    max_series: int = 20_000
    series_ttl: int = 0
    beyond_end: Literal["stop", "end", "beginning"] = "stop"
    max_rejected_ratio: float = 1.0
    max_rejected_run: int = 0
    on_rejected: Literal["hold", "stop"] = "hold"
    max_future_ms: int = 3_600_000
    entries: str = ""
    channels: Mapping[str, str] = field(default_factory=dict)
    channel_field: str = ""
    value_field: str | Sequence[str] = "value"
    quality_field: str | Sequence[str] = ""
    good_quality: Sequence[float | str | bool] = ("Good", 192, True)
    text_numbers: bool = False
    csv_columns: Sequence[str] = ()
    csv_delimiter: str = ","
    missing_values: Sequence[float | str] = ()
    partial_records: bool = False
    connect_envelope: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    grace_ms: int = 0
    join_tolerance_ms: int = 0
    max_missing_ratio: float | None = None

    @classmethod
    def of(cls, options: object, **others: Any) -> InputRules:
        """What `options` say, which have an attribute of the name of each rule, but for the `others`."""
        return cls(**{each.name: getattr(options, each.name) for each in fields(cls)} | others)

    @property
    def fields(self) -> Fields:
        """Where things stand in records that name their fields."""
        return Fields(
            timestamp=self.timestamp_field,
            series=self.series.removeprefix("field:") if self.series.startswith("field:") else None,
            entries=self.entries,
            channels=self.channels,
            channel=self.channel_field,
            values=_several(self.value_field),
            quality=_several(self.quality_field),
            good_quality=self.good_quality,
            partial_records=self.partial_records,
            connect_envelope=self.connect_envelope,
            labels={
                name: path.removeprefix("field:") for name, path in self.labels.items() if path.startswith("field:")
            },
        )

    @property
    def order(self) -> Order:
        """How samples may come."""
        in_parts = self.partial_records or bool(self.channel_field)
        return Order(self.grace_ms * 1000, in_parts, self.join_tolerance_ms * 1000)


def _several(paths: str | Sequence[str]) -> Sequence[str]:
    return paths if not isinstance(paths, str) else [paths] if paths else []
