"""Which keys name a series, and how they are numbered where none is forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.detector.arrays import Int64Array
from monitor.errors import Reason
from monitor.formats.parsed import Rejected
from monitor.processing.registry import SeriesRegistry
from monitor.processing.series_keys import MAX_SERIES_BYTES, SeriesNumbers
from tests.helpers import make_artifact, make_columns, make_config, make_processor_at_zero


def number(table: SeriesNumbers, *keys: bytes | None, first: int = 0) -> tuple[Int64Array, list[Rejected]]:
    return table.number(list(keys), np.arange(first, first + len(keys)))


BAD = {
    "null": (None, "names no series"),
    "empty": (b"", "names no series"),
    "too long": (b"x" * (MAX_SERIES_BYTES + 1), "has 257 bytes, at most 256"),
    "much too long": (b"x" * 900_000, "has 900000 bytes"),
    "long in bytes": ("ä".encode() * 129, "has 258 bytes"),
    "not UTF-8": (b"bed\xff", "not UTF-8"),
    "half a character": ("ä".encode()[:1], "not UTF-8"),
    "a surrogate": (b"\xed\xa0\x80", "not UTF-8"),
    "newline": (b"a\nb", "can't be printed"),
    "zero": (b"a\x00b", "can't be printed"),
    "of a schema registry": (b"\0\0\0\0\7\x0cpump-7", "like one of schema 7 of a schema registry"),
    "a whole number": (bytes(8), "can't be printed"),
    "escape": (b"\x1b[2J", "can't be printed"),
    "right to left override": ("a\u202eb".encode(), "can't be printed"),
    "line separator": ("a\u2028b".encode(), "can't be printed"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_key_is_refused_and_registers_nothing(kind: str) -> None:
    key, expected = BAD[kind]
    table = SeriesNumbers()
    numbers, rejected = number(table, b"a", key, b"b", first=40)
    assert numbers.tolist() == [0, -1, 1]
    assert [(r.row, r.reason) for r in rejected] == [(41, Reason.BAD_SERIES)]
    assert expected in rejected[0].detail
    assert len(rejected[0].detail) < 200
    assert table.names == ["a", "b"]

    registry = SeriesRegistry(10)
    places = np.arange(40, 43)
    found = registry.number([b"a", key, b"b"], places, places + 100, places)
    assert (found.rows.tolist(), found.rejected) == ([0, -1, 1], rejected)
    assert len(registry) == 2


@pytest.mark.parametrize(
    "key", [b"a", b"pump 7", "Bett Ä".encode(), "心电图".encode(), b"a/b", b"x" * 256, b"0", b"-1"]
)
def test_good_keys(key: bytes) -> None:
    table = SeriesNumbers()
    numbers, rejected = number(table, key, key)
    assert (numbers.tolist(), rejected) == ([0, 0], [])
    assert table.names == [key.decode()]


def test_numbers_go_by_first_sight_and_stay() -> None:
    table = SeriesNumbers()
    assert number(table, b"b", b"a", b"b", b"c")[0].tolist() == [0, 1, 0, 2]
    assert number(table, b"c", b"a")[0].tolist() == [2, 1]
    assert number(table)[0].tolist() == []
    assert len(table) == 3


def test_a_bad_value_registers_no_series() -> None:
    processor = make_processor_at_zero(make_config(input={"max_series": 1}), make_artifact())
    bad = [b"junk", b'{"value": 1e39}', b'{"valu": 1}', b"", None, b'{"ts": -1, "value": 1}']
    keys = [b"k%d" % place for place in range(len(bad))]
    processor.receive(make_columns([*bad, b'{"value": 1}'], keys=[*keys, b"good"]))
    assert processor.series_count() == 1
    assert processor.next_batch() is None
    letters = processor.take_outputs().dead_letters
    assert len(letters) == len(bad)
    assert processor.counts.forgotten == {}


@pytest.mark.parametrize(
    ("named_by", "expected"),
    [
        ("key", "the record names no series; give it a key, or set input.series"),
        ("field:tags.hostname", "the record names no series: no field 'tags.hostname' does; correct input.series, or"),
        ("header:device", "the record names no series: no header 'device' does; correct input.series, or"),
    ],
)
def test_a_record_without_a_series_is_told_where_one_was_looked_for(named_by: str, expected: str) -> None:
    (rejected,) = SeriesNumbers(named_by).number([b""], np.zeros(1, dtype=np.int64))[1]
    assert rejected.detail.startswith(expected)
    nothing = np.zeros(1, dtype=np.int64)
    assert SeriesRegistry(10, named_by=named_by).number([None], nothing, nothing, nothing).rejected == [rejected]
