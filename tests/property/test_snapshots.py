"""State records: what goes in comes out; what is damaged is refused as a whole, what a later release adds is not."""

from __future__ import annotations

import contextlib
import zlib
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.backends.abstract import StateRecord, TopicPartition
from monitor.detector.incidents import SCORE_RULE, Incident, IncidentKey
from monitor.detector.spec import WindowSpec
from monitor.detector.windowing import Sliding
from monitor.detector.windows import Tails
from monitor.processing import incident_records, snapshots
from monitor.processing.snapshots import SHARD_BYTES, Checkpoint, Mark, StateError

ME = TopicPartition("ecg.ward-3", 1)
OTHERS = [TopicPartition("ecg.ward-3", 11), TopicPartition("ecg.ward-3", 0), TopicPartition("ecg.ward", 1)]


def channel_names(channels: int) -> list[str]:
    return [f"c{number}" for number in range(channels)]


def make_tails(count: int, length: int, channels: int, seed: int) -> Tails:
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 3 * length, size=count)
    kept = np.minimum(index, length - 1)
    samples = int(kept.sum())
    values = rng.normal(size=(samples, channels)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return Tails(
        index=index,
        last_time_us=rng.integers(-(1 << 61), 1 << 61, size=count),
        last_clock_us=rng.integers(-(1 << 61), 1 << 61, size=count),
        kept=kept,
        values=values,
        time_us=rng.integers(-(1 << 61), 1 << 61, size=samples),
        offset=rng.integers(0, 1 << 61, size=samples),
    )


def seen(series: list[bytes]) -> np.ndarray:
    return np.arange(len(series), dtype=np.int64) * 7 - 3


def encode(series: list[bytes], tails: Tails, offset: int = 7, partition: TopicPartition = ME) -> list[StateRecord]:
    return [
        StateRecord(*record)
        for record in snapshots.encode_checkpoint(
            partition,
            Mark(offset, "id-1", "5e88"),
            channel_names(tails.values.shape[1]),
            Checkpoint(series, seen(series), tails),
        )
    ]


def windower(length: int, channels: int) -> Sliding:
    return Sliding(WindowSpec(kind="sliding", length=length, hop=1), channels)


def decode(
    records: list[StateRecord], *, length: int | None = 6, channels: int = 2, offset: int = 7
) -> tuple[list[bytes], Tails]:
    found = snapshots.decode_checkpoint(ME, offset, records, None if length is None else channel_names(channels))
    if length is not None and (problem := windower(length, channels).problem(found.tails)):
        raise StateError(problem)
    if records and msgspec.msgpack.decode(records[0].value)["version"] > 1:
        np.testing.assert_array_equal(found.seen_us, seen(found.series))
    return found.series, found.tails


def same(one: Tails, other: Tails) -> None:
    for name in Tails.__slots__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(one, name).dtype == getattr(other, name).dtype


names = st.lists(st.text(min_size=1, max_size=12).map(str.encode), unique=True, max_size=12)


@given(names, st.integers(1, 9), st.integers(1, 3), st.integers(0, 2**32 - 1), st.integers(0, 1 << 60))
def test_a_checkpoint_comes_back(series: list[bytes], length: int, channels: int, seed: int, offset: int) -> None:
    tails = make_tails(len(series), length, channels, seed)
    records = encode(series, tails, offset)
    assert records
    for foreign in OTHERS:
        records += encode([b"x"], make_tails(1, length, channels, 1), offset, foreign)
    found, back = decode(records[::-1], length=length, channels=channels, offset=offset)
    assert found == series
    same(back, tails)


rules = st.just(SCORE_RULE) | st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=9)


@given(
    st.dictionaries(
        st.tuples(st.text(min_size=1, max_size=12).map(str.encode), rules, st.text(max_size=9)).map(
            lambda each: IncidentKey(*each) if each[1] != SCORE_RULE else IncidentKey(each[0])
        ),
        st.builds(
            Incident,
            over=st.integers(1, 9),
            under=st.integers(0, 9),
            quiet=st.integers(0, 9),
            fingerprint=st.text("0123456789abcdef", max_size=16),
            started_us=st.integers(-(1 << 55), 1 << 57),
            ended_us=st.integers(-(1 << 55), 1 << 57),
            windows=st.integers(0, 1 << 40),
            peak_ratio=st.floats(0, 1e39),
        ),
        max_size=6,
    )
)
def test_incidents_come_back(incidents: dict[IncidentKey, Incident]) -> None:
    records = []
    for key, incident in incidents.items():
        value = incident_records.encode_incident(incident)
        assert value is not None
        records.append(StateRecord(incident_records.incident_key(ME, *key), value))
        records += [StateRecord(incident_records.incident_key(other, *key), b"not ours") for other in OTHERS]
    records += encode([b"s"], make_tails(1, 6, 2, 0))
    assert incident_records.decode_incidents(ME, records) == incidents
    assert len({record.key for record in records}) == len(records)


def test_a_closed_incident_is_a_tombstone() -> None:
    assert incident_records.encode_incident(Incident()) is None
    assert incident_records.encode_incident(Incident(over=1)) is not None


@pytest.mark.parametrize("number", [0, 9, 123, (1 << 31) - 1])
def test_a_topic_may_have_many_partitions(number: int) -> None:
    place = TopicPartition(ME.topic, number)
    record = StateRecord(incident_records.incident_key(place, b"a"), b'{"over":2}')
    assert incident_records.decode_incidents(place, [record]) == {IncidentKey(b"a"): Incident(over=2)}
    assert list(incident_records.orphaned_incidents(ME.topic, number, [record])) == [
        (place, IncidentKey(b"a"), Incident(over=2))
    ]


def test_series_names_may_hold_slashes() -> None:
    for watched in ((SCORE_RULE, ""), ("no_data", ""), ("flatline", "tank/2 °C")):
        key = incident_records.incident_key(ME, b"a/b/0/c", *watched)
        found = incident_records.decode_incidents(ME, [StateRecord(key, b'{"over":2}')])
        assert found == {IncidentKey(b"a/b/0/c", *watched): Incident(over=2)}


def test_keys_of_other_records_are_no_incidents() -> None:
    """Nor are those of a rule that could not be: they are left alone, whoever wrote them."""
    heads = [b"incidents", b"incident:", b"incident:no data", b"incident:\xff", b"Incident", b""]
    heads += [b"incident:a:b:c", b"incident:a:", b"incident:a:b c"]
    keys = [head + b"/ecg.ward-3/1/a" for head in heads]
    keys += [
        b"incident/ecg.ward-3/01/a",
        b"incident/ecg.ward-3/" + b"9" * 5000 + b"/a",
        b"incident/ecg.ward-3/1",
        b"incident",
    ]
    records = [StateRecord(key, b'{"over":2}') for key in keys]
    assert incident_records.decode_incidents(ME, records) == {}
    assert not incident_records.knows(ME, records)
    assert list(incident_records.orphaned_incidents(ME.topic, 2, records)) == []


@pytest.mark.parametrize(("count", "length"), [(40_000, 2), (3_000, 140), (100, 20_000), (3, 45_000), (1, 3)])
def test_shards_are_small(count: int, length: int) -> None:
    tails = make_tails(count, length, 1, 4)
    series = [b"series-%d" % number for number in range(count)]
    records = encode(series, tails)
    largest = int(tails.kept.max()) * 20 + 32 + 14  # bytes of one series
    overhead = 400 + 5 * count // len(records)  # field names; the series' lengths
    assert max(len(record.value) for record in records) <= max(SHARD_BYTES, largest) + overhead
    assert len(records) <= 2 * sum(len(r.value) for r in records) / SHARD_BYTES + 1, "and not many more than needed"
    found, back = decode(records, length=length, channels=1)
    assert found == series
    same(back, tails)


def test_a_small_series_never_shares_a_shard_with_one_that_fills_it() -> None:
    """Kafka's limit is 1 MiB: 900 kB of one series, which is allowed, and 500 kB of others would be over it."""
    kept = np.array([*[25] * 1000, 44_000, *[25] * 500])
    samples = int(kept.sum())
    zeros = np.zeros(samples, dtype=np.int64)
    tails = Tails(kept.copy(), kept, kept, kept, np.zeros((samples, 1), np.float32), zeros, zeros)
    records = encode([b"%d" % number for number in range(len(kept))], tails)
    assert max(len(record.value) for record in records) < 1_000_000


def test_no_series_are_a_checkpoint_too() -> None:
    (record,) = encode([], make_tails(0, 6, 2, 0))
    found, back = decode([record])
    assert found == []
    assert back.values.shape == (0, 2)


MANY = encode([b"%d" % n for n in range(4_000)], make_tails(4_000, 60, 2, 1))


def test_every_shard_is_needed_once() -> None:
    assert len(MANY) > 3
    for missing in range(len(MANY)):
        with pytest.raises(StateError, match=f"{len(MANY) - 1} of {len(MANY)} shards found"):
            decode(MANY[:missing] + MANY[missing + 1 :], length=60)


@pytest.mark.parametrize("offset", [9, 7], ids=["of another offset", "of the same, as ticks let samples out"])
def test_shards_of_an_older_larger_checkpoint_are_left_alone(offset: int) -> None:
    small = encode([b"a"], make_tails(1, 60, 2, 2), offset=offset)
    found, _ = decode([*MANY[1:], *small], length=60, offset=offset)
    assert found == [b"a"]


def test_a_shard_of_an_older_checkpoint_is_no_substitute() -> None:
    newer = encode([b"%d" % n for n in range(4_000)], make_tails(4_000, 60, 2, 1), offset=9)
    assert len(newer) == len(MANY)
    for missing in range(len(newer)):
        mixed = newer[:missing] + MANY[missing : missing + 1] + newer[missing + 1 :]
        with pytest.raises(StateError, match=f"{len(MANY) - 1} of {len(MANY)} shards found"):
            decode(mixed, length=60, offset=9)


@pytest.mark.parametrize("offset", [0, 6, 8])
def test_a_checkpoint_of_another_offset_is_none(offset: int) -> None:
    with pytest.raises(StateError, match=f"offset {offset}: 0 of 1 shards"):
        decode(encode([b"a"], make_tails(1, 6, 2, 2)), offset=offset)


def test_nothing_there() -> None:
    with pytest.raises(StateError, match="0 of 1 shards"):
        decode([])


@pytest.mark.parametrize(("length", "channels"), [(5, 2), (7, 2), (60, 2), (6, 1), (6, 3)])
def test_another_window_is_refused(length: int, channels: int) -> None:
    tails = make_tails(9, 6, 2, 2)
    assert tails.index.max() > 6
    with pytest.raises(StateError):
        decode(encode([b"%d" % n for n in range(9)], tails), length=length, channels=channels)


def test_a_series_in_two_shards_is_refused() -> None:
    both = [msgspec.msgpack.decode(encode([b"a"], make_tails(1, 6, 2, 2))[0].value) for _ in range(2)]
    both[0]["shards"] = both[1]["shards"] = 2
    both[1]["shard"] = 1
    for shard in both:
        shard |= {"version": 1, "checksum": 0, "seen_us": b""}  # version 1 has none
    records = [StateRecord(b"windows/ecg.ward-3/1/%d" % n, msgspec.msgpack.encode(s)) for n, s in enumerate(both)]
    with pytest.raises(StateError, match="twice"):
        decode(records)


@pytest.mark.parametrize(
    ("field", "value"),
    [("shards", 1 << 62), ("shards", 0), ("shards", -1), ("shard", -1), ("version", 3), ("version", 0)],
)
def test_numbers_that_make_no_sense_are_refused(field: str, value: int) -> None:
    shard = msgspec.msgpack.decode(encode([b"a"], make_tails(1, 6, 2, 2))[0].value)
    shard |= {"version": 1, "checksum": 0, "seen_us": b""}  # version 1 has none
    shard[field] = value
    with pytest.raises(StateError):
        decode([StateRecord(b"windows/ecg.ward-3/1/0", msgspec.msgpack.encode(shard))])


def test_a_checkpoint_of_version_1_is_read() -> None:
    tails = make_tails(2, 6, 2, 5)
    tails.offset[:] = np.arange(len(tails.offset))  # so that a was seen before b, or never
    (record,) = encode([b"a", b"b"], tails)
    shard = {
        name: value
        for name, value in msgspec.msgpack.decode(record.value).items()
        if name not in ("topic_id", "artifact", "checksum", "seen_us")
    }
    old = StateRecord(record.key, msgspec.msgpack.encode(shard | {"version": 1}))
    found, back = decode([old])
    assert found == [b"a", b"b"]
    same(back, tails)
    assert snapshots.newest_mark(ME, [old]) == Mark(7, "")


def test_what_the_newest_checkpoint_stands_for() -> None:
    assert snapshots.newest_mark(ME, []) is None
    assert not incident_records.knows(
        ME, [StateRecord(incident_records.incident_key(other, b"a"), b"{}") for other in OTHERS]
    )
    small = encode([b"a"], make_tails(1, 60, 2, 2), offset=9)
    assert snapshots.newest_mark(ME, [*MANY[1:], *small]) == Mark(9, "id-1", "5e88")
    assert snapshots.knows(ME, small)


@settings(max_examples=300)
@given(st.data())
def test_no_damage_to_a_checkpoint_goes_unseen(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([WHOLE, LATER]))
    decode([whole])
    raw = bytearray(whole.value)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StateError):
        decode([StateRecord(WHOLE.key, bytes(raw))])


(WHOLE,) = encode([b"bed-1", b"bed-2", "Bett Ä".encode()], make_tails(3, 6, 2, 5))


def of_later(record: StateRecord) -> StateRecord:
    """The checkpoint as a later release might write it, with fields that this one does not know."""
    fields = {"unit": "bar"} | msgspec.msgpack.decode(record.value)
    fields |= {"weights": [1.5, None, {"of": [True, b"\x00"]}], "at": NOON, "more": msgspec.msgpack.Ext(7, b"abc")}
    fields["checksum"] = zlib.crc32(msgspec.msgpack.encode(fields | {"checksum": 0}))
    return StateRecord(record.key, msgspec.msgpack.encode(fields))


NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = of_later(WHOLE)
TOLD = StateRecord(
    incident_records.incident_key(ME, b"bed-1"),
    incident_records.encode_incident(Incident(over=1, fingerprint="Ä" * 8)) or b"",
)


def refused_or_read(record: StateRecord) -> None:
    """Nothing but StateError comes out."""
    with contextlib.suppress(StateError):
        decode([record])
    with contextlib.suppress(StateError):
        incident_records.decode_incidents(ME, [record])


@settings(max_examples=400)
@given(st.sampled_from([WHOLE, LATER, TOLD]), st.data())
def test_flipped_bytes_are_refused_or_read_and_nothing_else(record: StateRecord, data: st.DataObject) -> None:
    raw = bytearray(record.value)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    refused_or_read(StateRecord(record.key, bytes(raw)))


def test_truncated_bytes_are_refused() -> None:
    for end in range(len(WHOLE.value)):
        with pytest.raises(StateError):
            decode([StateRecord(WHOLE.key, WHOLE.value[:end])])
    for end in range(len(TOLD.value)):
        with pytest.raises(StateError):
            incident_records.decode_incidents(ME, [StateRecord(TOLD.key, TOLD.value[:end])])


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_read(raw: bytes) -> None:
    for key in (WHOLE.key, TOLD.key):
        refused_or_read(StateRecord(key, raw))


@pytest.mark.parametrize("raw", [b'{"fingerprint": "\xff"}', b"[" * 200_000, b"null", b"", b"[]", b'{"over": "1"}'])
def test_incidents_that_can_not_be_read(raw: bytes) -> None:
    with pytest.raises(StateError, match=r"incident of ecg\.ward-3-1"):
        incident_records.decode_incidents(ME, [StateRecord(TOLD.key, raw)])
