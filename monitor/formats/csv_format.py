"""Records of comma-separated values: a sample a line, in the order of `input.csv_columns`, else of the channels.

A line that only repeats the columns' names is skipped, cells may be quoted, and numbers are text, so that all of
`documents.py` holds for a line as for an object with a field for each column: time, series, long form, quality. Lines
without quotes are split at once; all others, and those that can't be read, as the standard library's reader does.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import msgspec

from monitor.errors import Reason, RecordError
from monitor.formats.abstract import RecordSpec
from monitor.formats.encodings import recognised
from monitor.formats.forms import Form, Getters, itself
from monitor.formats.layout import LIST, RecordLayout
from monitor.formats.records import Records

_BYTE_ORDER_MARK = "\ufeff"
_LINE_END = re.compile(rb"\r\n|\r|\n")


class CsvFormat(Records):
    """Reads `csv` values against the artifact's channels."""

    def __init__(self, expected: RecordSpec) -> None:
        columns = [*expected.csv_columns] or [*expected.channels]
        spec = replace(
            expected,
            fields=replace(expected.fields, entries=LIST, connect_envelope=False),
            numbers=expected.numbers.of_texts(),
        )
        super().__init__(spec, CsvCodec(columns, expected.csv_delimiter))


class CsvCodec:
    """Lines of cells, as one object each; there are no types to decode them by."""

    def __init__(self, columns: Sequence[str], delimiter: str) -> None:
        self._columns = [*columns]
        self._delimiter = delimiter

    def forms(self, expected: RecordSpec, layout: RecordLayout) -> list[Form]:
        """Records of one line, and of several, without quotes."""
        index_of = {name: index for index, name in enumerate(self._columns) if name}
        said = {name: index_of[where.whole] for name, where in layout.body() if where.whole in index_of}
        channels = [f"channel_{index}" for index in range(len(layout.channels))]
        complete = layout.partial or all(name in said for name in channels)
        if not complete or {"values", "rate"} & said.keys() or expected.window_length is not None:
            return []  # no line is a sample
        if self._delimiter in '" \r\n':
            return []
        body: Getters = {name: itemgetter(index) for name, index in said.items()}
        return [
            Form(decode=self._cells_of_record(), body=body, around={}, of_texts=True),
            Form(decode=self._cells_of_lines(), body=body, around={}, entries=itself, several=True, of_texts=True),
        ]

    def _cells_of_record(self) -> Callable[[bytes], list[str]]:
        """What splits a record of one plain line, and raises one of `UNREADABLE` where it is not."""
        columns, count, delimiter, longest = self._columns, len(self._columns), self._delimiter, csv.field_size_limit()

        def split(value: bytes) -> list[str]:
            line = value.decode()
            if "\n" in line or "\r" in line:
                line = line.rstrip("\r\n")
            cells = line.split(delimiter)
            if len(cells) != count or not line or '"' in line or line[0] == _BYTE_ORDER_MARK or len(line) > longest:
                raise msgspec.DecodeError
            if " " in line:
                cells = [cell.lstrip(" ") for cell in cells]
            if "\n" in line or "\r" in line or cells == columns:
                raise msgspec.DecodeError
            return cells

        return split

    def _cells_of_lines(self) -> Callable[[bytes], list[list[str]]]:
        """Likewise, a record of several."""
        split, header = self._cells_of_record(), self._header()

        def split_all(value: bytes) -> list[list[str]]:
            return [split(line) for line in _LINE_END.split(value) if line and line != header]

        return split_all

    def _header(self) -> bytes:
        """The usual line of the columns' names; empty where their names make it another one."""
        line = self._delimiter.join(self._columns)
        cells = [cell.lstrip(" ") for cell in line.split(self._delimiter)]
        plain = cells == self._columns and not {*line} & {'"', "\r", "\n", _BYTE_ORDER_MARK}
        return line.encode("utf-8", "replace") if plain else b""

    def decoder(self, kind: Any, *, lax: bool = False) -> Callable[[Any], Any]:  # noqa: ARG002
        """What reads values, whatever the type."""
        return self._lines

    def _lines(self, value: bytes) -> list[dict[str, str]]:
        """The lines of a record. Raises `RecordError` where it is none."""
        try:
            text = value.decode("utf-8-sig")
        except UnicodeDecodeError:
            what = recognised(value) or "the record is not UTF-8"
            raise RecordError(Reason.MALFORMED, f"{what}; expected comma-separated values") from None
        try:
            lines = [
                *csv.reader(
                    io.StringIO(text, newline=""), delimiter=self._delimiter, skipinitialspace=True, strict=True
                )
            ]
        except csv.Error as error:
            raise RecordError(Reason.MALFORMED, f"the record can't be split into cells: {error}") from None
        return [self._object(cells) for cells in lines if cells and cells != self._columns]

    def _object(self, cells: list[str]) -> dict[str, str]:
        if len(cells) != len(self._columns):
            raise RecordError(
                Reason.WRONG_SHAPE,
                f"{len(cells)} cells, expected {len(self._columns)}: {self._delimiter.join(self._columns)} "
                "(input.csv_columns, csv_delimiter)",
            )
        return {name: cell for name, cell in zip(self._columns, cells, strict=True) if name}

    def repaired(self, value: bytes) -> bytes:
        """The value as it is: nothing is repaired."""
        return value

    def anyhow(self, value: bytes) -> Any:
        """Whatever a value says, None if nothing."""
        try:
            return self._lines(value)
        except RecordError:
            return None
