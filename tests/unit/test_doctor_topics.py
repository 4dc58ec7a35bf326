"""`telltale doctor` of topics as producers write them: what it proposes for each, and what it says."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from typing import Any

import msgspec
import numpy as np
import pytest

from monitor.config.connections import KafkaOptions, SchemaRegistryOptions
from monitor.config.file import parse
from monitor.config.options import Config
from monitor.doctor import command, report, units
from monitor.doctor.diagnosis import Diagnosis, examine
from monitor.doctor.report import Place
from monitor.formats.schemas import Schema
from tests.helpers import make_columns

NOW_MS = 1_764_600_000_000
RANDOM: list[float] = np.random.default_rng(7).normal(size=1000).tolist()
PLACE = Place(topic="plant.pumps", partitions=1, held=300, sections={}, artifact="m", config="telltale.toml")
STEPS = 100

Record = tuple[bytes | None, Any]


def swing(at: int, middle: float, width: float = 1) -> float:
    return round(middle + width * float(np.sin(at / 8) + 0.1 * RANDOM[at % 1000]), 4)


def ms(at: float) -> int:
    return NOW_MS + round(1000 * at)


def when(at: int, form: str = "%Y-%m-%d %H:%M:%S", hours: float = 0) -> str:
    return datetime.fromtimestamp(NOW_MS / 1000 + at, timezone(timedelta(hours=hours))).strftime(form)


def two(at: int) -> dict[str, float]:
    return {"flow": swing(at, 3), "temp": swing(at, 20)}


def total(at: int) -> int:
    return 10**9 + 977 * at + int(200 * RANDOM[at])


def pumps(record: Callable[[int, int], Any], keys: bool = True) -> list[Record]:
    """A record for each of three pumps and step."""
    return [(b"p%d" % pump if keys else None, record(at, pump)) for at in range(STEPS) for pump in range(3)]


def metric(at: int, name: str, fields: dict[str, Any], **tags: str) -> dict[str, Any]:
    return {"fields": fields, "name": name, "tags": tags, "timestamp": NOW_MS // 1000 + at}


def batches(of: Callable[[int, str], list[dict[str, Any]]]) -> list[Record]:
    """Batches of Telegraf's, of two hosts together."""
    return [(b"telegraf", {"metrics": [each for host in ("h0", "h1") for each in of(at, host)]}) for at in range(STEPS)]


def reading(device: str, name: str, value: Any, at: float) -> dict[str, Any]:
    return {"device": device, "metric": name, "value": value, "ts": ms(at)}


@dataclass
class Case:
    """Records; the options of `input` that are proposed, all but `series` where that is the key; channels, series, and
    words of what is said."""

    records: list[Record]
    options: dict[str, Any]
    channels: str = "flow temp"
    series: str = "p0 p1 p2"
    says: list[str] = field(default_factory=list)


TELEGRAF = {"mapping": "telegraf"}
CASES: dict[str, Case] = {
    "telegraf, one field": Case(
        batches(lambda at, host: [metric(at, "boiler", {"temp": swing(at, 20)}, host=host)]),
        TELEGRAF | {"labels": {"name": "field:name"}}, "temp", "h0 h1",
    ),
    "telegraf, one field a metric": Case(
        batches(lambda at, host: [metric(at, name, {name: two(at)[name]}, host=host) for name in ("flow", "temp")]),
        TELEGRAF, "flow temp", "h0 h1",
    ),
    "telegraf, value by name": Case(
        batches(lambda at, host: [metric(at, name, {"value": two(at)[name]}, host=host) for name in ("flow", "temp")]),
        {
            "series": "field:tags.host", "timestamp_field": "timestamp", "entries": "metrics", "channel_field": "name",
            "value_field": "fields.value",
        }, "flow temp", "h0 h1",
    ),
    "telegraf, counters of bytes": Case(
        batches(lambda at, host: [metric(at, "net", {"bytes": total(at), "err": swing(at, 4)}, host=host)]),
        TELEGRAF | {"labels": {"name": "field:name"}}, "err", "h0 h1", ["bytes only rises"],
    ),
    "a type beside one number": Case(
        pumps(lambda at, pump: {"ts": ms(at), "device": f"d{pump}", "type": "pump", "temp": swing(at, 20)}, keys=False),
        {"series": "field:device"}, "temp", "d0 d1 d2",
    ),
    "a type for each device": Case(
        pumps(lambda at, pump: {"ts": ms(at), "device": f"d{pump}", "type": f"t{pump}", "value": at % 9}, keys=False),
        {"series": "field:device"}, "value", "d0 d1 d2",
    ),
    "prometheus": Case(
        [
            (None, {"labels": {"_": name, "instance": host}, "name": name, "ts": ms(at), "value": str(two(at)[name])})
            for at in range(STEPS) for host in ("h0", "h1") for name in ("flow", "temp")
        ],
        {
            "series": "field:labels.instance", "channel_field": "name", "text_numbers": True,
        }, "flow temp", "h0 h1",
    ),
    "one of two values": Case(
        [
            (b"p", {"name": name, "ts": ms(at), kind: two(at)[name]})
            for at in range(STEPS) for name, kind in (("flow", "float_value"), ("temp", "double_value"))
        ],
        {"channel_field": "name", "value_field": ["float_value", "double_value"]}, "flow temp", "p",
    ),
    "nested alike": Case(
        pumps(lambda at, _: {"ts": ms(at), "a": {"t": {"c": at % 7}}, "b": {"t": {"c": swing(at, 9)}, "f": at % 9}}),
        {"channels": {"a.t.c": "a.t.c", "b.t.c": "b.t.c", "f": "b.f"}}, "a.t.c b.t.c f",
    ),
    "names with dots": Case(
        pumps(lambda at, _: {"ts": ms(at), "cpu.idle": swing(at, 3), "cpu.user": swing(at, 9)}),
        {}, "cpu.idle cpu.user",
    ),
    "UTC without zone": Case(pumps(lambda at, _: {"ts": when(at), **two(at)}), {}),
    "local time": Case(
        pumps(lambda at, _: {"ts": when(at, hours=5.5), **two(at)}), {"timestamp_field": ""},
        says=["ts holds local times without their zone", "5.5 h ahead of Kafka's own", "+05:30"],
    ),
    "local time, behind": Case(
        pumps(lambda at, _: {"at": when(at, hours=-8), **two(at)}), {"timestamp_field": ""},
        says=["at holds local times without their zone", "8 h behind Kafka's own", "-08:00"],
    ),
    "zone": Case(pumps(lambda at, _: {"ts": when(at, "%Y-%m-%dT%H:%M:%S%z", 2), **two(at)}), {}),
    "day first": Case(
        pumps(lambda at, _: {"ts": when(at, "%d.%m.%Y %H:%M:%S"), **two(at)}), {"timestamp_field": ""},
        says=["ts holds times in a form that is not read", "Kafka's own timestamp is taken"],
    ),
    "month first": Case(
        pumps(lambda at, _: {"time": when(at, "%m/%d/%Y %I:%M %p"), **two(at)}), {},
        says=["time holds times in a form that is not read", "Kafka's own timestamp is taken"],
    ),
    "date and time": Case(
        pumps(lambda at, _: {"date": when(at, "%Y-%m-%d"), "time": when(at, "%H:%M:%S"), **two(at)}, keys=True), {},
        says=["date holds dates without a time of day", "time holds times of day without a date"],
    ),
    "few times": Case(
        pumps(lambda at, _: {"ts": when(at) if at > 90 else None, **two(at)}), {"timestamp_field": ""},
        says=["ts holds a time in 9% of the records only", "Kafka's own timestamp is taken"],
    ),
    "some times": Case(
        pumps(lambda at, _: ({"ts": ms(at)} if at % 4 else {}) | two(at)), {},
        says=["25.0% of what can be read states no time in ts"],
    ),
    "a clock that was never set": Case(
        pumps(lambda at, pump: {"ts": ms(at) if pump else 1000 * at, **two(at)}), {}, series="p1 p2",
        says=["100 bad_timestamp"],
    ),
    "ns as text": Case(
        pumps(lambda at, _: {"timeUnixNano": f"{ms(at)}000000", **two(at)}), {"timestamp_field": "timeUnixNano"}
    ),
    "msgpack": Case(
        pumps(lambda at, _: msgspec.msgpack.encode({"ts": ms(at), **two(at)})), {"format": "msgpack"}
    ),
    "msgpack's own times": Case(
        pumps(lambda at, _: msgspec.msgpack.encode({"at": datetime.fromtimestamp(ms(at) / 1000, UTC), **two(at)})),
        {"format": "msgpack", "timestamp_field": "at"},
    ),
    "lines": Case(
        pumps(lambda at, _: f"{ms(at)},{swing(at, 3)},{swing(at, 20)}".encode()),
        {"format": "csv", "timestamp_field": "c1", "csv_columns": ["c1", "c2", "c3"]}, "c2 c3",
        says=["no line names the cells, so they are called c1 to c3"],
    ),
    "lines after their names": Case(
        [(b"p0", b"ts,flow,temp"), *pumps(lambda at, _: f"{ms(at)},{swing(at, 3)},{swing(at, 20)}".encode())],
        {"format": "csv", "csv_columns": ["ts", "flow", "temp"]},
    ),
    "lines with their names": Case(
        pumps(lambda at, pump: f"t;who;flow;temp\r\n{when(at)};d{pump};{swing(at, 3)};NaN\r\n".encode(), keys=False),
        {
            "format": "csv", "series": "field:who", "timestamp_field": "t", "csv_delimiter": ";",
            "csv_columns": ["t", "who", "flow", "temp"],
        }, "flow", "d0 d1 d2",
    ),
    "several lines": Case(
        [
            (b"p%d" % pump, "\n".join(f"{ms(5 * at + step)}|{swing(5 * at + step, 3)}" for step in range(5)).encode())
            for at in range(20) for pump in range(3)
        ],
        {"format": "csv", "timestamp_field": "c1", "csv_delimiter": "|", "csv_columns": ["c1", "c2"]}, "c2",
        says=["no line names the cells"],
    ),
    "lines of readings": Case(
        [
            (None, f"{ms(at)},pump-{pump},{name},{two(at)[name]}".encode())
            for at in range(STEPS) for pump in range(2) for name in ("flow", "temp")
        ],
        {
            "format": "csv", "series": "field:c2", "timestamp_field": "c1", "csv_columns": ["c1", "c2", "c3", "c4"],
            "channel_field": "c3", "value_field": "c4",
        }, "flow temp", "pump-0 pump-1", ["no line names the cells"],
    ),
    "bare numbers": Case(
        pumps(lambda at, _: str(swing(at, 3)).encode()), {"format": "csv", "csv_columns": ["value"]}, "value"
    ),
    "a few float32": Case(
        pumps(lambda at, _: np.array([swing(at, 3), swing(at, 20)], "<f4").tobytes()), {"format": "f32"}, "0 1",
        says=["values hold 2 numbers without names: they are taken for channels, called 0 to 1"],
    ),
    "many float32": Case(
        pumps(lambda at, _: np.array([swing(20 * at + step, 3) for step in range(20)], "<f4").tobytes()),
        {"format": "f32"}, "value",
    ),
    "lists of numbers": Case(
        pumps(lambda at, _: [swing(at, 3), swing(at, 20)]), {}, "value", says=["which are 2 samples of one channel"],
    ),
    "missing too often": Case(
        pumps(lambda at, _: {"ts": ms(at), "flow": swing(at, 3) if at % 3 else None, "temp": swing(at, 20)}), {},
        says=["only 0% of the windows of 10 samples would be whole", "--max-hold-ms 5000"],
    ),
    "a list beside what is measured": Case(
        pumps(lambda at, _: {"received_at": ms(at), "payload": two(at), "rx": [{"rssi": -90 - at % 7}, {"rssi": -99}]}),
        {"timestamp_field": "received_at", "channels": {"*": "payload.*"}},
    ),
    "numbers of devices": Case(
        pumps(lambda at, pump: {"ts": ms(at), "deviceId": 100 + pump, **two(at)}, keys=False),
        {"series": "field:deviceId"}, series="100 101 102",
    ),
    "a number of each series": Case(
        pumps(lambda at, pump: {"ts": ms(at), "unit": float(pump), "rated_kw": 3.5 + pump, **two(at)}),
        {"labels": {"unit": "field:unit"}},
    ),
    "two formats": Case(
        [
            (b"p", msgspec.msgpack.encode({"ts": ms(at), **two(at)}) if at % 5 == 0 else {"ts": ms(at), **two(at)})
            for at in range(STEPS)
        ],
        {}, "flow temp", "p", ["20 of 100 values are msgpack, which is another format", "20 malformed"],
    ),
    "readings apart": Case(
        [
            (b"p", reading("p", name, two(at)[name], at + (0.02 + 0.01 * (at % 3) if name == "temp" else 0)))
            for at in range(STEPS) for name in ("flow", "temp")
        ],
        {"channel_field": "metric", "join_tolerance_ms": 100}, "flow temp", "p",
        ["a sample each 1 s and series, usually, of 2 readings that are up to 40 ms apart, so that they are joined"],
    ),
    "a slow channel": Case(
        [
            (b"p", reading("p", name, two(at)[name], at))
            for at in range(STEPS) for name in ("flow", "temp") if name == "flow" or at % 5 == 0
        ],
        {"channel_field": "metric"}, "flow temp", "p", ["held for up to 10 s", "--max-hold-ms 10000"],
    ),
    "two scales": Case(
        pumps(lambda at, pump: {"ts": ms(at), "temp": swing(at, 20, 2) if pump else 32 + 1.8 * swing(at, 20, 2)}), {},
        "temp", says=["in 2 series (p1, p2)", "in 1 (p0): they look like degrees C and F"],
    ),
    "two kinds of machines": Case(
        pumps(lambda at, pump: {"ts": ms(at), "rpm": swing(at, 900, 20) if pump else swing(at, 7000, 5)}), {}, "rpm",
        says=["two units, or two kinds of machines"],
    ),
    "two units in one series": Case(
        [(b"p", {"ts": ms(at), "p": (1 if at % 3 else 100) * swing(at, 2, 0.1)}) for at in range(200)], {}, "p", "p",
        ["they look like a unit and its hundredth"],
    ),
    "a field of units": Case(
        pumps(lambda at, pump: {"ts": ms(at), "temp": swing(at, 20), "uom": "FC"[pump > 0]}),
        {"labels": {"uom": "field:uom"}}, "temp", says=["temp comes in several units, C, F (field uom)"],
    ),
    "units of a reading": Case(
        [
            (None, reading("d", name, two(at)[name], at) | {"unit": unit})
            for at in range(STEPS) for name, unit in (("flow", "l"), ("temp", "CK"[at % 2]))
        ],
        {"series": "field:device", "channel_field": "metric"}, "flow temp", "d", ["temp comes in several units, C, K"],
    ),
    "one unit a channel": Case(
        [
            (None, reading("d", name, two(at)[name], at) | {"unit": unit})
            for at in range(STEPS) for name, unit in (("flow", "l"), ("temp", "C"))
        ],
        {"series": "field:device", "channel_field": "metric"}, "flow temp", "d",
    ),
    "samples and readings": Case(
        pumps(lambda at, pump: {"ts": ms(at), **two(at)} if pump else reading("q", "flow", swing(at, 3), at)),
        {"partial_records": True}, series="p1 p2",
        says=["records are of 2 kinds: 200 with flow, temp, ts; 100 with device, metric, ts, value"],
    ),
    "two kinds": Case(
        pumps(lambda at, pump: {"ts": ms(at), **two(at)} if pump else {"when": ms(at), "battery": swing(at, 3)}),
        {"partial_records": True}, series="p1 p2",
        says=["records are of 2 kinds: 200 with flow, temp, ts; 100 with", "below is for flow, temp, in 2 series"],
    ),
    "other channels in each": Case(
        pumps(lambda at, pump: {"ts": ms(at), **two(at)} if pump else {"ts": ms(at), "temp": swing(at, 20)}),
        {"partial_records": True}, "temp flow", "p0 p1 p2",
        says=["p0 have temp; p1, p2 have flow, temp", "is for temp, flow, in 2 series"],
    ),
    "labels and the series again": Case(
        pumps(lambda at, pump: {"ts": ms(at), "device": f"p{pump}", "site": "north", **two(at)}),
        {"labels": {"site": "field:site"}},
    ),
    "totals": Case(
        pumps(lambda at, pump: {"ts": ms(at), **two(at), "energy": 700 * pump + at + RANDOM[at] / 9}), {},
        says=["energy only rises or falls"],
    ),
    "only totals": Case(
        pumps(lambda at, pump: {"ts": ms(at), "energy": 700 * pump + at + RANDOM[at] / 9}), {}, "energy",
        says=["energy only rises or falls"],
    ),
    "words among numbers": Case(
        pumps(lambda at, _: {"ts": ms(at), "flow": "Bad" if at % 30 == 7 else swing(at, 3), "temp": swing(at, 20)}),
        {"missing_values": ["Bad"]}, says=["'Bad' stands among numbers"],
    ),
    "words among texts": Case(
        pumps(lambda at, _: {"ts": ms(at), "state": "Wartung" if at % 30 == 7 else f"{swing(at, 3)}"}),
        {"text_numbers": True, "missing_values": ["Wartung"]}, "state", says=["'Wartung' stands among"],
    ),
    "codes": Case(
        pumps(lambda at, _: {"ts": ms(at), "flow": -9999 if at % 30 == 7 else swing(at, 3), "temp": swing(at, 20)}),
        {"missing_values": [-9999]}, says=["flow: -9999 lies far from all other values"],
    ),
    "quality of one channel": Case(
        pumps(lambda at, _: {"ts": ms(at), **two(at), "flow_quality": "GOOD" if at % 9 else "BAD"}), {},
        says=["flow_quality: is the quality of flow alone"],
    ),
    "quality of all": Case(
        pumps(lambda at, _: {"ts": ms(at), **two(at), "quality": "Good" if at % 9 else "Bad"}),
        {"quality_field": "quality"},
    ),
}  # fmt: skip


def look(records: list[Record], *, schemas: Any = None) -> Diagnosis:
    """Records of as many a second as there are for a step."""
    encoded = [value if isinstance(value, bytes) else json.dumps(value).encode() for _, value in records]
    each = max(1, round(len(records) / STEPS))
    stamps = [ms(at // each) + 40 for at in range(len(records))]
    columns = make_columns(encoded, keys=[key for key, _ in records], timestamps_ms=stamps)
    return examine([columns], 1000 * NOW_MS + 3_600_000_000, {} if schemas is None else schemas)


def test_what_comes_hours_late_is_waited_for_before_silence_resolves_anything() -> None:
    found = look(pumps(lambda at, _: {"ts": ms(at) - (10_000_000 if at % 9 == 8 else 0), **two(at)}))
    proposed = tomllib.loads(report.configuration(found, PLACE))
    assert parse(proposed)[1] == []
    assert proposed["quality"]["no_data_resolves_after_ms"] == proposed["input"]["grace_ms"] > 2 * 10_000_000 - 60_000


@pytest.mark.parametrize("name", CASES)
def test_what_is_proposed_and_said(name: str) -> None:
    case = CASES[name]
    found = look(case.records)
    assert found.works
    text = report.of_topic(found, PLACE)
    proposed = tomllib.loads(report.configuration(found, PLACE))
    assert parse(proposed)[1] == []
    options = {option: value for option, value in proposed["input"].items() if option not in ("topics", "grace_ms")}
    assert {"series": "key"} | options == {"series": "key"} | case.options
    assert found.channels == case.channels.split()
    assert found.trial.names == case.series.split()
    assert found.joins is None or "of a time that was there before" not in text
    said = " ".join(text.split())
    for words in case.says:
        assert words in said
    if not case.says:
        assert found.notes == [note for note in found.notes if "no key" in note]


def avro(records: list[Record], schema: Any, number: int = 7) -> list[Record]:
    """Records in Confluent's wire format."""
    fastavro = pytest.importorskip("fastavro", reason="the extra avro is not installed")
    parsed, found = fastavro.parse_schema(schema), []
    for key, record in records:
        written = BytesIO()
        fastavro.schemaless_writer(written, parsed, record)
        found.append((key, b"\0" + number.to_bytes(4, "big") + written.getvalue()))
    return found


TIME = {"type": "long", "logicalType": "timestamp-millis"}
FIELDS = [
    {"name": "at", "type": TIME},
    {"name": "flow", "type": "double"},
    {"name": "temp", "type": ["null", "double"]},
]
SCHEMA = {"type": "record", "name": "Sample", "fields": FIELDS}


def test_avro_with_its_registry() -> None:
    records = avro(pumps(lambda at, _: {"at": ms(at), **two(at)}), SCHEMA)
    found = look(records, schemas={7: Schema("AVRO", json.dumps(SCHEMA))})
    assert (found.options, found.channels) == (
        {"format": "avro", "series": "key", "timestamp_field": "at"},
        ["flow", "temp"],
    )
    assert (found.trial.accepted, found.trial.names) == (300, ["p0", "p1", "p2"])


def test_avro_without_its_registry() -> None:
    found = look(avro(pumps(lambda at, _: {"at": ms(at), **two(at)}), SCHEMA))
    assert not found.works
    text = report.of_topic(found, replace(PLACE, words=("-b", "h:1")))
    assert "  telltale doctor plant.pumps -b h:1 --registry http://REGISTRY:8081" in text
    assert 'format = "avro"' in text
    assert 'urls = ["http://REGISTRY:8081"]  # to be filled in' in text


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (Schema("PROTOBUF", "syntax"), "schema 7 is one of PROTOBUF, which input.format does not read"),
        ("the schema registry has no schema with id 7; ...", "the schema registry has no schema with id 7"),
        (Schema("AVRO", '"string"'), "schema 7 is one of Avro, and the values do not fit it"),
    ],
)
def test_schemas_that_can_not_be_used(schema: Schema | str, said: str) -> None:
    found = look([(b"k", b"\0\0\0\0\x07\0\x12%d" % at) for at in range(50)], schemas={7: schema})
    assert not found.works
    assert said in " ".join(report.of_topic(found, PLACE).split())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([b"hello %d" % at for at in range(50)], "None of the 50 records can be read. The first values are: hello 0"),
        ([b"\x1f\x8b\x08%d" % at for at in range(50)], "50 of 50: the record is compressed with gzip"),
        ([b"cpu,host=a idle=%d.5,user=2 1796071856000000000" % at for at in range(50)], "InfluxDB's line protocol"),
        ([b"temperature value=%d" % at for at in range(50)], 'in Telegraf set data_format = "json" at the output'),
        ([b'{"text": "a%d"}' % at for at in range(50)], "nothing in them is a number to watch"),
        ([b""] * 50, "all records are tombstones (null values)"),
        ([b"2026-11-30 12:00:00;3,14;12,%d" % at for at in range(50)], "c2 holds numbers with a decimal comma"),
    ],
)
def test_nothing_can_be_read(values: list[bytes], said: str) -> None:
    """No configuration is spoken of, and no channel that is not there."""
    found = look([(b"k", value) for value in values])
    assert (found.works, found.channels) == (False, [])
    text = report.of_topic(found, PLACE)
    assert said in " ".join(text.split())
    assert "configuration below" not in text
    assert "rejected" not in text


def test_readings_make_samples_as_joins_say() -> None:
    """Against the samples that they were made of."""
    random = np.random.default_rng(5)
    for step_ms, apart_ms, slow in ((1000, 0, 1), (1000, 90, 1), (60_000, 2000, 1), (100, 20, 7), (1000, 300, 3)):
        found = look(
            [
                (b"p", reading("p", name, two(at)[name], (at * step_ms + int(random.integers(apart_ms + 1))) / 1000))
                for at in range(200)
                for name in ("flow", "temp")
                if name == "flow" or at % slow == 0
            ]
        )
        assert found.joins is not None
        assert found.joins.apart_us <= 1000 * apart_ms
        assert apart_ms <= found.joins.tolerance_ms < step_ms - apart_ms
        assert (found.joins.tolerance_ms > 0) == (apart_ms > 0)
        assert abs(found.joins.step_us - 1000 * step_ms) <= 1000 * apart_ms
        assert (found.joins.hold_ms >= slow * step_ms) == (slow > 1)


KAFKA = KafkaOptions(bootstrap_servers=["127.0.0.1:9092"])


def test_too_few_samples_are_said() -> None:
    found = look(CASES["zone"].records)
    text = " ".join(report.of_topic(found, replace(PLACE, held=60)).split())
    assert "a series has about 20 samples, which is too few to learn from" in text
    assert "--recipe plant --window 3" in text
    assert "too few" not in report.of_topic(found, PLACE)


def test_a_daemon_is_called_after_its_topic() -> None:
    """Two of one name and group would take each other's partitions."""
    (one, two_) = (command.sections(KAFKA, None, topic, None) for topic in ("pumps", "fans"))
    for found, name in ((one, "telltale.pumps"), (two_, "telltale.fans")):
        assert (found["service"]["name"], found["kafka"]["group_id"]) == (name, name)
    text = report.configuration(look(CASES["zone"].records), replace(PLACE, sections=one))
    assert "port = 8900  # another for each daemon on a machine" in text
    longest = command.sections(KAFKA, None, "x" * 249, None)
    assert parse(longest)[1] == []


def test_a_configuration_of_another_topic_lends_its_connection_only() -> None:
    base = Config.model_validate(
        {
            "kafka": {"bootstrap_servers": ["h:1"], "allow_plaintext": True, "group_id": "fans"},
            "input": {"topics": ["fans"]},
            "output": {"state": "fans.state", "alerts": "alerts"},
            "http": {"port": 9000},
        }
    )
    found = command.sections(base.kafka, base, "pumps", SchemaRegistryOptions(urls=["http://r:1"]))
    assert found["kafka"] == {"bootstrap_servers": ["h:1"], "allow_plaintext": True, "group_id": "telltale.pumps"}
    assert (found["output"], found["http"]) == ({"alerts": "alerts"}, {"port": 9000})
    assert found["schema_registry"] == {"urls": ["http://r:1"]}
    same = command.sections(base.kafka, base, "fans", None)
    assert (same["kafka"]["group_id"], same["output"]["state"], "service" in same) == ("fans", "fans.state", False)


def test_states_are_no_units() -> None:
    """Nor are numbers between which there happens to be room."""
    day = np.where(np.arange(600) % 100 < 40, 72.0, 22.0) + np.array(RANDOM[:600])
    assert units.of_numbers("v", {"p": day}) == ""
    assert units.of_numbers("v", {"p": np.concatenate([9041 + np.arange(16.0) / 2, 9051 + np.arange(15.0) / 2])}) == ""
    assert units.of_numbers("v", {"p": np.where(np.arange(600) % 2, 20.0, 68.0)}) == "", "a square wave"
    assert units.of_numbers("v", {f"p{pump}": np.array(RANDOM[:200]) + pump for pump in range(4)}) == ""
    changed = np.array(RANDOM[:600])
    changed = np.where(np.arange(600) < 300, 20 + changed, 68 + 1.8 * changed)
    assert "degrees C and F" in units.of_numbers("v", {"p": changed}), "from some time on"


def test_debeziums_time_is_that_of_the_change_where_rows_say_none() -> None:
    """Not that at which the connector read it, which lags behind."""
    values = [
        {"before": None, "after": two(at), "source": {"ts_ms": ms(at), "table": "m"}, "op": "c", "ts_ms": ms(at + 30)}
        for at in range(STEPS)
    ]
    columns = make_columns(
        [json.dumps(value).encode() for value in values],
        keys=[b"p%d" % (at % 3) for at in range(STEPS)],
        timestamps_ms=[ms(at + 31) for at in range(STEPS)],
    )
    found = examine([columns], ms(STEPS) * 1000)
    assert (found.mapping, found.trial.accepted, found.shape.time) == ("debezium", STEPS, "source.ts_ms")
    assert "timestamp_field" not in found.options
