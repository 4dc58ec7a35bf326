"""Record keys as Kafka Connect's JsonConverter writes them, and what is in them."""

from __future__ import annotations

import functools

import msgspec

from monitor.formats.documents import label_of
from monitor.formats.forms import UNREADABLE
from monitor.formats.layout import PAYLOAD, SCHEMA

_REMEMBERED = 65_536
_decode = msgspec.json.Decoder().decode


@functools.lru_cache(_REMEMBERED)
def unwrapped(key: bytes | None) -> bytes | None:
    """A key without what a JsonConverter puts around it; any other key as it is.

    `"pump-1"`, `{"schema": {..}, "payload": "pump-1"}` and `{"id": "pump-1"}` are pump-1, as text; an object with
    several fields stays JSON.
    """
    if not key or key[:1] not in b'"{':
        return key
    try:
        found = _decode(key)
    except UNREADABLE:
        return key
    if isinstance(found, dict) and found.keys() == {SCHEMA, PAYLOAD}:
        found = found[PAYLOAD]
        if found is None:
            return None
    if isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    text = label_of(found)
    return msgspec.json.encode(found) if text is None else text.encode("utf-8", "replace")
