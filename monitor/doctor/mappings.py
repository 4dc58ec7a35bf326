"""The ready-made mapping (`input.mapping`) that says what was found, with the options in which the records differ.

Rules of this file: pure. A mapping that seems to fit is tried like everything else before it is proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from monitor.config.mappings import MAPPINGS
from monitor.doctor.shapes import Shape

Options = Mapping[str, Any]


def candidates(shape: Shape, options: Options) -> Iterator[dict[str, Any]]:
    """`options` said by each mapping that fits."""
    for name, fits in _FITS.items():
        if fits(shape, options):
            said = MAPPINGS[name]
            found = _inside(options, said["entries"]) if said.get("entries") in _PARTS else dict(options)
            yield {"mapping": name, **{key: value for key, value in found.items() if not _says(said, key, value)}}


def _says(said: Options, option: str, value: Any) -> bool:
    """Whether a mapping says an option's value, or a list with it."""
    known = said.get(option, _DEFAULTS.get(option))
    if isinstance(known, list):
        return all(each in known for each in (value if isinstance(value, list) else [value]))
    return bool(known == value)


def _inside(options: Options, entry: str) -> dict[str, Any]:
    """Options whose paths begin at a part of the record instead of at the record."""
    prefix = f"{entry}."
    found = {name: value for name, value in options.items() if name not in ("channels", "entries")}
    found["timestamp_field"] = str(found.get("timestamp_field", "ts")).removeprefix(prefix)
    found["series"] = str(found["series"]).replace(f"field:{prefix}", "field:", 1)
    if labels := found.get("labels", {}):
        found["labels"] = {name: path.replace(f":{prefix}", ":", 1) for name, path in labels.items()}
    return found


def _under(prefix: str, *named: str) -> Callable[[Shape, Options], bool]:
    """Channels stand under one part of the record, and it has these fields."""

    def fits(shape: Shape, options: Options) -> bool:
        return options.get("channels") == {"*": f"{prefix}.*"} and all(name in shape.fields for name in named)

    return fits


def _listed(entries: str, channel: str) -> Callable[[Shape, Options], bool]:
    """Readings stand in a list, each with the name of its channel and its number."""

    def fits(shape: Shape, options: Options) -> bool:
        beside = all("." not in path for path in shape.value_fields)
        return options.get("entries") == entries and shape.channel_field == channel and beside

    return fits


def _enveloped(shape: Shape, options: Options) -> bool:
    return shape.connect and options.get("channels") != {"*": "after.*"}


_PARTS = ("after", "data")
_DEFAULTS = {"format": "json", "series": "key", "timestamp_field": "ts", "entries": ""}
_FITS: dict[str, Callable[[Shape, Options], bool]] = {
    "telegraf": _under("fields", "name"),
    "debezium": _under("after", "op"),
    "cloudevents": _under("data", "specversion"),
    "sparkplug-json": _listed("metrics", "name"),
    "kepserverex": _listed("values", "id"),
    "connect": _enveloped,
}
