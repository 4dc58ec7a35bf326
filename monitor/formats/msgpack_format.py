"""MessagePack records, of the same forms as JSON's (`documents.py`).

Besides lists, `values` may be the bytes of little-endian numbers, sample by sample, whose type `dtype` names: float32
if it is absent. A time may be a timestamp of MessagePack's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from monitor.errors import Reason, RecordError
from monitor.formats import forms
from monitor.formats.abstract import RecordSpec
from monitor.formats.encodings import recognised
from monitor.formats.forms import UNREADABLE, Form
from monitor.formats.layout import RecordLayout
from monitor.formats.records import Records


class MsgpackFormat(Records):
    """Reads `msgpack` values against the artifact's channels."""

    def __init__(self, expected: RecordSpec) -> None:
        super().__init__(expected, MsgpackCodec())


class MsgpackCodec:
    """MessagePack."""

    def forms(self, expected: RecordSpec, layout: RecordLayout) -> list[Form]:
        """Those that are decoded by their types: the fewer fields are needed, the sooner."""
        return forms.usual(expected, layout, self)

    def decoder(self, kind: Any, *, lax: bool = False) -> Callable[[Any], Any]:
        """What decodes values of one type; `lax`: numbers may be written as text."""
        return msgspec.msgpack.Decoder(kind, strict=not lax).decode

    def repaired(self, value: bytes) -> bytes:
        """The value as it is: nothing is repaired. Raises `RecordError` where it is known to be of another encoding."""
        if what := recognised(value):
            raise RecordError(Reason.MALFORMED, f"{what}; expected MessagePack")
        return value

    def anyhow(self, value: bytes) -> Any:
        """Whatever a value says, None if nothing."""
        try:
            return msgspec.msgpack.decode(value)
        except (*UNREADABLE, ValueError, TypeError):
            return None
