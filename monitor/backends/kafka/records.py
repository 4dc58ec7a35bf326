"""Records of batches of format 2 as columns: one short loop finds where records begin, NumPy reads their fields.

Small batches are read together, all records at once: reading a batch alone costs NumPy's overhead, which is that of
some hundred records. https://kafka.apache.org/documentation/#record says what a record is:

    Record => Length Attributes TimestampDelta OffsetDelta Key Value [Headers]     lengths and deltas: zigzag varints
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.backends.abstract import Headers
from monitor.backends.kafka.unpacking import Bytes, UnreadableError
from monitor.detector.arrays import Int64Array
from monitor.errors import Reason

# Padding after the last record, so that reading beyond the end of a damaged one reads zeros, not out of bounds: its
# seven numbers have ten bytes at most.
_PADDING = bytes(70)
_LEAST_BYTES = 7  # of a record: seven numbers
_MOST_SHIFT = 63  # of a number's last seven bits


class Run(NamedTuple):
    """Records of one partition, in order, as columns."""

    offsets: Int64Array
    timestamps_ms: Int64Array
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers]
    sizes: Int64Array  # of the values, 0 of null

    def rows(self, rows: slice) -> Run:
        """Some of the records."""
        columns = self.offsets[rows], self.timestamps_ms[rows], self.keys[rows], self.values[rows], self.headers[rows]
        return Run(*columns, self.sizes[rows])


class RecordBatch(NamedTuple):
    """What a batch's header says that its records need, and `payload`, the records themselves, unpacked.

    `timestamp_ms` is what the records' deltas add to; with `appended` it is the time of all of them.
    `size` is the whole batch's, as it lay in the log.
    """

    first_offset: int
    last_offset: int
    record_count: int
    timestamp_ms: int
    appended: bool
    payload: Bytes
    size: int


def read(batches: Sequence[RecordBatch]) -> Run:
    """The records of some batches that follow each other.

    Raises:
        UnreadableError: a batch does not hold the records that its header states. Reading each alone shows which one.
    """
    data = b"".join([*(batch.payload for batch in batches), _PADDING])
    counts = [batch.record_count for batch in batches]
    try:
        firsts, ends = _bounds(data, counts, [len(batch.payload) for batch in batches])
        octets = np.frombuffer(data, dtype=np.uint8)
        stamps, at = _varints(octets, firsts + 1)
        deltas, at = _varints(octets, at)
        keys, _, at = _texts(data, octets, at)
        values, sizes, at = _texts(data, octets, at)
        extras, at = _varints(octets, at)
        headers: list[Headers] = [()] * len(firsts)
        for row in np.flatnonzero(extras).tolist():
            headers[row], at[row] = _headers(data, int(at[row]), int(extras[row]), int(ends[row]))
    except (IndexError, ValueError, OverflowError) as error:
        raise _unreadable(f"{error}") from error
    if not np.array_equal(at, ends):
        raise _unreadable("a record's fields do not fill it")
    stated = np.array([(b.first_offset, b.last_offset, b.timestamp_ms, b.appended) for b in batches], dtype=np.int64)
    first, last, stamp, appended = np.repeat(stated, counts, axis=0).T
    offsets = first + deltas
    if (deltas < 0).any() or (offsets > last).any() or (offsets[1:] <= offsets[:-1]).any():
        raise _unreadable("its records' offsets do not rise within its own")
    return Run(offsets, stamp + np.where(appended, 0, stamps), keys, values, headers, sizes)


def _unreadable(detail: str) -> UnreadableError:
    return UnreadableError(Reason.UNREADABLE_BATCH, f"it does not hold the records that its header states: {detail}")


def _bounds(data: bytes, counts: Sequence[int], sizes: Sequence[int]) -> tuple[Int64Array, Int64Array]:
    """Where each record's body begins and ends. The one loop in Python: a position depends on the previous one."""
    firsts: list[int] = []
    ends: list[int] = []
    at = stop = 0
    for count, size in zip(counts, sizes, strict=True):
        stop += size
        if not 0 <= count * _LEAST_BYTES <= size:
            raise ValueError(f"{count} records in {size} bytes")
        for _ in range(count):
            length = data[at]
            at += 1
            if length & 0x80:
                length &= 0x7F
                shift = 7
                while (byte := data[at]) & 0x80:
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    at += 1
                    if shift > _MOST_SHIFT:
                        raise ValueError("a length has more than 64 bits")
                length |= byte << shift
                at += 1
            firsts.append(at)
            at += length >> 1
            ends.append(at)
        if at != stop:
            raise ValueError(f"{count} records have {at - stop + size} bytes, there are {size}")
    return np.array(firsts, dtype=np.int64), np.array(ends, dtype=np.int64)


def _varints(octets: NDArray[np.uint8], at: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The zigzag varints at some positions, and the positions after them."""
    found = octets[at]
    at = at + 1
    number = (found & 0x7F).astype(np.uint64)
    more = np.flatnonzero(found & 0x80)
    shift = 7
    while len(more):
        if shift > _MOST_SHIFT:
            raise ValueError("a number has more than 64 bits")
        found = octets[at[more]]
        at[more] += 1
        number[more] |= (found & 0x7F).astype(np.uint64) << np.uint64(shift)
        more = more[(found & 0x80) != 0]
        shift += 7
    return (number >> np.uint64(1)).astype(np.int64) ^ -(number & np.uint64(1)).astype(np.int64), at


def _texts(data: bytes, octets: NDArray[np.uint8], at: Int64Array) -> tuple[list[bytes | None], Int64Array, Int64Array]:
    """The byte strings at some positions, each after its length (-1: null); their sizes; the positions after them."""
    lengths, first = _varints(octets, at)
    sizes = np.maximum(lengths, 0)
    end = first + sizes
    if len(end) and int(end.max()) > len(data) - len(_PADDING):
        raise ValueError("a field is longer than its batch")
    texts: list[bytes | None] = [data[a:b] for a, b in zip(first.tolist(), end.tolist(), strict=True)]
    for row in np.flatnonzero(lengths < 0).tolist():
        texts[row] = None
    return texts, sizes, end


def _headers(data: bytes, at: int, count: int, end: int) -> tuple[Headers, int]:
    """`count` headers from `at` on, and the position after them; `end` is the record's."""
    if not 0 <= 2 * count <= end - at:
        raise ValueError(f"{count} headers in {end - at} bytes")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, at = _text(data, at)
        value, at = _text(data, at)
        # A name that is not UTF-8 is nobody's series header; it is no reason to stop the partition.
        headers.append(((name or b"").decode("utf-8", "replace"), value))
    return headers, at


def _text(data: bytes, at: int) -> tuple[bytes | None, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
        if shift > _MOST_SHIFT:
            raise ValueError("a length has more than 64 bits")
    length = (number >> 1) ^ -(number & 1)
    if length < 0:
        return None, at
    return data[at : at + length], at + length
