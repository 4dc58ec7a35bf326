"""What products write to topics: how it is read, and what is said where it can't be.

The forms are those of the products' documentation, with channels, times and names of our own.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest

from monitor.config.input import InputOptions
from monitor.errors import Reason
from monitor.formats.decoder import Decoded, Decoder, InputRules
from tests.helpers import make_artifact, make_columns

MANIFEST = make_artifact(length=4, hop=2, channels=("flow", "pressure")).manifest
AT = 1_764_600_000
ISO = "2025-12-01T14:40:00Z"
BOTH = {"flow": 3, "pressure": 12}
MISSING = "missing"
Headers = list[tuple[str, bytes]]
Read = list[tuple[bytes | None, float, list[float | str | None]]]


def decode(value: Any, options: dict[str, Any], headers: Headers | None = None, key: bytes = b"k") -> Decoded:
    raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    columns = make_columns([raw], keys=[key], timestamps_ms=[AT * 1000], headers=[headers or []])
    return Decoder(MANIFEST, InputRules.of(InputOptions.model_validate(options), max_series=10)).decode(columns)


def read(value: Any, options: dict[str, Any], headers: Headers | None = None, key: bytes = b"k") -> Read:
    """Series, seconds since `AT` and numbers of each sample: "missing" ones, and None where one is not carried."""
    decoded = decode(value, options, headers, key)
    assert not decoded.rejected, decoded.rejected
    samples = decoded.samples(np.arange(len(decoded.rows)), decoded.rows)
    carried = np.ones(samples.values.shape, bool) if samples.carried is None else samples.carried
    return [
        (
            decoded.keys[entry],
            time_us / 1e6 - AT,
            [
                (MISSING if np.isnan(each) else round(float(each), 2)) if known else None
                for each, known in zip(row, there, strict=True)
            ],
        )
        for entry, time_us, row, there in zip(
            samples.series.tolist(), samples.time_us.tolist(), samples.values, carried, strict=True
        )
    ]


def decimal(unscaled: int) -> str:
    return base64.b64encode(unscaled.to_bytes(3, "big", signed=True)).decode()


def schema(name: str, **parameters: str) -> dict[str, Any]:
    return {"type": "bytes", "name": name, "version": 1, "parameters": parameters}


def struct(**fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "struct", "fields": [{"field": name, **kind} for name, kind in fields.items()]}


DECIMAL = schema("org.apache.kafka.connect.data.Decimal", scale="2")
VARIABLE = {"name": "io.debezium.data.VariableScaleDecimal", "type": "struct", "fields": []}
ROW = struct(flow=DECIMAL, pressure={"type": "double"}, ts={"type": "int64"})
CLOUDEVENT = {"specversion": "1.0", "type": "x", "source": "/p", "subject": "p1", "id": "1", "time": ISO, "data": BOTH}
TELEGRAF = {"fields": BOTH, "name": "pump", "tags": {"host": "h1"}, "timestamp": AT}
SPARKPLUG_MS = 1_000 * AT
LONG: dict[str, Any] = {"channel_field": "name", "text_numbers": True}
OPC_UA = {"Value": {"Value": 3, "StatusCode": {"Symbol": "Good"}, "SourceTimestamp": ISO}, "NodeId": "ns=2;s=flow"}

READ: dict[str, tuple[Any, dict[str, Any], Read]] = {
    "Telegraf, a list of metrics": ([TELEGRAF, TELEGRAF | {"tags": {"host": "h2"}}], {"mapping": "telegraf"},
        [(b"h1", 0, [3, 12]), (b"h2", 0, [3, 12])]),
    "CloudEvents, a batch": ([CLOUDEVENT, CLOUDEVENT | {"subject": "p2"}], {"mapping": "cloudevents"},
        [(b"p1", 0, [3, 12]), (b"p2", 0, [3, 12])]),
    "Connect, a decimal with its schema": (
        {"schema": ROW, "payload": {"flow": decimal(-314), "pressure": 12, "ts": AT * 1000}}, {"mapping": "connect"},
        [(b"k", 0, [-3.14, 12])]),
    "Connect, a decimal whose base64 looks like a number": (
        {"schema": ROW, "payload": {"flow": "1234", "pressure": 12}}, {"mapping": "connect", "text_numbers": True},
        [(b"k", 0, [-26588.24, 12])]),
    "Connect, a decimal whose base64 looks like null": (
        {"schema": ROW, "payload": {"flow": "null", "pressure": 12}}, {"mapping": "connect"},
        [(b"k", 0, [-63627.79, 12])]),
    "Connect, a decimal in long form": (
        {"schema": struct(name={"type": "string"}, value=DECIMAL), "payload": {"name": "flow", "value": decimal(5)}},
        {"mapping": "connect", "channel_field": "name"}, [(b"k", 0, [0.05, None])]),
    "Connect, decimal.format = NUMERIC": ({"schema": ROW, "payload": {"flow": 3.14, "pressure": None}},
        {"mapping": "connect"}, [(b"k", 0, [3.14, MISSING])]),
    "Debezium, decimals of both kinds": (
        {
            "schema": struct(before=ROW, after=struct(flow=DECIMAL, pressure=VARIABLE)),
            "payload": {
                "before": None,
                "after": {"flow": decimal(314), "pressure": {"scale": 1, "value": decimal(125)}},
                "source": {"ts_ms": AT * 1000}, "op": "u",
            },
        },
        {"mapping": "debezium"}, [(b"k", 0, [3.14, 12.5])]),
    "Debezium, decimals as text": ({"after": {"flow": "3.14", "pressure": 12}, "source": {"ts_ms": AT * 1000}},
        {"mapping": "debezium", "text_numbers": True}, [(b"k", 0, [3.14, 12])]),
    "Sparkplug, a metric that is null": (
        {"timestamp": SPARKPLUG_MS, "metrics": [{"name": "flow", "isNull": True}, {"name": "pressure", "value": 12}]},
        {"mapping": "sparkplug-json"}, [(b"k", 0, [MISSING, 12])]),
    "Sparkplug, a metric that is null and has a value": (
        {"timestamp": SPARKPLUG_MS, "metrics": [{"name": "flow", "is_null": True, "value": 0},
                                                {"name": "pressure", "is_null": False, "float_value": 12}]},
        {"mapping": "sparkplug-json"}, [(b"k", 0, [MISSING, 12])]),
    "KEPServerEX, its quality as text": (
        {"timestamp": AT, "values": [{"id": "flow", "v": 3, "q": "true", "t": AT}]}, {"mapping": "kepserverex"},
        [(b"k", 0, [3, None])]),
    "OPC UA publisher": (
        [OPC_UA], {"entries": "$", "channel_field": "NodeId", "channels": {"*": "ns=2;s=*"},
                   "value_field": "Value.Value", "timestamp_field": "Value.SourceTimestamp",
                   "quality_field": "Value.StatusCode.Symbol"},
        [(b"k", 0, [3, None])]),
    "OPC UA PubSub": (
        {"MessageType": "ua-data", "Messages": [{"Timestamp": ISO, "Payload": {
            "flow": {"Value": 3, "SourceTimestamp": ISO}, "pressure": {"Value": 12}}}]},
        {"entries": "Messages", "channels": {"*": "Payload.*.Value"}, "timestamp_field": "Timestamp"},
        [(b"k", 0, [3, 12])]),
    "ThingsBoard": ({"ts": AT * 1000, "values": BOTH}, {"entries": "values"}, [(b"k", 0, [3, 12])]),
    "ThingsBoard, by paths": ({"ts": AT * 1000, "values": BOTH}, {"channels": {"*": "values.*"}},
        [(b"k", 0, [3, 12])]),
    "ThingsBoard, a list": ([{"ts": AT * 1000 + 500 * at, "values": BOTH} for at in range(2)], {"entries": "values"},
        [(b"k", 0, [3, 12]), (b"k", 0.5, [3, 12])]),
    "AWS IoT SiteWise": (
        {"propertyAlias": "/flow", "propertyValues": [
            {"value": {"doubleValue": 3 + at}, "timestamp": {"timeInSeconds": AT + at}, "quality": "GOOD"}
            for at in range(2)]},
        {"entries": "propertyValues", "channel_field": "propertyAlias", "channels": {"*": "/*"},
         "value_field": ["value.doubleValue", "value.integerValue"], "timestamp_field": "timestamp.timeInSeconds",
         "quality_field": "quality"},
        [(b"k", 0, [3, None]), (b"k", 1, [4, None])]),
    "AWS IoT, a device's shadow": ({"state": {"reported": BOTH}, "timestamp": AT, "version": 3},
        {"entries": "state.reported", "timestamp_field": "timestamp"}, [(b"k", 0, [3, 12])]),
    "Tasmota": ({"Time": "2025-12-01T14:40:00", "SI7021": {"Temperature": 22.5, "Humidity": 52}},
        {"channels": {"flow": "SI7021.Temperature", "pressure": "SI7021.Humidity"}, "timestamp_field": "Time"},
        [(b"k", 0, [22.5, 52])]),
    "Zigbee2MQTT": ({"linkquality": 120, "flow": 21.5, "pressure": 31, "last_seen": "2025-12-01T15:40:00+01:00"},
        {"timestamp_field": "last_seen"}, [(b"k", 0, [21.5, 31])]),
    "Home Assistant": (
        {"entity_id": "sensor.flow", "state": "21.5", "attributes": {}, "last_changed": "2025-12-01T14:40:00.25+00:00"},
        {**LONG, "channel_field": "entity_id", "value_field": "state", "channels": {"*": "sensor.*"},
         "timestamp_field": "last_changed"},
        [(b"k", 0.25, [21.5, None])]),
    "Home Assistant, a sensor that is away": ({"entity_id": "flow", "state": "unavailable"},
        {"channel_field": "entity_id", "value_field": "state"}, [(b"k", 0, [MISSING, None])]),
    "Metricbeat": ({"@timestamp": ISO, "host": {"name": "h1"}, "system": {"cpu": {"total": {"pct": 0.5}}, "load": 2}},
        {"channels": {"flow": "system.cpu.total.pct", "pressure": "system.load"}, "timestamp_field": "@timestamp",
         "series": "field:host.name"},
        [(b"h1", 0, [0.5, 2])]),
    "Prometheus' remote write, as JSON": (
        {"timestamp": ISO, "value": "3.5", "name": "flow", "labels": {"instance": "a:9"}},
        {**LONG, "series": "field:labels.instance", "timestamp_field": "timestamp"}, [(b"a:9", 0, [3.5, None])]),
    "OpenTSDB": ({"metric": "flow", "timestamp": AT, "value": 3, "tags": {"host": "a"}},
        {"channel_field": "metric", "series": "field:tags.host", "timestamp_field": "timestamp"},
        [(b"a", 0, [3, None])]),
    "a buffer of C": (json.dumps(BOTH).encode() + b"\0\0\0", {}, [(b"k", 0, [3, 12])]),
    "a name twice: the last counts, as in most readers": (b'{"flow": 1, "pressure": 12, "flow": 3}', {},
        [(b"k", 0, [3, 12])]),
    "a quality in CSV, where all is text": (b"3,12,192", {"format": "csv", "csv_columns": ["flow", "pressure", "q"],
        "quality_field": "q"}, [(b"k", 0, [3, 12])]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_it_is_read(name: str) -> None:
    value, options, expected = READ[name]
    assert read(value, options) == expected
    # Beside a record of another form it is read by itself, and so is what is read by itself.
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    columns = make_columns([b"[]", raw], keys=[b"k"] * 2, timestamps_ms=[AT * 1000] * 2)
    rules = InputRules.of(InputOptions.model_validate(options), max_series=10)
    together = Decoder(MANIFEST, rules).decode(columns, live=False)
    np.testing.assert_array_equal(together.values, decode(value, options).values)


def test_names_in_headers_of_azure_are_read_as_they_were_written() -> None:
    """Event Hubs passes a text on as AMQP has it."""
    options = {"series": "header:iothub-connection-device-id", "format_header": "content-type"}
    headers = [("iothub-connection-device-id", b"\xa1\x05dev-1"), ("content-type", b"\xb1\0\0\0\x10application/json")]
    assert read(BOTH, options, headers) == [(b"dev-1", 0, [3, 12])]
    for odd in (b"\xa1\x04dev-1", b"\xa1", b"\xb1\0\0"):
        assert decode(BOTH, options, [("iothub-connection-device-id", odd)]).keys == [odd]


@pytest.mark.parametrize("options", [{"mapping": "debezium"}, {"mapping": "connect"}])
def test_the_tombstone_of_a_deleted_row_is_ignored(options: dict[str, Any]) -> None:
    decoded = decode(None, options)
    assert (decoded.rejected, decoded.ignored.rows, decoded.holes) == ([], [0], None)
    assert decoded.ignored.example == "a tombstone (null value)"
    assert [each.reason for each in decode(b"", options).rejected] == [Reason.EMPTY]
    assert [each.reason for each in decode(None, {}).rejected] == [Reason.EMPTY]


BY_BATCH = "have the producer compress batches instead (compression.type); expected JSON"
REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a unit": ({"flow": "3.1 °C", "pressure": 1}, {"text_numbers": True},
        "flow is the text '3.1 °C', expected a number alone, without a unit"),
    "percent": ({"flow": "55%", "pressure": 1}, {}, "flow is the text '55%', expected a number alone, without a unit"),
    "thousands": ({"flow": "1,234.5", "pressure": 1}, {"text_numbers": True},
        "flow is the text '1,234.5', expected a number without separators of thousands"),
    "infinity as text": ({"flow": "+Inf", "pressure": 1}, {},
        "flow is the text '+Inf', expected a number; infinity is none"),
    "infinity": (b'{"note": "Infinity", "flow": -Infinity, "pressure": 1}', {}, "a number is infinite"),
    "infinity in a text only": (b'{"note": "Infinity", "flow": _, "pressure": 1}', {}, "JSON is malformed: invalid"),
    "a decimal without its schema": ({"flow": "AQ4=", "pressure": 1}, {"mapping": "connect"},
        "flow is the text 'AQ4=', expected a number; decimals in base64, as Kafka Connect and Debezium write them, "),
    "several texts": (b'{"flow": 1, "pressure": 1}\n{"flow": 1, "pressure": 1}', {},
        "JSON is malformed: trailing characters (byte 28); a record is one JSON text, and several are a list"),
    "gzip": (gzip.compress(b"{}"), {}, f"the record is compressed with gzip; {BY_BATCH}"),
    "zlib": (zlib.compress(b"{}"), {}, f"the record is compressed with zlib; {BY_BATCH}"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\0", {}, f"the record is compressed with zstd; {BY_BATCH}"),
    "lz4": (b"\x04\x22\x4d\x18\x64", {}, f"the record is compressed with lz4; {BY_BATCH}"),
    "snappy of Java": (b"\x82SNAPPY\0\0\0\0\x01", {}, f"the record is compressed with snappy; {BY_BATCH}"),
    "XML": (b"<r/>", {}, "the record is XML; have the producer write JSON; expected JSON"),
    "Java": (b"\xac\xed\0\x05t", {}, "the record is a serialized Java object; have the producer write JSON"),
    "a list with something else in it": ([TELEGRAF, 7], {"mapping": "telegraf"},
        "a record of the list is the number 7, expected an object"),
    "one bad record of a list": ([TELEGRAF, TELEGRAF | {"fields": {"flow": "x"}}], {"mapping": "telegraf"},
        "entry 2 of 2: fields.flow is the text 'x', expected a number"),
    "ticks of .NET": ({"ts": 638_000_000_000_000_000} | BOTH, {}, "the time is 1990-03-21T06:13:20Z, expected 2000"),
    "Windows' file time": ({"ts": 133_780_000_000_000_000} | BOTH, {}, "the time is 1974-03-29T09:06:40Z, expected"),
    "a day of Excel": ({"ts": 46_000.5} | BOTH, {}, "the time is 1970-01-01T12:46:40.500000Z, expected 2000"),
    "seconds since 1904": ({"ts": AT + 2_082_844_800} | BOTH, {}, "66 years ahead of the record's own timestamp"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_what_to_do(name: str) -> None:
    value, options, expected = REFUSED[name]
    (rejected,) = decode(value, options).rejected
    assert rejected.detail.removeprefix("entry 1 of 1: ").startswith(expected)


def test_what_is_no_decimal_stays_what_it_is() -> None:
    """Whatever the schema says: nothing raises, and nothing takes long."""
    odd: list[Any] = [
        {}, None, 7, [], {"fields": 7}, {"fields": [7, {"field": 7}, {"field": "flow"}]}, {"fields": {"flow": DECIMAL}},
        *(struct(flow=DECIMAL | {"parameters": each}) for each in (None, {}, {"scale": "x"}, {"scale": "9" * 9})),
        struct(flow=VARIABLE),
    ]  # fmt: skip
    for each in odd:
        document = {"schema": each, "payload": {"flow": "AQ4=", "pressure": 1}}
        (rejected,) = decode(document, {"mapping": "connect"}).rejected
        assert rejected.reason is Reason.WRONG_TYPE
    for text in ("A" * 2000, "not base64!"):
        document = {"schema": ROW, "payload": {"flow": text, "pressure": 1}}
        assert [each.reason for each in decode(document, {"mapping": "connect"}).rejected] == [Reason.WRONG_TYPE]
    negative = struct(flow=DECIMAL | {"parameters": {"scale": "-2"}}, pressure={"type": "double"})
    document = {"schema": negative, "payload": {"flow": decimal(3), "pressure": 1}}
    assert read(document, {"mapping": "connect"}) == [(b"k", 0, [300, 1])]
    nested: dict[str, Any] = DECIMAL
    for _ in range(200):
        nested = struct(flow=nested)
    assert read({"schema": nested, "payload": BOTH}, {"mapping": "connect"}) == [(b"k", 0, [3, 12])]
