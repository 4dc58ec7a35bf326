"""JSON records; `documents.py` says of which forms.

JSON has no NaN, and producers write it all the same: where a record can't be read, a bare NaN as C, Python, R and
JavaScript print it is taken for null. So is what stands around a record skipped: a byte order mark, the five bytes of
Confluent's serializers for JSON Schema, and the zero bytes after it that fill a buffer of C.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from monitor.detector.missing import NAN
from monitor.errors import Reason, RecordError
from monitor.formats import forms
from monitor.formats.abstract import RecordSpec
from monitor.formats.encodings import recognised
from monitor.formats.forms import UNREADABLE, Form
from monitor.formats.layout import RecordLayout
from monitor.formats.records import Records
from monitor.formats.schemas import HEAD

# Whole strings, closed or not, so that nothing inside one is taken for a number; or a bare NaN.
_STRING_OR_NAN = re.compile(
    rb'"(?:[^"\\]+|\\.?)*+"?|(?<![\w.+-])' + NAN.encode() + rb"(?![\w.])", re.DOTALL | re.IGNORECASE
)
_MAY_BE_NAN = re.compile(rb"nan|1\.#", re.IGNORECASE)
_MAY_BE_LOOSE = re.compile(rb"nan|infinity|e\+?\d{3}|\d{300}", re.IGNORECASE)
_UTF8_MARK, _UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_anything = msgspec.json.Decoder().decode


class JsonFormat(Records):
    """Reads `json` values against the artifact's channels."""

    def __init__(self, expected: RecordSpec) -> None:
        super().__init__(expected, JsonCodec())


class JsonCodec:
    """JSON, as producers write it."""

    def forms(self, expected: RecordSpec, layout: RecordLayout) -> list[Form]:
        """Those that are decoded by their types: the fewer fields are needed, the sooner."""
        return forms.usual(expected, layout, self)

    def decoder(self, kind: Any, *, lax: bool = False) -> Callable[[Any], Any]:
        """What decodes values of one type; `lax`: numbers may be written as text."""
        return msgspec.json.Decoder(kind, strict=not lax).decode

    def repaired(self, value: bytes) -> bytes:
        """A value without what stands around it, and with null for each bare NaN."""
        if value.startswith(_UTF8_MARK):
            value = value.removeprefix(_UTF8_MARK)
        elif value.startswith(_UTF16_MARKS):
            raise RecordError(Reason.MALFORMED, "the record is UTF-16, expected JSON in UTF-8")
        elif value.startswith(b"\0"):
            value = _without_magic(value)
        if value[:1] not in b"{[ " and (what := recognised(value)):
            raise RecordError(Reason.MALFORMED, f"{what}; expected JSON")
        if value.endswith(b"\0"):
            value = value.rstrip(b"\0")
        if _MAY_BE_NAN.search(value) is None:
            return value
        return _STRING_OR_NAN.sub(_null_for_nan, value)

    def anyhow(self, value: bytes) -> Any:
        """Whatever a value says, None if nothing: the standard library's reader takes NaN, Infinity and 1e999 too."""
        try:
            return _anything(value)
        except UNREADABLE:
            pass
        try:
            value = self.repaired(value)
            return _anything(value) if _MAY_BE_LOOSE.search(value) is None else json.loads(value.decode())
        except (RecordError, ValueError, RecursionError, msgspec.DecodeError):
            return None


def _without_magic(value: bytes) -> bytes:
    """A value without the magic byte and the schema's id that Confluent's serializers write before it."""
    return value[HEAD:] if value[HEAD:].lstrip()[:1] in (b"{", b"[") else value


def _null_for_nan(found: re.Match[bytes]) -> bytes:
    text = found[0]
    return text if text.startswith(b'"') else b"null"
