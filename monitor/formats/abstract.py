"""What a format of records is: a class in a file beside this one, or in a package, named in `monitor.extensions`.

`monitor/formats/f32.py` is the shortest example, `json_format.py` the one whose records name their fields. A format is
pure, and raises nothing over a record: what it can't read it refuses with a `Reason`, which becomes a dead letter. It
has no options of its own. The schemas that records were written with are fetched before they are parsed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from monitor.detector.times import Unit
from monitor.formats.numbers import Numbers
from monitor.formats.parsed import Narrow, Outlines, Parsed
from monitor.formats.schemas import Schemas


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Where things stand in records that name their fields: options of `input`, as `InputOptions` documents them.

    The `series` is None where it does not stand in a field; `labels` are those that do, by name.
    """

    timestamp: str = "ts"
    series: str | None = None
    entries: str = ""
    channels: Mapping[str, str] = field(default_factory=dict)
    channel: str = ""
    values: Sequence[str] = ("value",)
    quality: Sequence[str] = ()
    good_quality: Sequence[float | str | bool] = ()
    partial_records: bool = False
    connect_envelope: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSpec:
    """What records are expected to hold: samples of `channels`, whose values keep that order.

    Where `window_length` is not None each entry is a window of so many samples; a record holds `max_samples` at most
    otherwise. `fields` and `timestamp_unit` are for formats whose records name fields. `numbers` says which of the
    values are missing. Every number goes through `narrow`, in float64; `keeps_float32` says that it changes none that
    was float32 from the start. `schemas` holds those of the values that are parsed, where the class of the format says
    that it `needs_schemas = True`.
    """

    channels: Sequence[str]
    window_length: int | None
    max_samples: int
    timestamp_unit: Unit
    narrow: Narrow
    keeps_float32: bool
    fields: Fields = field(default_factory=Fields)
    numbers: Numbers = field(default_factory=Numbers)
    csv_columns: Sequence[str] = ()
    csv_delimiter: str = ","
    schemas: Schemas = field(default_factory=Schemas)


class Format(Protocol):
    """Reads the values of records."""

    def parse(self, values: list[bytes | None], rows: list[int]) -> Parsed:
        """Reads the values at `rows`, none of them empty or too large."""

    def outlines(self, values: Sequence[bytes]) -> Outlines:
        """What is known of values that were refused; nothing, where one is empty."""


class FormatKind(Protocol):
    """The class of a format."""

    @property
    def names_fields(self) -> bool:
        """Whether records name fields, so that one may hold the series (`input.series = "field:NAME"`)."""

    def __call__(self, expected: RecordSpec) -> Format:
        """Raises `ConfigError` where the format lacks something that it needs, a schema say."""
