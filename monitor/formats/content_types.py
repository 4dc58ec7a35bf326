"""In which format each record is: all in one, or as a header of the record says (`input.format_header`).

A content type is a media type, as in HTTP and CloudEvents. Its case says nothing, nor do parameters (`; charset=utf-8`)
and the quotes that Spring puts around it. A record without one, or with one that says nothing of the format, is in
`input.format`; one of another content type is refused.

Rules of this file: pure. In which format a record is read depends on that record alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, reduce

import numpy as np

from monitor import extensions
from monitor.backends.abstract import Headers, RecordColumns
from monitor.detector.arrays import BoolArray, Int64Array
from monitor.detector.times import NO_TIME
from monitor.errors import Reason
from monitor.formats.abstract import Format, FormatKind, RecordSpec
from monitor.formats.numbers import shown
from monitor.formats.parsed import Outlines, Parsed, Rejected, merged
from monitor.formats.rules import InputRules

_FORMAT_OF = {
    "application/json": "json",
    "text/json": "json",
    "application/msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
    "application/vnd.msgpack": "msgpack",
    "text/csv": "csv",
    "application/csv": "csv",
}
# Structured syntax suffixes (RFC 6839), as in application/cloudevents+json
_SUFFIXES = {"+json": "json", "+msgpack": "msgpack"}
_SAYS_NOTHING = {"", "application/octet-stream", "binary/octet-stream", "text/plain"}
_AMQP_TEXTS = {0xA1: 1, 0xB1: 4}  # the types of texts, none of which begins a text in UTF-8; bytes of their lengths
_REMEMBERED = 4096  # headers as they are written
_UNKNOWN = -1


class RecordFormats:
    """Reads records, each in its format."""

    def __init__(self, rules: InputRules, expected: RecordSpec) -> None:
        """Raises `ConfigError`: the rules name a format that is not known, or can't be loaded."""
        self._header = rules.format_header
        own = {f"application/{rules.format}": rules.format}
        self._format_of = _FORMAT_OF | own | {_media_type(name): named for name, named in rules.content_types.items()}
        names = [rules.format, *self._format_of.values(), *_SUFFIXES.values()] if self._header else [rules.format]
        self._names = [*dict.fromkeys(names)]
        kinds: list[FormatKind] = [*map(extensions.load_format, self._names)]
        self._formats: list[Format] = [kind(expected) for kind in kinds]
        self._with_schema = {number for number, kind in enumerate(kinds) if getattr(kind, "needs_schemas", False)}
        self._channels = len(expected.channels)
        self._names_series, self._labels = expected.fields.series is not None, len(expected.fields.labels)
        self._number_of = lru_cache(_REMEMBERED)(self._number)

    def parse(self, columns: RecordColumns, rows: list[int]) -> Parsed:
        """Reads the values at `rows`, none of them empty or too large."""
        if not self._header:
            return self._formats[0].parse(columns.values, rows)
        read = [self._parsed(columns, number, at) for number, at in self._grouped(columns, rows)]
        return reduce(merged, read) if read else self._formats[0].parse(columns.values, [])

    def outlines(self, columns: RecordColumns, rows: list[int], values: Sequence[bytes]) -> Outlines:
        """What is known of the values of records at `rows` (one at least), which were refused; nothing, where one is
        empty.
        """
        if not self._header:
            return self._formats[0].outlines(values)
        index_of = {row: index for index, row in enumerate(rows)}
        found = []
        for number, at in self._grouped(columns, rows):
            indices = [index_of[row] for row in at]
            taken = [values[index] for index in indices]
            known = _nothing_known(len(at)) if number == _UNKNOWN else self._formats[number].outlines(taken)
            found.append((np.array(indices, dtype=np.int64), known))
        return self._together(found)

    def with_schemas(self, columns: RecordColumns) -> list[bytes | None]:
        """The values that are written with a schema, None for all others."""
        if not self._header:
            return columns.values if self._with_schema else [None] * len(columns.values)
        found: list[bytes | None] = [None] * len(columns.values)
        for number, at in self._grouped(columns, [*range(len(found))]):
            if number in self._with_schema:
                for row in at:
                    found[row] = columns.values[row]
        return found

    def _grouped(self, columns: RecordColumns, rows: list[int]) -> Iterator[tuple[int, list[int]]]:
        """The numbers of the formats that records at `rows` are in, `_UNKNOWN` for no known one, each with its rows."""
        if columns.headers is None:
            yield 0, rows
            return
        headers, name, number_of = columns.headers, self._header, self._number_of
        numbers = np.fromiter((number_of(header_of(headers[row], name)) for row in rows), np.int64, len(rows))
        there_are = np.unique(numbers).tolist()
        for number in there_are:
            yield number, rows if len(there_are) == 1 else np.array(rows, dtype=np.int64)[numbers == number].tolist()

    def _number(self, header: bytes | None) -> int:
        name = _media_type((header or b"").decode("utf-8", "replace"))
        if name in self._format_of:
            return self._names.index(self._format_of[name])
        if name in _SAYS_NOTHING:
            return 0
        suffix = name[name.rfind("+") :]
        return self._names.index(_SUFFIXES[suffix]) if suffix in _SUFFIXES else _UNKNOWN

    def _parsed(self, columns: RecordColumns, number: int, rows: list[int]) -> Parsed:
        """What one format makes of its records; one that names no fields leaves series and labels unsaid."""
        if number == _UNKNOWN:
            empty = self._parsed(columns, 0, [])
            return replace(empty, rejected=[self._refused(columns, row) for row in rows])
        parsed = self._formats[number].parse(columns.values, rows)
        k = len(parsed.rows)
        if self._names_series and parsed.series is None:
            parsed = replace(parsed, series=[b""] * k)
        if self._labels and parsed.labels is None:
            parsed = replace(parsed, labels=[[None] * k for _ in range(self._labels)])
        return parsed

    def _refused(self, columns: RecordColumns, row: int) -> Rejected:
        assert columns.headers is not None
        said = (header_of(columns.headers[row], self._header) or b"").decode("utf-8", "replace")
        return Rejected(
            row,
            Reason.UNKNOWN_FORMAT,
            f"header {self._header} is {shown(said)}, which names no known format; set in input.content_types which it "
            f"is ({', '.join(self._names)})",
        )

    def _together(self, found: list[tuple[Int64Array, Outlines]]) -> Outlines:
        """Outlines of several groups of records as one, in the order of the records."""
        records = np.concatenate([at if known.records is None else at[known.records] for at, known in found])
        order, each = np.argsort(records, kind="stable"), [known for _, known in found]
        series = [name for known in each for name in known.series or [b""] * len(known.counts)]
        carried = None
        if any(known.carried is not None for known in each):
            carried = np.concatenate([self._carried(known) for known in each])[order]
        return Outlines(
            counts=np.concatenate([known.counts for known in each])[order],
            stamps_us=np.concatenate([known.stamps_us for known in each])[order],
            rates_hz=np.concatenate([known.rates_hz for known in each])[order],
            series=[series[at] for at in order.tolist()] if self._names_series else None,
            records=records[order],
            carried=carried,
        )

    def _carried(self, known: Outlines) -> BoolArray:
        whole = np.ones((len(known.counts), self._channels), dtype=np.bool_)
        return whole if known.carried is None else known.carried


def header_of(headers: Headers, name: str) -> bytes | None:
    """The first header of this name, as its producer wrote it; None where there is none."""
    found = next((value for key, value in headers if key == name), None)
    return _without_amqp(found) if found and found[0] in _AMQP_TEXTS else found


def _without_amqp(value: bytes) -> bytes:
    """A text that Azure's Event Hubs passes on as AMQP has it: its type, its length, and the text."""
    head = 1 + _AMQP_TEXTS[value[0]]
    return value[head:] if len(value) == head + int.from_bytes(value[1:head], "big") else value


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().strip('"').strip().lower()


def _nothing_known(records: int) -> Outlines:
    ones = np.ones(records, dtype=np.int64)
    return Outlines(ones, np.full(records, NO_TIME, dtype=np.int64), np.full(records, np.nan))
