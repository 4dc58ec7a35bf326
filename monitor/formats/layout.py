"""Where in records that name their fields things stand, from the options of `input`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from monitor.formats import paths
from monitor.formats.abstract import RecordSpec
from monitor.formats.numbers import is_number, is_number_text
from monitor.formats.paths import RecordPath

# The `input.entries` of records that are lists of entries
LIST = "$"
VALUES, RATE, DTYPE = paths.named("values"), paths.named("rate_hz"), paths.named("dtype")
SCHEMA, PAYLOAD = "schema", "payload"
_BOOLS = {"true": True, "false": False}


class RecordLayout:
    """Where things stand, from the options of `input`: `RecordPath`s, None for what is not asked for."""

    def __init__(self, expected: RecordSpec) -> None:
        """Raises `ValueError` where a path is none."""
        fields, names = expected.fields, [*expected.channels]
        self.stamp = paths.place(fields.timestamp) if fields.timestamp else None
        self.series = None if fields.series is None else paths.place(fields.series)
        self.quality = [*map(paths.place, fields.quality)]
        self.good_quality = frozenset(map(quality_key, fields.good_quality))
        self.labels = [paths.place(path) for path in fields.labels.values()]
        self.of_lists = fields.entries == LIST
        self.entries = None if self.of_lists or not fields.entries else paths.place(fields.entries)
        self.envelope = fields.connect_envelope
        self.partial = fields.partial_records or bool(fields.channel)
        self.may_ignore = self.partial or self.of_lists or self.entries is not None or self.envelope
        self.channel = None
        self.readings: list[RecordPath] = []  # where the number of a reading stands: the first that is there
        self.channels: list[RecordPath] = []
        self.index_of: dict[str, int] = {}
        self.template = template = fields.channels.get("*")
        if fields.channel:
            self.channel = paths.place(fields.channel)
            self.readings = [*map(paths.place, fields.values)]
            named = [fields.channels.get(name, (template or "*").replace("*", name)) for name in names]
            self.index_of = {name: index for index, name in enumerate(named)}
        else:
            self.channels = [_channel(name, fields.channels.get(name), template) for name in names]
        # The artifact's own channel names win over ours.
        taken = {where.whole for where in self.channels}
        if self.stamp is not None and self.stamp.whole in taken:
            self.stamp = None
        if self.series is not None and self.series.whole in taken:
            self.series = None
        taken |= {where.names[0] for where in self._places() if len(where.names) > 1}  # objects that hold what is read
        self.values = None if self.channel or VALUES.whole in taken else VALUES
        self.rate = None if self.channel or RATE.whole in taken else RATE

    def _places(self) -> list[RecordPath]:
        return [*self.channels, *(where for _, where in self.around())]

    def body(self) -> Iterator[tuple[str, RecordPath]]:
        """All that an entry may say, by name."""
        yield from ((f"channel_{index}", where) for index, where in enumerate(self.channels))
        yield from ((f"value_{index}", where) for index, where in enumerate(self.readings))
        others = {"values": self.values, "rate": self.rate}
        yield from ((name, where) for name, where in others.items() if where is not None)
        yield from self.around()

    def around(self) -> Iterator[tuple[str, RecordPath]]:
        """All that the record around an entry may say of it, by name."""
        named = {"channel": self.channel, "stamp": self.stamp, "series": self.series}
        yield from ((name, where) for name, where in named.items() if where is not None)
        yield from ((f"quality_{index}", where) for index, where in enumerate(self.quality))
        yield from ((f"label_{index}", where) for index, where in enumerate(self.labels))


def _channel(name: str, path: str | None, template: str | None) -> RecordPath:
    if path is not None:
        return paths.place(path)
    return paths.named(name) if template is None else paths.with_name(template, name)


def quality_key(quality: Any) -> tuple[str, Any]:
    """What makes two qualities the same: text in any case, and "192" is 192; but true is not 1, as it is in Python."""
    if isinstance(quality, str):
        word = quality.strip().lower()
        if word in _BOOLS or is_number_text(word):
            return quality_key(_BOOLS[word] if word in _BOOLS else float(word))
        return "text", word
    if isinstance(quality, bool):
        return "bool", quality
    return ("number", float(quality)) if is_number(quality) and abs(quality) < 1e300 else ("other", None)
