"""What `telltale doctor` prints about a topic: what its records are, and the configuration to use.

Rules of this file: words only. Bytes of records are shown so that no terminal obeys them.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.config.options import QualityOptions
from monitor.doctor.configuration import toml
from monitor.doctor.diagnosis import Diagnosis, usual_step_us
from monitor.doctor.joins import Joins, hold_for
from monitor.doctor.trial import split
from monitor.doctor.words import (
    WIDTH,
    declared,
    fact,
    few,
    fields,
    gaps,
    held,
    indented,
    missing_share,
    moment,
    notes,
    order,
    rate,
    recipe_for,
    safe,
    span,
    window_length,
)

_SHOWN = 160
_ORDER = ("service", "kafka", "schema_registry", "input", "output", "model")
_DEFAULTS = {"format": "json", "timestamp_field": "ts", "value_field": "value", "csv_delimiter": ","}
_REGISTRY = "http://REGISTRY:8081"
_FORMS = {
    "json": "JSON",
    "msgpack": "MessagePack",
    "csv": "separated text",
    "f32": "little-endian float32",
    "avro": "Avro",
}


@dataclass(frozen=True, slots=True)
class Place:
    """The topic that was looked at, and how the commands that follow reach it."""

    topic: str
    partitions: int
    held: int
    sections: Mapping[str, Mapping[str, Any]]  # the configuration but for `input`
    artifact: str
    config: str  # the file that the commands name
    words: Sequence[str] = ()  # of the command that looked, to reach the topic again


def of_topic(found: Diagnosis, place: Place) -> str:
    """The whole report."""
    parts = [_headline(found, place), *_facts(found), "", *fields(found.fields), *_rejected(found), *_unread(found)]
    parts += notes(_said(found, place))
    if found.works:
        parts += [
            "",
            f"The configuration to use, in {place.config} (--config-out writes it):",
            "",
            indented(configuration(found, place)),
        ]
        parts += ["Then:", "", *(f"  {line}" for line in commands(found, place))]
    elif found.schema is not None:
        parts += _of_registry(found, place)
    elif found.channels:
        parts += ["", "There is no configuration with which most of these records could be read; see above why."]
    else:
        parts += ["", "There is no configuration for these records: nothing in them is a number to watch."]
    return "\n".join(parts)


def _unread(found: Diagnosis) -> list[str]:
    """What values are of which nothing can be read."""
    if not found.unread or found.schema is not None:
        return []
    shown = [f"  {safe(value.decode('utf-8', 'backslashreplace'), _SHOWN)}" for value in found.unread]
    return [f"None of the {found.trial.records:,} records can be read. The first values are:", *shown]


def _of_registry(found: Diagnosis, place: Place) -> list[str]:
    """What to do about records whose schema stands in a registry that is not known."""
    options: dict[str, dict[str, Any]] = {
        "schema_registry": {"urls": [_REGISTRY]},
        "input": {"topics": [place.topic], "format": "avro"},
    }
    said = (
        f"Values begin with byte 0 and the id of a schema, {found.schema} in the first, as Confluent's serializers "
        "write Avro and Protobuf: what they hold can't be said without their schema registry. With its address this "
        "command says it, and proposes the configuration:"
    )
    command = shlex.join(["telltale", "doctor", place.topic, *place.words, "--registry", _REGISTRY])
    comments = {"schema_registry.urls": "to be filled in: the address of yours"}
    then = "Of Avro the configuration will begin so; Protobuf is not read:"
    return ["", *textwrap.wrap(said, WIDTH), "", f"  {command}", "", then, "", indented(toml(options, comments))]


def _said(found: Diagnosis, place: Place) -> list[str]:
    return [
        *found.notes,
        *(few(_samples(found, place)) if found.works else []),
        *_held(found, place)[1],
        *(declared(*each, "missing_values") for each in found.sentinels.items()),
    ]


def configuration(found: Diagnosis, place: Place) -> str:
    """The configuration as TOML."""
    options = {"topics": [place.topic], **found.options}
    defaults = {} if found.mapping else _DEFAULTS
    shown = {name: value for name, value in options.items() if defaults.get(name) != value}
    sections = {**place.sections, "input": shown, "model": {"artifact": place.artifact}}
    if (grace_ms := options.get("grace_ms", 0)) > QualityOptions().no_data_resolves_after_ms:
        sections["quality"] = {"no_data_resolves_after_ms": grace_ms}
    ordered = {name: sections[name] for name in _ORDER if name in sections}
    return toml(ordered | sections, _comments(found))


def _comments(found: Diagnosis) -> dict[str, str]:
    series = len(found.trial.names)
    said = {"input.series": f"{series} series among these records" if series else ""}
    lines = {each.path: each for each in found.fields}
    if found.shape.time in lines:
        said["input.timestamp_field"] = lines[found.shape.time].seen
    late_us = max((each.late_us for each in found.trial.series.values()), default=0)
    said["input.grace_ms"] = f"samples came up to {span(late_us)} late"
    said["quality.no_data_resolves_after_ms"] = "at least input.grace_ms"
    if found.joins is not None:
        said["input.join_tolerance_ms"] = f"readings of one sample are up to {span(found.joins.apart_us)} apart"
    said["model.artifact"] = "made by the command below"
    said["kafka.group_id"] = "each daemon needs one of its own, but for those that share these topics"
    said["http.port"] = "another for each daemon on a machine"
    return said


def commands(found: Diagnosis, place: Place) -> list[str]:
    """What to type next."""
    names = ",".join(found.channels)
    words = ["telltale", "train", f"kafka://{place.topic}", "--config", place.config, "--channels", names]
    words += _recipe(found, place)
    if hold_ms := _held(found, place)[0]:
        words += ["--max-hold-ms", str(hold_ms)]
    words += ["--out", place.artifact]
    return [shlex.join(words), shlex.join(["telltale", "run", "--config", place.config])]


def _recipe(found: Diagnosis, place: Place) -> list[str]:
    """Options of `telltale train` that suit as many samples as the topic may hold."""
    if found.shape.are_windows:
        return ["--recipe", "beats-dense", "--window", str(found.shape.length)]
    return recipe_for(_samples(found, place), len(found.channels), usual_step_us(found))


def _samples(found: Diagnosis, place: Place) -> float:
    """About how many samples of a series the topic holds."""
    per_record = len(found.trial.values) / max(1, found.trial.accepted)
    samples = place.held * per_record / max(1, len(found.trial.series))
    return samples if found.joins is None else samples / found.joins.readings


def _held(found: Diagnosis, place: Place) -> tuple[int, list[str]]:
    """For how many ms numbers are to be held (0: they need not), and what to say of it."""
    tried = found.trial
    if found.joins is not None:
        return found.joins.hold_ms, []
    if not len(tried.values) or len(found.shape.names) == 1:
        return 0, []
    parts = [split(each, tried.owners, len(tried.series)) for each in (tried.time_us, ~np.isnan(tried.values))]
    length = window_length(_recipe(found, place))
    hold_ms, share = hold_for([*zip(*parts, strict=True)], length)
    return hold_ms, [held(hold_ms, share, length)] if hold_ms else []


def _headline(found: Diagnosis, place: Place) -> str:
    records, partitions = found.trial.records, place.partitions
    which = "all" if records >= place.held else "the newest"
    many = f"{partitions} partitions" if partitions != 1 else "1 partition"
    return f"{place.topic}: {which} {records:,} of about {place.held:,} records in {many}\n"


def _facts(found: Diagnosis) -> Iterable[str]:
    yield fact("format", _format(found))
    if found.mapping:
        yield fact("mapping", f'input.mapping = "{found.mapping}" is made for these records')
    if found.unread:
        return
    yield fact("series", _series(found))
    yield fact("time", _time(found))
    orders = [*found.trial.series.values()]
    if orders:
        yield fact("rate", rate(orders) if found.joins is None else _joined(found.joins))
        yield fact("order", order(orders, in_parts=found.joins is not None))
        yield fact("gaps", gaps(orders))
        yield fact("missing", _missing(found))


def _joined(found: Joins) -> str:
    """How readings make samples."""
    text = f"a sample each {span(found.step_us)} and series, usually, of {found.readings:.3g} readings"
    if found.apart_us:
        text += f" that are up to {span(found.apart_us)} apart, so that they are joined"
    if found.hold_ms:
        text += f"; some channels come less often, so their numbers are held for up to {span(1000 * found.hold_ms)}"
    return text


def _format(found: Diagnosis) -> str:
    shape = found.shape
    if not shape.format:
        return "none that is known"
    form = "samples"
    if shape.columns:
        form = "a line a sample" if not shape.channel_field else "a line a reading"
    elif shape.entries:
        form = f"several entries a record, in {'a list' if shape.entries == '$' else repr(shape.entries)}"
    elif shape.channel_field:
        form = "one reading a record"
    elif shape.length:
        form = f"chunks of {shape.length} samples"
    elif shape.fields:
        form = "one sample a record"
    envelope = ", in Kafka Connect's envelope" if shape.connect else ""
    return f"{_FORMS.get(shape.format, shape.format)}, {form}{envelope}; {found.mean_bytes:,.0f} bytes a record"


def _series(found: Diagnosis) -> str:
    names = found.trial.names
    kind, _, name = found.shape.series.partition(":")
    where = {"key": "the record's key", "field": f"the field {name}", "header": f"the header {name}"}.get(
        kind, "nothing"
    )
    if not names:
        return f"named by {where}" if kind else "named by nothing"
    shown = ", ".join(safe(each, 30) for each in names[:4]) + (", ..." if len(names) > 4 else "")
    keys = ""
    if kind != "key" and found.keys:
        keys = f"; the keys are {found.keys} others"
    return f"{len(names)}, named by {where}: {shown}{keys}"


def _time(found: Diagnosis) -> str:
    said = next((each.seen for each in found.fields if each.path == found.shape.time), "")
    where = f"{found.shape.time} ({said})" if found.shape.time else "Kafka's own timestamp; the values state none"
    orders = found.trial.series.values()
    if not orders:
        return where
    first, last = min(each.first_us for each in orders), max(each.last_us for each in orders)
    behind = found.trial.behind_us
    delay = f"; written {span(abs(behind))} {'later' if behind >= 0 else 'earlier'}" if behind else ""
    return f"{where}; {moment(first)} to {moment(last)} UTC{delay}"


def _missing(found: Diagnosis) -> str:
    """Which share of each channel's numbers is missing."""
    trial = found.trial
    share = {}
    for at, name in enumerate(trial.channels):
        carried = trial.carried[:, at]
        if carried.any() and (ratio := float(np.isnan(trial.values[carried, at]).mean())):
            share[name] = ratio
    return missing_share(share)


def _rejected(found: Diagnosis) -> list[str]:
    trial = found.trial
    total = sum(trial.rejected.values())
    if not found.channels:
        return []
    if not total:
        return ["", f"With the configuration below none of the {trial.records:,} records is rejected."]
    which = "With the configuration below" if found.works else "With the likeliest configuration"
    lines = ["", f"{which} {total:,} of {trial.records:,} records are rejected:"]
    for reason, count in trial.rejected.most_common():
        example = trial.examples[reason]
        value = "null" if example.value is None else safe(example.value.decode("utf-8", "backslashreplace"), _SHOWN)
        lines.append(
            f"  {count:,} {reason}, as {example.partition} at offset {example.offset}: {safe(example.detail, 200)}"
        )
        lines.append(f"      {value}")
    return lines
