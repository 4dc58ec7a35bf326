"""What a record that holds no channel looks like: which ready-made mapping (`input.mapping`) is made for it.

Rules of this file: pure, and only asked about records that are rejected.
"""

from __future__ import annotations

from typing import Any

from monitor.formats.layout import LIST, PAYLOAD, SCHEMA, RecordLayout


def hint(record: Any, layout: RecordLayout) -> str:
    """What to say of a record in which nothing was found by its options; empty, where no mapping is made for it."""
    entries = LIST if layout.of_lists else layout.entries.whole if layout.entries is not None else ""
    named = _mapping(record, entries, layout.template or "", connect_envelope=layout.envelope)
    if not named:
        return ""
    return f'; it looks like a record for input.mapping = "{named}" (`telltale doctor TOPIC` proposes the options)'


def _mapping(record: Any, entries: str, channels: str, *, connect_envelope: bool) -> str:
    """`entries` and `channels` are the paths of `input.entries` and of `input.channels["*"]`, empty for none."""
    if isinstance(record, list):
        record = record[0] if record else None
    if not isinstance(record, dict):
        return ""
    if record.keys() == {SCHEMA, PAYLOAD} and not connect_envelope:
        return _mapping(record[PAYLOAD], entries, channels, connect_envelope=True) or "connect"
    metric, reading = _first(record, "metrics"), _first(record, "values")
    fits = {
        "debezium": {"op", "after"} <= record.keys() and entries != "after",
        "cloudevents": {"specversion", "data"} <= record.keys() and entries != "data",
        "telegraf": (isinstance(record.get("fields"), dict) and not channels.startswith("fields"))
        or ("fields" in metric and entries != "metrics"),
        "sparkplug-json": "name" in metric and "fields" not in metric and entries != "metrics",
        "kepserverex": {"id", "v"} <= reading.keys() and entries != "values",
    }
    return next((name for name, fitting in fits.items() if fitting), "")


def _first(record: dict[str, Any], name: str) -> dict[str, Any]:
    """The first of a list of objects; an empty one, where there is none."""
    found = record.get(name)
    return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}
