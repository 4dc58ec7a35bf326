"""Messages of the formats 0 and 1, as brokers before 0.11 wrote them; a compressed one holds others.

The client's own reading (record/legacy_records.py), within a bound and with named faults.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from kafka.errors import CorruptRecordError
from kafka.record.legacy_records import LegacyRecordBatch

from monitor.backends.kafka.records import Run
from monitor.backends.kafka.unpacking import LZ4, UnreadableError, unpack
from monitor.errors import Reason


class _Message(LegacyRecordBatch):  # type: ignore[misc] # the client has no types
    """The client's, but for how it is unpacked."""

    __slots__ = ("_limit",)

    def __init__(self, data: memoryview, limit: int) -> None:
        super().__init__(data, data[self.MAGIC_OFFSET])
        self._limit = limit

    def _decompress(self, key_offset: int) -> bytes:
        if self._magic == 0 and self.compression_type == LZ4:
            raise UnreadableError(Reason.UNREADABLE_BATCH, "LZ4 as brokers before 0.10 wrote it can't be unpacked")
        at = key_offset
        (key_bytes,) = struct.unpack_from(">i", self._buffer, at)
        at += self.KEY_LENGTH + max(0, key_bytes)
        (value_bytes,) = struct.unpack_from(">i", self._buffer, at)
        at += self.VALUE_LENGTH
        return unpack(self.compression_type, self._buffer[at : at + max(0, value_bytes)], self._limit)

    def _read_all_headers(self) -> list[Any]:
        found, at = [], 0
        while at < len(self._buffer):
            header = self._read_header(at)
            if header[1] < 0:  # the client would go back, for ever
                raise ValueError(f"a message of {header[1]} bytes")
            found.append((header, at))
            at += self.LOG_OVERHEAD + header[1]
        return found


def read_message(data: memoryview, limit: int, *, check_crcs: bool) -> Run:
    """The messages in one that lies in the log.

    Raises:
        UnreadableError: it, or one that it holds, can't be read.
    """
    try:
        records = list(_Message(data, limit))
        whole = not check_crcs or all(record.validate_crc() for record in records)
    except (ValueError, IndexError, AssertionError, struct.error, CorruptRecordError) as error:
        raise UnreadableError(Reason.UNREADABLE_BATCH, f"it holds no messages: {error}") from error
    if not whole:
        raise UnreadableError(Reason.UNREADABLE_BATCH, "a message that it holds has a wrong checksum")
    return Run(
        np.array([record.offset for record in records], dtype=np.int64),
        np.array([-1 if record.timestamp is None else record.timestamp for record in records], dtype=np.int64),
        [record.key for record in records],
        [record.value for record in records],
        [() for _ in records],
        np.array([len(record.value or b"") for record in records], dtype=np.int64),
    )
