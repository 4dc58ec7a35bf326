"""Records of comma-separated values: a sample a line, in the order of `input.csv_columns`, else of the channels.

A line that only repeats the columns' names is skipped, cells may be quoted, and numbers are text, so that all of
`documents.py` holds for a line as for an object with a field for each column: time, series, long form, quality.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from monitor.errors import Reason, RecordError
from monitor.formats.abstract import RecordSpec
from monitor.formats.encodings import recognised
from monitor.formats.layout import LIST
from monitor.formats.records import Records


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

    typed: ClassVar[bool] = False

    def __init__(self, columns: Sequence[str], delimiter: str) -> None:
        self._columns = [*columns]
        self._delimiter = delimiter

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
