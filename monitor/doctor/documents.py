"""Of which format some values are, and what they say, as dictionaries and lists.

Rules of this file: pure; whatever the bytes are, nothing is raised.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from monitor.doctor import cells
from monitor.formats.encodings import recognised
from monitor.formats.schemas import Schema, Schemas, id_of, is_framed

_MARK = b"\xef\xbb\xbf"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NAN = re.compile(rb"(?<![\w\"])[+-]?nan(?![\w\"])", re.IGNORECASE)
# Of values that are float32: others that have four bytes each give numbers far outside.
_LEAST, _MOST = 1e-9, 1e9
_LINE_PROTOCOL = re.compile(rb"[^\s,=]+(?:,[^\s,=]+=[^\s,]+)* [^\s,=]+=[^\s,]+(?:,[^\s,=]+=[^,]+)*(?: \d+)?\s*$")
_SHARE = 0.5  # of the values, at least, that a format must explain
_FEWEST = 0.02  # of the values, at least, are of another format
_MOST_SCHEMAS = 4  # of which something is said


@dataclass(frozen=True, slots=True)
class Documents:
    """Some values: their format ("" where none is known), and what each says (`UNSET`: it can't be read).

    `columns` of lines of cells are their names, which none of them says where they are not `named`; `delimiter` divides
    cells. `schema` is the id in front of values that can't be read without the schema that it names, or None.
    """

    format: str
    said: list[Any]
    notes: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    delimiter: str = ""
    named: bool = True
    schema: int | None = None

    @property
    def known(self) -> list[int]:
        """The rows of the values that can be read."""
        return [row for row, document in enumerate(self.said) if document is not UNSET]


def of(values: Sequence[bytes | None], schemas: Mapping[int, Schema | str] = MappingProxyType({})) -> Documents:
    """Looks at values; the format that most of them are of is theirs. `schemas` are those known, by their ids."""
    there = [value for value in values if value]
    lines = cells.look(there)
    readers: dict[str, Callable[[bytes], Any]] = {"json": _json}
    if schemas:
        readers["avro"] = _avro(schemas)
    if lines is not None:
        readers["csv"] = lines.read
    readers |= {"msgpack": _msgpack, "f32": _f32}
    for name, read in readers.items():
        said = [UNSET if not value else read(value) for value in values]
        if there and sum(document is not UNSET for document in said) > _SHARE * len(there):
            rest = [value for value, document in zip(values, said, strict=True) if value and document is UNSET]
            notes = [*_notes(there, is_json=name == "json"), *_others(readers, rest, len(there))]
            found = Documents(name, said, notes)
            if lines is not None and read == lines.read:
                found = replace(found, columns=lines.columns, delimiter=lines.delimiter, named=lines.named)
                found.notes.extend(lines.notes)
            return found
    framed = [value for value in there if is_framed(value)]
    schema = id_of(framed[0]) if 2 * len(framed) > len(there) else None
    return Documents("", [UNSET] * len(values), _unread(there, schemas), schema=schema)


def _avro(schemas: Mapping[int, Schema | str]) -> Callable[[bytes], Any]:
    """Reads Avro by the schemas that are known; nothing, where the extra is not installed."""
    try:
        from monitor.formats.avro import AvroCodec
    except ImportError:
        return lambda _: UNSET
    known = Schemas()
    for number, schema in schemas.items():
        known.add(number, schema)
    codec = AvroCodec(known, "auto")

    def read(value: bytes) -> Any:
        document = codec.anyhow(value) if is_framed(value) else None
        return document if isinstance(document, dict | list) else UNSET

    return read


def _json(value: bytes) -> Any:
    document = _json_as_it_is(value)
    if document is UNSET and is_framed(value):
        document = _json_as_it_is(value[5:])
    return document if isinstance(document, dict | list) else UNSET


def _json_as_it_is(value: bytes) -> Any:
    value = value.removeprefix(_MARK)
    for text in (value, _NAN.sub(b"null", value)):
        try:
            return _decode_json(text)
        except _UNREADABLE:
            continue
    return UNSET


def _msgpack(value: bytes) -> Any:
    try:
        document = _decode_msgpack(value)
    except (*_UNREADABLE, ValueError):
        return UNSET
    return document if isinstance(document, dict | list) else UNSET


def _f32(value: bytes) -> Any:
    if len(value) % 4 or (value.isascii() and value.decode("ascii").isprintable()):
        return UNSET
    numbers = np.frombuffer(value, "<f4")
    size = np.abs(numbers)
    plausible = np.isnan(numbers) | (numbers == 0) | ((size > _LEAST) & (size < _MOST))
    return numbers.tolist() if plausible.all() else UNSET


def _notes(values: Sequence[bytes], *, is_json: bool) -> list[str]:
    """What a person should know of how values are encoded that can be read."""
    if is_json and 2 * sum(map(is_framed, values)) > len(values):
        return ["values begin with byte 0 and a schema's id, as Confluent's JSON Schema serializer writes them"]
    return []


def _others(readers: Mapping[str, Callable[[bytes], Any]], rest: Sequence[bytes], count: int) -> list[str]:
    """That some values are of another format than most."""
    for name, read in readers.items():
        others = sum(read(value) is not UNSET for value in rest)
        if others > max(len(rest) / 2, _FEWEST * count):
            said = f"{others:,} of {count:,} values are {name}, which is another format: where a header names each "
            said += 'record\'s content type, input.format_header = "content-type" reads both; else give each a topic'
            return [said]
    return []


def _unread(values: Sequence[bytes], schemas: Mapping[int, Schema | str]) -> list[str]:
    """Why values can't be read, as far as it is known."""
    if not values:
        return ["all records are tombstones (null values)"]
    said = [schema if isinstance(schema, str) else _of_kind(number, schema) for number, schema in schemas.items()]
    if said:
        return said[:_MOST_SCHEMAS]
    whats = Counter(what for value in values if not is_framed(value) and (what := _recognised(value)))
    return [f"{count:,} of {len(values):,}: {what}" for what, count in whats.most_common(2)]


def _recognised(value: bytes) -> str:
    """What a value is that no format reads, and what to do; empty where that is not known."""
    if _LINE_PROTOCOL.match(value):
        return 'InfluxDB\'s line protocol, which no format reads; in Telegraf set data_format = "json" at the output'
    return recognised(value)


def _of_kind(number: int, schema: Schema) -> str:
    if schema.kind != "AVRO":
        return f"schema {number} is one of {schema.kind}, which input.format does not read"
    return (
        f"schema {number} is one of Avro, and the values do not fit it; Avro needs `pip install 'telltale-kafka[avro]'`"
    )


_decode_json = msgspec.json.Decoder().decode
_decode_msgpack = msgspec.msgpack.Decoder().decode
