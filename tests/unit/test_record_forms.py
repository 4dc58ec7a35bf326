"""Records as producers write them: where numbers stand, what they mean, what is said of those that can't be read."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from monitor.errors import ConfigError, Reason
from monitor.formats.decoder import Decoded, Decoder, InputRules
from tests.helpers import make_artifact, make_columns

MANIFEST = make_artifact(length=4, hop=2, channels=("flow", "pressure")).manifest
AT = 1_764_600_000
NAN = math.nan
MISSING = "missing"
READINGS = b'{"m": "flow", "value": 3}, {"m": "pressure", "value": 12}'


def decode(*values: bytes | None, keys: list[bytes | None] | None = None, **rules: Any) -> Decoded:
    columns = make_columns(values, keys=keys, timestamps_ms=[AT * 1000] * len(values))
    return Decoder(MANIFEST, replace(InputRules(), **rules)).decode(columns)


def read(*values: bytes, **rules: Any) -> list[tuple[int, bytes | None, int, list[float | str | None]]]:
    """Row, series, seconds since `AT` and numbers of each sample: "missing" ones, and None where one is not carried."""
    decoded = decode(*values, **rules)
    assert not decoded.rejected, decoded.rejected
    samples = decoded.samples(np.arange(len(decoded.rows)), decoded.rows)
    carried = np.ones_like(samples.values, dtype=bool) if samples.carried is None else samples.carried
    numbers = [
        [(round(float(n), 6) if not np.isnan(n) else MISSING) if known else None for n, known in zip(*row, strict=True)]
        for row in zip(samples.values, carried, strict=True)
    ]
    keys = [decoded.keys[entry] for entry in samples.series]
    seconds = (samples.time_us // 1_000_000 - AT).tolist()
    return list(zip(samples.offset.tolist(), keys, seconds, numbers, strict=True))


def refusal(value: bytes, **rules: Any) -> tuple[Reason, str]:
    (rejected,) = decode(value, **rules).rejected
    return rejected.reason, rejected.detail


@pytest.mark.parametrize(
    ("rules", "value"),
    [
        ({"channels": {"flow": "fields.flow", "pressure": "fields.p"}}, b'{"ts": %d, "fields": {"flow": 3, "p": 12}}'),
        ({"channels": {"*": "a.b.*"}}, b'{"ts": %d, "a": {"x": [], "b": {"flow": 3, "pressure": 12}}}'),
        ({"channels": {"*": "*.pv"}}, b'{"ts": %d, "flow": {"pv": 3, "sp": 4}, "pressure": {"pv": 12}}'),
        ({"channels": {"pressure": "the\\.p"}}, b'{"ts": %d, "flow": 3, "the.p": 12}'),
        ({"channels": {"pressure": "the.p"}}, b'{"ts": %d, "flow": 3, "the.p": 12, "the": {"p": 13}}'),
        ({"timestamp_field": "meta.at"}, b'{"meta": {"at": %d}, "flow": 3, "pressure": 12}'),
        ({"timestamp_field": "meta.at"}, b'{"meta.at": %d, "flow": 3, "pressure": 12}'),
        ({"entries": "data"}, b'{"ts": %d, "data": {"flow": 3, "pressure": 12}}'),
        ({"entries": "data"}, b'{"data": {"flow": 3, "pressure": 12, "ts": %d}, "ts": 1}'),
        ({"entries": "data"}, b'{"data": [{"flow": 3, "pressure": 12}], "ts": %d}'),
        ({"entries": "data"}, b'{"ts": %d, "flow": 3, "pressure": 12}'),
        ({"entries": "$"}, b'[{"ts": %d, "flow": 3, "pressure": 12}]'),
        ({"entries": "data"}, b'{"ts": %d, "data": {"values": [[3, 12]]}}'),
        ({"text_numbers": True}, b'{"ts": %d, "flow": "3.0", "pressure": " +12"}'),
        ({"connect_envelope": True}, b'{"schema": {"x": 1e999}, "payload": {"ts": %d, "flow": 3, "pressure": 12}}'),
        ({"connect_envelope": True}, b'{"ts": %d, "flow": 3, "pressure": 12}'),
        ({}, b'\xef\xbb\xbf{"ts": %d, "flow": 3, "pressure": 12}'),
        ({}, b'\0\0\0\0\x07{"ts": %d, "flow": 3, "pressure": 12}'),
        ({"channel_field": "m", "entries": "r"}, b'{"ts": %d, "r": [' + READINGS + b"]}"),
    ],
)  # fmt: skip
def test_a_sample_is_found_where_the_options_say(rules: dict[str, Any], value: bytes) -> None:
    good = value % (AT + 5)
    expected = [(row, None, 5, [3.0, 12.0]) for row in (0, 2)]
    columns = make_columns([good, b"nonsense", good], keys=[None] * 3, timestamps_ms=[AT * 1000] * 3)
    decoded = Decoder(MANIFEST, InputRules(**rules)).decode(columns)
    assert [each.row for each in decoded.rejected] == [1]
    samples = decoded.samples(np.arange(2), decoded.rows)
    found = list(
        zip(
            samples.offset.tolist(),
            decoded.keys,
            samples.time_us // 1_000_000 - AT,
            samples.values.tolist(),
            strict=True,
        )
    )
    assert found == expected
    assert samples.carried is None


LONG: dict[str, Any] = {"channel_field": "metric", "series": "field:sensor"}


def test_long_form_is_one_reading_a_record() -> None:
    record = b'{"sensor": "pump-7", "metric": "%s", "value": %s, "ts": %d}'
    found = read(
        record % (b"flow", b"3.1", AT),
        record % (b"disk", b'"full"', AT),
        record % (b"pressure", b"null", AT + 1),
        b'{"sensor": 8, "metric": "pressure", "value": 7, "ts": %d}' % AT,
        b'{"sensor": "pump-7", "value": 1}',
        **LONG,
    )
    assert [(row, key, at) for row, key, at, _ in found] == [(0, b"pump-7", 0), (2, b"pump-7", 1), (3, b"8", 0)]
    assert [numbers for *_, numbers in found] == [[3.1, None], [None, MISSING], [None, 7]]
    decoded = decode(record % (b"disk", b"1", AT), record % (b"flow", b"1", AT), **LONG)
    assert (decoded.ignored.readings, decoded.ignored.rows) == (1, [0])
    assert decoded.ignored.example == "metric is 'disk', expected one of 'flow', 'pressure'"


def test_in_long_form_a_channel_may_be_called_something_else() -> None:
    record = b'{"metric": "Sim.Pump1.%s", "value": 3}'
    found = read(
        record % b"Flow", record % b"pressure", **LONG, channels={"flow": "Sim.Pump1.Flow", "*": "Sim.Pump1.*"}
    )
    assert [numbers for *_, numbers in found] == [[3.0, None], [None, 3.0]]


def test_readings_of_one_record_series_and_time_are_one_sample() -> None:
    rules: dict[str, Any] = {"entries": "values", "channel_field": "id", "value_field": "v", "timestamp_field": "t"}
    entry = b'{"id": "%s", "v": %d, "t": %d}'
    entries = [
        entry % (b"flow", 1, AT), entry % (b"flow", 2, AT + 1), entry % (b"pressure", 3, AT), entry % (b"other", 4, AT),
        entry % (b"pressure", 5, AT + 1), entry % (b"pressure", 6, AT + 2), entry % (b"pressure", 7, AT + 2),
    ]  # fmt: skip
    value = b'{"values": [%s]}' % b",".join(entries)
    expected = [(0, [1.0, 3.0]), (1, [2.0, 5.0]), (2, [-1.0, 7.0])]
    for values in ([value], [b"[1, 2]", value]):  # at once, and one by one
        decoded = decode(*values, **rules)
        samples = decoded.samples(np.arange(len(decoded.rows)), decoded.rows)
        assert samples.carried is not None
        found = np.where(samples.carried, samples.values, -1).tolist()
        assert list(zip((samples.time_us // 1_000_000 - AT).tolist(), found, strict=True)) == expected
        assert samples.index.tolist() == [0, 1, 2]
        assert decoded.ignored.readings == 1


def test_a_record_may_hold_entries_of_several_series() -> None:
    entry = b'{"tags": {"host": "%s"}, "flow": %d, "pressure": 2, "ts": %d}'
    batch = b'{"metrics": [%s]}' % b",".join([entry % (b"a", 1, AT), entry % (b"b", 2, AT), entry % (b"a", 3, AT + 1)])
    rules: dict[str, Any] = {"entries": "metrics", "series": "field:tags.host"}
    found = read(batch, entry % (b"c", 4, AT), batch, **rules)
    a_batch = [(b"a", 0, 1.0), (b"b", 0, 2.0), (b"a", 1, 3.0)]
    assert [(row, key, at, numbers[0]) for row, key, at, numbers in found] == [
        *[(0, *each) for each in a_batch], (1, b"c", 0, 4.0), *[(2, *each) for each in a_batch],
    ]  # fmt: skip


def test_a_record_is_read_whole_or_not_at_all() -> None:
    rules: dict[str, Any] = {"entries": "metrics", "series": "field:host"}
    good = b'{"host": "a", "flow": 1, "pressure": 2, "ts": %d}' % AT
    bad = [
        (b'{"host": "b", "flow": "x", "pressure": 2, "ts": %d}' % (AT + 1), Reason.WRONG_TYPE),
        (b'{"host": "b", "flow": 1, "pressure": 2, "ts": "x"}', Reason.BAD_TIMESTAMP),
        (b'{"host": "b", "flow": 1, "pressure": 2, "ts": 5}', Reason.BAD_TIMESTAMP),
        (b'{"host": "b", "flow": 1, "pressure": 2, "ts": %d}' % (AT + 1_000_000), Reason.FUTURE_TIMESTAMP),
        (b'{"host": "b", "flow": 1e39, "pressure": 2, "ts": %d}' % AT, Reason.NOT_FINITE),
        (b'{"host": "b", "pressure": 2, "ts": %d}' % AT, Reason.MISSING_CHANNEL),
        (b"7", Reason.WRONG_TYPE),
    ]
    for entry, reason in bad:
        decoded = decode(b'{"metrics": [%s, %s, %s]}' % (good, entry, good), good, **rules)
        assert [(each.row, each.reason) for each in decoded.rejected] == [(0, reason)], entry
        assert decoded.rows.tolist() == [1]
        assert decoded.holes is not None
        assert decoded.holes.keys.count(b"a") >= 1, "what is known of it leaves holes"


@pytest.mark.parametrize(
    ("quality", "good"),
    [
        (b'"Good"', True), (b'"GOOD"', True), (b"192", True), (b"192.0", True), (b"true", True), (b"null", True),
        (b'"Bad"', False), (b"false", False), (b"0", False), (b"1", False), (b"{}", False),
        (b'"192"', True), (b'" 192.0 "', True), (b'"0"', False), (b'"True"', True), (b'"false"', False),
        (b'"1"', False), (b'"nan"', False),
    ],
)  # fmt: skip
def test_a_reading_of_bad_quality_is_a_missing_number(quality: bytes, good: bool) -> None:
    wide = b'{"flow": %s, "pressure": 2, "q": %s}'
    reading = b'{"metric": "flow", "value": %s, "q": %s}'
    for number in (b"1", b'"Error"') if not good else (b"1",):
        for value, rules in ((wide, {}), (reading, {"channel_field": "metric"})):
            ((_, _, _, numbers),) = read(value % (number, quality), quality_field="q", **rules)
            assert numbers[0] == (1 if good else MISSING)
    ((_, _, _, numbers),) = read(b'{"flow": 1, "pressure": 2}', quality_field="q")
    assert numbers == [1, 2]
    ((_, _, _, numbers),) = read(wide % (b"1", b"216"), quality_field="q", good_quality=[216])
    assert numbers == [1, 2]


def test_report_by_exception_is_partial_and_only_where_it_is_declared() -> None:
    values = [b'{"flow": 1}', b'{"pressure": null}', b'{"flow": 1, "pressure": 2}', b'{"other": 1}']
    found = read(*values, partial_records=True)
    assert [numbers for *_, numbers in found] == [[1, None], [None, MISSING], [1, 2]]
    decoded = decode(*values, partial_records=True)
    assert (decoded.ignored.rows, decoded.ignored.example) == (
        [3],
        "it has 'other', expected one of 'flow', 'pressure'",
    )
    assert [each.reason for each in decode(*values).rejected] == [Reason.MISSING_CHANNEL] * 3


@pytest.mark.parametrize("number", [b"-9999", b"-9999.0", b'"Bad"', b'"bad"', b"1e30", b'"N/A"', b"null"])
def test_numbers_that_mean_missing_are_declared(number: bytes) -> None:
    rules: dict[str, Any] = {"missing_values": [-9999, 1e30, "Bad"]}
    for value in (b'{"flow": %s, "pressure": -9998}', b'{"values": [[%s, -9998]]}', b"[[%s, -9998]]"):
        ((_, _, _, numbers),) = read(value % number, **rules)
        assert numbers == [MISSING, -9998]
        # Beside a sample, a chunk is read by itself; and the other way round.
        for other in (b'{"flow": 1, "pressure": 2}', b'{"values": [[1, 2]]}', b"[[1, 2]]"):
            decoded = decode(other, value % number, **rules)
            np.testing.assert_array_equal(decoded.values, [[1, 2], [NAN, -9998]])
    assert refusal(b'{"flow": "Worse", "pressure": 1}', **rules)[0] is Reason.WRONG_TYPE


def test_numbers_that_mean_missing_are_missing_in_float32_too() -> None:
    columns = make_columns([np.array([[-9999, 1], [0.1, 2]], np.float32).tobytes()], timestamps_ms=[AT * 1000])
    rules = InputRules(format="f32", missing_values=[-9999, 0.1])
    np.testing.assert_array_equal(Decoder(MANIFEST, rules).decode(columns).values, [[NAN, 1], [NAN, 2]])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3.1", 3.1), ("-3", -3), ("+3", 3), (" 3.1 ", 3.1), ("1e3", 1000), (".5", 0.5), ("5.", 5), ("007", 7),
        ("NaN", NAN), ("", NAN), ("n/a", NAN), ("3,1", None), ("1,000", None), ("1_0", None), ("0x1", None),
        ("1.000,5", None), ("true", None), ("٣", None), ("3 bar", None),
    ],
)  # fmt: skip
def test_numbers_as_text(text: str, number: float | None) -> None:
    value = b'{"flow": "%s", "pressure": 2}' % text.encode()
    if number is None:
        reason, detail = refusal(value, text_numbers=True)
        assert (reason, text in detail) == (Reason.WRONG_TYPE, True)
        return
    ((_, _, _, numbers),) = read(value, text_numbers=True)
    assert numbers == [MISSING if math.isnan(number) else number, 2]


TIME = "expected RFC 3339, like 2026-11-21T08:22:07Z, or a number since 1970"
TEXTS = "input.text_numbers = true reads numbers that are written as text"
COMMA = "with a decimal point, not a comma"
WORDS = "input.missing_values lists what stands for a missing number"
LISTS = 'input.entries = "$" reads records that are lists of entries'
CONFLUENT = (
    'as Confluent\'s serializers for Avro and Protobuf write it; for Avro set input.format = "avro" and '
    "schema_registry.urls; expected JSON"
)


@pytest.mark.parametrize(
    ("rules", "value", "expected"),
    [
        ({}, b'{"flow": "1.5", "pressure": 2}', f"flow is the text '1.5', expected a number; {TEXTS}"),
        ({}, b'{"flow": "1,5", "pressure": 2}', f"flow is the text '1,5', expected a number {COMMA}"),
        ({}, b'{"flow": "Bad", "pressure": 2}', f"flow is the text 'Bad', expected a number; {WORDS}"),
        ({}, b'{"flow": {}, "pressure": 2}', "flow is an object, expected a number"),
        ({}, b'{"flow": true, "pressure": 2}', "flow is true, expected a number"),
        (
            {},
            b'{"ts": [], "flow": 1, "pressure": 2}',
            "the time ts is a list, expected a number since 1970, or RFC 3339",
        ),
        ({}, b"7", "the record is the number 7, expected an object or a list"),
        ({}, b'[{"flow": 1}]', f"the list holds objects, expected numbers; {LISTS}"),
        ({"channels": {"flow": "f.x"}}, b'{"pressure": 2}', "no channel 'flow' (at f.x), and no values"),
        ({"series": "field:id"}, b'{"id": [], "flow": 1, "pressure": 2}', "the series id is a list, expected a text"),
        ({"entries": "data"}, b'{"data": 5}', "data is the number 5, expected entries (input.entries)"),
        (
            {"entries": "data"},
            b'{"data": [{"flow": 1, "pressure": 2}, {"flow": 1, "pressure": "x"}]}',
            f"entry 2 of 2: pressure is the text 'x', expected a number; {WORDS}",
        ),
        ({"channel_field": "m"}, b'{"m": "flow"}', "no field 'value' with the value of 'flow' (input.value_field)"),
        ({}, b"\0\0\0\0\x2a\x02abcdef", f"the record begins with byte 0 and the id of schema 42, {CONFLUENT}"),
        ({}, b"\0", f"the record begins with byte 0, {CONFLUENT}"),
        ({}, b"\xff\xfe{\0}\0", "the record is UTF-16, expected JSON in UTF-8"),
    ],
)
def test_a_refusal_says_what_was_found_and_what_is_expected(rules: dict[str, Any], value: bytes, expected: str) -> None:
    assert refusal(value, **rules)[1] == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b'"pump-1"', b"pump-1"), (b'{"schema":{"type":"string"},"payload":"pump-1"}', b"pump-1"),
        (b"pump-1", b"pump-1"),
        (b'{"schema":{},"payload":{"id":1001}}', b"1001"), (b'{"id":"pump-1"}', b"pump-1"), (b"7", b"7"), (None, None),
        (b'{"site":"a","id":1}', b'{"site":"a","id":1}'), (b'{"schema":{},"payload":null}', None), (b'"', b'"'),
    ],
)  # fmt: skip
def test_keys_of_a_json_converter_are_unwrapped(key: bytes | None, expected: bytes | None) -> None:
    value = b'{"flow": 1, "pressure": 2}'
    assert decode(value, keys=[key], connect_envelope=True).keys == [expected]
    assert decode(value, keys=[key]).keys == [key]


@pytest.mark.parametrize("path", ["a..b", ".", "a.", "a\\"])
def test_a_path_that_is_none_is_refused_when_it_is_configured(path: str) -> None:
    with pytest.raises(ConfigError, match="expected names with dots between them"):
        Decoder(MANIFEST, InputRules(channels={"flow": path}))


PACK = msgspec.msgpack.encode
FLAT = np.array([[3, 12], [4, np.nan]])


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"ts": AT, "flow": 3, "pressure": 12.5}, [[3, 12.5]]),
        ({"ts": datetime.fromtimestamp(AT, UTC), "flow": NAN, "pressure": "N/A"}, [[MISSING, MISSING]]),
        ({"ts": AT, "values": [[3, 12], [4, None]]}, [[3, 12], [4, MISSING]]),
        ({"ts": AT, "values": FLAT.astype("<f4").tobytes()}, [[3, 12], [4, MISSING]]),
        ({"ts": AT, "values": FLAT.astype("<f8").tobytes(), "dtype": "float64"}, [[3, 12], [4, MISSING]]),
        ({"ts": AT, "values": np.array([[3, 12]], "<i2").tobytes(), "dtype": "<i2"}, [[3, 12]]),
        ([[3, 12]], [[3, 12]]),
    ],
)
def test_msgpack(record: Any, expected: list[Any]) -> None:
    found = read(PACK(record), format="msgpack")
    assert [numbers for *_, numbers in found] == expected
    assert found[0][2] == 0


@pytest.mark.parametrize(
    ("value", "reason", "expected"),
    [
        (PACK({"values": b"12345"}), Reason.WRONG_SHAPE, "5 bytes of values are not whole samples of 2 float32"),
        (PACK({"values": b""}), Reason.WRONG_SHAPE, "0 bytes of values are not whole samples of 2 float32"),
        (PACK({"values": b"1" * 8, "dtype": ">f4"}), Reason.WRONG_TYPE, "dtype is the text '>f4', expected f4, f8, i2"),
        (PACK({"flow": float("inf"), "pressure": 1}), Reason.NOT_FINITE, "a number is infinite"),
        (PACK({"flow": b"x", "pressure": 1}), Reason.WRONG_TYPE, "flow is binary, expected a number"),
        (PACK({"flow": 1, "pressure": 1})[:-1], Reason.MALFORMED, "truncated"),
        (b'{"flow": 1}', Reason.MALFORMED, 'JSON; set input.format = "json"'),
    ],
)
def test_msgpack_that_can_not_be_read(value: bytes, reason: Reason, expected: str) -> None:
    found, detail = refusal(value, format="msgpack")
    assert (found, expected in detail) == (reason, True), detail


TIMED: dict[str, Any] = {"format": "csv", "csv_columns": ["ts", "flow", "", "pressure"]}


@pytest.mark.parametrize(
    ("rules", "value", "expected"),
    [
        ({"format": "csv"}, b"3,12.5", [(0, [3, 12.5])]),
        ({"format": "csv"}, b'flow,pressure\n" 3",\r\n4,NaN\n', [(0, [3, MISSING]), (0, [4, MISSING])]),
        ({"format": "csv", "csv_delimiter": ";"}, b"\xef\xbb\xbf3; -1e3", [(0, [3, -1000])]),
        (TIMED, b"%d,3,on,12\n%d,4,off,-" % (AT, AT + 1), [(0, [3, 12]), (1, [4, MISSING])]),
        (TIMED, b"2025-12-01T14:40:05Z,3,,12", [(5, [3, 12])]),
        (TIMED | {"missing_values": [-9999]}, b"%d,3,,-9999.0" % AT, [(0, [3, MISSING])]),
        (
            {"format": "csv", "csv_columns": ["m", "x", "ts"], "channel_field": "m", "value_field": "x"},
            b"flow,3,%d\ndisk,full,%d\npressure,12,%d" % (AT, AT, AT),
            [(0, [3, 12])],
        ),
    ],
)
def test_csv(rules: dict[str, Any], value: bytes, expected: list[Any]) -> None:
    assert [(at, numbers) for _, _, at, numbers in read(value, **rules)] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"3", "1 cells, expected 4: ts,flow,,pressure (input.csv_columns, csv_delimiter)"),
        (b"%d,3,,x" % AT, f"pressure is the text 'x', expected a number; {WORDS}"),
        (b'%d,"3,1",,1' % AT, f"flow is the text '3,1', expected a number {COMMA}"),
        (b"\xff,3,,1", "the record is not UTF-8; expected comma-separated values"),
        (b'1,"3,,1', "the record can't be split into cells: unexpected end of data"),
        (b"yesterday,3,,1", f"'yesterday' is no time; {TIME}"),
    ],
)  # fmt: skip
def test_csv_that_can_not_be_read(value: bytes, expected: str) -> None:
    assert refusal(value, **TIMED)[1].removeprefix("entry 1 of 1: ") == expected


@pytest.mark.parametrize("rules", [LONG, {"partial_records": True, "series": "field:sensor"}])
def test_a_refused_reading_leaves_a_hole_of_its_channel(rules: dict[str, Any]) -> None:
    name = b'"metric": "flow", "value"' if "channel_field" in rules else b'"flow"'
    good = b'{"sensor": "a", %s: 1, "ts": %d}' % (name, AT)
    decoded = decode(good, b'{"sensor": "a", %s: "x", "ts": %d}' % (name, AT + 1), **rules)
    assert decoded.holes is not None
    left = decoded.holes.samples(np.zeros(1, dtype=np.int64), np.array([1]), 2)
    assert (decoded.holes.keys, left.time_us.tolist()) == ([b"a"], [(AT + 1) * 1_000_000])
    assert left.carried is not None
    assert left.carried.tolist() == [[True, False]]
