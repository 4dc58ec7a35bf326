"""Our reading of record batches against the client's own: the same records, whatever is in them; and damage."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import codec as codecs
from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from kafka.record.util import calc_crc32c
from kafka.structs import TopicPartition as KafkaPartition

from monitor.backends.abstract import Damaged, TopicPartition
from monitor.backends.kafka.batches import ColumnRecords, columns
from monitor.backends.kafka.unpacking import UnreadableError, unpack
from monitor.errors import Reason

PLACE = KafkaPartition("t", 0)
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
ENCODERS = {GZIP: codecs.gzip_encode, SNAPPY: codecs.snappy_encode, LZ4: codecs.lz4_encode, ZSTD: codecs.zstd_encode}
APPENDED, TRANSACTIONAL, CONTROL, DELETE_HORIZON = 0x08, 0x10, 0x20, 0x40
texts = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=200)), max_size=3)
record = st.tuples(st.integers(0, 1 << 44), texts, texts, headers)
Record = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]
ONE: Any = (5, b"k", b"v", [])


def batch(
    records: list[Any],
    base: int = 0,
    codec: int = 0,
    *,
    producer: int = -1,
    transactional: bool = False,
    bits: int = 0,
    epoch: int = 0,
) -> bytes:
    """As a broker's log holds it; `bits` are set in its attributes."""
    builder = DefaultRecordBatchBuilder(
        2, codec, transactional, producer, 0 if producer >= 0 else -1, 0 if producer >= 0 else -1, 1 << 30
    )
    for offset, (stamp, key, value, extra) in enumerate(records):
        assert builder.append(offset, stamp, key, value, extra) is not None
    made = bytearray(builder.build())
    made[0:8] = base.to_bytes(8, "big")
    struct.pack_into(">i", made, 12, epoch)
    struct.pack_into(">h", made, 21, struct.unpack_from(">h", made, 21)[0] | bits)
    return checked(made)


def packed(records: list[Any], base: int, codec: int, payload: bytes) -> bytes:
    """A batch whose header states `records`, and whose body is `payload`, whatever that is."""
    made = bytearray(batch(records, base)[:61]) + payload
    struct.pack_into(">i", made, 8, len(made) - 12)
    struct.pack_into(">h", made, 21, codec)
    return checked(made)


def checked(made: bytearray) -> bytes:
    struct.pack_into(">I", made, 17, calc_crc32c(memoryview(made)[21:]))
    return bytes(made)


def flipped(data: bytes, *places: int) -> bytes:
    made = bytearray(data)
    for place in places:
        made[place] ^= 0x10
    return bytes(made)


def theirs_and_ours(data: bytes, at: int = 0, most: int = 1000, **more: Any) -> tuple[list[Any], list[Any], list[int]]:
    """(the client's records, ours, positions after each take of both)"""
    found: list[list[Any]] = []
    positions: list[list[tuple[int, int]]] = []
    settings = {"isolation_level": IsolationLevel.READ_COMMITTED} | more
    for kind in (Fetcher.PartitionRecords, ColumnRecords):
        part: Any = kind(at, PLACE, MemoryRecords(data), **settings)  # the client has no types
        got: list[Any] = []
        places: list[tuple[int, int]] = []
        while part:
            taken = part.take(most)
            if kind is ColumnRecords:
                (c,) = columns(TopicPartition(*PLACE), list(taken), 0, want_headers=True)
                rows = zip(c.offsets.tolist(), c.timestamps_ms.tolist(), c.keys, c.values, c.headers or [], strict=True)
                taken = [(*row[:4], list(row[4])) for row in rows]
            else:
                taken = [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in taken]
            got += taken
            if not taken:
                break
            places.append((part.next_fetch_offset, part.leader_epoch))
        places.append((part.next_fetch_offset, part.leader_epoch))
        found.append(got)
        positions.append(places)
    assert positions[0] == positions[1]
    return found[0], found[1], [offset for offset, _ in positions[1]]


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    """Some batches, one behind the other: of every size, codec, attribute and leader."""
    base, data, epoch = 0, b"", 0
    for _ in range(draw(st.integers(1, 12))):
        records = draw(st.lists(record, min_size=1, max_size=draw(st.sampled_from([1, 1, 2, 8]))))
        epoch += draw(st.sampled_from([0, 0, 0, 1]))
        producer = draw(st.sampled_from([-1, 7, 8]))
        made = batch(
            records,
            base,
            draw(st.sampled_from([0, 0, GZIP, SNAPPY, LZ4, ZSTD])),
            producer=producer,
            transactional=producer >= 0 and draw(st.booleans()),
            bits=draw(st.sampled_from([0, 0, 0, APPENDED, DELETE_HORIZON, 0x80, 0x4000])),
            epoch=epoch,
        )
        base += len(records) + draw(st.sampled_from([0, 0, 0, 3]))
        data += made
    return data


@settings(deadline=None, max_examples=150)
@given(logs(), st.integers(0, 12), st.integers(1, 9), st.sampled_from(list(IsolationLevel)))
def test_reads_what_the_client_reads(data: bytes, at: int, most: int, isolation: IsolationLevel) -> None:
    theirs, ours, _ = theirs_and_ours(data, at, most, isolation_level=isolation)
    assert ours == theirs


@pytest.mark.parametrize("size", [1, 2, 10, 500])
def test_as_many_batches_as_are_read_at_once(size: int) -> None:
    """More records than one pass takes, so that passes join in the middle of the fetch."""
    records = [(5 + at, b"key-%d" % at, bytes(at % 200), [("h", b"x")] if at % 3 == 0 else []) for at in range(size)]
    made = [batch(records, base * size, SNAPPY if base % 50 == 9 else 0) for base in range(20_000 // size)]
    theirs, ours, positions = theirs_and_ours(b"".join(made), 3, 4_096)
    assert ours == theirs
    assert positions[-1] == 20_000


def control(base: int, producer: int, commit: bool) -> bytes:
    marker: list[Record] = [(1, b"\0\0\0" + bytes([commit]), b"\0" * 6, [])]
    return batch(marker, base, producer=producer, transactional=True, bits=CONTROL)


class Aborted:
    def __init__(self, producer_id: int, first_offset: int) -> None:
        self.producer_id, self.first_offset = producer_id, first_offset


@pytest.mark.parametrize("most", [1, 2, 100])
def test_aborted_transactions_and_markers_are_hidden(most: int) -> None:
    data = batch([ONE], 0) + batch([ONE, ONE], 1, producer=7, transactional=True) + control(3, 7, commit=False)
    data += batch([ONE], 4, producer=7, transactional=True) + control(5, 7, commit=True) + batch([ONE], 6)
    # idempotent only, of a producer while its transaction is aborted, and behind that
    data += batch([ONE], 7, producer=8, transactional=True) + batch([ONE], 8, producer=8)
    data += control(9, 8, commit=False) + batch([ONE], 10, producer=8) + control(11, 9, commit=True)
    theirs, ours, places = theirs_and_ours(data, most=most, aborted_transactions=[Aborted(7, 1), Aborted(8, 7)])
    assert [r[0] for r in ours] == [r[0] for r in theirs] == [0, 4, 6, 8, 10]
    assert places[-1] == 12
    theirs, ours, _ = theirs_and_ours(data, isolation_level=IsolationLevel.READ_UNCOMMITTED)
    assert [r[0] for r in ours] == [r[0] for r in theirs] == [0, 1, 2, 4, 6, 7, 8, 10]


@pytest.mark.parametrize(("magic", "codec"), [(0, 0), (0, GZIP), (0, SNAPPY), (1, 0), (1, GZIP), (1, SNAPPY), (1, LZ4)])
def test_older_formats(magic: int, codec: int) -> None:
    data = b""
    for base in (0, 4):
        builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
        for offset in range(4):
            builder.append(offset if codec and magic else base + offset, 1_000 + offset, b"k", bytes(40), [])
        made = bytearray(builder.build())
        if codec:
            made[0:8] = (base + 3).to_bytes(8, "big")
        data += made
    if not (codec and not magic):
        data += batch([ONE], 8)
    theirs, ours, _ = theirs_and_ours(data, 2, 3)
    assert [(at, -1 if when is None else when, *row) for at, when, *row in theirs] == ours
    bad = flipped(data, 20)
    (hurt, *_) = everything(bad, bases=(0, 9))
    assert isinstance(hurt, Damaged)
    assert hurt.reason is Reason.CORRUPT_BATCH


def test_an_inner_message_that_goes_back() -> None:
    """The client reads it for ever."""
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    builder.append(0, 1_000, b"k", b"v", [])
    inner = bytearray(builder.build())
    struct.pack_into(">i", inner, 8, -12)
    outer = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    outer.append(0, 1_000, None, codecs.gzip_encode(bytes(inner)), [])
    made = bytearray(outer.build())
    made[17] = GZIP
    struct.pack_into(">I", made, 12, zlib.crc32(made[16:]))
    (hurt,) = everything(bytes(made), bases=(0, 1))
    assert "-12 bytes" in str(hurt)


# --- damage ----------------------------------------------------------------------------------------------------------


def everything(*batches: bytes, at: int = 0, bases: tuple[int, ...] = (0, 2, 5, 6, 7), **more: Any) -> list[Any]:
    """Offsets of records, and damaged batches, of a log that is fetched from `at` on until nothing moves.

    A fetch begins with the batch that holds its offset, as a broker's does; `bases` are their first ones, and the end.
    """
    settings = {"isolation_level": IsolationLevel.READ_COMMITTED} | more
    found: list[Any] = []
    while at < bases[len(batches)]:
        begun = [place for place, base in enumerate(bases[: len(batches)]) if base <= at][-1]
        part = ColumnRecords(at, PLACE, MemoryRecords(b"".join(batches[begun:])), **settings)
        while bool(part):
            for item in part.take(3):
                found += [item] if isinstance(item, Damaged) else item.offsets.tolist()
        if part.next_fetch_offset == at:
            break
        at = part.next_fetch_offset
    return found


def damaged(first: int, behind: int, size: int, records: int | None, reason: Reason) -> Any:
    class Same:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Damaged) and (first, behind, size, records, reason) == (
                other.first_offset,
                other.next_offset,
                other.size,
                other.records,
                other.reason,
            )

        __hash__ = object.__hash__

        def __repr__(self) -> str:
            return f"damaged({first}, {behind}, {size}, {records}, {reason})"

    return Same()


GOOD, THREE = batch([ONE, ONE], 0), batch([ONE, ONE, ONE], 2)
LAST = batch([ONE], 5)


@pytest.mark.parametrize("place", [61, 70, len(THREE) - 1, 57, 23, 17, 40])
def test_a_wrong_checksum(place: int) -> None:
    """In the middle, at the end, twice in a row, at the beginning: what is around it is read."""
    bad, size = flipped(THREE, place), len(THREE)
    known = None if place in (57, 23) else 3  # the header's own count, or last offset
    corrupt = damaged(2, 5, size, known, Reason.CORRUPT_BATCH)
    assert everything(GOOD, bad, LAST) == [0, 1, corrupt, 5]
    assert everything(GOOD, bad, LAST, at=2) == [corrupt, 5]
    assert everything(GOOD, bad, LAST, at=4) == [damaged(4, 5, size, known, Reason.CORRUPT_BATCH), 5]  # half was read
    also = flipped(LAST, 65)
    found = everything(GOOD, bad, also, batch([ONE], 6))
    if known:
        assert found == [0, 1, corrupt, damaged(5, 6, len(LAST), 1, Reason.CORRUPT_BATCH), 6]
        assert everything(GOOD, bad) == [0, 1, corrupt]
        assert everything(GOOD, bad, also) == [0, 1, corrupt, damaged(5, 6, len(LAST), 1, Reason.CORRUPT_BATCH)]
    else:  # nothing says where the first ends
        assert found == [0, 1, damaged(2, 6, size + len(LAST), None, Reason.CORRUPT_BATCH), 6]
        assert everything(GOOD, bad) == [0, 1, damaged(2, 2, size, None, Reason.CORRUPT_BATCH)]


@pytest.mark.parametrize("place", [0, 4, 7, 8, 9, 10, 11, 16])
def test_a_header_that_no_checksum_covers(place: int) -> None:
    """First offset, length, format: the next whole batch says where reading goes on."""
    bad = flipped(THREE, place)
    found = everything(GOOD, bad, LAST)
    assert found == [0, 1, damaged(2, 5, len(THREE), None, Reason.CORRUPT_BATCH), 5]
    if place > 7:  # a first offset alone at the log's end looks like any other
        assert everything(GOOD, bad) == [0, 1, damaged(2, 2, len(bad), None, Reason.CORRUPT_BATCH)]


def test_a_whole_batch_inside_a_corrupt_one_takes_nobody_back() -> None:
    """As in a topic of mirrored segments; the first offset inside is one that was read."""
    bad = flipped(batch([(5, b"k", GOOD, []), ONE, ONE], 2), 11)
    assert everything(GOOD, bad, LAST) == [0, 1, damaged(2, 5, len(bad), None, Reason.CORRUPT_BATCH), 5]


@given(st.lists(st.lists(record, min_size=1, max_size=3), min_size=3, max_size=3), st.data())
@settings(deadline=None, max_examples=100)
def test_any_flip_is_found_and_costs_its_batch_alone(batches: list[list[Any]], data: Any) -> None:
    first, second, third = map(len, batches)
    bases = (0, first, first + second, first + second + third)
    codec = data.draw(st.sampled_from([0, GZIP, ZSTD]))
    made = [batch(records, base, codec) for records, base in zip(batches, bases, strict=False)]
    where = data.draw(st.integers(0, len(made[1]) - 1).filter(lambda at: not 12 <= at < 16))  # nobody checks the epoch
    bad = bytearray(made[1])
    bad[where] ^= data.draw(st.integers(1, 255))
    found = everything(made[0], bytes(bad), made[2], bases=bases)
    behind = [*range(bases[2], bases[3])]
    assert [item for item in found if not isinstance(item, Damaged)] == [*range(bases[1]), *behind]
    hurt = [(item.first_offset, item.next_offset) for item in found if isinstance(item, Damaged)]
    assert hurt == [(bases[1], bases[2])]
    everything(made[0], bytes(bad), made[2], bases=bases, check_crcs=False)  # wrong records or damage, but no error


BODY = THREE[61:]
LONG: list[Record] = [(5, b"k", bytes(1_000), [])] * 3


@pytest.mark.parametrize(
    ("codec", "payload", "reason", "detail"),
    [
        (GZIP, codecs.gzip_encode(BODY)[:-9], Reason.UNREADABLE_BATCH, "gzip .* cut off"),
        (GZIP, b"junk", Reason.UNREADABLE_BATCH, "gzip can't be unpacked"),
        (SNAPPY, b"\x82SNAPPY\0" + bytes(8) + b"\0\0\1\0x", Reason.UNREADABLE_BATCH, "snappy .* block of 256"),
        (SNAPPY, b"\xff\xff\xff\xff\x0f", Reason.UNREADABLE_BATCH, "snappy .* state to hold"),
        (LZ4, codecs.lz4_encode(BODY)[:-5], Reason.UNREADABLE_BATCH, "lz4 .* cut off"),
        (ZSTD, codecs.zstd_encode(BODY)[:-1], Reason.UNREADABLE_BATCH, "3 records"),
        (ZSTD, b"junk", Reason.UNREADABLE_BATCH, "zstd can't be unpacked"),
        (5, BODY, Reason.UNREADABLE_BATCH, "compression 5"),
        (0, BODY + b"\0", Reason.UNREADABLE_BATCH, "does not hold the records"),
        (0, BODY[:-1], Reason.UNREADABLE_BATCH, "does not hold the records"),
        (0, b"\x80" * 1000, Reason.UNREADABLE_BATCH, "more than 64 bits"),
        (0, batch([ONE, ONE], 0)[61:] + BODY[:9], Reason.UNREADABLE_BATCH, "offsets do not rise"),
        (0, BODY[:18] + BODY[9:18], Reason.UNREADABLE_BATCH, "offsets do not rise"),
        (0, BODY[:24] + bytes(3), Reason.UNREADABLE_BATCH, "fields do not fill it"),
        (GZIP, codecs.gzip_encode(bytes(2_000_000)), Reason.TOO_LARGE, "1000000 bytes .*max_batch_bytes"),
        (SNAPPY, codecs.snappy_encode(bytes(2_000_000)), Reason.TOO_LARGE, "1000000 bytes"),
        (SNAPPY, codecs.snappy_encode(bytes(2_000_000), xerial_compatible=False), Reason.TOO_LARGE, "1000000 bytes"),
        (LZ4, codecs.lz4_encode(bytes(2_000_000)), Reason.TOO_LARGE, "1000000 bytes"),
        (ZSTD, codecs.zstd_encode(bytes(2_000_000)), Reason.TOO_LARGE, "1000000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_its_sender_made_unreadable(codec: int, payload: bytes, reason: Reason, detail: str) -> None:
    bad = packed([ONE, ONE, ONE], 2, codec, payload)
    found = everything(GOOD, bad, LAST, max_batch_bytes=1_000_000)
    assert found == [0, 1, damaged(2, 5, len(bad), 3, reason), 5]
    with pytest.raises(AssertionError, match=detail):
        raise AssertionError(str(found[2]))
    assert everything(GOOD, bad, at=2, max_batch_bytes=1_000_000) == [found[2]]


@pytest.mark.parametrize("tail", [b"\0", b"trailing bytes", b"\x1f\x8b\x08", bytes(1000)])
@pytest.mark.parametrize("codec", [GZIP, LZ4])
def test_bytes_after_the_end_are_ignored(codec: int, tail: bytes) -> None:
    encode = codecs.gzip_encode if codec == GZIP else codecs.lz4_encode
    data = packed([ONE, ONE, ONE], 2, codec, encode(BODY) + tail)
    assert everything(GOOD, data, LAST) == [0, 1, 2, 3, 4, 5]


def test_gzip_in_several_members() -> None:
    data = packed([ONE, ONE, ONE], 2, GZIP, gzip.compress(BODY[:5]) + gzip.compress(BODY[5:]))
    assert everything(GOOD, data) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_the_bound_of_what_is_unpacked(codec: int) -> None:
    packed_bytes = ENCODERS[codec](bytes(1_000))
    assert unpack(codec, packed_bytes, 1_000) == bytes(1_000)
    with pytest.raises(UnreadableError, match="more than 999 bytes"):
        unpack(codec, packed_bytes, 999)
    if codec in (GZIP, ZSTD):  # may come in several parts
        assert unpack(codec, packed_bytes * 2, 2_000) == bytes(2_000)
        with pytest.raises(UnreadableError, match="more than 1999 bytes"):
            unpack(codec, packed_bytes * 2, 1_999)


def test_a_corrupt_end_of_a_transaction_ends_the_fetch() -> None:
    """It may have been the end of one that was aborted, so that its producer's next would be hidden like it."""
    aborted = batch([ONE], 0, producer=7, transactional=True), flipped(control(1, 7, commit=False), 64)
    committed = batch([ONE], 2, producer=7, transactional=True), control(3, 7, commit=True)
    part = ColumnRecords(
        0,
        PLACE,
        MemoryRecords(b"".join(aborted + committed)),
        isolation_level=IsolationLevel.READ_COMMITTED,
        aborted_transactions=[Aborted(7, 0)],
    )
    assert list(part.take(10)) == [damaged(1, 2, len(aborted[1]), 1, Reason.CORRUPT_BATCH)]
    assert (bool(part), part.next_fetch_offset) == (False, 2)
    assert everything(*aborted, *committed, at=2, bases=(0, 1, 2, 3, 4)) == [2]


def test_what_the_broker_can_not_read() -> None:
    part = ColumnRecords(5, PLACE, MemoryRecords(b""), refused=True)
    (item,) = part.take(10)
    assert isinstance(item, Damaged)
    assert (item.first_offset, item.passable) == (5, False)


def test_columns_around_damage() -> None:
    part = ColumnRecords(0, PLACE, MemoryRecords(GOOD + flipped(THREE, 70) + LAST))
    before, hole, behind = columns(TopicPartition(*PLACE), part.take(100), 6, want_headers=False)
    assert (before.offsets.tolist(), before.next_offset, before.damaged) == ([0, 1], 2, None)
    assert (hole.offsets.tolist(), hole.next_offset) == ([], 5)
    assert hole.damaged is not None
    assert (behind.offsets.tolist(), behind.next_offset) == ([5], 6)
