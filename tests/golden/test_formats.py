"""What lies in users' topics, byte for byte: written as it always was, and read for ever."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from monitor.backends.abstract import NO_STATE, Damaged, Position, RecordColumns, StateRecord, TopicPartition
from monitor.backends.kafka.position import decode_position, encode_position
from monitor.detector.incidents import Incident, IncidentKey
from monitor.detector.times import NEVER_US
from monitor.detector.windows import Samples, Tails, Waiting
from monitor.errors import Reason
from monitor.formats.decoder import StreamTime
from monitor.messages import alerts, dead_letters, quality
from monitor.messages.dead_letters import DeadLetter
from monitor.processing import incident_records, snapshots, time_records
from monitor.processing.snapshots import UNKNOWN_US, Checkpoint, Mark

HERE = Path(__file__).parent / "formats"
ME = TopicPartition("plant.pumps", 3)
SHARD_KEY, TIME_KEY = b"windows/plant.pumps/3/0", b"time/plant.pumps/3"
MARK = Mark(1_000_007, "wt8HcMaMTtuqyP2wkbOEWw", "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8")
CHANNELS = ["flow", "tank less 18228934.0"]
NOW_US = 1_764_500_000_000_000

# Windows of four samples: one series with three of them kept, one with two (a number is missing), one that only began.
SERIES = [b"pump-1", "Bett Ä".encode(), b"new"]
SEEN_US = np.array([NOW_US - 5_000_000, NOW_US, UNKNOWN_US], dtype=np.int64)
TAILS = Tails(
    index=np.array([70, 2, 0], dtype=np.int64),
    last_time_us=np.array([NOW_US + 500, NOW_US - 1, NEVER_US], dtype=np.int64),
    last_clock_us=np.array([NOW_US + 400, NOW_US - 1, NEVER_US], dtype=np.int64),
    kept=np.array([3, 2, 0], dtype=np.int64),
    values=np.array([[1.5, -0.25], [2, 0], [0.1, 3e8], [np.nan, 7], [-0.0, 1e-30]], dtype=np.float32),
    time_us=np.array([NOW_US, NOW_US + 250, NOW_US + 500, NOW_US - 2, NOW_US - 1], dtype=np.int64),
    offset=np.array([1_000_000, 1_000_002, 1_000_004, 1_000_005, 1_000_006], dtype=np.int64),
)
CHECKS = {"no_data ['flow', 'tank less 18228934.0'] [('last_us', '<i8')]": bytes(range(24)), "other": b"abc"}
OPEN = Incident(
    over=2, under=1, quiet=7, fingerprint="0123456789abcdef", started_us=NOW_US, ended_us=NOW_US + 1_500_001,
    windows=9, peak_ratio=3.3125,
)  # fmt: skip
OPENING = Incident(over=1, started_us=NOW_US, ended_us=NOW_US + 250, windows=1, peak_ratio=1.5)
TIME = StreamTime(newest_us=NOW_US, clock_us=NOW_US + 9, ahead=2, ahead_us=NOW_US + 86_400_000_000, clocked=True)
TICKS = {1_000_009: NOW_US + 11, 1_000_008: NOW_US + 10}
POSITION = Position(1_000_012, 1_000_007, 42, MARK.topic_id, 12)


def golden(name: str) -> bytes:
    return (HERE / name).read_bytes()


def shard(checkpoint: Checkpoint) -> bytes:
    (record,) = snapshots.encode_checkpoint(ME, MARK, CHANNELS, checkpoint)
    assert record[0] == SHARD_KEY
    return record[1]


def shards_that_wait() -> list[bytes]:
    """The shards of a checkpoint while samples wait: one of the series, and one of the samples."""
    samples = Samples(
        series=np.array([0, 2, 0], dtype=np.int64),
        values=np.array([[1.25, np.nan], [7, 8], [np.nan, -3]], dtype=np.float32),
        time_us=np.array([NOW_US + 750, NOW_US, NOW_US + 1000], dtype=np.int64),
        clock_us=np.array([NOW_US + 700, NOW_US, NOW_US + 1000], dtype=np.int64),
        ties=np.array([True, False, False]),
        offset=np.array([1_000_004, 1_000_005, 1_000_006], dtype=np.int64),
        index=np.array([1, 0, 2], dtype=np.int64),
        hole=np.array([False, False, True]),
        carried=np.array([[True, True], [True, True], [False, True]]),
    )
    waiting = Waiting(samples, np.array([NOW_US, NOW_US, NOW_US + 1]), np.array([-2, -1, 0]))
    records = snapshots.encode_checkpoint(ME, MARK, CHANNELS, Checkpoint(SERIES, SEEN_US, TAILS, {}, waiting))
    return [value for _, value in records]


def time_record() -> bytes:
    key, value = time_records.encode_time(ME, MARK.offset, TIME, TICKS)
    assert key == TIME_KEY
    return value


def letter_of_a_record() -> DeadLetter:
    key, value = b"pump-\xff\n1", b'{"flow": "high"}'
    columns = RecordColumns(ME, np.array([41, 42]), np.array([7, 1_764_500_000_000]), [None, key], [b"", value], 43)
    return DeadLetter.of(columns, 1, Reason.WRONG_TYPE, 'flow: "high" is not a number')


def letter_of_a_tombstone() -> DeadLetter:
    columns = RecordColumns(ME, np.array([41]), np.array([-1]), [None], [None], 42)
    return DeadLetter.of(columns, 0, Reason.EMPTY, "a tombstone (null value)")


def letter_of_a_batch() -> DeadLetter:
    damaged = Damaged(
        first_offset=100, next_offset=164, size=16_384, records=None, reason=Reason.CORRUPT_BATCH, detail="CRC differs"
    )
    return DeadLetter.of_batch(ME, damaged)


WRITTEN: dict[str, Callable[[], bytes | None]] = {
    "snapshot-with-artifact-v2.msgpack": lambda: shard(Checkpoint(SERIES, SEEN_US, TAILS)),
    "snapshot-of-records-with-artifact-v2.msgpack": lambda: shard(
        Checkpoint(SERIES, SEEN_US, Tails.nothing(3, len(CHANNELS)))
    ),
    "snapshot-of-nothing-with-artifact-v2.msgpack": lambda: shard(
        Checkpoint([], SEEN_US[:0], Tails.nothing(0, len(CHANNELS)))
    ),
    "snapshot-with-checks-v2.msgpack": lambda: shard(Checkpoint(SERIES, SEEN_US, TAILS, CHECKS)),
    "snapshot-that-waits-v3.msgpack": lambda: shards_that_wait()[0],
    "snapshot-of-what-waits-v3.msgpack": lambda: shards_that_wait()[1],
    "incident-open-v1.json": lambda: incident_records.encode_incident(OPEN),
    "incident-opening-v1.json": lambda: incident_records.encode_incident(OPENING),
    "time-v1.json": time_record,
    "position-v2.json": lambda: encode_position(POSITION).encode(),
    "dead-letter-v1.json": lambda: dead_letters.encode(letter_of_a_record()),
    "dead-letter-of-a-tombstone-v1.json": lambda: dead_letters.encode(letter_of_a_tombstone()),
    "dead-letter-of-a-batch-v1.json": lambda: dead_letters.encode(letter_of_a_batch()),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_what_was(name: str) -> None:
    assert WRITTEN[name]() == golden(name)


def read(name: str, channels: list[str] | None) -> Checkpoint:
    records = [StateRecord(b"windows/plant.pumps/31/0", b"another's"), StateRecord(SHARD_KEY, golden(name))]
    return snapshots.decode_checkpoint(ME, MARK.offset, records, channels)


def test_what_waits_is_read() -> None:
    names = "snapshot-that-waits-v3.msgpack", "snapshot-of-what-waits-v3.msgpack"
    records = [StateRecord(SHARD_KEY[:-1] + b"%d" % shard, golden(name)) for shard, name in enumerate(names)]
    found = snapshots.decode_checkpoint(ME, MARK.offset, records, CHANNELS)
    check_tails(found.tails, TAILS)
    assert found.waiting is not None
    again = Checkpoint(SERIES, SEEN_US, TAILS, {}, found.waiting)
    assert [value for _, value in snapshots.encode_checkpoint(ME, MARK, CHANNELS, again)] == shards_that_wait()
    assert found.waiting.number.tolist() == [-2, -1, 0]


def check_tails(found: Tails, expected: Tails) -> None:
    for name in Tails.__slots__:
        assert getattr(found, name).dtype == getattr(expected, name).dtype
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name


@pytest.mark.parametrize(
    ("name", "mark"), [("snapshot-with-artifact-v2.msgpack", MARK), ("snapshot-v2.msgpack", MARK._replace(artifact=""))]
)
def test_a_snapshot_is_read(name: str, mark: Mark) -> None:
    """The first of version 2 did not say which artifact was in service."""
    found = read(name, CHANNELS)
    assert found.series == SERIES
    assert found.seen_us.tolist() == SEEN_US.tolist()
    check_tails(found.tails, TAILS)
    assert snapshots.newest_mark(ME, [StateRecord(SHARD_KEY, golden(name))]) == mark


def test_what_checks_remember_is_read() -> None:
    found = read("snapshot-with-checks-v2.msgpack", CHANNELS)
    assert (found.series, found.checks) == (SERIES, CHECKS)
    check_tails(found.tails, TAILS)


def test_a_snapshot_of_version_1_is_read() -> None:
    """It did not say when a series was seen last: the one whose last sample is oldest comes first."""
    found = read("snapshot-v1.msgpack", CHANNELS)
    order = [2, 0, 1]
    assert found.series == [SERIES[row] for row in order]
    assert found.seen_us.tolist() == [UNKNOWN_US] * 3
    per_series = {name: getattr(TAILS, name)[order] for name in ("index", "last_time_us", "last_clock_us", "kept")}
    check_tails(found.tails, replace(TAILS, **per_series))
    assert snapshots.newest_mark(ME, [StateRecord(SHARD_KEY, golden("snapshot-v1.msgpack"))]) == Mark(MARK.offset, "")


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("snapshot-of-records-with-artifact-v2.msgpack", SERIES),
        ("snapshot-of-records-v2.msgpack", SERIES),
        ("snapshot-of-nothing-with-artifact-v2.msgpack", []),
        ("snapshot-of-nothing-v2.msgpack", []),
    ],
)
def test_a_snapshot_without_windows_is_read(name: str, series: list[bytes]) -> None:
    found = read(name, None)
    assert found.series == series
    assert found.seen_us.tolist() == SEEN_US.tolist()[: len(series)]
    check_tails(found.tails, Tails.nothing(len(series), len(CHANNELS)))


@pytest.mark.parametrize(("name", "expected"), [("incident-open-v1.json", OPEN), ("incident-opening-v1.json", OPENING)])
def test_an_incident_is_read(name: str, expected: Incident) -> None:
    key = b"incident/plant.pumps/3/" + SERIES[1]
    assert (
        incident_records.incident_key(ME, SERIES[1], "reconstruction")
        == incident_records.incident_key(ME, SERIES[1])
        == key
    )
    assert incident_records.decode_incidents(ME, [StateRecord(key, golden(name))]) == {IncidentKey(SERIES[1]): expected}


def test_an_incident_of_another_rule_has_a_key_of_its_own() -> None:
    """It begins otherwise, so that a release that knows one rule only leaves it alone."""
    key = b"incident:no_data/plant.pumps/3/" + SERIES[1]
    assert incident_records.incident_key(ME, SERIES[1], "no_data") == key
    found = incident_records.decode_incidents(ME, [StateRecord(key, golden("incident-open-v1.json"))])
    assert found == {IncidentKey(SERIES[1], "no_data"): OPEN}


def test_an_incident_of_one_channel_has_a_key_of_its_own() -> None:
    """Its name is percent-encoded: it may hold what separates parts of a key."""
    key = b"incident:flatline:tank%2F2%20%C2%B0C%3Ain/plant.pumps/3/" + SERIES[1]
    assert incident_records.incident_key(ME, SERIES[1], "flatline", "tank/2 °C:in") == key
    found = incident_records.decode_incidents(ME, [StateRecord(key, golden("incident-open-v1.json"))])
    assert found == {IncidentKey(SERIES[1], "flatline", "tank/2 °C:in"): OPEN}


def test_an_incident_that_is_over_is_a_tombstone() -> None:
    assert incident_records.encode_incident(Incident()) is None


def test_time_is_read() -> None:
    found = time_records.decode_time(ME, MARK.offset, [StateRecord(TIME_KEY, golden("time-v1.json"))])
    assert found is not None
    assert found.ticks == TICKS
    found.ticks = {}
    assert found == TIME


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("position-v2.json", POSITION),
        ("position-v1.json", Position(POSITION.offset, POSITION.replay_from, POSITION.state_from)),
    ],
)
def test_a_position_is_read(name: str, expected: Position) -> None:
    assert decode_position(POSITION.offset, golden(name).decode()) == expected
    assert expected.state_from != NO_STATE


# What a later release may add to a record without a new version of it: members of both share the topics for a while.
LATER: dict[str, Any] = {"unit": "bar", "weights": [1.5, None, {"of": [True]}], "until_us": NOW_US}


def with_later_fields(name: str) -> bytes:
    return json.dumps(LATER | json.loads(golden(name)) | {"last": 0}).encode()


@pytest.mark.parametrize("name", ["snapshot-v1.msgpack", "snapshot-v2.msgpack", "snapshot-with-artifact-v2.msgpack"])
def test_fields_that_a_snapshot_of_later_has_are_passed_over(name: str) -> None:
    """Its checksum is of all that it holds."""
    fields = LATER | msgspec.msgpack.decode(golden(name)) | {"last": b"\x00"}
    if fields["version"] > 1:
        fields["checksum"] = zlib.crc32(msgspec.msgpack.encode(fields | {"checksum": 0}))
    record = StateRecord(SHARD_KEY, msgspec.msgpack.encode(fields))
    found, expected = snapshots.decode_checkpoint(ME, MARK.offset, [record], CHANNELS), read(name, CHANNELS)
    assert (found.series, found.seen_us.tolist()) == (expected.series, expected.seen_us.tolist())
    check_tails(found.tails, expected.tails)
    assert snapshots.newest_mark(ME, [record]) == Mark(
        MARK.offset, fields.get("topic_id", ""), fields.get("artifact", "")
    )


def test_fields_that_an_incident_of_later_has_are_passed_over() -> None:
    record = StateRecord(b"incident/plant.pumps/3/new", with_later_fields("incident-open-v1.json"))
    assert incident_records.decode_incidents(ME, [record]) == {IncidentKey(b"new"): OPEN}


def test_fields_that_time_of_later_has_are_passed_over() -> None:
    found = time_records.decode_time(ME, MARK.offset, [StateRecord(TIME_KEY, with_later_fields("time-v1.json"))])
    assert found == replace(TIME, ticks=TICKS)


@pytest.mark.parametrize("name", ["position-v1.json", "position-v2.json"])
def test_fields_that_a_position_of_later_has_are_passed_over(name: str) -> None:
    text = with_later_fields(name).decode()
    assert decode_position(POSITION.offset, text) == decode_position(POSITION.offset, golden(name).decode())
    assert decode_position(POSITION.offset, text).state_from == POSITION.state_from


def test_dead_letters_are_json_with_the_same_fields() -> None:
    names = [name for name in WRITTEN if name.startswith("dead-letter")]
    assert len({tuple(json.loads(golden(name))) for name in names}) == 1
    assert json.loads(golden("dead-letter-v1.json"))["key"] == "pump-\\xff\n1"
    headers = (("content-type", b"application/json"), ("reason", b"wrong_type"))
    assert dead_letters.headers(letter_of_a_record()) == headers


def without_descriptions(schema: Any) -> Any:
    """What a schema demands; its sentences may be put better."""
    if isinstance(schema, dict):
        return {
            name: without_descriptions(part)
            for name, part in schema.items()
            if not (name == "description" and isinstance(part, str))
        }
    return [without_descriptions(part) for part in schema] if isinstance(schema, list) else schema


def test_the_alert_schema_demands_what_it_did() -> None:
    assert without_descriptions(json.loads(json.dumps(alerts.schema()))) == json.loads(golden("alert-schema-v1.json"))


def test_the_schema_of_quality_alerts_demands_what_it_did() -> None:
    found = without_descriptions(json.loads(json.dumps(quality.schema())))
    assert found == json.loads(golden("quality-alert-schema-v1.json"))
    found = without_descriptions(json.loads(json.dumps(quality.digest_schema())))
    assert found == json.loads(golden("quality-digest-schema-v1.json"))
