"""Records whose headers say in which format they are (`input.format_header`)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.backends.abstract import RecordColumns
from monitor.config.input import InputOptions
from monitor.config.options import Config
from monitor.errors import Reason
from monitor.formats.decoder import Decoded, Decoder, InputRules
from monitor.formats.schemas import Schema
from monitor.serving.schemas import Fetcher, SchemaGate
from tests.helpers import make_artifact, make_columns
from tests.schema_registry import framed

MANIFEST = make_artifact(length=4, hop=2, channels=("flow", "pressure")).manifest
AT = 1_764_600_000
RULES = InputRules(format_header="content-type")
SAMPLE = {"ts": AT, "flow": 3.0, "pressure": 12.0}
JSON, PACKED, CSV = json.dumps(SAMPLE).encode(), msgspec.msgpack.encode(SAMPLE), b"3,12"
F32 = np.array([3, 12], np.float32).tobytes()
AVRO = {
    "type": "record",
    "name": "Sample",
    "fields": [{"name": "ts", "type": "long"}, *({"name": name, "type": "double"} for name in ("flow", "pressure"))],
}
Header = bytes | None


def columns_of(*records: tuple[Header, bytes | None], name: str = "content-type") -> RecordColumns:
    headers = [[("id", b"7")] + ([] if kind is None else [(name, kind)]) for kind, _ in records]
    values, keys = [value for _, value in records], [b"pump-7"] * len(records)
    return make_columns(values, keys=[*keys], timestamps_ms=[AT * 1000] * len(records), headers=headers)


def decode(*records: tuple[Header, bytes | None], rules: InputRules = RULES) -> Decoded:
    decoder = Decoder(MANIFEST, rules)
    decoder.schemas.add(1, Schema("AVRO", json.dumps(AVRO)))
    return decoder.decode(columns_of(*records))


@pytest.mark.parametrize(
    ("kind", "value", "rules"),
    [
        (None, JSON, {}), (b"", JSON, {}), (b"application/octet-stream", JSON, {}), (b"text/plain", JSON, {}),
        (b"application/json", JSON, {"format": "csv"}), (b"Application/JSON; charset=UTF-8", JSON, {"format": "csv"}),
        (b'"application/json"', JSON, {"format": "csv"}),  # as Spring Cloud Stream writes it
        (b" application/json ;v=2", JSON, {"format": "csv"}), (b"text/json", JSON, {"format": "csv"}),
        (b"application/cloudevents+json; charset=UTF-8", JSON, {"format": "csv"}),
        (b"application/vnd.kafka.json.v2+json", JSON, {"format": "csv"}),
        (b"application/msgpack", PACKED, {}), (b"application/x-msgpack", PACKED, {}),
        (b"application/vnd.msgpack", PACKED, {}), (b"text/csv; header=absent", CSV, {}), (b"application/csv", CSV, {}),
        (b"application/octet-stream", F32, {"format": "f32"}), (b"application/json", JSON, {"format": "f32"}),
        (b"application/x-f32", F32, {"content_types": {"Application/X-F32": "f32"}}),
        (b"application/avro", framed(1, AVRO, SAMPLE), {"format": "avro"}),
        (b"avro/binary", framed(1, AVRO, SAMPLE), {"content_types": {"avro/binary": "avro"}}),
        (b"application/json", PACKED, {"content_types": {"application/json": "msgpack"}}),
        (b"text/plain", CSV, {"content_types": {"text/plain": "csv"}}),
    ],
)  # fmt: skip
def test_a_record_is_read_in_the_format_that_its_header_says(kind: Header, value: bytes, rules: dict[str, Any]) -> None:
    decoded = decode((kind, value), rules=replace(RULES, **rules))
    assert not decoded.rejected, decoded.rejected
    assert (decoded.values.tolist(), decoded.start_us.tolist()) == ([[3, 12]], [AT * 1_000_000])


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (b"application/xml", "the text 'application/xml'"), (b"avro/binary", "the text 'avro/binary'"),
        (b"\xff", "the text '�'"), (b"application/" + b"x" * 300, "the text 'application/xxx"),
    ],
)  # fmt: skip
def test_another_content_type_is_refused_and_says_which_header(kind: bytes, shown: str) -> None:
    decoded = decode((None, JSON), (kind, JSON), (None, JSON))
    (rejected,) = decoded.rejected
    assert (rejected.row, rejected.reason) == (1, Reason.UNKNOWN_FORMAT)
    assert rejected.detail.startswith(f"header content-type is {shown}")
    assert rejected.detail.endswith(
        "which names no known format; set in input.content_types which it is (json, msgpack, csv)"
    )
    assert decoded.rows.tolist() == [0, 2]
    assert decoded.holes is not None
    assert (decoded.holes.rows.tolist(), decoded.holes.keys) == ([1], [b"pump-7"])


def test_without_the_option_headers_say_nothing() -> None:
    assert decode((b"application/xml", JSON), rules=InputRules()).rows.tolist() == [0]
    assert decode((b"application/xml", JSON), rules=replace(RULES, format_header="contentType")).rows.tolist() == [0]
    assert not InputOptions().wants_headers
    assert InputOptions(format_header="content-type").wants_headers
    unasked = replace(columns_of((None, JSON)), headers=None)
    assert Decoder(MANIFEST, RULES).decode(unasked).rows.tolist() == [0]


KINDS: list[tuple[Header, bytes | None]] = [
    (None, JSON), (b"application/json", JSON), (b"application/x-msgpack", PACKED), (b"text/csv", b"3,12\n4,13"),
    (b"f4", F32), (b"f4", F32[:5]), (b"text/csv", b"3"), (b"text/csv", JSON), (None, None), (b"text/csv", b""),
    (b"application/json", b'{"ts": %d, "flow": "x", "pressure": 1, "site": "n", "id": "b"}' % (AT + 1)),
    (None, b'{"ts": %d, "flow": 1, "pressure": null, "site": "north", "id": "a"}' % (AT + 2)),
    (b"application/xml", JSON), (b"application/json", PACKED), (None, b'{"flow": 1}'), (None, b'{"other": 1}'),
    (b"application/json", b'{"values": [[1, 2], [3, 4]], "rate_hz": 0}'),
]  # fmt: skip


@given(
    st.lists(st.sampled_from(KINDS), max_size=10),
    st.sampled_from(
        [{}, {"partial_records": True}, {"series": "field:id", "series_header": "id"}, {"labels": {"s": "field:site"}}]
    ),
)
def test_how_a_record_is_read_does_not_depend_on_its_neighbours(
    records: list[tuple[Header, bytes | None]], said: dict[str, Any]
) -> None:
    rules = replace(RULES, content_types={"f4": "f32"}, **said)
    together, alone = decode(*records, rules=rules), [decode(record, rules=rules) for record in records]
    assert [each.row for each in together.rejected] == [row for row, one in enumerate(alone) if one.rejected]
    assert [each[1:] for each in together.rejected] == [one.rejected[0][1:] for one in alone if one.rejected]
    assert together.ignored.rows == [row for row, one in enumerate(alone) if one.ignored.rows]
    assert shown(together) == [(row, *each[1:]) for row, one in enumerate(alone) for each in shown(one)]
    holes = [(row, *each[1:]) for row, one in enumerate(alone) for each in holes_of(one)]
    assert holes_of(together) == holes


def shown(found: Decoded) -> list[Any]:
    samples = found.samples(np.arange(len(found.rows)), found.rows)
    carried = np.ones(samples.values.shape, bool) if samples.carried is None else samples.carried
    labels = [None] * len(found.rows) if not found.labels else found.labels[0]
    return [
        (int(offset), found.keys[entry], labels[entry], int(time_us), str(values), there.tolist())
        for entry, offset, time_us, values, there in zip(
            samples.series.tolist(), samples.offset, samples.time_us, samples.values, carried, strict=True
        )
    ]


def holes_of(found: Decoded) -> list[Any]:
    holes = found.holes
    if holes is None:
        return []
    carried = np.ones((len(holes.rows), 2), bool) if holes.carried is None else holes.carried
    return [*zip(holes.rows.tolist(), holes.counts.tolist(), holes.keys, carried.tolist(), strict=True)]


def test_only_records_with_a_schema_wait_for_one() -> None:
    """A float32 of 0 begins like a record with a schema; so may any bytes."""
    zero = np.array([0, 0], np.float32).tobytes()
    rules = replace(RULES, format="f32", content_types={"avro/binary": "avro"})
    decoder = Decoder(MANIFEST, rules)
    record = framed(1, AVRO, SAMPLE)
    columns = columns_of((None, zero), (b"avro/binary", record), (b"application/json", b"\0\0\0\0\x09{}"))
    assert decoder.with_schemas(columns) == [None, record, None]
    asked: list[int] = []

    def fetch(number: int) -> Schema:
        asked.append(number)
        return Schema("AVRO", json.dumps(AVRO))

    gate = SchemaGate(decoder.schemas, Fetcher(fetch), lambda: 0.0, with_schemas=decoder.with_schemas)
    assert [len(passed.values) for passed in gate.admit([columns])] == [1]
    found: list[RecordColumns] = []
    while not found:
        found = gate.admit([])
    assert (asked, [len(passed.values) for passed in found]) == ([1], [2])


def test_mistakes_in_the_options_are_named() -> None:
    for options, expected in (
        ({"content_types": {"a/b": "json"}}, 'content_types needs format_header, which is usually "content-type"'),
        ({"format_header": "h", "content_types": {"a/b": "protobuf"}}, "input should be 'json', 'f32', 'msgpack'"),
        ({"format_header": "h", "content_types": {"a/b; v=1": "json"}}, "'a/b; v=1' is no content type"),
        ({"format_header": "h", "content_types": {" ": "json"}}, "' ' is no content type"),
        ({"format_header": "h", "content_types": {"a/b": "f32"}, "entries": "x"}, "f32 records hold numbers only"),
    ):
        with pytest.raises(ValidationError, match=expected):
            InputOptions.model_validate(options)
    avro = {"input": {"format_header": "h", "content_types": {"a/b": "avro"}}}
    with pytest.raises(ValidationError, match=r"input.format avro needs schema_registry.urls"):
        Config.model_validate(avro)
    assert Config.model_validate(avro | {"schema_registry": {"urls": ["http://127.0.0.1:9"]}}).needs_schemas
