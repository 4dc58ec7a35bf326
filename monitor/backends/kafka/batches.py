"""Record batches straight to columns: the client's own reading of records, without an object per record.

kafka-python 3.0.12 makes two Python objects and a dozen calls of each record, which is three quarters of the daemon's
time. Here one short loop finds where the records of a batch begin, and NumPy reads their fields, all records at once.

Rules of this file: only the innermost step is ours. Fetching, positions, checksums, decompression, control batches and
aborted transactions stay the client's (consumer/fetcher.py, record/default_records.py). A batch in an older format goes
the client's way, record by record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from numpy.typing import NDArray

from monitor.backends.abstract import Headers, RecordColumns, TopicPartition

Int64Array = NDArray[np.int64]
_MAGIC = 2
_VARINT_BYTES = 10  # of a 64-bit number, at most


class Run(NamedTuple):
    """Records of one partition, in order, as columns."""

    offsets: Int64Array
    timestamps_ms: Int64Array
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers]

    def rows(self, rows: slice) -> Run:
        """Some of the records."""
        return Run(self.offsets[rows], self.timestamps_ms[rows], self.keys[rows], self.values[rows], self.headers[rows])


class _Taken:
    """What `take` returns to the fetcher: as long as its records are many, and one element when it is iterated."""

    def __init__(self, runs: list[Run]) -> None:
        self._runs = runs

    def __len__(self) -> int:
        return sum(len(run.keys) for run in self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)


def return_runs(consumer: Any) -> None:
    """Makes a consumer's `poll()` return runs, a list of them for each partition, in the place of records."""
    # The fetcher looks the class up on itself each time it has fetched a partition (consumer/fetcher.py).
    consumer._fetcher.PartitionRecords = ColumnRecords


class ColumnRecords(Fetcher.PartitionRecords):  # type: ignore[misc] # the client has no types
    """One partition's fetched batches."""

    def __init__(self, fetch_offset: int, tp: Any, records: Any, **settings: Any) -> None:
        super().__init__(fetch_offset, tp, records, **settings)
        self._rest: Run | None = None
        self.record_iterator = self._runs(records)

    def take(self, n: int | None = None) -> Any:
        """Up to `n` records, as runs. Raises what the client would."""
        self._maybe_raise_next_inline_exception()
        taken: list[Run] = []
        missing = n if n is not None else 1 << 62
        try:
            while missing > 0:
                run = self._rest if self._rest is not None else next(self.record_iterator, None)
                self._rest = None
                if run is None:
                    break
                if len(run.keys) > missing:
                    run, self._rest = run.rows(slice(None, missing)), run.rows(slice(missing, None))
                self.next_fetch_offset = int(run.offsets[-1]) + 1
                self.records_read += len(run.keys)
                missing -= len(run.keys)
                taken.append(run)
        except Exception as error:
            if not taken:
                raise
            self._next_inline_exception = error
        return _Taken(taken)

    def _runs(self, records: Any) -> Iterator[Run]:
        """As `_unpack_records` of the client, a batch at a time."""
        last = None
        while (batch := records.next_batch()) is not None:
            last = batch
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(
                    f"Record batch for partition {self.topic_partition} at offset {batch.base_offset} failed crc check"
                )
            if batch.magic == _MAGIC and self._is_hidden(batch):
                self.next_fetch_offset = batch.next_offset
                continue
            run = _read(batch) if batch.magic == _MAGIC else _read_old(batch)
            self.bytes_read += batch.size_in_bytes
            skipped = int(np.searchsorted(run.offsets, self.fetch_offset))
            if skipped < len(run.keys):
                yield run.rows(slice(skipped, None)) if skipped else run
        if last is not None and last.magic == _MAGIC:
            self.next_fetch_offset = last.next_offset
        self.drain()

    def _is_hidden(self, batch: Any) -> bool:
        """Control batches, and what an aborted transaction wrote."""
        self.leader_epoch = batch.leader_epoch
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)


def columns(partition: TopicPartition, runs: Sequence[Run], next_offset: int, *, want_headers: bool) -> RecordColumns:
    """The records of one partition as columns; `next_offset` is the client's position after them."""
    if len(runs) == 1:
        run = runs[0]
    else:
        nothing = np.empty(0, dtype=np.int64)
        run = Run(
            np.concatenate([nothing, *(run.offsets for run in runs)]),
            np.concatenate([nothing, *(run.timestamps_ms for run in runs)]),
            [key for run in runs for key in run.keys],
            [value for run in runs for value in run.values],
            [headers for run in runs for headers in run.headers],
        )
    return RecordColumns(
        partition=partition,
        offsets=run.offsets,
        timestamps_ms=run.timestamps_ms,
        keys=run.keys,
        values=run.values,
        next_offset=next_offset,
        headers=run.headers if want_headers else None,
    )


def _read_old(batch: Any) -> Run:
    """A message set of format 0 or 1."""
    records = list(batch)
    return Run(
        np.array([record.offset for record in records], dtype=np.int64),
        np.array([-1 if record.timestamp is None else record.timestamp for record in records], dtype=np.int64),
        [record.key for record in records],
        [record.value for record in records],
        [() for _ in records],
    )


def _read(batch: Any) -> Run:
    """A batch of format 2: https://kafka.apache.org/documentation/#record

    Record => Length Attributes TimestampDelta OffsetDelta Key Value [Headers], all lengths and deltas zigzag varints.
    """
    batch._maybe_uncompress()
    data, count = bytes(memoryview(batch._buffer)[batch._pos :]), batch.records_count
    try:
        firsts, ends = _bounds(data, count)
        # so that reading beyond the end of a damaged record reads zeros, not out of bounds
        octets = np.frombuffer(data + bytes(_VARINT_BYTES * 6), dtype=np.uint8)
        stamps, at = _varints(octets, firsts + 1)
        deltas, at = _varints(octets, at)
        keys, at = _texts(data, octets, at)
        values, at = _texts(data, octets, at)
        counts, at = _varints(octets, at)
        headers: list[Headers] = [()] * count
        for row in np.flatnonzero(counts).tolist():
            headers[row], at[row] = _headers(data, int(at[row]), int(counts[row]))
    except (IndexError, ValueError, OverflowError) as error:
        raise CorruptRecordError(f"Found invalid record structure: {error!r}") from error
    if not np.array_equal(at, ends) or (count and int(ends[-1]) != len(data)):
        raise CorruptRecordError("Invalid record size: a record's fields do not fill it")
    appended = batch.timestamp_type == batch.LOG_APPEND_TIME
    stamps = np.full(count, batch.max_timestamp) if appended else stamps + batch.first_timestamp
    return Run(deltas + batch.base_offset, stamps, keys, values, headers)


def _bounds(data: bytes, count: int) -> tuple[Int64Array, Int64Array]:
    """Where each record's body begins and ends. The one loop in Python: a record's place hangs on those before it."""
    firsts, ends = [], []
    at = 0
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
            length |= byte << shift
            at += 1
        firsts.append(at)
        at += length >> 1
        ends.append(at)
    return np.array(firsts, dtype=np.int64), np.array(ends, dtype=np.int64)


def _varints(octets: NDArray[np.uint8], at: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The zigzag varints at some places, and the places behind them."""
    found = octets[at]
    at = at + 1
    number = (found & 0x7F).astype(np.uint64)
    more = np.flatnonzero(found & 0x80)
    shift = 7
    while len(more):
        if shift >= 64:
            raise ValueError("a number has more than 64 bits")
        found = octets[at[more]]
        at[more] += 1
        number[more] |= (found & 0x7F).astype(np.uint64) << np.uint64(shift)
        more = more[(found & 0x80) != 0]
        shift += 7
    return (number >> np.uint64(1)).astype(np.int64) ^ -(number & np.uint64(1)).astype(np.int64), at


def _texts(data: bytes, octets: NDArray[np.uint8], at: Int64Array) -> tuple[list[bytes | None], Int64Array]:
    """The byte strings at some places, each behind its length (-1: null), and the places behind them."""
    lengths, first = _varints(octets, at)
    end = first + np.maximum(lengths, 0)
    if len(end) and int(end.max()) > len(data):
        raise ValueError("a field is longer than its batch")
    texts: list[bytes | None] = [data[a:b] for a, b in zip(first.tolist(), end.tolist(), strict=True)]
    for row in np.flatnonzero(lengths < 0).tolist():
        texts[row] = None
    return texts, end


def _headers(data: bytes, at: int, count: int) -> tuple[Headers, int]:
    """`count` headers from `at` on, and the place behind them."""
    if count < 0:
        raise ValueError("a negative number of headers")
    headers = []
    for _ in range(count):
        name, at = _text(data, at)
        value, at = _text(data, at)
        # A name that is not UTF-8 is nobody's series header; it is no reason to stop the partition.
        headers.append(((name or b"").decode("utf-8", "replace"), value or b""))
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
    length = (number >> 1) ^ -(number & 1)
    if length < 0:
        return None, at
    return data[at : at + length], at + length
