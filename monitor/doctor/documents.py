"""Of which format some values are, and what they say, as dictionaries and lists.

Rules of this file: pure; whatever the bytes are, nothing is raised.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

_MARK = b"\xef\xbb\xbf"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NAN = re.compile(rb"(?<![\w\"])[+-]?nan(?![\w\"])", re.IGNORECASE)
_SEPARATORS = (",", ";", "\t", "|")
# Of values that are float32: others that have four bytes each give numbers far outside.
_LEAST, _MOST = 1e-9, 1e9
_SHARE = 0.5  # of the values, at least, that a format must explain


@dataclass(frozen=True, slots=True)
class Documents:
    """Some values: their format ("" where none is known), and what each says (`UNSET`: it can't be read)."""

    format: str
    said: list[Any]
    notes: list[str] = field(default_factory=list)

    @property
    def known(self) -> list[int]:
        """The rows of the values that can be read."""
        return [row for row, document in enumerate(self.said) if document is not UNSET]


def of(values: Sequence[bytes | None]) -> Documents:
    """Looks at values; the format that most of them are of is theirs."""
    there = [value for value in values if value]
    for name, read in _READERS.items():
        said = [UNSET if not value else read(value) for value in values]
        if there and sum(document is not UNSET for document in said) > _SHARE * len(there):
            return Documents(name, said, _notes(name, there))
    return Documents("", [UNSET] * len(values), _notes("", there))


def _json(value: bytes) -> Any:
    document = _json_as_it_is(value)
    if document is UNSET and value[:1] == b"\0" and len(value) > 5:
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


def _csv(value: bytes) -> Any:
    try:
        line = value.decode().strip()
    except UnicodeDecodeError:
        return UNSET
    if not line or (not line.isprintable() and "\t" not in line):
        return UNSET
    separator = max(_SEPARATORS, key=line.count)
    cells = [cell.strip() for cell in line.split(separator)]
    numbers = sum(_is_number(cell) for cell in cells)
    return cells if len(cells) > 1 and numbers >= len(cells) / 2 else UNSET


def _f32(value: bytes) -> Any:
    if len(value) % 4 or (value.isascii() and value.decode("ascii").isprintable()):
        return UNSET
    numbers = np.frombuffer(value, "<f4")
    size = np.abs(numbers)
    plausible = np.isnan(numbers) | (numbers == 0) | ((size > _LEAST) & (size < _MOST))
    return numbers.tolist() if plausible.all() else UNSET


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _notes(name: str, values: Sequence[bytes]) -> list[str]:
    """What a person should know of how the values are encoded."""
    if not values:
        return ["all records are tombstones (null values)"]
    framed = [value for value in values if value[:1] == b"\0" and len(value) > 5]
    if 2 * len(framed) > len(values) and name != "f32":
        schema = int.from_bytes(framed[0][1:5], "big")
        kind = "JSON Schema" if name == "json" else "Avro or Protobuf"
        frame = f"the frame of Confluent's serializers (a zero byte and a schema's id, {schema} in the first)"
        return [f"values begin with {frame}: {kind} with a schema registry"]
    if not name and all(_is_text_number(value) for value in values[:20]):
        return ["values are bare numbers as text; send [3.1] or an object instead"]
    return []


def _is_text_number(value: bytes) -> bool:
    return _is_number(value.decode("ascii", "replace"))


_decode_json = msgspec.json.Decoder().decode
_decode_msgpack = msgspec.msgpack.Decoder().decode
# In this order: what is text is no msgpack by chance, and what is msgpack no float32.
_READERS: dict[str, Callable[[bytes], Any]] = {"json": _json, "csv": _csv, "msgpack": _msgpack, "f32": _f32}
