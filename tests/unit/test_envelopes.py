"""What is said of records that another mapping is made for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.config.mappings import MAPPINGS
from monitor.formats.decoder import Decoder, InputRules
from tests.helpers import make_artifact, make_columns, make_config, make_processor_at_zero, score_all

TELEGRAF = {"fields": {"flow": 3, "pressure": 2}, "name": "pump", "tags": {"host": "h1"}, "timestamp": 1764600000}
ROW = {"id": 1, "flow": 3, "pressure": 2}
CHANGE = {"before": None, "after": ROW, "source": {"ts_ms": 1764600000000}, "op": "c"}
METRIC = {"name": "flow", "timestamp": 1764600000000, "value": 3.5}
RECORDS: dict[str, list[Any]] = {
    "telegraf": [TELEGRAF, {"metrics": [TELEGRAF, TELEGRAF]}],
    "debezium": [CHANGE, {"schema": {}, "payload": CHANGE}, {"schema": None, "payload": CHANGE}],
    "connect": [{"schema": {}, "payload": ROW}],
    "cloudevents": [{"specversion": "1.0", "subject": "p", "time": "2026-01-01T00:00:00Z", "data": ROW}],
    "sparkplug-json": [{"metrics": [METRIC], "seq": 2}],
    "kepserverex": [{"timestamp": 1764600000000, "values": [{"id": "flow", "v": 42, "q": True, "t": 1764600000000}]}],
}
NOW_US = 1_764_600_000_000_000
ARTIFACT = make_artifact(channels=("flow", "pressure"))


def details(record: Any, **options: Any) -> list[str]:
    processor = make_processor_at_zero(make_config(input={"start": "earliest", **options}), ARTIFACT)
    processor.receive(
        make_columns([json.dumps({"flow": 1, "pressure": 2}).encode(), json.dumps(record).encode()]), NOW_US
    )
    score_all(processor)
    return [letter.detail for letter in processor.take_outputs().dead_letters]


@pytest.mark.parametrize(
    ("mapping", "at"), [(mapping, at) for mapping, rows in RECORDS.items() for at in range(len(rows))]
)
def test_a_record_for_a_mapping_is_named_by_it(mapping: str, at: int) -> None:
    (detail,) = details(RECORDS[mapping][at])
    if mapping == "kepserverex":  # values is also the name of a chunk's
        assert "input.entries" in detail or 'input.mapping = "kepserverex"' in detail
    else:
        assert f'it looks like a record for input.mapping = "{mapping}"' in detail


@pytest.mark.parametrize("mapping", ["debezium", "connect", "cloudevents"])
@pytest.mark.parametrize("others", RECORDS)
def test_the_mapping_in_use_is_not_proposed_again(mapping: str, others: str) -> None:
    for record in RECORDS[others]:
        assert all(f'"{mapping}"' not in detail for detail in details(record, mapping=mapping))


def test_telegraf_under_debezium() -> None:
    (detail,) = details(TELEGRAF, mapping="debezium")
    assert detail == (
        "no channel 'flow', 'pressure', and no values; it looks like a record for input.mapping = \"telegraf\" "
        "(`telltale doctor TOPIC` proposes the options)"
    )


def test_of_nested_envelopes_one_is_unwrapped() -> None:
    """However deep they go: a record may be nested as deep as it can be decoded, and nothing raises."""
    (detail,) = details({"schema": {}, "payload": {"schema": {}, "payload": CHANGE}})
    assert 'input.mapping = "connect"' in detail
    decoder = Decoder(ARTIFACT.manifest, InputRules())
    for depth in (*range(900, 1010), 5000):
        value = b'{"schema":0,"payload":' * depth + b"1" + b"}" * depth
        assert len(decoder.decode(make_columns([value], timestamps_ms=[NOW_US // 1000])).rejected) == 1


@pytest.mark.parametrize(
    "record", [{}, {"temp": 3}, [1, 2], {"fields": 3}, {"metrics": []}, {"values": {}}, {"op": "c"}]
)
def test_of_others_nothing_is_said(record: Any) -> None:
    assert all("looks like" not in detail for detail in details(record))


def test_every_mapping_has_an_example() -> None:
    assert set(RECORDS) == set(MAPPINGS)


def test_records_that_are_ignored_are_named_too() -> None:
    processor = make_processor_at_zero(make_config(input={"start": "earliest", "mapping": "telegraf"}), ARTIFACT)
    processor.receive(make_columns([json.dumps(CHANGE).encode()]), NOW_US)
    assert 'it looks like a record for input.mapping = "debezium"' in processor.counts.examples["ignored"].detail
