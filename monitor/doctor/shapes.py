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
from monitor.doctor.documents import Documents
from monitor.doctor.fields import PARTS, Content, Field, classify, flatten, good_values, name_rank, time_rank
from monitor.formats.keys import unwrapped

ITSELF = "$"
USUAL_QUALITIES = ("Good", 192, True)
_MOST_LABELS = 4
_MOST_NAMES = 3  # fields that are tried as the series
_SHARE = 0.9
_METRIC = re.compile(
    r"(^|[._-])(metric|measurement|measure|channel|parameter|param|variable|signal|tag|point|field|register|quantity|"
    r"kind|type|node_?id|path)(_?(name|id))?$",
    re.IGNORECASE,
)
_VALUE = re.compile(r"^(v|val|value|reading|data|measured|number|double|float|(float|double|int|num\w*)_?value)$", re.I)


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
    entries: str = ""
    time: str = ""
    series: str = ""
    may_name_series: list[str] = field(default_factory=list)  # likeliest first
    quality: str = ""
    good: list[Any] = field(default_factory=list)
    channel_field: str = ""
    value_field: str = ""
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


def of(
    documents: Documents, keys: Sequence[bytes | None], headers: Sequence[Headers] | None, series: str = ""
) -> Shape:
    """What records look like, as far as they can be read; `series` says what names theirs, if it is known."""
    shape = Shape(format=documents.format, notes=[*documents.notes])
    rows = documents.known
    roots = [documents.said[row] for row in rows]
    roots = _unwrapped(shape, roots)
    entries, owners = _entries(shape, roots)
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
    for path, found in inner.items():
        if not all(map(can_be_named, PARTS.split(path.replace("\\.", "_")))):
            found.role, found.why = (
                "other",
                "no option can name it: its name is empty, or holds quotes, commas or what can't be printed",
            )
    classify(inner.values())
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
    found = next((each for each in shape.fields.values() if each.role == "quality"), None)
    if found is not None:
        shape.quality, shape.good = found.path, good_values(Content(found))


def _choose_series(shape: Shape, keys: Sequence[bytes | None], headers: Sequence[Headers] | None) -> None:
    """The key where it names series; else a field, else a header that does."""
    _choose_reading(shape)
    said = [keys[row] for row in sorted(set(shape.rows))]
    there = [key for key in said if key]
    names = [each for each in shape.fields.values() if each.role == "name" and each.path != shape.channel_field]
    names.sort(key=name_rank)
    whole = bool(there) and len(there) == len(said)
    likely = ["key"] if whole and _name_series(there) else []
    likely += [f"field:{each.path}" for each in names[:_MOST_NAMES]]
    likely += [f"header:{header}"] if (header := _header(headers, shape.rows)) else []
    likely += ["key"] if whole and not likely else []
    shape.may_name_series, shape.series = likely, likely[0] if likely else ""
    _note_keys(shape, said, there)


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
            found.setdefault(name, []).append(value)
    whole = {name: values for name, values in found.items() if len(values) == len(set(rows)) and _name_series(values)}
    return max(whole, key=lambda name: len(set(whole[name])), default="")


def _choose_reading(shape: Shape) -> None:
    """The long form: one number an entry, and beside it the name of what it is."""
    numbers = [each for each in shape.fields.values() if each.role in ("channel", "constant") and not each.around]
    values = [each for each in numbers if _VALUE.match(each.name)] or (numbers if len(numbers) == 1 else [])
    names = [each for each in shape.fields.values() if each.role == "name" and not each.around]
    if len(values) != 1 or not names:
        return
    metrics = [each for each in names if _METRIC.search(each.name)]
    listed = names if shape.entries else [each for each in names if len(names) > 1 and each.name.lower() == "name"]
    several = [each for each in metrics or listed if len(Content(each).distinct) > 1 or metrics]
    if not several:
        return
    chosen = min(several, key=lambda each: (each.path.count("."), each.path))
    shape.channel_field, shape.value_field = chosen.path, values[0].path
    chosen.role, chosen.why = "channel names", chosen.why


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
        content = Content(shape.fields[shape.value_field])
        shape.fields[shape.value_field].role = "value"
        shape.names = sorted(filter(can_be_named, Content(shape.fields[shape.channel_field]).distinct))
        shape.text_numbers = content.is_text_number and not content.is_number
        for each in usable.values():
            if each.path != shape.value_field:
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
    contents = [Content(each) for each in inside.values()]
    shape.text_numbers = any(each.is_text_number and not each.is_number for each in contents)
    carried = [all(each.values[row] is not UNSET for each in inside.values()) for row in range(len(shape.rows))]
    shape.partial = sum(carried) < _SHARE * len(carried)


def _of_chunks(shape: Shape, chunks: Sequence[Any]) -> None:
    lists = [chunk for chunk in chunks if isinstance(chunk, list) and chunk]
    lengths = Counter(map(len, lists))
    shape.length = lengths.most_common(1)[0][0] if lengths else 0
    width = max((len(each) if isinstance(each, list) else 1 for chunk in lists for each in chunk), default=1)
    shape.names = ["value"] if width == 1 else [str(at) for at in range(width)]


def can_be_named(name: str) -> bool:
    """Whether decoders and `telltale train --channels` take a name of a field or a channel."""
    return bool(name.strip()) and name.isprintable() and not set(name) & set('",\\')


def called(fields: Mapping[str, Field]) -> dict[str, str]:
    """Names for channels by their paths: the last part, as long as that tells them apart."""
    counts = Counter(each.name for each in fields.values())
    return {each.name if counts[each.name] == 1 else path.replace("\\", ""): path for path, each in fields.items()}


def _choose_labels(shape: Shape, owners: Sequence[tuple[Any, ...]]) -> None:
    """Texts that never change within a series."""
    series = shape.series.removeprefix("field:")
    for path, each in shape.fields.items():
        if each.role != "name" or path == series:
            continue
        seen: dict[Any, set[str]] = {}
        for owner, value in zip(owners, each.values, strict=True):
            if value is not UNSET:
                seen.setdefault(owner[0], set()).add(str(value))
        if all(len(values) == 1 for values in seen.values()) and len(shape.labels) < _MOST_LABELS:
            name = re.sub(r"[^a-z0-9]|^[0-9]+", "", each.name.lower())[:20]
            if name and name not in ATTRIBUTES:
                shape.labels.setdefault(name, path)
            each.role = "label of its series"
    if shape.series.startswith("field:") and series in shape.fields:
        shape.fields[series].role = "series"


def as_options(shape: Shape) -> dict[str, Any]:
    """The options of `input` that say this."""
    found: dict[str, Any] = {"format": shape.format or "json", "series": shape.series or "key"}
    if shape.time:
        found["timestamp_field"] = shape.time
    elif "ts" in shape.fields:
        found["timestamp_field"] = ""
    if shape.entries:
        found["entries"] = shape.entries
    if shape.connect:
        found["connect_envelope"] = True
    if shape.channel_field:
        found |= {"channel_field": shape.channel_field, "value_field": shape.value_field}
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
    if all(name == path for name, path in channels.items()):
        return {}
    prefixes = {path[: len(path) - len(name)] for name, path in channels.items() if path.endswith(f".{name}")}
    if len(prefixes) == 1 and all(path.endswith(f".{name}") for name, path in channels.items()):
        return {"*": f"{prefixes.pop()}*"}
    return {name: path for name, path in channels.items() if name != path}
