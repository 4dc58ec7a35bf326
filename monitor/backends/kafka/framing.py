"""Where batches begin and end in what a fetch brought, and where reading continues after one that is damaged.

A batch's checksum does not cover its first offset, its length, its leader's epoch and its format, so a wrong checksum
leaves the question open which bytes are wrong. What can be trusted then is a whole batch after it: its checksum is
right, and its first offset says where reading continues. Otherwise the damaged header counts where it is consistent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import calc_crc32, calc_crc32c

FORMAT = 2  # of batches; messages of the formats 0 and 1 stand alone, and hold others where they are compressed
MAGIC_AT = 16  # in every format
CODEC, APPENDED, TRANSACTIONAL, CONTROL = 0x07, 0x08, 0x10, 0x20  # of a batch's attributes
HEADER_BYTES = DefaultRecordBatch.HEADER_STRUCT.size

_unpack = DefaultRecordBatch.HEADER_STRUCT.unpack_from
_int32 = struct.Struct(">i").unpack_from
_int64 = struct.Struct(">q").unpack_from
_uint32 = struct.Struct(">I").unpack_from
_LENGTH_AT, _LENGTH_END = 8, 12
_CHECKED_FROM = 21
_MESSAGE_CHECKED_FROM = 16
_LEAST_BYTES = {0: 26, 1: 34, FORMAT: HEADER_BYTES}  # by format, the length included


class BatchHeader(NamedTuple):
    """A batch's header, as it is in the log."""

    first_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp_ms: int
    max_timestamp_ms: int
    producer_id: int
    producer_epoch: int
    sequence: int
    record_count: int

    @property
    def last_offset(self) -> int:
        return self.first_offset + self.last_offset_delta


class Resumption(NamedTuple):
    """Where reading continues: at a byte of the fetch, and an offset; and how many records it skips, if known."""

    at: int
    offset: int
    records: int | None


def end_of(data: memoryview, at: int) -> int | None:
    """Where the batch or message at `at` ends by its stated length; None where no format allows that length."""
    (length,) = _int32(data, at + _LENGTH_AT)
    size: int = _LENGTH_END + length
    return at + size if size >= _LEAST_BYTES.get(data[at + MAGIC_AT], size + 1) else None


def begins(data: memoryview, at: int) -> bool:
    """Whether so much is there that a length and a format can be read."""
    return len(data) - at > MAGIC_AT


def header(data: memoryview, at: int) -> BatchHeader:
    """The header of the batch of format 2 at `at`."""
    return BatchHeader._make(_unpack(data, at))


def is_whole(data: memoryview, at: int, end: int) -> bool:
    """Whether the checksum of a batch of format 2 is right."""
    return bool(calc_crc32c(data[at + _CHECKED_FROM : end]) == _uint32(data, at + 17)[0])


def is_whole_message(data: memoryview, at: int, end: int) -> bool:
    """Whether the checksum of a message of format 0 or 1 is right."""
    return bool(calc_crc32(data[at + _MESSAGE_CHECKED_FROM : end]) == _uint32(data, at + 12)[0])


def first_offset(data: memoryview, at: int) -> int | None:
    """The first offset of the batch that begins at `at`; a compressed message's last. None: nothing begins there."""
    return int(_int64(data, at)[0]) if begins(data, at) else None


def resume(data: memoryview, at: int, least: int) -> Resumption | None:
    """Where reading continues after a corrupt batch at `at`, whose first offset to be read was `least`.

    None where nothing in this fetch says it.
    """
    claim = stated(data, at, least, trusted=False)
    if claim is not None and first_offset(data, claim.at) in (claim.offset, None):
        return claim
    end = end_of(data, at)
    for start in chain(() if end is None else (end,), _batch_starts(data, at + 1)):
        offset = _offset_of_whole(data, start)
        if offset is not None and offset > least:
            return Resumption(start, offset, None)
    return claim


def stated(data: memoryview, at: int, least: int, *, trusted: bool = True) -> Resumption | None:
    """Where reading continues by what the header of the batch at `at` states; None where that is impossible.

    One that is not `trusted` must agree with itself, as the header of a batch does that no compaction has touched.
    """
    end = end_of(data, at)
    if end is None or end > len(data):
        return None
    count = None
    last = int(_int64(data, at)[0])
    if data[at + MAGIC_AT] == FORMAT:
        found = header(data, at)
        last, count = found.last_offset, found.record_count
        if found.last_offset_delta < 0 or not (trusted or found.last_offset_delta == count - 1):
            return None
    return Resumption(end, last + 1, count) if last >= least else None


def _offset_of_whole(data: memoryview, at: int) -> int | None:
    """The first offset of the batch of format 2 at `at`, None unless it is whole."""
    if len(data) - at < HEADER_BYTES or data[at + MAGIC_AT] != FORMAT:
        return None
    end = end_of(data, at)
    if end is None or end > len(data) or not is_whole(data, at, end):
        return None
    return int(_int64(data, at)[0])


def _batch_starts(data: memoryview, first: int) -> Iterator[int]:
    """Where a batch of format 2 could begin, from `first` on."""
    octets = bytes(data[first:])
    found = octets.find(FORMAT, MAGIC_AT)
    while found >= 0:
        yield first + found - MAGIC_AT
        found = octets.find(FORMAT, found + 1)
