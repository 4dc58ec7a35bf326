"""Plain lines of CSV, which are split at once, are read as the standard library's reader has them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.formats.content_types import RecordFormats
from monitor.formats.csv_format import CsvFormat
from monitor.formats.decoder import Decoded, Decoder, InputRules
from tests.helpers import make_artifact, make_columns

MANIFEST = make_artifact(length=4, hop=2, channels=("flow", "p.q")).manifest
AT_MS = 1_764_600_000_000
ODD = [
    "", "NaN", "nan", "-nan", "inf", "-Infinity", "1_0", "1e5", "1e999", "-0.0", "+7", ".5", "5.", "0x1", "٣", " 4",
    "4 ", "\t4", "4\x1c", "n/a", "-", "Bad", "-9999", "-9999.0", "7", "x", "3,1", "true", "null", "Ä", "\ufeff3",
    "\x00", "\u2028",
    '"3"', '3"', '"', "flow", "p.q", "ts", "1" * 400,
]  # fmt: skip
number = st.sampled_from(["1", "2.5", "-3.25"])
stamp = st.sampled_from([str(AT_MS), str(AT_MS + 1), f"{AT_MS / 1000}", "2025-12-01T14:40:00.5Z", "yesterday", ""])
cell = number | number | number | stamp | st.sampled_from(["a", "flow", "p.q", "Good", "192"]) | st.sampled_from(ODD)
line = st.lists(cell, max_size=6)
ends = st.sampled_from(["\n", "\r\n", "\r"])
LIMIT = 131_072  # characters of a cell
OPTIONS: list[dict[str, Any]] = [
    {},
    {"csv_columns": ["ts", "flow", "", "p.q"]},
    {"csv_columns": ["ts", "id", "flow", "p.q", "q"], "series": "field:id", "quality_field": "q"},
    {"csv_columns": ["id", "name", "value", "ts"], "channel_field": "name", "series": "field:id"},
    {"csv_columns": ["name", "ts"], "channel_field": "name"},
    {"csv_columns": ["ts", "flow", "site"], "partial_records": True, "labels": {"site": "field:site"}},
    {"csv_columns": ["ts", "site"], "partial_records": True},
    {"csv_columns": ["flow", "flow", "p.q"], "missing_values": [-9999, "Bad", "7"]},
    {"csv_columns": ["flow", "p.q", "rate_hz"]},
    {"csv_columns": ["flow", "p.q", "values"]},
    {"csv_columns": ["flow", "p"]},
    {"csv_columns": [" flow", "flow", "p.q"]}, {"csv_delimiter": " "}, {"csv_delimiter": "Ä"}, {"csv_delimiter": "."},
]  # fmt: skip


def columns_for(said: dict[str, Any]) -> int:
    return len(said.get("csv_columns", ("flow", "p.q")))


@st.composite
def values(draw: st.DrawFn, said: dict[str, Any]) -> bytes:
    width, delimiter = columns_for(said), said.get("csv_delimiter", ",")
    whole = st.lists(cell, min_size=width, max_size=width)
    good = st.lists(number, min_size=width, max_size=width)
    lines = draw(st.lists(good | good | whole | whole | line, min_size=1, max_size=draw(st.sampled_from([1, 1, 3]))))
    end = draw(ends)
    text = end.join(delimiter.join(cells) for cells in lines) + draw(st.sampled_from(["", end, end + end]))
    return draw(st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf", b"\xff", b"\n"])) + text.encode()


@pytest.fixture(autouse=True)
def usual_limit() -> Iterator[None]:
    """The library's own: others that read files raise it for the whole process, to more than fits into memory."""
    before = csv.field_size_limit(LIMIT)
    yield
    csv.field_size_limit(before)


@pytest.mark.parametrize("said", OPTIONS, ids=str)
def test_what_is_split_at_once_is_read_as_by_the_library(said: dict[str, Any]) -> None:
    @settings(max_examples=60)
    @given(st.lists(values(said), min_size=1, max_size=6))
    @example([b"\n"])
    @example([b"flow.p.q", b" flow,flow,p.q", b"1.2\nflow.p.q"])
    @example([b",".join([b"1"] * columns_for(said)), b"x" * LIMIT + b"x"])
    @example([b",".join([each] * columns_for(said)) for each in (b"1_0", "٣".encode(), b"1_0")])
    def check(drawn: list[bytes]) -> None:
        rules = InputRules(format="csv", **said)
        assert shown(decoded(drawn, rules)) == shown(decoded(drawn, rules, at_once=False))

    check()


def decoded(drawn: list[bytes], rules: InputRules, *, at_once: bool = True) -> Decoded:
    decoder = Decoder(MANIFEST, rules)
    if not at_once:
        without_forms(decoder)
    columns = make_columns(drawn, keys=[b"k"] * len(drawn), timestamps_ms=[AT_MS] * len(drawn))
    return decoder.decode(columns, now_us=(AT_MS + 10_000) * 1000)


def without_forms(decoder: Decoder) -> None:
    formats = decoder._formats
    assert isinstance(formats, RecordFormats)
    (only,) = formats._formats
    assert isinstance(only, CsvFormat)
    only._forms = []


def shown(found: Decoded) -> list[Any]:
    samples = found.samples(np.arange(len(found.rows)), found.rows)
    carried = np.ones(samples.values.shape, bool) if samples.carried is None else samples.carried
    numbers = [str(samples.values[carried].tolist()), carried.tolist(), samples.index.tolist()]
    entries = [found.rows.tolist(), found.keys, found.start_us.tolist(), found.stated.tolist(), found.labels]
    return [*numbers, *entries, found.rejected, found.ignored]


def test_usual_lines_are_split_at_once() -> None:
    """Else the property would compare the slow way with itself."""
    for said, value in (
        (OPTIONS[1], b"1764600000000,1,on,2"), (OPTIONS[1], "1764600000000, 1,Ä,\r\n".encode()),
        (OPTIONS[1], b"ts,flow,,p.q\n1764600000000,1,on,2\n\n1764600000001,1,on,2\n"),
        (OPTIONS[3], b"a,flow,1,2025-12-01"),
    ):  # fmt: skip
        (only,) = Decoder(MANIFEST, InputRules(format="csv", **said))._formats._formats
        assert isinstance(only, CsvFormat)
        assert only._form_of([value]) is not None
    assert list(csv.reader(io.StringIO(" a,  b ,c", newline=""), skipinitialspace=True)) == [["a", "b ", "c"]]
