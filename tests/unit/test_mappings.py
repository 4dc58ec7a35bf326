"""Each ready-made mapping reads what its producer's documentation shows, with the channels' names put in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.config import file as configfile
from monitor.config.input import InputOptions
from monitor.config.mappings import MAPPINGS
from monitor.errors import ConfigError
from monitor.formats.decoder import Decoder, InputRules
from tests.helpers import make_artifact, make_columns

MANIFEST = make_artifact(length=4, hop=2, channels=("flow", "pressure")).manifest
KAFKA_MS = 1_764_600_000_000
Read = list[tuple[bytes | None, int, list[float | None]]]


def configured(directory: Path, text: str) -> InputRules:
    path = directory / "telltale.toml"
    path.write_text(f"[input]\n{text}")
    options = configfile.load(path, {}, artifact_needed=False).input
    return InputRules.of(options, max_series=10)


def read(
    rules: InputRules, value: bytes, key: bytes | None = b"k", headers: list[tuple[str, bytes]] | None = None
) -> Read:
    """Series, time in ms and numbers of each sample; None where one is not carried, or missing."""
    columns = make_columns([value], keys=[key], timestamps_ms=[KAFKA_MS], headers=[headers or []])
    decoder = Decoder(MANIFEST, rules)
    decoded = decoder.decode(columns)
    assert not decoded.rejected, decoded.rejected
    samples = decoded.samples(np.arange(len(decoded.rows)), decoded.rows)
    numbers = [[None if np.isnan(each) else float(each) for each in row] for row in samples.values]
    keys = [decoded.keys[entry] for entry in samples.series]
    return list(zip(keys, (samples.time_us // 1000).tolist(), numbers, strict=True))


TELEGRAF = {
    "fields": {"flow": 30, "pressure": 4, "n_images": 660},
    "name": "docker",
    "tags": {"host": "raynor"},
    "timestamp": 1458229140,
}
OTHER = TELEGRAF | {"fields": {"usage_idle": 98.2}, "name": "cpu"}
SPLIT = [TELEGRAF | {"fields": {"flow": 30}}, TELEGRAF | {"fields": {"pressure": 4}, "name": "disk"}]
DEBEZIUM = {
    "before": None,
    "after": {"id": 1, "flow": 3.5, "pressure": 12, "name": "Anne"},
    "source": {"version": "2.5.2.Final", "connector": "postgresql", "ts_ms": 1559033904863, "table": "readings"},
    "op": "c",
    "ts_ms": 1559033904999,
}
SCHEMA = {"type": "struct", "fields": [{"type": "double", "optional": True, "field": "flow"}], "optional": False}
CLOUDEVENT = {
    "specversion": "1.0",
    "type": "com.example.reading",
    "source": "/plants/7",
    "subject": "pump-7",
    "id": "A234-1234-1234",
    "time": "2018-04-05T17:31:00Z",
    "datacontenttype": "application/json",
    "data": {"flow": 3, "pressure": 12},
}
BINARY = [
    ("ce_specversion", b"1.0"),
    ("ce_subject", b"pump-7"),
    ("ce_time", b"2018-04-05T17:31:00Z"),
    ("content-type", b"application/json"),
]
SPARKPLUG = {
    "timestamp": 1486144502122,
    "metrics": [
        {"name": "flow", "timestamp": 1486144502122, "dataType": "Double", "value": 3.5},
        {"name": "pressure", "timestamp": 1486144502122, "dataType": "Float", "value": 12.0},
        {"name": "Node Control/Reboot", "timestamp": 1486144502122, "dataType": "Boolean", "value": False},
        {"name": "Supply Voltage", "timestamp": 1486144502122, "dataType": "String", "value": "12 V"},
    ],
    "seq": 2,
}
DECODED = {
    "timestamp": 1678094561521,
    "seq": 88,
    "metrics": [
        {"timestamp": 1678094561525, "name": "flow", "double_value": 3.5, "datatype": 10},
        {"timestamp": 1678094561525, "name": "pressure", "float_value": 12.0, "datatype": 9},
    ],
}
KEPSERVEREX = {
    "timestamp": 1434062464218,
    "values": [
        {"id": "flow", "v": 42, "q": True, "t": 1434062464010},
        {"id": "pressure", "v": 7, "q": False, "t": 1434062464010},
        {"id": "Channel1.Device1.Tag9", "v": "on", "q": True, "t": 1434062464010},
    ],
}

EXAMPLES: list[tuple[str, Any, Read]] = [
    ("telegraf", TELEGRAF, [(b"raynor", 1458229140_000, [30, 4])]),
    ("telegraf", {"metrics": [TELEGRAF, OTHER]}, [(b"raynor", 1458229140_000, [30, 4])]),
    ("telegraf", {"metrics": SPLIT}, [(b"raynor", 1458229140_000, [30, 4])]),
    ("telegraf", OTHER, []),
    ("debezium", DEBEZIUM, [(b"k", 1559033904863, [3.5, 12])]),
    ("debezium", {"schema": SCHEMA, "payload": DEBEZIUM}, [(b"k", 1559033904863, [3.5, 12])]),
    ("debezium", DEBEZIUM | {"before": DEBEZIUM["after"], "after": None, "op": "d"}, []),
    ("debezium", DEBEZIUM["after"], [(b"k", KAFKA_MS, [3.5, 12])]),  # after ExtractNewRecordState
    ("connect", {"schema": SCHEMA, "payload": {"flow": 3, "pressure": 12}}, [(b"k", KAFKA_MS, [3, 12])]),
    ("connect", {"ts": 1458229140, "flow": 3, "pressure": 12}, [(b"k", 1458229140_000, [3, 12])]),
    ("cloudevents", CLOUDEVENT, [(b"pump-7", 1522949460_000, [3, 12])]),
    ("sparkplug-json", SPARKPLUG, [(b"k", 1486144502122, [3.5, 12])]),
    ("sparkplug-json", DECODED, [(b"k", 1678094561525, [3.5, 12])]),
    ("kepserverex", KEPSERVEREX, [(b"k", 1434062464010, [42, None])]),
    ("kepserverex", KEPSERVEREX | {"values": []}, []),
]


@pytest.mark.parametrize(
    ("name", "record", "expected"), EXAMPLES, ids=lambda each: each if isinstance(each, str) else ""
)
def test_documented_examples_are_read(name: str, record: Any, expected: Read, tmp_path: Path) -> None:
    rules = configured(tmp_path, f'mapping = "{name}"')
    assert read(rules, json.dumps(record).encode()) == expected


def test_every_mapping_has_an_example_and_is_one_of_the_options_values() -> None:
    assert {name for name, _, _ in EXAMPLES} == MAPPINGS.keys()
    described = InputOptions.model_fields["mapping"].description or ""
    assert all(name in described for name in MAPPINGS)
    assert all(InputOptions(mapping=name).mapping == name for name in MAPPINGS)  # type: ignore[arg-type]


def test_a_cloud_event_may_be_binary(tmp_path: Path) -> None:
    rules = configured(tmp_path, 'mapping = "cloudevents"')
    assert InputOptions(mapping="cloudevents").wants_headers
    value = json.dumps(CLOUDEVENT["data"]).encode()
    assert read(rules, value, headers=BINARY) == [(b"pump-7", 1522949460_000, [3, 12])]
    untimed = [header for header in BINARY if header[0] != "ce_time"]
    assert read(rules, value, headers=untimed) == [(b"pump-7", KAFKA_MS, [3, 12])]
    columns = make_columns([value], headers=[[("ce_time", b"yesterday"), ("ce_subject", b"x")]])
    (rejected,) = Decoder(MANIFEST, rules).decode(columns).rejected
    assert rejected.detail == "header ce_time is the text 'yesterday', expected a number since 1970, or RFC 3339"


def test_keys_of_connect_and_debezium_are_unwrapped(tmp_path: Path) -> None:
    value = json.dumps(DEBEZIUM).encode()
    for name in ("connect", "debezium"):
        rules = configured(tmp_path, f'mapping = "{name}"\nentries = "after"')
        for key in (b'"pump-1"', b'{"schema":{"type":"string"},"payload":"pump-1"}', b'{"id":"pump-1"}', b"pump-1"):
            assert [series for series, _, _ in read(rules, value, key)] == [b"pump-1"]


def test_what_the_configuration_says_wins(tmp_path: Path) -> None:
    rules = configured(tmp_path, 'mapping = "telegraf"\nseries = "key"\nchannels = {"*" = "tags.*"}')
    assert (rules.series, rules.channels, rules.timestamp_field) == ("key", {"*": "tags.*"}, "timestamp")
    assert configured(tmp_path, "").timestamp_field == "ts"
    other = configured(tmp_path, 'mapping = "sparkplug-json"\nquality_field = "quality"')
    assert [*other.good_quality] == InputOptions().good_quality


def test_a_mapping_that_is_not_known_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"input.mapping: .*'telegraf', 'debezium'"):
        configured(tmp_path, 'mapping = "telegaf"')
    with pytest.raises(ConfigError, match=r"entries needs a format whose .* json; f32 records hold numbers only"):
        configured(tmp_path, 'mapping = "telegraf"\nformat = "f32"\nseries = "key"')
