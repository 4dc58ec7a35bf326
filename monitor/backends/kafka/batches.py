"""Record batches straight to columns: the client's own reading of a fetch, without an object per record.

kafka-python 3.0.12 makes two Python objects and a dozen calls of each record, which is three quarters of the daemon's
time. Here one loop goes over the batches' headers, and many small batches are read at once (`records.py`).

Rules of this file: only the innermost step is ours. Fetching, positions, and which transactions were aborted stay the
client's (consumer/fetcher.py); records, positions and what is hidden are its own, which a test compares. A batch that
can't be read is no exception but an item in order among the records: the client raises from this poll or a later
one, at every poll again, and names its first offset alone (D14, D21).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatch

from monitor.backends.abstract import Damaged, RecordColumns, TopicPartition
from monitor.backends.kafka import framing
from monitor.backends.kafka.framing import APPENDED, CODEC, CONTROL, FORMAT, HEADER_BYTES, TRANSACTIONAL, BatchHeader
from monitor.backends.kafka.messages import read_message
from monitor.backends.kafka.records import RecordBatch, Run, read
from monitor.backends.kafka.unpacking import UnreadableError, unpack
from monitor.errors import Reason

# What a batch may unpack to in tools that read topics without a configuration.
MAX_BATCH_BYTES = 64 * 1024 * 1024
# Batches are read together up to here: enough to make NumPy's overhead small, little beside what a fetch holds.
_TOGETHER_RECORDS = 8_192
_TOGETHER_BYTES = 1024 * 1024
Item = Run | Damaged


class _Taken:
    """What `take` returns to the fetcher: as long as its records are many; iterated, its runs and damaged batches."""

    def __init__(self, items: list[Item], count: int) -> None:
        self._items = items
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)


def return_runs(consumer: Any, max_batch_bytes: int = MAX_BATCH_BYTES) -> None:
    """Makes a consumer's `poll()` return runs and damaged batches, a list for each partition, instead of records.

    `max_batch_bytes` is what one batch may unpack to.
    """
    fetcher = consumer._fetcher
    # The fetcher looks the class up on itself each time it has fetched a partition (consumer/fetcher.py).
    fetcher.PartitionRecords = partial(ColumnRecords, max_batch_bytes=max_batch_bytes)
    parse = fetcher._parse_fetched_data

    def parse_or_say_where(fetch: Any) -> Any:
        try:
            return parse(fetch)
        except CorruptRecordError:  # the broker's answer, which the client raises without an offset
            return ColumnRecords(fetch.fetched_offset, fetch.topic_partition, MemoryRecords(b""), refused=True)

    fetcher._parse_fetched_data = parse_or_say_where


class ColumnRecords(Fetcher.PartitionRecords):  # type: ignore[misc] # the client has no types
    """One partition's fetched batches."""

    def __init__(
        self,
        fetch_offset: int,
        tp: Any,
        records: Any,
        *,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        refused: bool = False,
        **settings: Any,
    ) -> None:
        """`refused`: the broker itself can't read what lies at `fetch_offset`."""
        super().__init__(fetch_offset, tp, records, **settings)
        self.leader_epoch: int
        self._limit = max_batch_bytes
        self._committed_only = self.isolation_level == IsolationLevel.READ_COMMITTED
        self._data = memoryview(records._buffer)
        self._at = 0
        self._next = fetch_offset  # the offset after what was read
        self._least = fetch_offset  # the first offset that is still to be read
        self._fault: UnreadableError | None = None  # what is at `_at` can't be read
        self._ended = False
        self._rest: Run | None = None
        self.record_iterator = self._items()
        if refused:
            fault = UnreadableError(Reason.CORRUPT_BATCH, "its broker can't read it")
            self.record_iterator = iter([self._impassable(fault)])
        if len(self._data) and not records.has_next():
            # One whole batch at least is what a broker sends, so the length in this one's header is wrong. The fetcher
            # would raise an error without an offset, at every poll again; `_items` says what it is.
            records._next_slice = self._data

    def take(self, n: int | None = None) -> _Taken:
        """Up to `n` records, as runs; a damaged batch counts as one."""
        self._maybe_raise_next_inline_exception()
        taken: list[Item] = []
        missing = most = n if n is not None else 1 << 62
        while missing > 0:
            item = self._rest if self._rest is not None else next(self.record_iterator, None)
            self._rest = None
            if item is None:
                break
            if isinstance(item, Damaged):
                self.next_fetch_offset = item.next_offset
                missing -= 1
            else:
                if len(item.keys) > missing:
                    item, self._rest = item.rows(slice(None, missing)), item.rows(slice(missing, None))
                self.next_fetch_offset = int(item.offsets[-1]) + 1
                self.records_read += len(item.keys)
                missing -= len(item.keys)
            taken.append(item)
        return _Taken(taken, most - missing)

    def _items(self) -> Iterator[Item]:
        """As `_unpack_records` of the client, many batches at a time."""
        while not self._ended:
            before = self._at
            yield from self._read(self._gather())
            try:
                if self._fault is not None:
                    raise self._fault
                if self._at == before:
                    yield from self._message()
            except UnreadableError as fault:
                yield from self._pass_by(fault)
            self._ended |= self._at == before
        if self._at:
            self.next_fetch_offset = self._next
        self.drain()

    def _gather(self) -> list[RecordBatch]:
        """The batches from here on that are not hidden, unpacked; up to what can't be read: that becomes the fault."""
        self._fault = None
        batches: list[RecordBatch] = []
        count = size = 0
        try:
            while count < _TOGETHER_RECORDS and size < _TOGETHER_BYTES and (found := self._whole()) is not None:
                header, end = found
                if batches and header.leader_epoch != self.leader_epoch:
                    break
                self.leader_epoch = header.leader_epoch
                if not self._is_hidden(header, end):
                    batches.append(self._unpacked(header, end))
                    count += header.record_count
                    size += len(batches[-1].payload)
                self._pass(end, header.last_offset + 1)
        except UnreadableError as fault:
            self._fault = fault
        return batches

    def _whole(self) -> tuple[BatchHeader, int] | None:
        """Header and end of the batch of format 2 that begins here; None where there is none, or one cut off.

        Raises:
            UnreadableError: its bytes are not those that were written.
        """
        data, at = self._data, self._at
        if not framing.begins(data, at):
            return None
        end = framing.end_of(data, at)
        if end is None or end > len(data):
            if end is not None and at > 0:
                return None  # the next fetch begins with it
            raise UnreadableError(Reason.CORRUPT_BATCH, "the length or the format in its header is wrong")
        if data[at + framing.MAGIC_AT] != FORMAT:
            return None
        header = framing.header(data, at)
        if self.check_crcs and not framing.is_whole(data, at, end):
            raise UnreadableError(Reason.CORRUPT_BATCH, "its checksum is wrong")
        if header.first_offset != self._next and self._is_misplaced(header, end):
            raise UnreadableError(Reason.CORRUPT_BATCH, "the first offset in its header is wrong")
        return header, end

    def _is_misplaced(self, header: BatchHeader, end: int) -> bool:
        """Whether the offsets of a batch don't rise to those after it. (Its checksum does not cover its first.)"""
        if header.last_offset < header.first_offset or (self._at > 0 and header.first_offset < self._next):
            return True
        following = framing.first_offset(self._data, end)
        return header.first_offset > self._next and following is not None and following <= header.last_offset

    def _is_hidden(self, header: BatchHeader, end: int) -> bool:
        """Control batches, and what an aborted transaction wrote."""
        control = bool(header.attributes & CONTROL)
        if not self._committed_only or header.producer_id < 0:
            return control
        self._consume_aborted_transactions_up_to(header.last_offset)
        if not self.aborted_producer_ids:
            return control
        if control:
            if self._is_abort(end):
                self.aborted_producer_ids.discard(header.producer_id)
            return True
        return bool(header.attributes & TRANSACTIONAL) and header.producer_id in self.aborted_producer_ids

    def _is_abort(self, end: int) -> bool:
        try:
            return bool(self._contains_abort_marker(DefaultRecordBatch(self._data[self._at : end])))
        except (CorruptRecordError, StopIteration, ValueError, IndexError, TypeError, struct.error) as error:
            raise UnreadableError(Reason.CORRUPT_BATCH, f"it ends no transaction: {error!r}") from error

    def _unpacked(self, header: BatchHeader, end: int) -> RecordBatch:
        """Raises UnreadableError."""
        records = self._data[self._at + HEADER_BYTES : end]
        codec, appended = header.attributes & CODEC, header.attributes & APPENDED
        return RecordBatch(
            header.first_offset,
            header.last_offset,
            header.record_count,
            header.max_timestamp_ms if appended else header.first_timestamp_ms,
            bool(appended),
            unpack(codec, records, self._limit) if codec else records,
            end - self._at,
        )

    def _pass(self, at: int, offset: int) -> None:
        self._at, self._next = at, offset
        self._least = max(self._least, offset)

    def _read(self, batches: Sequence[RecordBatch]) -> Iterator[Item]:
        if not batches:
            return
        try:
            run = read(batches)
        except UnreadableError as fault:
            if len(batches) > 1:
                for batch in batches:
                    yield from self._read([batch])
                return
            (batch,) = batches
            yield Damaged(
                first_offset=max(batch.first_offset, self.fetch_offset),
                next_offset=batch.last_offset + 1,
                size=batch.size,
                records=batch.record_count,
                reason=fault.reason,
                detail=fault.detail,
            )
            return
        yield from self._wanted(run, sum(batch.size for batch in batches))

    def _wanted(self, run: Run, size: int) -> Iterator[Run]:
        """All but the records before the offset that was asked for."""
        self.bytes_read += size
        skipped = int(np.searchsorted(run.offsets, self.fetch_offset))
        if skipped < len(run.keys):
            yield run.rows(slice(skipped, None)) if skipped else run

    def _message(self) -> Iterator[Run]:
        """The message of format 0 or 1 that begins here, if one does. Raises UnreadableError."""
        data, at = self._data, self._at
        end = framing.end_of(data, at) if framing.begins(data, at) else None
        if end is None or end > len(data):
            return
        if self.check_crcs and not framing.is_whole_message(data, at, end):
            raise UnreadableError(Reason.CORRUPT_BATCH, "its checksum is wrong")
        run = read_message(data[at:end], self._limit, check_crcs=self.check_crcs)
        self._pass(end, (int(run.offsets[-1]) if len(run.offsets) else self._least - 1) + 1)
        yield from self._wanted(run, end - at)

    def _pass_by(self, fault: UnreadableError) -> Iterator[Damaged]:
        """What can't be read here; reading continues after it."""
        corrupt = fault.reason is Reason.CORRUPT_BATCH
        resumption = (framing.resume if corrupt else framing.stated)(self._data, self._at, self._least)
        if resumption is None:
            if not self._at:
                yield self._impassable(fault)
            return  # else the next fetch begins with it, and holds more of what follows
        damaged = Damaged(
            first_offset=self._least,
            next_offset=resumption.offset,
            size=resumption.at - self._at,
            records=resumption.records,
            reason=fault.reason,
            detail=fault.detail,
        )
        self._pass(resumption.at, resumption.offset)
        yield damaged
        # It may have been the end of an aborted transaction: the next fetch brings a new list of those that are left.
        self._ended = corrupt and bool(self.aborted_producer_ids or self.aborted_transactions)

    def _impassable(self, fault: UnreadableError) -> Damaged:
        return Damaged(
            first_offset=self._least,
            next_offset=self._least,
            size=len(self._data),
            records=None,
            reason=fault.reason,
            detail=fault.detail,
        )


def columns(
    partition: TopicPartition, items: Iterable[Item], next_offset: int, *, want_headers: bool
) -> list[RecordColumns]:
    """What was fetched of one partition, as columns; `next_offset` is the client's position after it."""
    found: list[RecordColumns] = []
    runs: list[Run] = []
    for item in items:
        if isinstance(item, Run):
            runs.append(item)
            continue
        if runs:
            found.append(_columns(partition, runs, item.first_offset, want_headers=want_headers))
            runs = []
        found.append(RecordColumns.skipping(partition, item))
    if runs or not found or found[-1].next_offset != next_offset:
        found.append(_columns(partition, runs, next_offset, want_headers=want_headers))
    return found


def _columns(partition: TopicPartition, runs: list[Run], next_offset: int, *, want_headers: bool) -> RecordColumns:
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
            np.concatenate([nothing, *(run.sizes for run in runs)]),
        )
    return RecordColumns(
        partition=partition,
        offsets=run.offsets,
        timestamps_ms=run.timestamps_ms,
        keys=run.keys,
        values=run.values,
        next_offset=next_offset,
        headers=run.headers if want_headers else None,
        known_sizes=run.sizes,
    )
