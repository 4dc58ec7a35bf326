"""Configurations under which arbitrary records are read, and what must hold of each: the accounts, and any chunking.

A lane is one daemon on a log in memory that lives as long as the run. Formats and mappings are those of the tables,
options those of the configuration, so that what is added to either is covered by itself. Paths, which nobody can guess,
are in `LAYOUTS`.

What must hold: nothing raises; each record is accepted, ignored by a rule or refused, and exactly one of these, by its
offset; each refused one is one dead letter, with a reason of the closed set, and is counted once.
"""

from __future__ import annotations

import itertools
import json
import random
import typing
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from annotated_types import Ge, Gt
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from monitor import extensions
from monitor.backends.abstract import RecordColumns, TopicPartition
from monitor.backends.local import LocalBackend, LocalLog
from monitor.config.input import InputOptions
from monitor.config.mappings import MAPPINGS
from monitor.config.options import AlertingOptions, Config, QualityOptions
from monitor.detector.artifact import Artifact
from monitor.errors import ConfigError, Reason
from monitor.formats.decoder import Decoded, Decoder, StreamTime
from monitor.formats.schemas import Schema
from monitor.serving.daemon import Daemon
from monitor.serving.telemetry import Telemetry, Vitals
from tests.benchmarks.fuzz.records import AVRO_SCHEMAS, SHAPES, Maker, Row
from tests.helpers import counts_of, make_artifact, make_model, make_processor

TOPIC, NOW_US = "telltale.input", 1_795_000_000_000_000
INPUT = TopicPartition(TOPIC, 0)
THREE = ("flow", "heat", "pressure")
ARTIFACTS = {
    "sliding": make_artifact(length=6, hop=2, channels=THREE, threshold=1.5, batch_rows=256, max_missing_ratio=0.34),
    "one channel": make_artifact(length=5, hop=5, threshold=1.5, batch_rows=256),
    "records": make_artifact(kind="record", length=4, channels=THREE, threshold=1.5, batch_rows=256),
}
# What an option is not drawn for: names of topics, and what would hold a partition, or is of batches.
GIVEN = {
    "topics", "format", "mapping", "start", "beyond_end", "damaged_batches", "max_batch_bytes", "max_rejected_ratio",
    "max_rejected_run", "on_rejected", "max_record_bytes",
}  # fmt: skip
SMALL: dict[str, tuple[Any, ...]] = {
    "timestamp_unit": ("auto", "auto", "auto", "ms", "s"),
    "max_series": (3, 50, 2_000),
    "max_samples_per_record": (1, 8, 10_000),
    "max_future_ms": (0, 3_600_000),
    "format_header": ("content-type", "content-type", ""),
}
LAYOUTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "plain": (("sample", "text time", "chunk", "bare chunk"), {}),
    "series in a field": (("sample", "text time"), {"series": "field:sensor"}),
    "series in a header": (("sample", "chunk"), {"series": "header:sensor"}),
    "chunks": (("chunk", "bare chunk", "one channel's chunk"), {}),
    "telegraf": (
        ("telegraf", "telegraf batch"),
        {
            "series": "field:tags.host",
            "timestamp_field": "timestamp",
            "entries": "metrics",
            "channels": {"*": "fields.*"},
        },
    ),
    "long form": (("reading",), {"series": "field:sensor", "channel_field": "metric", "partial_records": True}),
    "kepserver": (
        ("kepserver",),
        {"entries": "values", "channel_field": "id", "value_field": "v", "quality_field": "q", "timestamp_field": "t"},
    ),
    "envelopes": (("connect", "debezium with schema", "sample"), {"connect_envelope": True, "entries": "after"}),
    "debezium": (("debezium",), {"entries": "after", "series": "field:sensor"}),
    "cloudevents": (("cloudevents",), {"entries": "data", "timestamp_field": "time", "series": "field:subject"}),
    "sparkplug": (("sparkplug",), {"entries": "metrics", "channel_field": "name", "timestamp_field": "timestamp"}),
    "quality": (("quality", "sample"), {"quality_field": "quality", "missing_values": [-9999, "Bad"]}),
    "exceptions": (("some channels", "text numbers"), {"partial_records": True, "text_numbers": True}),
    "lists": (("list of samples", "sample"), {"entries": "$"}),
}
ENCODING_OF = {"f32": "f32", "csv": "csv", "msgpack": "msgpack", "avro": "avro"}


@dataclass(frozen=True, slots=True)
class Base:
    """A format, and a mapping where there is one, that the configuration takes without anything else."""

    format: str
    mapping: str = ""

    @property
    def options(self) -> dict[str, Any]:
        return {"format": self.format} | ({"mapping": self.mapping} if self.mapping else {})


def bases() -> tuple[list[Base], dict[str, str]]:
    """All rows of the tables, alone and with each mapping; and why some are left out."""
    found, left_out = [], {}
    for name, mapping in itertools.product(extensions.FORMATS, ["", *MAPPINGS]):
        base = Base(name, mapping)
        try:
            configured(base.options, {}, {})
        except ValidationError as error:
            left_out[f"{name} {mapping}".strip()] = error.errors()[0]["msg"].removeprefix("Value error, ")
        else:
            found.append(base)
    return found, left_out


def configured(input_options: dict[str, Any], alerting: dict[str, Any], quality: dict[str, Any]) -> Config:
    """A configuration whose partition is never held. Raises ValidationError, ConfigError where options don't agree."""
    # Long chunks, as of the default of 10,000 samples, would take most of the time: some lanes have it.
    given = {"start": "earliest", "max_rejected_ratio": 1.0, "max_rejected_run": 0, "max_samples_per_record": 300}
    sections = {
        "input": given | input_options,
        "alerting": alerting,
        "quality": quality,
        "schema_registry": {"urls": ["http://127.0.0.1:9"]},  # nobody asks it: schemas are known, or there is none
    }
    return Config.model_validate(sections)


def drawn(section: dict[str, FieldInfo], rng: random.Random, share: float = 0.25) -> dict[str, Any]:
    """Values for some options: of a choice any, of a number its least, a small one or its default."""
    found: dict[str, Any] = {}
    for name, option in section.items():
        if name in GIVEN or rng.random() > share:
            continue
        choices: Sequence[Any] = SMALL.get(name, ())
        if not choices:
            choices = _literals(option.annotation) or _numbers(option)
        if choices:
            found[name] = rng.choice(choices)
    return found


def _literals(annotation: Any) -> list[Any]:
    if annotation is bool:
        return [True, False]
    if typing.get_origin(annotation) is typing.Literal:
        return [*typing.get_args(annotation)]
    return [each for part in typing.get_args(annotation) for each in _literals(part)]


def _numbers(option: FieldInfo) -> list[Any]:
    if option.annotation not in (int, float) or isinstance(option.default, bool):
        return []
    least = next((each.ge for each in option.metadata if isinstance(each, Ge)), None)
    over = any(isinstance(each, Gt) for each in option.metadata)
    kind = option.annotation
    return [option.default, *([] if least is None else [kind(typing.cast(int, least))]), *([] if over else [kind(5)])]


class Accounts(Decoder):
    """A decoder that keeps the accounts of each live record, by offset."""

    def keep(self) -> None:
        self.accepted: set[int] = set()
        self.ignored: set[int] = set()
        self.refused: set[int] = set()
        self.wrong: list[str] = []

    def decode(
        self, columns: RecordColumns, stream: StreamTime | None = None, now_us: int | None = None, *, live: bool = True
    ) -> Decoded:
        """What the decoder says, having been written down."""
        decoded = super().decode(columns, stream, now_us, live=live)
        if live:
            rows = {
                "accepted": sorted(set(decoded.rows.tolist())),
                "ignored": [*decoded.ignored.rows],
                "refused": [each.row for each in decoded.rejected],
            }
            if sorted(itertools.chain.from_iterable(rows.values())) != [*range(len(columns.offsets))]:
                self.wrong.append(f"of {len(columns.offsets)} records from offset {columns.offsets[0]}: {rows}")
            for name, which in rows.items():
                getattr(self, name).update(columns.offsets[which].tolist())
        return decoded


@dataclass
class Lane:
    """One daemon on one log; `take` gives it rows, `problems` are what did not hold."""

    name: str
    config: Config
    artifact: Artifact
    maker: Maker
    problems: list[str] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    alerts: int = 0
    accepted: int = 0
    ignored: int = 0

    def __post_init__(self) -> None:
        self.log = LocalLog({TOPIC: 1})
        self._daemon, self._backend, self._accounts = daemon_on(self.log, self.config, self.artifact)
        self._taken = 0

    def take(self, rows: Sequence[Row]) -> None:
        """Reads them to the end, then checks the accounts and lets go of what was read."""
        append(self.log, rows)
        first, self._taken = self._taken, self._taken + len(rows)
        to_the_end(self._daemon, self._backend)
        self._check(first)
        self.log.trim(INPUT, self._taken)

    def _check(self, first: int) -> None:
        accounts, output = self._accounts, self.config.output
        letters = [json.loads(value or b"") for value in drained(self.log, output.dead_letters)]
        offsets = [letter["offset"] for letter in letters]
        unknown = {letter["reason"] for letter in letters} - {*Reason}
        expected = set(range(first, self._taken))
        accepted = accounts.accepted - {*offsets}
        nameless = {letter["offset"] for letter in letters if letter["reason"] == Reason.BAD_SERIES}
        if unknown:
            self.problems.append(f"reasons that nobody knows: {unknown}")
        if len(set(offsets)) != len(offsets):
            self.problems.append(f"records with two dead letters: {sorted(offsets)}")
        if not accounts.refused <= {*offsets} <= accounts.refused | (nameless & accounts.accepted):
            self.problems.append(f"dead letters are not the refused: {sorted({*offsets} ^ accounts.refused)}")
        if accepted | accounts.ignored | {*offsets} != expected or (accepted | {*offsets}) & accounts.ignored:
            self.problems.append(f"records {first} to {self._taken}: not each accepted, ignored or refused")
        if len(accepted) + len(accounts.ignored) + len(offsets) != len(expected):
            self.problems.append(f"records {first} to {self._taken}: the counts are not their number")
        self.problems += accounts.wrong
        self.accepted, self.ignored = self.accepted + len(accepted), self.ignored + len(accounts.ignored)
        accounts.keep()
        self.rejected.update(letter["reason"] for letter in letters)
        self.alerts += len(drained(self.log, output.alerts))
        drained(self.log, self.config.state_topic)


def daemon_on(
    log: LocalLog, config: Config, artifact: Artifact, rng: random.Random | None = None
) -> tuple[Daemon, LocalBackend, Accounts]:
    """A daemon that has joined, and who keeps its accounts; its clock goes as `rng` says, so that runs can be repeated.

    Clocks decide how much is read, decided and committed at a time, and are to decide nothing else.
    """
    steps = (0.001,) if rng is None else (0.0, 0.001, 0.02, 0.1)
    clock = itertools.accumulate(map((rng or random.Random(0)).choice, itertools.repeat(steps))).__next__
    processor = make_processor(config, artifact)
    for number, schema in AVRO_SCHEMAS.items():
        processor.schemas.add(number, Schema("AVRO", json.dumps(schema)))
    accounts = processor._decoder
    accounts.__class__ = Accounts
    assert isinstance(accounts, Accounts)
    accounts.keep()
    vitals = Vitals()
    telemetry = Telemetry(vitals, counts_of(processor), {}, 1.0)
    backend = LocalBackend(log, config)
    scorer = make_model(artifact).scorer
    daemon = Daemon(config, backend, processor, scorer, telemetry, vitals, wait=lambda _: None, clock=clock)
    daemon._workload._today_us = lambda: NOW_US
    backend.start()
    return daemon, backend, accounts


def append(log: LocalLog, rows: Sequence[Row]) -> None:
    """Writes rows to the input."""
    log.extend(
        TOPIC, 0,
        [row.key for row in rows], [row.value for row in rows], [row.timestamp_ms for row in rows],
        [row.headers for row in rows],
    )  # fmt: skip


def to_the_end(daemon: Daemon, backend: LocalBackend) -> None:
    """Turns until everything is decided and committed."""
    while True:
        daemon.turn()
        position = backend._log.position(backend.group_id, INPUT)
        if position is not None and position.offset == backend._log.at(INPUT).end:
            return


def drained(log: LocalLog, topic: str) -> list[bytes | None]:
    """The values of a topic, which are let go of."""
    found: list[bytes | None] = []
    for partition in log.partitions(topic):
        found += log.read(topic, partition.partition, log.at(partition).beginning).values
        log.trim(partition, log.at(partition).end)
    return found


def outputs(config: Config, artifact: Artifact, rows: Sequence[Row], rng: random.Random | None) -> list[bytes]:
    """What is published about a whole log: read at once, or, where `rng` says how, in pieces, by daemons that die."""
    log = LocalLog({TOPIC: 1})
    append(log, rows)
    while True:
        most = len(rows) if rng is None else rng.choice((1, 7, 60, 400))
        limits = config.limits.model_copy(
            update={"max_poll_records": most, "commit_interval_ms": 1, "idle_commit_interval_ms": 1}
        )
        daemon, backend, _ = daemon_on(log, config.model_copy(update={"limits": limits}), artifact, rng)
        if rng is None or rng.random() < 0.3:
            to_the_end(daemon, backend)
            break
        for _ in range(rng.randrange(1, 12)):
            if rng.random() < 0.3:
                daemon.checkpoint_soon()
            daemon.turn()
        log.crash(backend)
    topics = (config.output.alerts, config.output.dead_letters)
    return sorted(value or b"" for topic in topics for value in drained(log, topic))


def lanes(seed: int, per_base: int) -> tuple[list[Lane], dict[str, str]]:
    """For each format so many lanes, a seventh for each mapping; options are drawn. And what is left out, and why."""
    found, left_out = bases()
    chosen = [base for base in found for _ in range(-(-per_base // 7) if base.mapping else per_base)]
    return [lane(base, random.Random(f"{seed} {at}"), at) for at, base in enumerate(chosen)], left_out


def lane(base: Base, rng: random.Random, number: int) -> Lane:
    """A lane on `base` whose options agree; options that do not are drawn again."""
    names = [*LAYOUTS]
    for attempt in itertools.count():
        layout = names[number % len(names)] if not base.mapping and attempt < 5 else "plain"  # which agrees with all
        shapes, paths = LAYOUTS[layout]
        share = 0.25 if attempt < 20 else 0.0
        options = drawn(InputOptions.model_fields, rng, share) | (paths if not base.mapping else {}) | base.options
        alerting = drawn(AlertingOptions.model_fields, rng, share)
        quality = drawn(QualityOptions.model_fields, rng, share)
        artifact = rng.choice([*ARTIFACTS])
        try:
            config = configured(options, alerting, quality)
            shapes = tuple(SHAPES) if base.mapping else (*shapes, *("bare chunk",) * (artifact == "records") * 3)
            channels = [channel.name for channel in ARTIFACTS[artifact].manifest.channels]
            maker = Maker(rng, channels, shapes, ENCODING_OF.get(base.format, "json"))
            name = f"{number}: {base.format} {base.mapping or layout}, {artifact}, {options}"
            return Lane(name, config, ARTIFACTS[artifact], maker)
        except (ValidationError, ConfigError):
            if attempt > 40:
                raise
    raise AssertionError
