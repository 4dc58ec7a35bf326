"""Every kind of bad record has its reason; none of them costs a neighbour anything."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detector.windowing import Samples, SlidingWindower
from monitor.errors import Reason
from monitor.wire import Decoded, Decoder, InputRules
from tests.helpers import make_artifact, make_columns

ONE = make_artifact(length=4, hop=2).manifest
TWO = make_artifact(length=4, hop=2, channels=("flow", "pressure")).manifest
RECORD = make_artifact(kind="record", length=4).manifest
RATED = make_artifact(length=4, hop=2, sampling_rate_hz=250.0).manifest
DAY_MS = 86_400_000


def decode(*values: bytes | None, manifest=ONE, timestamps_ms=None, **rules) -> Decoded:
    return Decoder(manifest, InputRules(**rules)).decode(make_columns(values, timestamps_ms=timestamps_ms))


def samples(decoded: Decoded) -> Samples:
    return decoded.samples(np.arange(len(decoded.rows)), decoded.rows)


def refusal(*values: bytes | None, **options) -> tuple[Reason, str]:
    decoded = decode(*values, **options)
    assert len(decoded.rejected) == 1, decoded.rejected
    return decoded.rejected[0].reason, decoded.rejected[0].detail


BAD = {
    "broken JSON": (b'{"value": 1', Reason.MALFORMED),
    "no JSON": (b"hello", Reason.MALFORMED),
    "NaN literal": (b'{"value": NaN}', Reason.MALFORMED),
    "Infinity literal": (b'{"value": Infinity}', Reason.MALFORMED),
    "1e999": (b'{"value": 1e999}', Reason.NOT_FINITE),
    "1e39": (b'{"value": 1e39}', Reason.NOT_FINITE),
    "zero bytes": (b"", Reason.EMPTY),
    "tombstone": (None, Reason.EMPTY),
    "10 MB": (b'{"value": 1, "x": "' + b"a" * 10_000_000 + b'"}', Reason.TOO_LARGE),
    "deep nesting": (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reason.MALFORMED),
    "bad UTF-8": (b'\xff\xfe{"value": 1}', Reason.MALFORMED),
    "bad UTF-8 in a text that is read": (b'{"ts": "\xff\xfe", "value": 1}', Reason.MALFORMED),
    "text for a number": (b'{"value": "1.5"}', Reason.WRONG_TYPE),
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
    "time without a zone": (b'{"ts": "2026-11-21T08:00:00", "value": 1}', Reason.BAD_TIMESTAMP),
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
    np.testing.assert_array_equal(decoded.values, np.float32([[0.5], [0.5]]))


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
    expected = np.float32([[1, math.nan], [math.nan, 2], [3, 4]])
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
    assert (reason, "3600 s ahead" in detail) == (Reason.FUTURE_TIMESTAMP, True)
    assert not decode(b'{"ts": %d, "value": 1}' % (DAY_MS + 3_600_000), timestamps_ms=[DAY_MS]).rejected


def test_series_from_a_field_or_a_header() -> None:
    decoded = decode(b'{"id": "p1", "value": 1}', b'{"id": 7, "value": 2}', b'{"value": 3}', series="field:id")
    assert decoded.keys == [b"p1", b"7", b""]
    columns = make_columns([b'{"value": 1}', b'{"value": 1}'], headers=[[("sensor", b"p9")], []])
    assert Decoder(ONE, InputRules(series="header:sensor")).decode(columns).keys == [b"p9", None]


def test_f32() -> None:
    good = np.float32([[1, 2], [3, np.nan]]).tobytes()
    decoded = decode(good, good[:-1], np.float32([[np.inf, 0]]).tobytes(), good[:8], manifest=TWO, format="f32")
    np.testing.assert_array_equal(decoded.values, np.float32([[1, 2], [3, np.nan], [1, 2]]))
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


@given(st.lists(st.binary(max_size=40) | json_like.map(lambda v: json.dumps(v).encode()) | st.none(), max_size=8))
def test_any_bytes_are_read_or_refused(values: list[bytes | None]) -> None:
    for manifest, form in ((ONE, "json"), (TWO, "json"), (RECORD, "json"), (ONE, "f32"), (RECORD, "f32")):
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
    np.testing.assert_array_equal(together.ravel(), np.float32(numbers))


SHAPES = [
    b'{"value": 1}', b'{"value": null, "rate_hz": -5}', b'{"value": 2, "rate_hz": 0.001}', b"[1, 2]",
    b'{"values": [3]}',
    b'{"values": [4, 5], "rate_hz": 100}', b'{"values": [4, 5], "rate_hz": -1}', b'{"ts": 7, "value": 6}', b'{"ts": 8}',
    b'{"ts": "1970-01-01T00:00:01Z", "values": [7, 8], "rate_hz": 2e6}', b'{"valu": 1}', b"nonsense", b"", None,
]  # fmt: skip


@given(st.lists(st.sampled_from(SHAPES), max_size=12))
def test_a_record_is_read_alone_as_it_is_in_company(values: list[bytes | None]) -> None:
    together = decode(*values, timestamps_ms=[5] * len(values))
    alone = [decode(value, timestamps_ms=[5]) for value in values]
    assert [r.row for r in together.rejected] == [row for row, one in enumerate(alone) if one.rejected]
    assert [r.reason for r in together.rejected] == [one.rejected[0].reason for one in alone if one.rejected]
    for name in ("counts", "start_us", "period_us", "stated", "values"):
        parts = [getattr(one, name) for one in alone]
        expected = np.concatenate(parts) if parts else getattr(together, name)
        np.testing.assert_array_equal(getattr(together, name), expected)


def test_samples_faster_than_the_clock_ticks_are_not_late() -> None:
    windower = SlidingWindower(4, 2, 1)
    windower.grow(1)
    decoded = decode(b'{"ts": 1000, "rate_hz": 2e6, "values": [1, 2, 3, 4, 5, 6, 7, 8]}')
    assert windower.append(samples(decoded)).late == 0
