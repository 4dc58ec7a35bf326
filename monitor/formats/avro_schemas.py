"""Schemas as fastavro wants them: for reading only, with numbers where Avro has logical types that are numbers.

fastavro reads records in C, where nothing bounds how deep it goes, or how much it makes of no bytes at all. So schemas
are refused that contain themselves (a crafted record would end the process), and those that make much of nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastavro import parse_schema
from fastavro.read import LOGICAL_READERS

from monitor.detector.times import Unit
from monitor.formats.schemas import Schema

# The field of the record that a schema is made the only field of: fastavro makes nothing but records ready for good.
# The bytes are the same.
ITSELF = "itself"
MOST_VALUES = 10_000  # that a record has by its schema, whatever its bytes
_NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_TIMESTAMPS = {f"{zone}timestamp-{name}s": f"{name[0]}s" for zone in ("", "local-") for name in ("milli", "nano")}
_TIMESTAMPS |= {"timestamp-micros": "us", "local-timestamp-micros": "us"}


class UnusableError(Exception):
    """No record can be read by a schema; says why, and what to do, after "schema 7"."""


def prepared(schema: Schema, unit: Unit) -> Any:
    """A record with the field `ITSELF` of this schema, whose timestamps are numbers that are read in `unit`.

    Raises:
        UnusableError: it is no schema, or not one by which records are read.
    """
    if schema.kind != "AVRO":
        how = (
            'set input.format = "json" to read its records' if schema.kind == "JSON" else "have the producer write Avro"
        )
        raise UnusableError(f"is of type {schema.kind}, expected AVRO; {how}")
    names: dict[str, Any] = {}
    try:
        for _, text in schema.references:
            parse_schema(_plain(_loaded(text), unit), names)
        itself = {"name": ITSELF, "type": _plain(_loaded(schema.text), unit)}
        made = parse_schema({"type": "record", "name": "telltale_record", "fields": [itself]}, names)
        _Bounds(names).of(made)
    except UnusableError:
        raise
    except RecursionError:
        raise UnusableError("is nested too deeply; register a flatter one") from None
    except Exception as error:
        said = f"{type(error).__name__}: {error}"[:200]
        raise UnusableError(f"is no Avro schema that can be used ({said}); correct it in the registry") from None
    return made


def _loaded(text: str) -> Any:
    """A schema's text as JSON; the name of a type may stand there alone."""
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


def _plain(schema: Any, unit: Unit) -> Any:
    """A schema with what reading a record needs of it, and no logical types but those that make numbers."""
    if isinstance(schema, list):
        return [_plain(branch, unit) for branch in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {name: schema[name] for name in ("name", "namespace", "size", "symbols") if name in schema}
    kept |= {name: _plain(schema[name], unit) for name in ("type", "items", "values") if name in schema}
    if "fields" in schema:
        kept["fields"] = [{"name": each["name"], "type": _plain(each["type"], unit)} for each in schema["fields"]]
    return kept | _as_number(schema, unit)


def _as_number(schema: Mapping[str, Any], unit: Unit) -> dict[str, Any]:
    """What makes a number of a logical type; nothing where it is one already, or none."""
    logical = schema.get("logicalType")
    if logical == "decimal":
        return {"logicalType": "telltale-decimal", "scale": schema.get("scale", 0)}
    written = _TIMESTAMPS.get(str(logical))
    if written is None or unit in ("auto", written):
        return {}
    return {"logicalType": f"telltale-{written}-in-{unit}"}


def _decimal(data: bytes, schema: Any, _: Any = None) -> float:
    return float(int.from_bytes(data, "big", signed=True) / 10 ** schema["scale"])


def _scaled(number: int, _: Any, __: Any = None, *, times: int, over: int) -> float:
    return number * times / over


# fastavro's own way to add logical types, here under names that nobody else uses.
LOGICAL_READERS |= {"bytes-telltale-decimal": _decimal, "fixed-telltale-decimal": _decimal}
LOGICAL_READERS |= {
    f"long-telltale-{written}-in-{unit}": partial(_scaled, times=_NANOSECONDS[written], over=_NANOSECONDS[unit])
    for written in _NANOSECONDS
    for unit in _NANOSECONDS
}


class _Bounds:
    """How many values a schema has, whatever the record, and whether they may take no bytes at all."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._known: dict[str, tuple[int, bool]] = {}
        self._inside: set[str] = set()

    def of(self, schema: Any) -> tuple[int, bool]:
        """The bounds of any schema. Raises `UnusableError` where there is none."""
        if isinstance(schema, list):
            return max((self.of(branch)[0] for branch in schema), default=1), False
        if isinstance(schema, str) and schema not in self._names:
            return 1, schema == "null"
        return self._defined(self._names[schema] if isinstance(schema, str) else schema)

    def _defined(self, schema: Mapping[str, Any]) -> tuple[int, bool]:
        kinds = {"record": self._record, "error": self._record, "array": self._array, "map": self._map}
        kind = schema["type"]
        if kind in kinds:
            return kinds[kind](schema)
        return (1, schema.get("size") == 0) if "name" in schema else self.of(kind)

    def _array(self, schema: Mapping[str, Any]) -> tuple[int, bool]:
        if self.of(schema["items"])[1]:
            raise UnusableError("has an array whose items take no bytes; register one without")
        return 1, False

    def _map(self, schema: Mapping[str, Any]) -> tuple[int, bool]:
        self.of(schema["values"])
        return 1, False

    def _record(self, schema: Mapping[str, Any]) -> tuple[int, bool]:
        name = schema["name"]
        if name in self._inside:
            raise UnusableError(f"has a type that contains itself, {name}; register one that does not")
        if name not in self._known:
            self._inside.add(name)
            found = [self.of(field["type"]) for field in schema["fields"]]
            self._inside.remove(name)
            self._known[name] = 1 + sum(values for values, _ in found), all(nothing for _, nothing in found)
            if self._known[name][0] > MOST_VALUES:
                raise UnusableError(f"has more than {MOST_VALUES} values a record; register a smaller one")
        return self._known[name]
