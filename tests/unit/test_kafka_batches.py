"""Our reading of record batches against the client's own: the same records, whatever is in them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.structs import TopicPartition as KafkaPartition

from monitor.backends.abstract import TopicPartition
from monitor.backends.kafka.batches import ColumnRecords, columns

PLACE = KafkaPartition("t", 0)
texts = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=200)), max_size=3)
record = st.tuples(st.integers(0, 1 << 44), texts, texts, headers)


def batch(
    records: list[Any], base: int = 0, codec: int = 0, *, producer: int = -1, transactional: bool = False
) -> bytes:
    builder = DefaultRecordBatchBuilder(
        2, codec, transactional, producer, 0 if producer >= 0 else -1, 0 if producer >= 0 else -1, 1 << 30
    )
    for offset, (stamp, key, value, extra) in enumerate(records):
        assert builder.append(offset, stamp, key, value, extra) is not None
    made = bytearray(builder.build())
    made[0:8] = base.to_bytes(8, "big")
    return bytes(made)


def both(data: bytes, at: int = 0, most: int = 1000, **more: Any) -> tuple[list[Any], list[Any], list[int]]:
    """(the client's records, ours, positions after each take of both)"""
    found: list[list[Any]] = []
    positions: list[list[int]] = []
    for kind in (Fetcher.PartitionRecords, ColumnRecords):
        part = kind(at, PLACE, MemoryRecords(data), isolation_level=IsolationLevel.READ_COMMITTED, **more)
        got: list[Any] = []
        places = []
        while part:
            taken = part.take(most)
            if kind is ColumnRecords:
                c = columns(TopicPartition(*PLACE), list(taken), 0, want_headers=True)
                taken = list(
                    zip(
                        c.offsets.tolist(),
                        c.timestamps_ms.tolist(),
                        c.keys,
                        c.values,
                        map(list, c.headers or []),
                        strict=True,
                    )
                )
                got += taken
            else:
                got += [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in taken]
            if not taken:
                break
            places.append(part.next_fetch_offset)
        places.append(part.next_fetch_offset)
        found.append(got)
        positions.append(places)
    assert positions[0] == positions[1]
    return found[0], found[1], positions[1]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.lists(record, min_size=1, max_size=8), min_size=1, max_size=4),
    st.sampled_from([0, 1, 2, 3, 4]),
    st.integers(0, 12),
    st.integers(1, 9),
)
def test_reads_what_the_client_reads(batches: list[list[Any]], codec: int, at: int, most: int) -> None:
    base, data = 0, b""
    for records in batches:
        data += batch(records, base, codec)
        base += len(records)
    theirs, ours, _ = both(data, at, most)
    assert ours == theirs


@given(st.lists(record, min_size=1, max_size=3), st.data())
@settings(deadline=None, max_examples=300)
def test_damage_is_found(records: list[Any], data: Any) -> None:
    good = batch(records)
    where = data.draw(st.integers(61, len(good) - 1))
    bad = bytearray(good)
    bad[where] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptRecordError):
        ColumnRecords(0, PLACE, MemoryRecords(bytes(bad))).take(10)
    with suppress(CorruptRecordError):  # without checksums: wrong records or this, nothing else
        ColumnRecords(0, PLACE, MemoryRecords(bytes(bad)), check_crcs=False).take(10)


class Aborted:
    def __init__(self, producer_id: int, first_offset: int) -> None:
        self.producer_id, self.first_offset = producer_id, first_offset


def control(base: int, producer: int, commit: bool) -> bytes:
    import struct

    data = bytearray(
        batch([(1, b"\0\0\0" + bytes([commit]), b"\0" * 6, [])], base, producer=producer, transactional=True)
    )
    # control bit, then the checksum again
    attributes = struct.unpack_from(">h", data, 21)[0] | 0x20
    struct.pack_into(">h", data, 21, attributes)
    from kafka.record.util import calc_crc32c

    struct.pack_into(">I", data, 17, calc_crc32c(memoryview(data)[21:]))
    return bytes(data)


def test_aborted_transactions_and_markers_are_hidden() -> None:
    one = (5, b"k", b"v", [])
    data = batch([one], 0) + batch([one, one], 1, producer=7, transactional=True) + control(3, 7, commit=False)
    data += batch([one], 4, producer=7, transactional=True) + control(5, 7, commit=True) + batch([one], 6)
    data += batch([one], 7, producer=8, transactional=True) + control(8, 8, commit=False)
    theirs, ours, places = both(data, aborted_transactions=[Aborted(7, 1), Aborted(8, 7)])
    assert [r[0] for r in ours] == [r[0] for r in theirs] == [0, 4, 6]
    assert places[-1] == 9
