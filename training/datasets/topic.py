"""A range of a Kafka topic as tables, decoded by the daemon's own decoder: one trains on what one streams.

    kafka://sensors?from=2026-01-01T00:00:00Z&to=latest
    kafka://broker:9092/sensors?from=offset:1000&to=1767225600000

`from` is inside the range, `to` is not: `earliest`, `latest`, a time (ISO 8601, or a number since 1970, in s, ms, us or
ns by its size) or `offset:N`.
Without a host the configuration's brokers are asked; without one of those, the brokers of this machine.

Rules of this file: a record that can't be read is counted by its reason and reported, and leaves missing numbers in its
series, as for the daemon; a series is what the daemon would
make of it, so one for each key and partition.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import numpy as np
from pydantic import ValidationError

from monitor.backends.abstract import RecordColumns, TopicPartition
from monitor.backends.kafka.ranges import Bound, TopicRange
from monitor.config.connections import KafkaOptions
from monitor.config.file import load
from monitor.config.options import Config
from monitor.config.sections import NAME
from monitor.datafiles import SeriesTable, WindowTable, digits
from monitor.datafiles.clocks import times
from monitor.datafiles.columns import Columns, unnamed
from monitor.datafiles.content import MAX_BYTES
from monitor.detector import windowing
from monitor.detector.arrays import Int64Array
from monitor.detector.arrivals import Arrivals
from monitor.detector.event_time import EventTime, Reached, in_time, settle_holes
from monitor.detector.spec import Channel, WindowSpec
from monitor.detector.times import NEWEST_US, iso_us
from monitor.detector.windows import Samples, Windows
from monitor.errors import ConfigError, DataError
from monitor.extensions import load_format
from monitor.formats import paths
from monitor.formats.decoder import Decoder, InputRules, StreamTime
from monitor.formats.schemas import ids_of
from monitor.processing.series_keys import SeriesNumbers
from monitor.serving.schema_registry import SchemaRegistry
from training.datasets.options import Note, ReadOptions, Table

_LOOK_AT, _MOST_NAMES = 1_000, 50  # records, and names in a message
_EXPECTED = "expected earliest, latest, a time like 2026-01-31T12:00:00Z, s or ms since 1970, or offset:N"


@dataclass(frozen=True, slots=True)
class Address:
    """What a `kafka://` address says; `servers` is empty where it names no host."""

    servers: tuple[str, ...]
    topic: str
    start: Bound
    end: Bound


@dataclass(frozen=True, slots=True)
class _Layout:
    window: WindowSpec
    channels: tuple[Channel, ...]


@dataclass(slots=True)
class _Partition:
    """What was read of one partition, poll by poll."""

    series: SeriesNumbers
    time: StreamTime = field(default_factory=StreamTime)
    parts: list[Samples | Windows] = field(default_factory=list)
    reached: list[Reached] = field(default_factory=list)  # how far its time had come, by offset


def parse(source: str) -> Address:
    """The parts of an address.

    Raises:
        DataError: it is not of the form above.
    """
    place, _, query = source.removeprefix("kafka://").partition("?")
    servers, slash, topic = place.rpartition("/")
    if not re.fullmatch(NAME, topic) or (slash and not servers):
        raise DataError(f"{source}: no topic; expected kafka://TOPIC or kafka://HOST:PORT/TOPIC, then ?from=...&to=...")
    bounds = {"from": Bound("earliest"), "to": Bound("latest")}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        if name not in bounds:
            raise DataError(f"{source}: unknown {name!r}; from and to are known")
        bounds[name] = _bound(source, name, unquote(value))
    return Address(tuple(servers.split(",")) if servers else (), topic, bounds["from"], bounds["to"])


def _bound(source: str, name: str, value: str) -> Bound:
    if value == "earliest":
        return Bound("earliest")
    if value == "latest":
        return Bound("latest")
    if offset := re.fullmatch(r"offset:(\d{1,18})", value):
        return Bound("offset", int(offset[1]))
    if re.fullmatch(r"[0-9]{9,19}", value):  # its unit by its size, as in files
        return Bound("time", -(-int(times(Path(source), Columns(numbers=np.array([[int(value)]])), 0)[0][0]) // 1000))
    try:
        return Bound("time", max(0, -(-iso_us(value) // 1000)))
    except (ValueError, OverflowError):
        raise DataError(f"{source}: {name}={value[:40]!r}; {_EXPECTED}") from None


def read(source: str, kind: str, options: ReadOptions, note: Note) -> list[Table]:
    """The tables of a topic's range for a kind of window: one per series and partition, or one of windows.

    Channels that are not given are those of the first record that has any; so is the length of windows. Samples whose
    records state no time have the records' own; where those tie, each is 1 µs after the one before, so that windows
    take them all, as the daemon does.

    Raises:
        DataError: the address is wrong, no record could be read, or there are too many.
        ConfigError: the configuration is wrong, or the topic does not exist.
        BackendError: the broker can't be reached, or the schema registry of records that need one.
    """
    address = parse(source)
    config = Config() if options.config is None else load(options.config, artifact_needed=False)
    rules = InputRules.of(config.input)
    registry = SchemaRegistry(config.schema_registry) if config.needs_schemas else None
    reader = _Reading(f"kafka://{address.topic}", rules, kind, options, registry)
    with TopicRange(
        cluster_of(config.kafka, address),
        address.topic,
        address.start,
        address.end,
        want_headers=config.input.wants_headers,
    ) as topic:
        for bound, name in ((address.start, "from"), (address.end, "to")):
            for partition, limits in topic.partitions.items():
                if bound.kind == "offset" and not limits.log_first <= bound.value <= limits.log_end:
                    held = f"{limits.log_first} to {limits.log_end}"
                    note(f"{partition}: {name}=offset:{bound.value}, but the log holds {held}; read what there is")
        for columns in topic.polls():
            reader.receive(columns)
    return reader.tables(note)


def cluster_of(kafka: KafkaOptions, address: Address) -> KafkaOptions:
    """The cluster to ask: the configuration's, at the brokers that the address names, if any. Raises `ConfigError`."""
    if not address.servers:
        return kafka
    try:
        return KafkaOptions.model_validate(kafka.model_dump() | {"bootstrap_servers": list(address.servers)})
    except ValidationError as error:
        said = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise ConfigError(f"kafka://{','.join(address.servers)}: {said}; or give a configuration") from None


class _Reading:
    """Decodes polls, and keeps what they hold by partition."""

    def __init__(
        self, source: str, rules: InputRules, kind: str, options: ReadOptions, registry: SchemaRegistry | None = None
    ) -> None:
        self._source = source
        self._registry = registry
        self._rules = rules
        self._kind = kind
        self._whole_records = windowing.whole_records(kind)
        self._options = options
        self._layout: _Layout | None = None
        self._decoder: Decoder | None = None
        self._waiting: list[RecordColumns] = []  # until a record says what the layout is
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._records = 0
        self._bytes = 0
        self._reasons: Counter[str] = Counter()
        self._first_rejected = ""

    def receive(self, columns: RecordColumns) -> None:
        """Takes a poll in."""
        self._records += len(columns.values)
        self._waiting.append(columns)
        if self._layout is None:
            self._layout = _layout(self._source, columns.values, self._rules, self._kind, self._options)
        if self._layout is None:
            self._weigh(sum(map(len, filter(None, columns.values))))
            return
        decoder = self._decoder = self._decoder or Decoder(self._layout, self._rules, exact=True)
        for waiting in self._waiting:
            self._decode(waiting, decoder, self._layout.window.length)
        self._waiting = []

    def _decode(self, columns: RecordColumns, decoder: Decoder, length: int) -> None:
        partition = self._partitions.setdefault(columns.partition, _Partition(SeriesNumbers(self._rules.series)))
        if self._registry is not None:
            for number in sorted(decoder.schemas.unknown(ids_of(decoder.with_schemas(columns)))):
                decoder.schemas.add(number, self._registry.schema(number))
        decoded = decoder.decode(columns, partition.time, time.time_ns() // 1000)
        numbers, refused = partition.series.number(decoded.keys, decoded.rows)
        for row, reason, detail in sorted(decoded.rejected + refused):
            self._reasons[reason.value] += 1
            offset = int(columns.offsets[row])
            self._first_rejected = self._first_rejected or f"{columns.partition} offset {offset}: {detail[:200]}"
        if refused:
            decoded, numbers = decoded.where(numbers >= 0), numbers[numbers >= 0]
        reached = decoded.reached
        partition.reached.append(replace(reached, positions=columns.offsets[reached.positions]))
        offsets = columns.offsets[decoded.rows]
        if self._whole_records:
            partition.parts.append(decoded.windows(numbers, offsets, length))
        else:
            samples = decoded.samples(numbers, offsets)
            if (holes := decoded.holes) is not None:
                known = partition.series.known(holes.keys)
                left = holes.samples(known, columns.offsets[holes.rows], decoded.values.shape[1])
                samples = Samples.concatenate([samples, left]).in_log_order()
            partition.parts.append(samples)
        self._weigh(decoded.values.nbytes + 48 * len(decoded.values))

    def _weigh(self, size: int) -> None:
        self._bytes += size
        if self._bytes > MAX_BYTES:
            raise DataError(f"{self._source}: over {MAX_BYTES} bytes after {self._records} records; narrow from and to")

    def tables(self, note: Note) -> list[Table]:
        """What was read; reports what was not."""
        if not self._records:
            raise DataError(f"{self._source}: no records from `from` to `to`; widen the range")
        if self._layout is None:
            raise DataError(
                f"{self._source}: none of {self._records} records names a channel or holds values; name --channels, "
                "and say how records are written in the configuration's section [input]"
            )
        refused = sum(self._reasons.values())
        reasons = ", ".join(f"{count} {reason}" for reason, count in self._reasons.most_common())
        if refused:
            said = f"{self._source}: {refused} of {self._records} records can't be read: {reasons}"
            said += f"; the first is {self._first_rejected}"
            if refused == self._records:
                raise DataError(said)
            note(said)
        names = tuple(channel.name for channel in self._layout.channels)
        if self._whole_records:
            return [self._windows(names)]
        tables: list[Table] = []
        for partition in sorted(self._partitions):
            tables += self._series(self._partitions[partition], names)
        counts = Counter(table.series for table in tables)
        if several := [name for name, count in counts.items() if count > 1]:
            note(
                f"{self._source}: {len(several)} series in several partitions, each read as series of its own: "
                f"{', '.join(several[:5])}"
            )
        return tables

    def _windows(self, names: tuple[str, ...]) -> WindowTable:
        found = [part for each in sorted(self._partitions) for part in self._partitions[each].parts]
        windows = np.concatenate([part.values for part in found if len(part)])
        return WindowTable(
            windows=windows.astype(np.float32),
            channels=names,
            series=self._source.rpartition("/")[2],
            source=self._source,
            exact=digits.exact(windows, always=self._options.keeps_digits),
        )

    def _in_their_places(self, samples: Samples, partition: _Partition) -> Samples:
        """`samples` in the order in which the daemon would take them, readings of some channels each put together."""
        rows, channels = len(partition.series), samples.values.shape[1]
        arrivals, clock = Arrivals(self._rules.order, channels), EventTime(None)
        arrivals.grow(rows)
        clock.grow(rows)
        return arrivals.let_out(samples, _at_the_end(partition.reached), clock)

    def _series(self, partition: _Partition, names: tuple[str, ...]) -> list[SeriesTable]:
        parts = [part for part in partition.parts if isinstance(part, Samples)]
        together = self._in_their_places(Samples.concatenate(parts), partition)
        order = np.argsort(together.series, kind="stable")
        counts = np.bincount(together.series, minlength=len(partition.series))
        return [
            SeriesTable(
                samples=samples.values.astype(np.float32),
                exact=digits.exact(samples.values, always=self._options.keeps_digits),
                channels=names,
                time_us=in_order(samples),
                series=partition.series.names[number],
                source=self._source,
            )
            for number, rows in enumerate(np.split(order, np.cumsum(counts)[:-1]))
            if len(samples := settle_holes(together[rows]))
        ]


def _at_the_end(reached: Sequence[Reached]) -> Reached:
    """How far a partition's time had come, poll after poll; and after the last so far that nothing waits on."""
    positions = [each.positions for each in reached]
    newest_us = [each.newest_us[1:] for each in reached]
    last = max((int(each[-1]) for each in positions if len(each)), default=-1)
    return Reached(
        np.concatenate([*positions, [last + 1]]),
        np.concatenate([reached[0].newest_us[:1], *newest_us, [NEWEST_US]]),
    )


def in_order(samples: Samples) -> Int64Array:
    """One series' times such that those are late, by their time alone, that are late for the daemon, by its clock.

    What it takes though it ties, or overlaps with the record before, comes 1 us after the sample before.
    """
    newest = np.maximum.accumulate(np.concatenate([[np.iinfo(np.int64).min], samples.clock_us[:-1]]))
    taken = in_time(samples.clock_us, samples.ties, newest)
    time_us = samples.clock_us.copy()
    count = np.arange(int(taken.sum()), dtype=np.int64)
    time_us[taken] = np.maximum.accumulate(samples.time_us[taken] - count) + count
    return time_us


def _layout(
    source: str, values: Sequence[bytes | None], rules: InputRules, kind: str, options: ReadOptions
) -> _Layout | None:
    """What the options say, and for the rest the first record that says anything; None where none does."""
    channels, length = options.channels, options.window_length or (None if windowing.whole_records(kind) else 1)
    if not load_format(rules.format).names_fields:
        if channels is None or length is None:
            raise DataError(
                f"{source}: {rules.format} records hold numbers only; name --channels and the window's length"
            )
    elif channels is None and (option := _not_their_own_fields(rules)):
        names = _names_in(values, rules)
        listed = f"; the first records speak of --channels={','.join(names)}" if names else ""
        raise DataError(f"{source}: with input.{option} records do not say which are the channels; name them{listed}")
    elif channels is None or length is None:
        found = next((shape for value in values if (shape := _shape(value, rules)) is not None), None)
        if found is None:
            return None
        channels, length = channels or found[0], length or found[1]
    window = WindowSpec(kind=kind, length=length, hop=length, sampling_rate_hz=options.sampling_rate_hz)
    return _Layout(window, tuple(Channel(name=name) for name in channels))


def _not_their_own_fields(rules: InputRules) -> str:
    """The option by which channels are not the fields of a record; empty, where they are."""
    options = ("channel_field", "entries", "channels", "connect_envelope")
    return next((option for option in options if getattr(rules, option)), "")


def _names_in(values: Sequence[bytes | None], rules: InputRules) -> list[str]:
    """What may be channels in JSON records, in the order in which they come."""
    found: dict[str, None] = {}
    template = rules.channels.get("*", "*")
    inside = template.removesuffix("*").removesuffix(".")
    for value in values[:_LOOK_AT]:
        try:
            record = msgspec.json.decode(value or b"")
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            continue
        for body in _entries_of(record, rules):
            if rules.channel_field:
                name = paths.place(rules.channel_field).find(body)
                found |= {name: None} if isinstance(name, str) else {}
                continue
            fields = paths.place(inside).find(body) if inside else body
            taken = {"rate_hz", rules.timestamp_field, rules.series.removeprefix("field:")}
            there = fields if isinstance(fields, dict) else {}
            found |= {name: None for name, each in there.items() if name not in taken and _may_be_number(each)}
    return [*found][:_MOST_NAMES]


def _entries_of(record: Any, rules: InputRules) -> list[dict[str, Any]]:
    """The entries of a record, as `input.entries` says where they stand."""
    if rules.connect_envelope and isinstance(record, dict) and isinstance(record.get("payload"), dict):
        record = record["payload"]
    if rules.entries not in ("", "$") and isinstance(record, dict):
        inner = paths.place(rules.entries).find(record)
        record = record if inner is msgspec.UNSET else inner
    return [each for each in (record if isinstance(record, list) else [record]) if isinstance(each, dict)]


def _shape(value: bytes | None, rules: InputRules) -> tuple[tuple[str, ...], int] | None:
    """The channels of a JSON record, in its order, and how many samples it holds; None where it is no such record."""
    if not value or len(value) > rules.max_record_bytes:
        return None
    try:
        record = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    chunk = record.get("values") if isinstance(record, dict) else record
    if isinstance(chunk, list) and chunk:
        width = len(chunk[0]) if isinstance(chunk[0], list) else 1
        return unnamed(width), len(chunk)
    if not isinstance(record, dict):
        return None
    field_of_series = rules.series.removeprefix("field:") if rules.series.startswith("field:") else None
    taken = {"values", "rate_hz", rules.timestamp_field, field_of_series}
    names = tuple(name for name, number in record.items() if name not in taken and _may_be_number(number))
    return (names, 1) if names else None


def _may_be_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
