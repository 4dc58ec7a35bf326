"""Avro records in Confluent's wire format: a zero byte, the id of the schema that wrote them, and Avro's binary form.

What a record says is read as a JSON record's is (`documents.py`): a record is an object, and so is a map; an array is a
list; an enumeration's symbol is a text. Of the logical types, a timestamp is a number in its own unit, which
`input.timestamp_unit` doesn't change, and a decimal is a number; the others are what they are made of.

Rules of this file: pure; `Schemas` has a record's schema before the record is parsed. A record is read to its end or
refused: bytes that are left mean that it names another schema than wrote it.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, ClassVar

import msgspec
from fastavro import schemaless_reader

from monitor.detector.times import Unit
from monitor.errors import Reason, RecordError
from monitor.formats import forms
from monitor.formats.abstract import RecordSpec
from monitor.formats.avro_schemas import ITSELF, UnusableError, prepared
from monitor.formats.encodings import recognised
from monitor.formats.forms import Form
from monitor.formats.layout import RecordLayout
from monitor.formats.records import Records
from monitor.formats.schemas import HEAD, Schema, Schemas, id_of, is_framed

# What fastavro raises over a record that does not fit its schema
_UNFIT = (EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError)


class AvroFormat(Records):
    """Reads `avro` values against the artifact's channels."""

    needs_schemas: ClassVar[bool] = True

    def __init__(self, expected: RecordSpec) -> None:
        super().__init__(expected, AvroCodec(expected.schemas, expected.timestamp_unit))


class AvroCodec:
    """Avro, by the schemas that are known."""

    def __init__(self, schemas: Schemas, unit: Unit) -> None:
        self._schemas = schemas
        self._unit = unit
        self._ready: dict[bytes, Any] = {}  # schemas as fastavro wants them, by what stands in front of their records
        self._unusable: dict[bytes, str] = {}

    def forms(self, expected: RecordSpec, layout: RecordLayout) -> list[Form]:
        """Those that are decoded by their types: the fewer fields are needed, the sooner."""
        return forms.usual(expected, layout, self)

    def decoder(self, kind: Any, *, lax: bool = False) -> Callable[[Any], Any]:
        """What decodes values of one type; `lax`: numbers may be written as text."""
        document, convert = self._document, msgspec.convert
        return lambda value: convert(document(value), kind, strict=not lax)

    def _document(self, value: bytes) -> Any:
        """What a record says, as dictionaries and lists. Raises `msgspec.DecodeError`."""
        schema = self._ready.get(value[:HEAD]) or self._prepared(value)
        stream = BytesIO(value)
        stream.seek(HEAD)
        try:
            document: Any = schemaless_reader(stream, schema, None)
        except _UNFIT as error:
            raise msgspec.DecodeError(_misfit(value, error)) from None
        if stream.tell() != len(value):
            rest = len(value) - stream.tell()
            raise msgspec.DecodeError(f"{rest} bytes are left of a record of schema {id_of(value)}, the one it names")
        return document[ITSELF]

    def _prepared(self, value: bytes) -> Any:
        """The schema of a value, needed for the first time. Raises `msgspec.DecodeError` where there is none."""
        head = value[:HEAD]
        schema = self._schemas.get(id_of(value)) if is_framed(value) else None
        if not isinstance(schema, Schema) or head in self._unusable:
            raise msgspec.DecodeError("no schema")
        try:
            self._ready[head] = made = prepared(schema, self._unit)
        except UnusableError as error:
            self._unusable[head] = f"schema {id_of(value)} {error}"
            raise msgspec.DecodeError("no schema") from None
        return made

    def repaired(self, value: bytes) -> bytes:
        """The value as it is: nothing is repaired. Raises `RecordError` where it has no schema that can be used."""
        if not is_framed(value):
            what = "" if value.startswith(b"\0") else recognised(value)
            what = what or f"the record begins with {value[:HEAD].hex(' ')}; raw Avro names no schema"
            raise RecordError(Reason.MALFORMED, f"{what}; expected byte 0, the id of its schema, and Avro")
        schema = self._schemas.get(id_of(value))
        problem = schema if isinstance(schema, str) else self._unusable.get(value[:HEAD])
        if schema is None:
            problem = f"schema {id_of(value)} was not fetched"
        if problem is not None:
            raise RecordError(Reason.UNKNOWN_SCHEMA, problem + _hint(value))
        return value

    def anyhow(self, value: bytes) -> Any:
        """Whatever a value says, None if nothing."""
        try:
            return self._document(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


def _misfit(value: bytes, error: Exception) -> str:
    """Why a record does not fit its schema; fastavro's own words where they say more than Python's."""
    said = f": {error}" if isinstance(error, EOFError) and str(error).startswith("Expected") else ""
    return f"the record does not fit schema {id_of(value)}, the one it names{said}"


def _hint(value: bytes) -> str:
    if id_of(value) == 0 and len(value) > 2 * HEAD:
        return (
            "; ids are never 0: Apicurio's serializers write eight bytes of it unless apicurio.registry.id-handler is "
            "the one for four"
        )
    return ""
