"""Every kind of bad record has its reason; none of them costs a neighbour anything."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.detector.spec import Manifest, WindowSpec
from monitor.detector.windowing import Sliding
from monitor.detector.windows import Samples
from monitor.errors import Reason
from monitor.formats.decoder import Decoded, Decoder, InputRules
from tests.helpers import make_artifact, make_columns

ONE = make_artifact(length=4, hop=2).manifest
TWO = make_artifact(length=4, hop=2, channels=("flow", "pressure")).manifest
RECORD = make_artifact(kind="record", length=4).manifest
RATED = make_artifact(length=4, hop=2, sampling_rate_hz=250.0).manifest
DAY_MS = 86_400_000


SMALL_TIMES = InputRules(timestamp_unit="ms", oldest_time="1970-01-01T00:00:00Z")


def decode(
    *values: bytes | None, manifest: Manifest = ONE, timestamps_ms: list[int] | None = None, **rules: Any
) -> Decoded:
    columns = make_columns(values, timestamps_ms=timestamps_ms)
    return Decoder(manifest, replace(SMALL_TIMES, **rules)).decode(columns)


def samples(decoded: Decoded) -> Samples:
    return decoded.samples(np.arange(len(decoded.rows)), decoded.rows)


def refusal(*values: bytes | None, **options: Any) -> tuple[Reason, str]:
    decoded = decode(*values, **options)
    assert len(decoded.rejected) == 1, decoded.rejected
    return decoded.rejected[0].reason, decoded.rejected[0].detail


BAD = {
    "broken JSON": (b'{"value": 1', Reason.MALFORMED),
    "no JSON": (b"hello", Reason.MALFORMED),
    "NaN in a word": (b'{"value": NaNa}', Reason.MALFORMED),
    "NaN for a name": (b'{NaN: 1, "value": 1}', Reason.MALFORMED),
    "Infinity literal": (b'{"value": Infinity}', Reason.NOT_FINITE),
    "1e999": (b'{"value": 1e999}', Reason.NOT_FINITE),
    "1e39": (b'{"value": 1e39}', Reason.NOT_FINITE),
    "zero bytes": (b"", Reason.EMPTY),
    "tombstone": (None, Reason.EMPTY),
    "10 MB": (b'{"value": 1, "x": "' + b"a" * 10_000_000 + b'"}', Reason.TOO_LARGE),
    "deep nesting": (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reason.MALFORMED),
    "bad UTF-8": (b'\xff\xfe{"value": 1}', Reason.MALFORMED),
    "bad UTF-8 in a text that is read": (b'{"ts": "\xff\xfe", "value": 1}', Reason.MALFORMED),
    "text for a number": (b'{"value": "1.5"}', Reason.WRONG_TYPE),
    "text in a chunk": (b'{"values": [1, "NaN", "x"]}', Reason.WRONG_TYPE),
    "Infinity as text": (b'{"value": "Infinity"}', Reason.WRONG_TYPE),
    "numbers and lists by turns": (b'{"values": ["NaN", [1]]}', Reason.WRONG_SHAPE),
    "bool for a number": (b'{"value": true}', Reason.WRONG_TYPE),
    "list for a number": (b'{"value": [1]}', Reason.WRONG_TYPE),
    "missing channel": (b'{"valu": 1}', Reason.MISSING_CHANNEL),
    "empty object": (b"{}", Reason.MISSING_CHANNEL),
    "empty chunk": (b"[]", Reason.WRONG_SHAPE),
    "ragged chunk": (b'{"values": [[1, 2], [3]]}', Reason.WRONG_SHAPE),
    "too many channels": (b'{"values": [[1, 2]]}', Reason.WRONG_SHAPE),
    "sample and chunk at once": (b'{"value": 1, "values": [1]}', Reason.WRONG_SHAPE),
    "number only": (b"1.5", Reason.WRONG_TYPE),
    "null only": (b"null", Reason.WRONG_TYPE),
    "time as nonsense": (b'{"ts": "yesterday", "value": 1}', Reason.BAD_TIMESTAMP),
    "no such day": (b'{"ts": "2026-02-29T08:00:00Z", "value": 1}', Reason.BAD_TIMESTAMP),
    "null for a time": (b'{"ts": null, "value": 1}', Reason.WRONG_TYPE),
    "time before 1970": (b'{"ts": -5, "value": 1}', Reason.BAD_TIMESTAMP),
    "far future": (b'{"ts": 4102444800000, "value": 1}', Reason.FUTURE_TIMESTAMP),
    "rate of nothing": (b'{"rate_hz": 0, "values": [1, 2]}', Reason.WRONG_TYPE),
    "huge chunk": (b'{"values": [%s]}' % b",".join([b"1"] * 10_001), Reason.WRONG_SHAPE),
    "two documents": (b'{"value": 1}{"value": 2}', Reason.MALFORMED),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_has_its_reason_and_costs_its_neighbours_nothing(name: str) -> None:
    value, reason = BAD[name]
    good = b'{"value": 0.5}'
    decoded = decode(good, value, good)
    assert [(r.row, r.reason) for r in decoded.rejected] == [(1, reason)]
    assert decoded.rejected[0].detail
    assert decoded.rows.tolist() == [0, 2]
    np.testing.assert_array_equal(decoded.values, np.array([[0.5], [0.5]], np.float32))


def test_records_are_not_joined_into_one_document() -> None:
    crafted = b'{"value": 1}, {"value": 666}'
    decoded = decode(b'{"value": 0}', crafted, b'{"value": 2}')
    assert decoded.values.ravel().tolist() == [0, 2]
    assert decoded.rejected[0].row == 1


def test_channels_go_by_name() -> None:
    decoded = decode(b'{"pressure": 2, "flow": 1, "note": {"any": [1]}}', manifest=TWO)
    assert decoded.values.tolist() == [[1, 2]]
    assert refusal(b'{"flow": 1}', manifest=TWO) == (Reason.MISSING_CHANNEL, "no channel 'pressure', and no values")


def test_null_is_a_missing_sample() -> None:
    decoded = decode(b'{"flow": 1, "pressure": null}', b'{"values": [[null, 2], [3, 4]]}', manifest=TWO)
    expected = np.array([[1, math.nan], [math.nan, 2], [3, 4]], np.float32)
    np.testing.assert_array_equal(decoded.values, expected)
    assert not decoded.rejected


@pytest.mark.parametrize(
    "value", [b'{"values": [1, 2, 3]}', b"[1, 2, 3]", b'{"values": [[1], [2], [3]]}', b"[[1],[2],[3]]"]
)
def test_forms_of_a_chunk(value: bytes) -> None:
    decoded = decode(b'{"value": 0}', value)
    assert decoded.values.ravel().tolist() == [0, 1, 2, 3]
    assert decoded.counts.tolist() == [1, 3]
    assert samples(decoded).index.tolist() == [0, 0, 1, 2]
    assert samples(decoded).offset.tolist() == [0, 1, 1, 1]


def test_a_window_is_a_chunk_of_its_length() -> None:
    assert decode(b"[1,2,3,4]", manifest=RECORD).counts.tolist() == [4]
    assert refusal(b"[1,2,3]", manifest=RECORD)[0] is Reason.WRONG_SHAPE
    assert refusal(b'{"value": 1}', manifest=RECORD)[0] is Reason.WRONG_SHAPE


@pytest.mark.parametrize(
    ("stamp", "expected_us"),
    [
        (b"1732177327310", 1732177327310_000),
        (b"1732177327310.25", 1732177327310_250),
        (b'"2024-11-21T08:22:07.310Z"', 1732177327310_000),
        (b'"2024-11-21T09:22:07.310+01:00"', 1732177327310_000),
    ],
)
def test_times(stamp: bytes, expected_us: int) -> None:
    decoded = decode(b'{"ts": %s, "value": 1}' % stamp, timestamps_ms=[1732177327000])
    assert samples(decoded).time_us.tolist() == [expected_us]
    assert samples(decoded).ties.tolist() == [False], "two samples with one stated time are one sample twice"


def test_without_a_time_the_records_own_counts() -> None:
    decoded = decode(b'{"value": 1}', b'{"value": 2}', timestamps_ms=[5, 5])
    assert samples(decoded).time_us.tolist() == [5000, 5000]
    assert samples(decoded).ties.tolist() == [True, True], "a producer's clock ticks in milliseconds"
    assert refusal(b'{"value": 1}', timestamps_ms=[-1])[0] is Reason.BAD_TIMESTAMP
    assert decode(b'{"ts": 7, "value": 1}', timestamps_ms=[-1]).start_us.tolist() == [7000]


def test_the_time_field_can_be_named_and_switched_off() -> None:
    value = b'{"ts": 7, "at": 9, "value": 1}'
    assert decode(value, timestamp_field="at").start_us.tolist() == [9000]
    assert decode(value, timestamp_field="", timestamps_ms=[5]).start_us.tolist() == [5000]


def test_a_chunk_spreads_its_samples_over_time() -> None:
    decoded = decode(b'{"ts": 1000, "rate_hz": 4, "values": [1, 2, 3]}')
    assert samples(decoded).time_us.tolist() == [1_000_000, 1_250_000, 1_500_000]
    assert samples(decoded).clock_us.tolist() == samples(decoded).time_us.tolist()
    rated = decode(b"[1, 2, 3]", manifest=RATED, timestamps_ms=[1000])
    assert samples(rated).time_us.tolist() == [1_000_000, 1_004_000, 1_008_000]
    assert samples(rated).clock_us.tolist() == [1_000_000] * 3, "order is judged by the record's own clock"


def test_the_future_is_measured_from_the_records_own_timestamp() -> None:
    value = b'{"ts": %d, "value": 1}' % (DAY_MS + 3_600_001)
    reason, detail = refusal(value, timestamps_ms=[DAY_MS])
    assert (reason, "60 min ahead" in detail) == (Reason.FUTURE_TIMESTAMP, True)
    assert not decode(b'{"ts": %d, "value": 1}' % (DAY_MS + 3_600_000), timestamps_ms=[DAY_MS]).rejected


def test_a_chunks_last_sample_may_lie_at_the_limit() -> None:
    value = b'{"ts": %d, "rate_hz": 1, "values": [1, 2, 3]}'
    limit_ms = DAY_MS + 3_600_000
    assert not decode(value % (limit_ms - 2_000), timestamps_ms=[DAY_MS]).rejected
    assert refusal(value % (limit_ms - 1_999), timestamps_ms=[DAY_MS])[0] is Reason.FUTURE_TIMESTAMP


AT_MS = 1_764_600_000_000


@pytest.mark.parametrize(
    "stamp",
    [
        b"1764600000", b"1764600000.0", b"1764600000000", b"1764600000000000", b"1764600000000000000",
        b'"1764600000"', b'"1764600000000"', b'"2025-12-01T14:40:00Z"', b'"2025-12-01t14:40:00z"',
        b'"2025-12-01 14:40:00"', b'"2025-12-01T15:40:00+0100"', b'"2025-12-01T14:39:60Z"', b"20251201144000",
    ],
)  # fmt: skip
@pytest.mark.parametrize("own_ms", [AT_MS, 0, -1, AT_MS // 1000, AT_MS * 1000])
def test_a_times_unit_is_told_by_its_size_whatever_the_records_own_clock_says(stamp: bytes, own_ms: int) -> None:
    for value in (b'{"ts": %s, "value": 1}' % stamp, b'{"ts": %s, "values": [1]}' % stamp):
        decoded = Decoder(ONE, InputRules()).decode(make_columns([value], timestamps_ms=[own_ms]))
        assert decoded.start_us.tolist() == [AT_MS * 1000], decoded.rejected


@pytest.mark.parametrize(
    ("rules", "stamp", "expected_us"),
    [
        ({}, b"7", None),
        ({}, b"0", None),
        ({}, b'"1970-01-01T00:00:07Z"', None),
        ({}, b"7258118400", None),  # 2200
        ({}, b"7258118399", 7_258_118_399_000_000),
        ({}, b"946684800", 946_684_800_000_000),  # 2000
        ({}, b"946684799", None),
        ({}, b"786294000", None),  # Apple's seconds since 2001
        ({}, b"639010000000000000", None),  # .NET's ticks of 2025
        ({}, b"134083000000000000", None),  # Windows' FILETIME of 2025
        ({}, b"45992.5", None),  # a spreadsheet's days since 1900
        ({"oldest_time": "1990-01-01T00:00:00Z"}, b"631152000", 631_152_000_000_000),
        ({"timestamp_unit": "ms"}, b"1764600000", None),  # 1970-01-21
        ({"timestamp_unit": "s"}, b"1764600000", AT_MS * 1000),
        ({"timestamp_unit": "s"}, b'"1764600000.25"', AT_MS * 1000 + 250_000),
        ({"timestamp_unit": "us"}, b"1764600000000000", AT_MS * 1000),
        ({"timestamp_unit": "s", "oldest_time": "1970-01-01"}, b"7", 7_000_000),
    ],
)
def test_a_year_that_can_not_be_is_refused_and_a_unit_may_be_said(
    rules: dict[str, Any], stamp: bytes, expected_us: int | None
) -> None:
    columns = make_columns([b'{"ts": %s, "value": 1}' % stamp], timestamps_ms=[-1])
    decoded = Decoder(ONE, InputRules(**rules)).decode(columns)
    assert decoded.start_us.tolist() == ([] if expected_us is None else [expected_us])
    assert [r.reason for r in decoded.rejected] == ([Reason.BAD_TIMESTAMP] if expected_us is None else [])
    assert all("input." in r.detail or "1970-01-01T00:00:07Z" in r.detail for r in decoded.rejected)


@pytest.mark.parametrize("own_ms", [-1, 0, AT_MS // 1000, AT_MS * 1000, 1 << 62])
def test_a_broken_clock_of_kafkas_is_no_time(own_ms: int) -> None:
    decoded = Decoder(ONE, InputRules()).decode(make_columns([b'{"value": 1}'], timestamps_ms=[own_ms]))
    assert [r.reason for r in decoded.rejected] == [Reason.BAD_TIMESTAMP]
    assert str(own_ms) in decoded.rejected[0].detail


def test_the_artifacts_rate_counts_only_where_the_record_states_none() -> None:
    value = b'{"rate_hz": 100, "values": [1, 2, 3]}'
    for manifest in (ONE, RATED):
        assert samples(decode(value, manifest=manifest, timestamps_ms=[1])).time_us.tolist() == [1000, 11_000, 21_000]


def test_a_window_ends_with_its_last_sample() -> None:
    manifest = make_artifact(kind="record", length=4, sampling_rate_hz=250.0).manifest
    decoded = decode(b"[1,2,3,4]", manifest=manifest, timestamps_ms=[1000])
    windows = decoded.windows(np.array([0]), decoded.rows, 4)
    assert (windows.start_us.tolist(), windows.end_us.tolist()) == ([1_000_000], [1_012_000])


@pytest.mark.parametrize(
    "number",
    [
        b"NaN", b"nan", b"NAN", b"-NaN", b"-nan", b"nan(ind)", b"-nan(ind)", b"-1.#IND", b"1.#QNAN0", b'"NaN"',
        b'"nan"', b'"-NaN"', b'"null"', b'"NULL"', b'""', b'" "', b'"None"', b'"N/A"', b'"na"', b'"undefined"', b"null",
        b'"-"', b'"--"', b'"?"', b'"#N/A"', b'"No Data"', b'"<NA>"', b'"#DIV/0!"', b'"\\\\N"', b'"."',
    ],
)  # fmt: skip
def test_producers_spellings_of_a_missing_number(number: bytes) -> None:
    values = [
        b'{"flow": %s, "pressure": 2}',
        b'{"values": [[%s, 2]]}',
        b"[[%s, 2]]",
        b'{"ts": 5, "flow":%s,"pressure":2}',
    ]
    decoded = decode(*[value % number for value in values], manifest=TWO)
    assert not decoded.rejected
    np.testing.assert_array_equal(decoded.values, np.array([[math.nan, 2]] * 4, np.float32))
    chunk = decode(b'{"rate_hz": 1, "values": [1, %s ,3,%s]}' % (number, number)).values
    np.testing.assert_array_equal(chunk.ravel(), np.array([1, math.nan, 3, math.nan], np.float32))


def test_what_looks_like_nan_inside_a_text_is_left_alone() -> None:
    tricky = b'{"id": "a, \\"NaN\\": NaN, x", "NaN": ":NaN,", "value": NaN, "note": [nan, "b\\\\"]}'
    decoded = decode(tricky, series="field:id")
    assert decoded.keys == [b'a, "NaN": NaN, x']
    assert np.isnan(decoded.values).all()


def test_records_full_of_quotes_take_no_time() -> None:
    hostile = b'{"value": NaN, "x": "' + b'\\"' * 400_000
    assert refusal(hostile)[0] is Reason.MALFORMED


def test_series_from_a_field_or_a_header() -> None:
    decoded = decode(b'{"id": "p1", "value": 1}', b'{"id": 7, "value": 2}', b'{"value": 3}', series="field:id")
    assert decoded.keys == [b"p1", b"7", b""]
    columns = make_columns([b'{"value": 1}', b'{"value": 1}'], headers=[[("sensor", b"p9")], []])
    assert Decoder(ONE, replace(SMALL_TIMES, series="header:sensor")).decode(columns).keys == [b"p9", None]


def test_f32() -> None:
    good = np.array([[1, 2], [3, np.nan]], np.float32).tobytes()
    decoded = decode(
        good, good[:-1], np.array([[np.inf, 0]], np.float32).tobytes(), good[:8], manifest=TWO, format="f32"
    )
    np.testing.assert_array_equal(decoded.values, np.array([[1, 2], [3, np.nan], [1, 2]], np.float32))
    assert [(r.row, r.reason) for r in decoded.rejected] == [(1, Reason.WRONG_SHAPE), (2, Reason.NOT_FINITE)]
    assert decode(good[:16], manifest=RECORD, format="f32").counts.tolist() == [4]
    assert refusal(good[:8], manifest=RECORD, format="f32")[0] is Reason.WRONG_SHAPE


def test_a_channel_may_be_called_like_a_field_of_ours() -> None:
    manifest = make_artifact(length=4, hop=2, channels=("values", "ts")).manifest
    assert decode(b'{"values": 1, "ts": 2}', manifest=manifest).values.tolist() == [[1, 2]]


json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["value", "values", "ts", "rate_hz", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


OTHERS = tuple((manifest, form) for form in ("msgpack", "csv") for manifest in (ONE, TWO, RECORD))


@given(st.lists(st.binary(max_size=40) | json_like.map(lambda v: json.dumps(v).encode()) | st.none(), max_size=8))
def test_any_bytes_are_read_or_refused(values: list[bytes | None]) -> None:
    for manifest, form in ((ONE, "json"), (TWO, "json"), (RECORD, "json"), (ONE, "f32"), (RECORD, "f32"), *OTHERS):
        decoded = decode(*values, manifest=manifest, format=form)
        assert sorted([*decoded.rows.tolist(), *(r.row for r in decoded.rejected)]) == list(range(len(values)))
        assert decoded.counts.sum() == len(decoded.values) == len(samples(decoded))
        assert not np.isinf(decoded.values).any()


@given(st.lists(st.floats(width=32, allow_infinity=False), min_size=1, max_size=20))
def test_alone_or_together_makes_no_difference(numbers: list[float]) -> None:
    values = [b'{"value": %s}' % json.dumps(None if math.isnan(n) else n).encode() for n in numbers]
    together = decode(*values, b"poison").values
    alone = np.concatenate([decode(value).values for value in values])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together.ravel(), np.array(numbers, np.float32))


SHAPES = [
    b'{"value": 1}', b'{"value": null, "rate_hz": -5}', b'{"value": 2, "rate_hz": 0.001}', b"[1, 2]",
    b'{"values": [3]}',
    b'{"values": [4, 5], "rate_hz": 100}', b'{"values": [4, 5], "rate_hz": -1}', b'{"ts": 7, "value": 6}', b'{"ts": 8}',
    b'{"ts": "1970-01-01T00:00:01Z", "values": [7, 8], "rate_hz": 2e6}', b'{"valu": 1}', b"nonsense", b"", None,
    b'{"ts": -5, "value": 1}', b'{"ts": "1970-01-01T00:00:02Z", "value": 1}', b'{"ts": "soon", "value": 1e39}',
    b'{"value": NaN}', b'{"value": "nan", "ts": "9"}', b'{"values": [1, "null"]}', b'{"value": "x"}',
    b'{"value": 1e39}',
    b'{"ts": 99999999999, "value": 1}', b'{"ts": "1970-01-01T00:00:02.5Z", "value": 3}', b'{"value": true}',
    b'{"value": 4, "note": "%s"}' % (b"x" * 80), b'{"value": 4, "note": "%s"}' % (b"x" * 81),
    b'{"ts": true, "value": 1}', b'{"value": 1, "values": [1]}', b'{"value": 1, "values": "x"}',
    b"[[1], [2]]", b"[[1], 2]", b"[NaN]",
]  # fmt: skip
LIMIT = len(b'{"value": 4, "note": ""}') + 80
FLOATS = [
    np.array([1], np.float32).tobytes(),
    np.array([1, np.nan], np.float32).tobytes(),
    np.array([np.inf], np.float32).tobytes(),
    b"abc",
    b"",
    None,
]


shapes_and_floats = st.one_of(
    st.tuples(st.just("json"), st.lists(st.sampled_from(SHAPES), max_size=12)),
    st.tuples(st.just("f32"), st.lists(st.sampled_from(FLOATS), max_size=12)),
)


@given(shapes_and_floats, st.sampled_from([ONE, RATED, TWO, RECORD]))
@example(("json", [b'{"value": 4, "note": "%s"}' % (b"x" * 80), None]), ONE)  # of exactly the largest size
@example(("json", [b'{"ts": -5, "value": 1}', b"nonsense"]), ONE)
def test_a_record_is_read_alone_as_it_is_in_company(case: tuple[str, list[bytes | None]], manifest: Manifest) -> None:
    rules: dict[str, Any] = {"manifest": manifest, "format": case[0], "max_record_bytes": LIMIT}
    values = case[1]
    together = decode(*values, timestamps_ms=[5] * len(values), **rules)
    alone = [decode(value, timestamps_ms=[5], **rules) for value in values]
    assert [r.row for r in together.rejected] == [row for row, one in enumerate(alone) if one.rejected]
    assert [r[1:] for r in together.rejected] == [one.rejected[0][1:] for one in alone if one.rejected]
    for name in ("counts", "start_us", "period_us", "stated", "values"):
        parts = [getattr(one, name) for one in alone]
        expected = np.concatenate(parts) if parts else getattr(together, name)
        np.testing.assert_array_equal(getattr(together, name), expected)


def test_samples_faster_than_the_clock_ticks_are_not_late() -> None:
    windower = Sliding(WindowSpec(kind="sliding", length=4, hop=2), 1)
    windower.grow(1)
    decoded = decode(b'{"ts": 1000, "rate_hz": 2e6, "values": [1, 2, 3, 4, 5, 6, 7, 8]}')
    assert windower.append(samples(decoded)).late == 0
