"""Avro records are read as JSON records of the same content are; what can't be read is named, with what to do."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.options import Config
from monitor.errors import Reason
from monitor.formats.avro_schemas import MOST_VALUES
from monitor.formats.decoder import Decoded, Decoder, InputRules
from monitor.formats.schemas import Reference, Schema
from tests.helpers import make_artifact, make_columns
from tests.schema_registry import framed

MANIFEST = make_artifact(length=4, hop=2, channels=("flow", "pressure")).manifest
AT_MS = 1_764_600_000_123
AT = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=AT_MS)
FLAT = {
    "type": "record",
    "name": "Reading",
    "namespace": "plant",
    "fields": [
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "flow", "type": ["null", "double"], "default": None},
        {"name": "pressure", "type": "float"},
        {"name": "note", "type": "string", "default": ""},
    ],
}
ROW = {"ts": AT, "flow": 3.5, "pressure": 12.25, "note": "x"}


def decode(
    *values: bytes | None, schemas: dict[int, Any] | None = None, rules: dict[str, Any] | None = None
) -> Decoded:
    """`schemas` are Avro's, texts that say that there is none, or whole `Schema`s."""
    decoder = Decoder(MANIFEST, replace(InputRules(format="avro"), **(rules or {})))
    known: dict[int, Any] = {1: FLAT} if schemas is None else schemas
    for number, schema in known.items():
        as_it_is = isinstance(schema, str | Schema)
        decoder.schemas.add(number, schema if as_it_is else Schema("AVRO", json.dumps(schema)))
    return decoder.decode(make_columns(values, timestamps_ms=[AT_MS] * len(values)))


def refusal(value: bytes, **options: Any) -> tuple[Reason, str]:
    (rejected,) = decode(value, **options).rejected
    return rejected.reason, rejected.detail


def only(field_type: Any, name: str = "flow", *more: dict[str, Any]) -> dict[str, Any]:
    """A schema of one field, and a pressure."""
    fields = [{"name": name, "type": field_type}, {"name": "pressure", "type": "double"}, *more]
    return {"type": "record", "name": "Reading", "fields": fields}


def flow_of(field_type: Any, value: Any, **rules: Any) -> float:
    decoded = decode(
        framed(1, only(field_type), {"flow": value, "pressure": 1.0}), schemas={1: only(field_type)}, rules=rules
    )
    assert not decoded.rejected, decoded.rejected
    return float(decoded.values[0, 0])


def test_a_record() -> None:
    decoded = decode(framed(1, FLAT, ROW), None, framed(1, FLAT, ROW | {"flow": None}))
    assert decoded.rows.tolist() == [0, 2]
    np.testing.assert_array_equal(decoded.values, [[3.5, 12.25], [np.nan, 12.25]])
    assert decoded.start_us.tolist() == [AT_MS * 1000] * 2
    assert decoded.stated.all()


def test_a_new_schema_in_mid_stream() -> None:
    """Each record is read by the schema that wrote it, whichever came before."""
    newer = json.loads(json.dumps(FLAT))
    newer["fields"] = [{"name": "unit", "type": "string"}, *reversed(newer["fields"])]
    older, other = framed(1, FLAT, ROW), framed(700_000, newer, ROW | {"unit": "bar", "flow": 4})
    decoded = decode(older, other, older, other, schemas={1: FLAT, 700_000: newer})
    assert not decoded.rejected
    assert decoded.values[:, 0].tolist() == [3.5, 4, 3.5, 4]
    assert decoded.start_us.tolist() == [AT_MS * 1000] * 4


@pytest.mark.parametrize("unit", ["auto", "s", "ms", "us", "ns"])
@pytest.mark.parametrize(
    ("logical", "number"),
    [
        ("timestamp-millis", 1_764_600_000_123),
        ("timestamp-micros", 1_764_600_000_123_456),
        ("timestamp-nanos", 1_764_600_000_123_456_789),
        ("local-timestamp-millis", 1_764_600_000_123),
        ("local-timestamp-micros", 1_764_600_000_123_456),
    ],
)
def test_timestamps_are_in_their_own_unit(logical: str, number: int, unit: str) -> None:
    plain = only("long", "ts", {"name": "flow", "type": "double"})
    schema = only({"type": "long", "logicalType": logical}, "ts", {"name": "flow", "type": "double"})
    value = framed(1, plain, {"ts": number, "flow": 1.0, "pressure": 1.0})
    decoded = decode(value, schemas={1: schema}, rules={"timestamp_unit": unit})
    assert decoded.start_us.tolist() == [round(number * 10.0 ** (16 - len(str(number))))]


def test_numbers_and_texts_are_times_too() -> None:
    for kind, number, unit in (
        ("double", AT_MS / 1000, "s"),
        ("long", AT_MS, "auto"),
        ("string", AT.isoformat(), "auto"),
    ):
        schema = only(kind, "ts", {"name": "flow", "type": "double"})
        value = framed(1, schema, {"ts": number, "flow": 1.0, "pressure": 1.0})
        decoded = decode(value, schemas={1: schema}, rules={"timestamp_unit": unit})
        assert decoded.start_us.tolist() == [AT_MS * 1000]


def test_numbers_of_every_type() -> None:
    assert flow_of("int", 3) == 3
    assert flow_of("long", 2**40) == 2**40
    assert flow_of("float", 0.1) == np.float32(0.1)
    assert flow_of(["null", "int", "double"], 3.5) == 3.5
    assert np.isnan(flow_of("double", float("nan")))
    assert (
        flow_of({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}, Decimal("-31.125")) == -31.125
    )
    fixed = {"type": "fixed", "name": "Money", "size": 8, "logicalType": "decimal", "precision": 9, "scale": 2}
    assert flow_of(fixed, Decimal("12.25")) == 12.25
    assert flow_of({"type": "string"}, "3.5", text_numbers=True) == 3.5
    assert np.isnan(flow_of("string", "NaN"))


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [("boolean", True, "true"), ("bytes", b"abc", "binary"), ("string", "high", "'high'")],
)
def test_what_is_no_number(kind: str, value: Any, said: str) -> None:
    reason, detail = refusal(framed(1, only(kind), {"flow": value, "pressure": 1.0}), schemas={1: only(kind)})
    assert reason is Reason.WRONG_TYPE
    assert said in detail


def test_the_same_mapping_as_of_json() -> None:
    """Entries in a list, in long form, with a quality that is an enumeration, a series in a map and labels beside."""
    entry = {
        "type": "record",
        "name": "Entry",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "v", "type": ["null", "double", "string"]},
            {"name": "q", "type": {"type": "enum", "name": "Quality", "symbols": ["GOOD", "BAD"]}},
        ],
    }
    schema = {
        "type": "record",
        "name": "Batch",
        "fields": [
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "tags", "type": {"type": "map", "values": "string"}},
            {"name": "readings", "type": {"type": "array", "items": entry}},
        ],
    }
    batch = {
        "at": AT_MS * 1000,
        "tags": {"host": "pump-7"},
        "readings": [{"id": "flow", "v": 3.5, "q": "GOOD"}, {"id": "pressure", "v": 99.0, "q": "BAD"}],
    }
    rules = {
        "entries": "readings", "channel_field": "id", "value_field": "v", "quality_field": "q",
        "series": "field:tags.host", "timestamp_field": "at",
    }  # fmt: skip
    found = decode(framed(1, schema, batch), schemas={1: schema}, rules=rules)
    same = Decoder(MANIFEST, InputRules(**rules)).decode(make_columns([json.dumps(batch).encode()], timestamps_ms=[0]))  # type: ignore[arg-type]
    assert found.keys == same.keys == [b"pump-7"]
    np.testing.assert_array_equal(found.values, same.values)
    np.testing.assert_array_equal(found.start_us, same.start_us)
    np.testing.assert_array_equal(found.values, [[3.5, np.nan]])


numbers = st.none() | st.floats(width=32, allow_infinity=False) | st.integers(-(2**31), 2**31)
rows = st.lists(st.tuples(numbers, numbers, st.integers(0, 10**12)), min_size=1, max_size=20)


@given(rows)
def test_whatever_is_written_is_read_as_json_is(written: list[tuple[Any, Any, int]]) -> None:
    schema = {
        "type": "record",
        "name": "Reading",
        "fields": [
            {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            *({"name": name, "type": ["null", "long", "double"]} for name in ("flow", "pressure")),
        ],
    }
    records = [{"ts": AT_MS * 1000 + past, "flow": flow, "pressure": pressure} for flow, pressure, past in written]
    found = decode(*(framed(1, schema, record) for record in records), schemas={1: schema})
    plain = make_columns([json.dumps(record).encode() for record in records], timestamps_ms=[AT_MS] * len(records))
    same = Decoder(MANIFEST, InputRules()).decode(plain)
    for name in ("rows", "counts", "values", "start_us", "stated"):
        np.testing.assert_array_equal(getattr(found, name), getattr(same, name))
    assert [(each.row, each.reason) for each in found.rejected] == [(each.row, each.reason) for each in same.rejected]


def test_schemas_that_refer_to_others() -> None:
    site = {"type": "record", "name": "plant.Site", "fields": [{"name": "host", "type": "string"}]}
    both = {"type": "record", "name": "plant.Both", "fields": [{"name": "site", "type": "plant.Site"}]}
    reading = only("double", "flow", {"name": "both", "type": "plant.Both"}, {"name": "site", "type": "plant.Site"})
    names: dict[str, Any] = {}
    for each in (site, both):
        fastavro.parse_schema(each, names)
    document = {"flow": 1.0, "pressure": 2.0, "both": {"site": {"host": "a"}}, "site": {"host": "b"}}
    value = b"\0\0\0\0\7" + _written(fastavro.parse_schema(reading, names), document)
    references = (Reference("plant.Site", json.dumps(site)), Reference("plant.Both", json.dumps(both)))
    schema = Schema("AVRO", json.dumps(reading), references)
    decoded = decode(value, schemas={7: schema}, rules={"series": "field:both.site.host"})
    assert (decoded.keys, decoded.values.tolist()) == ([b"a"], [[1.0, 2.0]])
    # One topic of several types: the schema is a union of those that it refers to.
    union = Schema("AVRO", '["plant.Site", "plant.Both"]', references)
    reason, detail = refusal(b"\0\0\0\0\7" + b"\0\2a", schemas={7: union})
    assert (reason, "no channel 'flow', 'pressure'" in detail) == (Reason.MISSING_CHANNEL, True)


def _written(schema: Any, document: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema, document)
    return stream.getvalue()


GOOD = framed(1, FLAT, ROW)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b'{"flow": 3, "pressure": 12}', 'the record is JSON; set input.format = "json"'),
        (b"\n [1, 2]", 'input.format = "json"'),
        (b"\xc3\x01" + b"\1" * 8 + GOOD[5:], "single-object encoding"),
        (b"Obj\x01\x04", "Avro container file"),
        (b"\x03\x00" + b"\1" * 16 + GOOD[5:], "AWS Glue"),
        (b"\x1f\x8b\x08", "gzip"),
        (GOOD[5:], "raw Avro names no schema"),
        (b"\0\0\0", "expected byte 0, the id of its schema, and Avro"),
    ],
)
def test_what_is_not_in_the_wire_format(value: bytes, said: str) -> None:
    reason, detail = refusal(value)
    assert reason is Reason.MALFORMED
    assert said in detail


def test_a_reader_of_json_names_avro() -> None:
    (rejected,) = Decoder(MANIFEST, InputRules()).decode(make_columns([GOOD], timestamps_ms=[0])).rejected
    assert rejected.reason is Reason.MALFORMED
    assert "id of schema 1" in rejected.detail
    assert 'input.format = "avro" and schema_registry.urls' in rejected.detail
    single = b"\xc3\x01" + bytes(8) + GOOD[5:]
    (rejected,) = Decoder(MANIFEST, InputRules()).decode(make_columns([single], timestamps_ms=[0])).rejected
    assert "single-object encoding" in rejected.detail


def test_records_that_do_not_fit_their_schema() -> None:
    for value in (GOOD[:-1], GOOD[:5], GOOD[:11] + b"\x08" + GOOD[12:], GOOD[:-1] + b"\xff"):
        reason, detail = refusal(value)
        assert reason is Reason.MALFORMED
        assert "does not fit schema 1, the one it names" in detail or "utf-8" in detail
    reason, detail = refusal(GOOD + b"ab")
    assert reason is Reason.MALFORMED
    assert "2 bytes are left of a record of schema 1" in detail


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("the schema registry has no schema with id 1", "has no schema with id 1"),
        (Schema("PROTOBUF", 'syntax = "proto3";'), "schema 1 is of type PROTOBUF, expected AVRO"),
        (Schema("JSON", "{}"), 'set input.format = "json"'),
        (Schema("AVRO", "{nonsense"), "schema 1 is no Avro schema that can be used"),
        (Schema("AVRO", '"plant.Nowhere"'), "plant.Nowhere"),
        (Schema("AVRO", '{"type": "record"}'), "no Avro schema that can be used"),
        (Schema("AVRO", "[" * 5_000 + "]" * 5_000), "schema 1 is"),
        ({"type": "record", "name": "N", "fields": [{"name": "next", "type": ["null", "N"]}]}, "contains itself, N"),
        ({"type": "array", "items": "null"}, "items take no bytes"),
        ({"type": "map", "values": {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}}, "no bytes"),
    ],
)
def test_schemas_that_are_of_no_use(schema: Any, said: str) -> None:
    reason, detail = refusal(GOOD, schemas={1: schema})
    assert reason is Reason.UNKNOWN_SCHEMA
    assert said in detail


def test_a_schema_that_makes_much_of_nothing() -> None:
    """Each of its types is two of the one before."""
    inner: Any = {"type": "record", "name": "N0", "fields": []}
    for level in range(1, 40):
        fields = [{"name": "a", "type": inner}, {"name": "b", "type": f"N{level - 1}"}]
        inner = {"type": "record", "name": f"N{level}", "fields": fields}
    reason, detail = refusal(GOOD, schemas={1: inner})
    assert reason is Reason.UNKNOWN_SCHEMA
    assert f"more than {MOST_VALUES} values" in detail


def test_a_schema_that_nobody_fetched() -> None:
    assert refusal(GOOD, schemas={}) == (Reason.UNKNOWN_SCHEMA, "schema 1 was not fetched")


def test_ids_of_eight_bytes_are_named() -> None:
    _, detail = refusal(b"\0" + bytes(7) + b"\1" + GOOD[5:], schemas={0: "there is none"})
    assert "apicurio.registry.id-handler" in detail


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: GOOD[:5] + rest))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    decoded = decode(value, GOOD)
    assert decoded.rows.tolist()[-1] == 1
    assert len(decoded.rejected) + len(decoded.rows) == 2
    assert {each.reason for each in decoded.rejected} <= {
        Reason.EMPTY, Reason.MALFORMED, Reason.UNKNOWN_SCHEMA, Reason.NOT_FINITE, Reason.BAD_TIMESTAMP,
    }  # fmt: skip


def test_a_registry_must_be_named() -> None:
    with pytest.raises(ValueError, match=r"input\.format avro needs schema_registry\.urls"):
        Config.model_validate({"input": {"format": "avro"}})
    named = {"input": {"format": "avro"}, "schema_registry": {"urls": ["http://localhost:8081"]}}
    assert Config.model_validate(named).needs_schemas
    assert not Config().needs_schemas


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"urls": ["localhost:8081"]}, "'localhost:8081' is not http://HOST:PORT"),
        ({"urls": ["ftp://registry"]}, "is not http://HOST:PORT"),
        ({"urls": ["http://registry:99999"]}, "is not http://HOST:PORT"),
        ({"urls": ["http://u:canary@registry"]}, "use username and password_file"),
        ({"urls": ["http://registry?x=1"]}, "is not http://HOST:PORT"),
        ({"urls": ["http://registry"], "username": "u", "password": "p"}, "would be sent the password unencrypted"),
        ({"username": "u"}, "TELLTALE__SCHEMA_REGISTRY__PASSWORD"),
        ({"ssl_certfile": "c.pem"}, "go together"),
    ],
)
def test_a_wrong_configuration_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="validation error") as caught:
        Config.model_validate({"schema_registry": options})
    (problem,) = caught.value.errors()  # type: ignore[attr-defined]
    assert said in problem["msg"]
    assert "canary" not in problem["msg"]


def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['fastavro'] = None\n"
        "from monitor.cli import main\n"
        "sys.argv[1:] = ['run', '--config', sys.argv[1]]\nmain()"
    )
    path = tmp_path / "telltale.toml"
    path.write_text('[input]\nformat = "avro"\n[schema_registry]\nurls = ["http://localhost:8081"]\n')
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 78
    assert "pip install 'telltale-kafka[avro]'" in done.stderr
