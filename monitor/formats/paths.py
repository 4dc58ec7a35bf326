"""Where in a record something stands: `tags.host` is the field `host` of the object `tags`.

A backslash makes a dot part of a name: `tags.host\\.name`. A field of the record whose whole name is the path, dots and
all, comes first: `cpu.idle` finds the 3 of `{"cpu.idle": 3}`, and of `{"cpu": {"idle": 3}}` too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, TypedDict, cast

import msgspec
from msgspec import UNSET, UnsetType

# A record that has this field is none of its type: no value passes.
NEVER: Any = Annotated[int, msgspec.Meta(gt=1, lt=0)]
_PART = re.compile(r"((?:[^.\\]|\\.)*+)(\.|$)", re.DOTALL)


class RecordPath(NamedTuple):
    """A path: the names on the way, outermost first, and the one name that stands for all of them."""

    names: tuple[str, ...]
    whole: str

    def find(self, record: Any) -> Any:
        """What stands there in a record of dictionaries; `UNSET` where nothing does."""
        if not isinstance(record, dict):
            return UNSET
        if self.whole in record:
            return record[self.whole]
        for name in self.names:
            if not isinstance(record, dict) or name not in record:
                return UNSET
            record = record[name]
        return record


def place(path: str) -> RecordPath:
    """The place that a path names.

    Raises:
        ValueError: a name in it is empty, or it ends in a backslash.
    """
    names, at = [], 0
    while True:
        found = _PART.match(path, at)
        if found is None or not found[1]:
            raise ValueError(f"{path!r} is no path; expected names with dots between them, as in tags.host")
        names.append(re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL))
        if not found[2]:
            return RecordPath(tuple(names), ".".join(names))
        at = found.end()


def named(name: str) -> RecordPath:
    """The field of a record with this name, whatever characters it holds."""
    return RecordPath((name,), name)


def with_name(template: str, name: str) -> RecordPath:
    """The place that a path names with `name` for its `*`."""
    return place(template.replace("*", re.sub(r"([.\\])", r"\\\1", name)))


class Leaf(NamedTuple):
    """A field that is read: what it is called here, where it stands, its type, and whether a record must have it."""

    name: str
    place: RecordPath
    type: Any
    required: bool = False


def struct(leaves: Iterable[Leaf]) -> tuple[Any, dict[str, Callable[[Any], Any]]]:
    """The type of records with these fields, and by their names what gets each from one, `UNSET` where it is absent.

    All other fields are skipped unread. A record that has the whole name of a path for a field is none of the type.

    Raises:
        ValueError: one field can't be both a value and an object with others in it.
    """
    tree: dict[str, Any] = {}
    for leaf in leaves:
        _grow(tree, leaf.place.names, leaf)
    for leaf in leaves:
        if len(leaf.place.names) > 1 and leaf.place.whole not in tree:
            tree[leaf.place.whole] = Leaf(f"whole_{leaf.name}", named(leaf.place.whole), NEVER)
    getters: dict[str, Callable[[Any], Any]] = {}
    return _struct(tree, "", getters), getters


def _grow(tree: dict[str, Any], names: tuple[str, ...], leaf: Leaf) -> None:
    name, *rest = names
    if not rest:
        there = tree.get(name, leaf)
        if isinstance(there, dict) or (there is not leaf and not (leaf.type is there.type is NEVER)):
            raise _two_things(name)
        tree[name] = leaf
        return
    inner = tree.setdefault(name, {})
    if isinstance(inner, Leaf):
        raise _two_things(name)
    _grow(inner, tuple(rest), leaf)


def _two_things(name: str) -> ValueError:
    return ValueError(f"{name!r} is both a value and an object")


def _struct(tree: dict[str, Any], path: str, getters: dict[str, Callable[[Any], Any]]) -> Any:
    fields: list[Any] = []
    rename: dict[str, str] = {}
    for index, (key, inner) in enumerate(tree.items()):
        name = f"in_{index}" if isinstance(inner, dict) else inner.name
        rename[name] = key
        if isinstance(inner, dict):
            type_ = _struct(inner, f"{path}{name}.", getters)
            fields.append((name, type_) if _required(inner) else (name, type_, type_()))
        else:
            getters[name] = attrgetter(path + name)
            fields.append((name, inner.type) if inner.required else (name, inner.type | UnsetType, UNSET))
    return msgspec.defstruct("Record", fields, rename=rename, kw_only=True, frozen=True, gc=False)


def _required(tree: dict[str, Any]) -> bool:
    return any(_required(inner) if isinstance(inner, dict) else inner.required for inner in tree.values())


SCALAR = str | int | float | bool | None


def loose(places: Iterable[tuple[RecordPath, Any]]) -> Any:
    """The type of dictionaries with what stands at these places, each of a type, whatever stands in the way."""
    tree: dict[str, Any] = {}
    for where, type_ in places:
        tree[where.whole] = type_
    for where, type_ in places:
        inner = tree
        for name in where.names[:-1]:
            below = inner.setdefault(name, {})
            if not isinstance(below, dict):
                break
            inner = below
        else:
            inner.setdefault(where.names[-1], type_)
    return _loose(tree)


def _loose(tree: dict[str, Any]) -> Any:
    fields = {
        name: _loose(inner) | list[Any] | SCALAR if isinstance(inner, dict) else inner for name, inner in tree.items()
    }
    return cast(Any, TypedDict)("Found", fields, total=False)
