"""The long form: whether each entry is one reading, a number and beside it the name of what was measured.

What names a channel takes several values within one series; what takes one value in each names the series, or says
something about it. So `{"host": .., "temp": 3}` is no reading of a channel called after the host.

Rules of this file: pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from msgspec import UNSET

from monitor.doctor.fields import PARTS, Content, Field

_EXPLAINED = 0.5  # of a number's variance, at least, lies between channels
_VARIES = 0.5  # of the series, at least, have readings of several channels
# Names of fields that hold names of channels; those of the first are such even where all records have the same
_CHANNEL = re.compile(
    r"(^|[._-])(metric|measurement|measure|channel|parameter|param|variable|signal|quantity)(_?(name|id|key))?$", re.I
)
_MAYBE_CHANNEL = re.compile(
    r"(^|[._-])(tag|point|field|register|kind|type|node_?id|path|sensor_?type|item|object)(_?(name|id))?$", re.I
)
_CALLED = re.compile(r"^(name|id|n|key|code|label)$", re.I)
_UNIT = re.compile(r"unit|uom", re.I)
_VALUE = re.compile(
    r"^(v|val|value|reading|data|measured|measurement|number|raw|state|(as)?_?(float|double|int|num\w*)(_?value)?)$",
    re.IGNORECASE,
)


def is_unit(found: Field) -> bool:
    """Whether a field's name says that it holds a unit of measurement."""
    return _UNIT.search(found.name) is not None


def is_reading(fields: Iterable[Field]) -> bool:
    """Whether these fields look like a reading's: a name and a number that are called so, beside each other."""
    named = [*fields]
    return any(map(_CHANNEL.search, (each.name for each in named))) and any(
        _VALUE.match(each.name) for each in named if each.role in ("channel", "counter", "constant", "value")
    )


def choose(fields: Sequence[Field], groups: Sequence[Sequence[Any]]) -> tuple[Field, list[Field]] | None:
    """The field that names channels, and those of which one holds the number; None where entries are no readings.

    `groups` (each an owner per entry) are what may say whose an entry is, besides the fields that are names.
    """
    numbers = [each for each in fields if each.role in ("channel", "counter", "constant") and not each.around]
    names = [each for each in fields if each.role == "name" and not each.around and not is_unit(each)]
    values = [each for each in numbers if _VALUE.match(each.name)]
    generic = bool(values)
    if not generic and len(numbers) == 1:
        values = numbers
    if not values or not _is_usual(values):
        return None
    for each in sorted(names, key=_rank):
        others = [*groups, *(other.values for other in names if other is not each)]
        if _may_name(each, values[0], generic=generic) and _tells_apart(each, others, generic=generic):
            return each, values
    return None


def choose_unnamed(fields: Sequence[Field], groups: Sequence[Sequence[Any]]) -> tuple[Field, list[Field]] | None:
    """As `choose`, where fields have no names: the channel is what the only number depends on most."""
    values = [each for each in fields if each.role in ("channel", "counter")]
    names = [each for each in fields if each.role == "name"]
    if len(values) != 1:
        return None
    explained = {each.path: _explained(each.values, values[0]) for each in names}
    for each in sorted(names, key=lambda each: -explained[each.path]):
        others = [*groups, *(other.values for other in names if other is not each)]
        if explained[each.path] >= _EXPLAINED and _tells_apart(each, others, generic=False):
            return each, values
    return None


def _explained(owners: Sequence[Any], value: Field) -> float:
    """Which share of a number's variance lies between its owners."""
    numbers = Content(value).numbers
    there = np.isfinite(numbers)
    parts: dict[str, list[float]] = {}
    for owner, number in zip(np.array([str(owner) for owner in owners])[there], numbers[there].tolist(), strict=True):
        parts.setdefault(owner, []).append(number)
    whole = float(np.var(numbers[there])) if there.any() else 0.0
    within = sum(len(part) * float(np.var(part)) for part in parts.values()) / max(1, int(there.sum()))
    return 1 - within / whole if whole else 0.0


def _rank(found: Field) -> tuple[Any, ...]:
    return (not _CHANNEL.search(found.name), not _MAYBE_CHANNEL.search(found.name), found.path.count("."), found.path)


def _may_name(found: Field, value: Field, *, generic: bool) -> bool:
    """Whether a field's name and place are those of a channel's name."""
    beside = _parent(found.path) == _parent(value.path)
    if _CHANNEL.search(found.name) or _MAYBE_CHANNEL.search(found.name):
        return generic or beside
    return generic and _CALLED.match(found.name) is not None and (beside or not _parent(found.path))


def _parent(path: str) -> str:
    return ".".join(PARTS.split(path)[:-1])


def _is_usual(values: Sequence[Field]) -> bool:
    """Whether at least half of the entries hold one of these numbers, and none holds two."""
    held = [sum(one is not UNSET for one in row) for row in zip(*(each.values for each in values), strict=True)]
    return max(held, default=0) == 1 and 2 * sum(held) >= len(held)


def _tells_apart(found: Field, groups: Sequence[Sequence[Any]], *, generic: bool) -> bool:
    """Whether a field takes several values in one group, for some way to form groups."""
    distinct = {str(value) for value in found.values if value is not UNSET}
    if len(distinct) == 1:
        return generic and _CHANNEL.search(found.name) is not None and bool(groups)
    for owners in groups:
        seen: dict[str, set[str]] = {}
        for owner, value in zip(owners, found.values, strict=True):
            if value is not UNSET and owner is not UNSET:
                seen.setdefault(str(owner), set()).add(str(value))
        if seen and sum(len(values) > 1 for values in seen.values()) >= _VARIES * len(seen):
            return True
    return False


def is_channel(owners: Sequence[Any], channels: Sequence[Any]) -> bool:
    """Whether owners are as many as channels, and each has one: what seems to name series names channels again."""
    pairs = {(str(owner), str(channel)) for owner, channel in zip(owners, channels, strict=True)}
    return len(pairs) > 1 and len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
