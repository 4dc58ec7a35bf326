"""Where things stand in records: entries, time, series, channels, quality, labels; and that as options of `input`.

Rules of this file: pure. What is guessed here is tried by `trial`, with the daemon's own decoder, before it is said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from monitor.backends.abstract import Headers
from monitor.config.input import ATTRIBUTES
from monitor.doctor import readings
from monitor.doctor.documents import Documents
from monitor.doctor.fields import (
    PARTS,
    Content,
    Field,
    can_be_named,
    classify,
    escaped,
    flatten,
    good_values,
    name_rank,
    time_rank,
)
from monitor.formats.keys import unwrapped

ITSELF = "$"
USUAL_QUALITIES = ("Good", 192, True)
_MOST_LABELS = 4
_MOST_NAMES = 3  # fields that are tried as the series
_SHARE = 0.9
_WRITTEN_AT = ("ts_ms", "ts_us", "ts_ns")  # of Debezium, which has the time of the change under `source`


@dataclass(slots=True, kw_only=True)
class Shape:
    """What records look like. Paths begin at the entry, or at the record around it; empty: there is none.

    `series` is as in `input.series`, "" where nothing names one. `channels` are paths by name, in long form None, where
    `channel_field` holds the names, which are `names`.
    """

    format: str
    fields: dict[str, Field] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)  # the record that each entry is in
    connect: bool = False
    columns: list[str] = field(default_factory=list)  # of lines of cells, and what divides these
    delimiter: str = ""
    named: bool = True  # whether fields have names that say something
    entries: str = ""
    time: str = ""
    series: str = ""
    may_name_series: list[str] = field(default_factory=list)  # likeliest first
    quality: str = ""
    good: list[Any] = field(default_factory=list)
    channel_field: str = ""
    value_fields: list[str] = field(default_factory=list)  # of which one is there
    channels: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    text_numbers: bool = False
    partial: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    length: int = 0  # samples of a record that is a chunk
    notes: list[str] = field(default_factory=list)

    @property
    def called(self) -> list[str]:
        """The channels' names."""
        return self.names or [*self.channels]

    @property
    def are_windows(self) -> bool:
        """Whether each record is a window of its own: all of one length, and none says when it was."""
        return self.length > 1 and not self.fields


def of(
    documents: Documents,
    keys: Sequence[bytes | None],
    headers: Sequence[Headers] | None,
    series: str = "",
    *,
    in_lists: bool = True,
) -> Shape:
    """What records look like, as far as they can be read; `series` says what names theirs, if it is known.

    `in_lists`: entries may stand in a list. Lists that only accompany what is measured are found out.
    """
    shape = Shape(
        format=documents.format,
        notes=[*documents.notes],
        columns=documents.columns,
        delimiter=documents.delimiter,
        named=documents.named,
    )
    rows = documents.known
    roots = [documents.said[row] for row in rows]
    roots = _unwrapped(shape, roots)
    entries, owners = _entries(shape, roots) if in_lists else (roots, [*range(len(roots))])
    if not any(isinstance(entry, dict) for entry in entries):
        return _of_numbers(shape, roots, rows, keys, headers)
    shape.rows = [rows[owner] for owner in owners]
    inner = flatten(entries)
    outer = {} if not shape.entries or shape.entries == ITSELF else flatten(roots, around=True, skip=shape.entries)
    for path, found in outer.items():
        found.values = [found.values[owner] for owner in owners]
        inner.setdefault(path, found)
    shape.fields = inner
    if "op" in inner and any(path.startswith("after.") for path in inner):
        for path, found in inner.items():
            if path.startswith("before"):
                found.role, found.why = "other", "the row before the change"
            elif path in _WRITTEN_AT and f"source.{path}" in inner:
                found.role, found.why = "clock", "when the change was read from the database"
    for path, found in inner.items():
        if not all(map(can_be_named, PARTS.split(path.replace("\\.", "_")))):
            found.role, found.why = (
                "other",
                "no option can name it: its name is empty, or holds quotes, commas or what can't be printed",
            )
    classify(inner.values())
    if shape.entries and not shape.columns and _stand_around(inner):
        return of(documents, keys, headers, series, in_lists=False)
    _choose_time(shape)
    _choose_quality(shape)
    _choose_series(shape, keys, headers)
    shape.series = series or shape.series
    owner_names = names_of_series(shape, keys, headers)
    for found in inner.values():  # counters count by series
        if found.role in ("channel", "counter", "constant"):
            found.role = ""
    classify(inner.values(), owner_names)
    _choose_channels(shape)
    _choose_labels(shape, owner_names)
    return shape


def _stand_around(fields: Mapping[str, Field]) -> bool:
    """Whether what is measured stands around a list of parts, none of which says when it was."""
    timed = any(each.role == "time" and not each.around for each in fields.values())
    return not timed and any(each.role == "channel" and each.around for each in fields.values())


def _of_numbers(
    shape: Shape, roots: list[Any], rows: list[int], keys: Sequence[bytes | None], headers: Sequence[Headers] | None
) -> Shape:
    """Records that are lists of numbers, without names."""
    shape.rows = rows
    lengths = Counter(len(root) for root in roots if isinstance(root, list))
    if lengths:
        shape.length = lengths.most_common(1)[0][0]
        widths = {
            len(each) if isinstance(each, list) else 1 for root in roots if isinstance(root, list) for each in root
        }
        width = max(widths, default=1)
        shape.names = ["value"] if width == 1 else [str(at) for at in range(width)]
    _choose_series(shape, keys, headers)
    return shape


def _unwrapped(shape: Shape, roots: list[Any]) -> list[Any]:
    """The records without Kafka Connect's envelope, where nearly all are in one."""
    inside = [isinstance(root, dict) and set(root) == {"schema", "payload"} for root in roots]
    if not roots or sum(inside) < _SHARE * len(roots):
        return roots
    shape.connect = True
    return [root["payload"] if is_in else root for root, is_in in zip(roots, inside, strict=True)]


def _entries(shape: Shape, roots: list[Any]) -> tuple[list[Any], list[int]]:
    """All entries, and the index of the record that each stands in."""
    paths: Counter[str] = Counter()
    for root in roots:
        paths.update(_lists_of_objects(root, "", 0))
    usual = [(path, count) for path, count in paths.items() if count >= len(roots) / 2]
    if not usual or not roots:
        return roots, [*range(len(roots))]
    shape.entries = min(usual, key=lambda each: (each[0].count("."), -each[1], each[0]))[0]
    entries: list[Any] = []
    owners: list[int] = []
    for index, root in enumerate(roots):
        found = _at(root, shape.entries)
        listed = found if isinstance(found, list) else [found] if isinstance(found, dict) else [root]
        entries += listed
        owners += [index] * len(listed)
    return entries, owners


def _lists_of_objects(root: Any, path: str, depth: int) -> list[str]:
    if isinstance(root, list):
        return [path or ITSELF] if root and all(isinstance(each, dict) for each in root) else []
    if not isinstance(root, dict) or depth == 3:
        return []
    return [
        found
        for name, below in root.items()
        for found in _lists_of_objects(below, f"{path}{'.' if path else ''}{name}", depth + 1)
    ]


def _at(root: Any, path: str) -> Any:
    if path == ITSELF:
        return root
    for name in path.split("."):
        if not isinstance(root, dict) or name not in root:
            return UNSET
        root = root[name]
    return root


def _choose_time(shape: Shape) -> None:
    times = sorted((each for each in shape.fields.values() if each.role == "time"), key=time_rank)
    for other in times[1:]:
        other.role, other.why = "clock", f"another time, {other.why}"
    if times:
        shape.time = times[0].path


def _choose_quality(shape: Shape) -> None:
    """The field with the quality of all that an entry holds; one of several channels has no option."""
    numbers = {each.name.lower() for each in shape.fields.values() if each.role in ("channel", "constant", "counter")}
    for found in shape.fields.values():
        if found.role != "quality":
            continue
        of_one = next((name for name in numbers if len(name) > 1 and found.name.lower().startswith(name)), "")
        if of_one and len(numbers) > 1:
            found.note = (
                f"is the quality of {of_one} alone, which no option reads: its bad numbers are taken as they are"
            )
        elif not shape.quality:
            shape.quality, shape.good = found.path, good_values(Content(found))


def _choose_series(shape: Shape, keys: Sequence[bytes | None], headers: Sequence[Headers] | None) -> None:
    """The key where it names series; else a field, else a header that does."""
    said = [keys[row] for row in sorted(set(shape.rows))]
    there = [key for key in said if key]
    whole = bool(there) and len(there) == len(said)
    keyed = whole and _name_series(there)
    owners = [keys[row] for row in shape.rows]
    _choose_reading(shape, owners if keyed else None)
    names = [each for each in shape.fields.values() if each.role == "name" and not readings.is_unit(each)]
    if shape.channel_field:
        channels = shape.fields[shape.channel_field].values
        names = [each for each in names if not readings.is_channel(each.values, channels)]
        keyed = keyed and not readings.is_channel(owners, channels)
    names.sort(key=name_rank)
    likely = ["key"] if keyed else []
    likely += [f"field:{each.path}" for each in names[:_MOST_NAMES]]
    likely += [f"header:{header}"] if (header := _header(headers, shape.rows)) else []
    likely += ["key"] if whole and not likely else []
    shape.may_name_series, shape.series = likely, likely[0] if likely else ""
    _note_keys(shape, said, there)


def _choose_reading(shape: Shape, owners: Sequence[Any] | None) -> None:
    """The long form: one number an entry, and beside it the name of what it is."""
    groups = [] if owners is None else [owners]
    if shape.entries and not shape.columns:
        groups.append(shape.rows)
    choose = readings.choose if shape.named else readings.choose_unnamed
    found = choose([*shape.fields.values()], groups)
    if found is not None:
        names, values = found
        names.role = "channel names"
        shape.channel_field, shape.value_fields = names.path, [each.path for each in values]


def _name_series(keys: Sequence[bytes]) -> bool:
    distinct = len(set(keys))
    return distinct <= max(1, len(keys) // 2) or (len(keys) <= 4 and distinct < len(keys))


def _note_keys(shape: Shape, said: Sequence[bytes | None], there: Sequence[bytes]) -> None:
    if not said:
        return
    if not there:
        shape.notes.append("records have no key: those of one series may be in any partition, in any order")
    elif len(there) < len(said):
        shape.notes.append(f"{len(said) - len(there)} of {len(said)} records have no key")
    elif not _name_series(there):
        shape.notes.append("the keys differ from record to record: they name records, not series")
    if any(unwrapped(key) != key for key in there):
        shape.connect = True
        shape.notes.append(
            f"keys are JSON, as {there[0][:60].decode('utf-8', 'replace')}: connect_envelope takes the name out of them"
        )


def _header(headers: Sequence[Headers] | None, rows: Sequence[int]) -> str:
    if headers is None:
        return ""
    found: dict[str, list[bytes]] = {}
    for row in set(rows):
        for name, value in headers[row]:
            found.setdefault(name, []).append(value or b"")
    whole = {name: values for name, values in found.items() if len(values) == len(set(rows)) and _name_series(values)}
    return max(whole, key=lambda name: len(set(whole[name])), default="")


def names_of_series(
    shape: Shape, keys: Sequence[bytes | None], headers: Sequence[Headers] | None
) -> list[tuple[Any, ...]]:
    """Which series each entry is of, as `shape.series` says; in long form of which channel, too."""
    kind, _, name = shape.series.partition(":")
    found: list[Any]
    if kind == "field":
        found = [str(value) for value in shape.fields[name].values]
    elif kind == "header" and headers is not None:
        found = [dict(headers[row]).get(name) for row in shape.rows]
    else:
        found = [keys[row] for row in shape.rows]
    channels = shape.fields[shape.channel_field].values if shape.channel_field else [""] * len(found)
    return [(name, str(channel)) for name, channel in zip(found, channels, strict=True)]


def _choose_channels(shape: Shape) -> None:
    usable = {path: each for path, each in shape.fields.items() if each.role == "channel"}
    if shape.channel_field:
        values = [shape.fields[path] for path in shape.value_fields]
        for each in values:
            each.role = "value"
        shape.names = sorted(filter(can_be_named, Content(shape.fields[shape.channel_field]).distinct))
        shape.text_numbers = any(_is_written_as_text(each) for each in values)
        for path, each in usable.items():
            if path not in shape.value_fields:
                each.note = "left out: the value is another field"
        return
    chunk = next((each for each in shape.fields.values() if each.role == "chunk" and each.name == "values"), None)
    if chunk is not None and not usable:
        _of_chunks(shape, Content(chunk).said)
        return
    if not usable:  # nothing varies: better a constant than nothing
        usable = {path: each for path, each in shape.fields.items() if each.role == "constant" and not each.around}
    inside = {path: each for path, each in usable.items() if not each.around} or usable
    shape.channels = called(inside)
    shape.text_numbers = any(map(_is_written_as_text, inside.values()))
    carried = [all(each.values[row] is not UNSET for each in inside.values()) for row in range(len(shape.rows))]
    shape.partial = sum(carried) < _SHARE * len(carried)


def _is_written_as_text(found: Field) -> bool:
    content = Content(found)
    return content.is_text_number and not content.is_number


def _of_chunks(shape: Shape, chunks: Sequence[Any]) -> None:
    lists = [chunk for chunk in chunks if isinstance(chunk, list) and chunk]
    lengths = Counter(map(len, lists))
    shape.length = lengths.most_common(1)[0][0] if lengths else 0
    width = max((len(each) if isinstance(each, list) else 1 for chunk in lists for each in chunk), default=1)
    shape.names = ["value"] if width == 1 else [str(at) for at in range(width)]


def called(fields: Mapping[str, Field]) -> dict[str, str]:
    """Names for channels by their paths: as many of the last parts as tell each from all others."""
    parts = {path: [part.replace("\\", "") for part in PARTS.split(path)] for path in fields}
    found = {}
    for path, own in parts.items():
        most = len(own)
        tails = Counter(".".join(other[-length:]) for other in parts.values() for length in range(1, len(other) + 1))
        length = next((length for length in range(1, most) if tails[".".join(own[-length:])] == 1), most)
        found[".".join(own[-length:])] = path
    return found


def _choose_labels(shape: Shape, owners: Sequence[tuple[Any, ...]]) -> None:
    """Texts that never change within a series, and that most records have."""
    series = shape.series.removeprefix("field:")
    for path, each in shape.fields.items():
        if each.role != "name" or path == series or 2 * each.values.count(UNSET) > len(each.values):
            continue
        seen: dict[Any, set[str]] = {}
        for owner, value in zip(owners, each.values, strict=True):
            if value is not UNSET:
                seen.setdefault(owner[0], set()).add(str(value))
        if all({_text(owner)} == values for owner, values in seen.items()):
            each.role = "the series again"
        elif all(len(values) == 1 for values in seen.values()) and len(shape.labels) < _MOST_LABELS:
            name = re.sub(r"[^a-z0-9]|^[0-9]+", "", each.name.lower())[:20]
            if name and name not in ATTRIBUTES:
                shape.labels.setdefault(name, path)
            each.role = "label of its series"
    if shape.series.startswith("field:") and series in shape.fields:
        shape.fields[series].role = "series"


def _text(owner: Any) -> str:
    """A series' name as text."""
    return (unwrapped(owner) or b"").decode("utf-8", "replace") if isinstance(owner, bytes) else str(owner)


def as_options(shape: Shape) -> dict[str, Any]:
    """The options of `input` that say this."""
    found: dict[str, Any] = {"format": shape.format or "json", "series": shape.series or "key"}
    if shape.time:
        found["timestamp_field"] = shape.time
    elif "ts" in shape.fields:
        found["timestamp_field"] = ""
    if shape.columns:
        found |= {"csv_columns": shape.columns, "csv_delimiter": shape.delimiter}
    elif shape.entries:
        found["entries"] = shape.entries
    if shape.connect:
        found["connect_envelope"] = True
    if shape.channel_field:
        fields = shape.value_fields
        found |= {"channel_field": shape.channel_field, "value_field": fields[0] if len(fields) == 1 else fields}
    elif shape.channels and (nested := _nested(shape.channels)):
        found["channels"] = nested
    if shape.quality and shape.good:
        found["quality_field"] = shape.quality
        if not all(each in USUAL_QUALITIES for each in shape.good):
            found["good_quality"] = shape.good
    if shape.text_numbers:
        found["text_numbers"] = True
    if shape.partial:
        found["partial_records"] = True
    if shape.labels:
        found["labels"] = {name: f"field:{path}" for name, path in shape.labels.items()}
    return found


def _nested(channels: Mapping[str, str]) -> dict[str, str]:
    """The paths of channels that don't stand under their own name; one template where it says them all."""
    elsewhere = {name: path for name, path in channels.items() if escaped(name) != path}
    if not elsewhere:
        return {}
    prefixes = {path[: len(path) - len(escaped(name))] for name, path in channels.items()}
    if len(prefixes) == 1 and all(path.endswith(f".{escaped(name)}") for name, path in channels.items()):
        return {"*": f"{prefixes.pop()}*"}
    return elsewhere
