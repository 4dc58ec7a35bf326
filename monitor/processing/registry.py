"""Which series of a partition are remembered, in which rows of its state, and which are forgotten when.

Rules of this file: pure, and the log alone decides: however the records are handed over, the same series are forgotten
at the same record. Where there are more than `limit`, it is the one whose last record is oldest; and any silent
while the partition's event time moved on by more than `ttl_us`.

A row is used again, but never by two series among the records of one segment: state that is kept by row is put in order
between segments, which begin with a record. A series' serial number is never used again; a series that comes back is
another one. A record that names no series somewhere, or more than `limit`, is refused as a whole, and changes nothing.

    records   a b c | d e ...        limit 3, rows 0 to 3
    rows      0 1 2 | 3 0 ...        d takes row 3, and row 0 of a, which is forgotten for it, is free from here on
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from monitor.detector.arrays import Int64Array, grown
from monitor.errors import Reason
from monitor.formats.decoder import Rejected
from monitor.messages.alerts import EndReason
from monitor.processing.series_keys import problem_of
from monitor.processing.snapshots import UNKNOWN_US

Problem = tuple[Reason, str]
# A row without a series; the positions of series that are restored are negative, but far from it.
_VACANT = np.iinfo(np.int64).min
_LAST_OFFSET = np.iinfo(np.int64).max
# Rows beside those of `limit` series: so many may be forgotten within one segment.
SPARE_ROWS = 1024


class Segment(NamedTuple):
    """A segment begins at input offset `offset`; from then on `rows` belong to the series `serials`, new ones."""

    offset: int
    rows: list[int]
    serials: list[int]


class Forgotten(NamedTuple):
    """A series that is not remembered from input offset `offset` on; `at_us` is the time of the record there."""

    serial: int
    offset: int
    at_us: int
    reason: EndReason


class Numbered(NamedTuple):
    """The row of each of k records (k,), -1 for those refused; the segments that they begin, and who is forgotten."""

    rows: Int64Array
    rejected: list[Rejected]
    segments: list[Segment]
    forgotten: list[Forgotten]


class SeriesRegistry:
    """The series of one partition, at most `limit`, each in a row of its own."""

    def __init__(self, limit: int, ttl_us: int = 0, named_by: str = "key") -> None:
        """`ttl_us` 0: silence alone makes nobody forgotten; `named_by` is the option `input.series`."""
        self._named_by = named_by
        self.limit = limit
        self.names: dict[int, str] = {}  # by serial; those of forgotten series too until `release`
        self._ttl_us = ttl_us
        self._spare = max(1, min(SPARE_ROWS, limit // 8))
        self._rows: dict[bytes | None, int] = {}
        self._keys: list[bytes] = []  # by row
        self._serials: list[int] = []  # by row
        self._next_serial = 0
        self._free: list[int] = []
        self._limbo: list[int] = []  # rows to be free in the next segment
        self._count = 0  # entries of records that were numbered
        self._last = np.empty(0, dtype=np.int64)  # number of the last of them, by row
        self._at_us = np.empty(0, dtype=np.int64)  # event time of the partition at that record, by row
        self._stream_us = UNKNOWN_US
        # Rows by age, as they stood at some time, and their last offsets then: one that has another now was seen since.
        self._queue: list[tuple[int, int]] = []
        self._head = 0
        self._checked_until_us = UNKNOWN_US  # no series is silent for too long before this event time
        self._before: dict[bytes, list[tuple[int, int]]] = {}  # rows that keys had before offsets of the last records
        self._changes: list[tuple[int, int]] = []  # at which offsets one more or less is known, and how many before

    def __len__(self) -> int:
        return len(self._rows)

    def known_at(self, offset: int) -> int:
        """How many series there were right after the record at an offset, none of those before the last `settle`."""
        after = bisect_right(self._changes, offset, key=itemgetter(0))
        return self._changes[after][1] if after < len(self._changes) else len(self)

    def settle(self) -> None:
        """Everything that was numbered is decided."""
        self._changes.clear()

    @property
    def most_rows(self) -> int:
        """How many rows may come into use, unless more were restored, or one record names more new series."""
        return self.limit + self._spare

    @property
    def rows(self) -> int:
        """How many rows are in use, or were."""
        return len(self._keys)

    def serial(self, key: bytes) -> int | None:
        """The serial number of a series, None where it is not known."""
        row = self._rows.get(key)
        return None if row is None else self._serials[row]

    def number(
        self, keys: Sequence[bytes | None], rows_in_poll: Int64Array, offsets: Int64Array, at_us: Int64Array
    ) -> Numbered:
        """The row of each record, new series being registered and old ones forgotten.

        Args:
            keys: k raw keys.
            rows_in_poll: (k,) the records' rows in their poll, for the rejections.
            offsets: (k,) their offsets, never falling: those of one record follow each other.
            at_us: (k,) their event times.
        """
        self._free += self._limbo
        self._limbo.clear()
        self._before.clear()
        if not len(keys):
            return Numbered(np.empty(0, dtype=np.int64), [], [], [])
        known = self._number_known(keys, at_us)
        if known is not None:
            return Numbered(known, [], [], [])
        problems, rows = self._problems(keys, offsets), np.empty(len(keys), dtype=np.int64)
        count = len(keys) if problems else self._count_to_last_new(keys, offsets)
        found = Numbered(rows, [], [Segment(int(offsets[0]), [], [])], [])
        self._number_one_by_one(keys[:count], rows_in_poll, offsets, at_us, found, problems)
        if count < len(keys):
            rest = keys[count:], rows_in_poll[count:], offsets[count:], at_us[count:]
            known = self._number_known(rest[0], rest[3])
            if known is None:
                self._number_one_by_one(*rest, found._replace(rows=rows[count:]), {})
            else:
                rows[count:] = known
        return found

    def _problems(self, keys: Sequence[bytes | None], offsets: Int64Array) -> dict[int, Problem]:
        """Why records are refused, by offset."""
        new = {key for key in {*keys} if key not in self._rows}
        nameless = {key: problem for key in new if (problem := problem_of(key, self._named_by)) is not None}
        found: dict[int, Problem] = {}
        for index, key in enumerate(keys if nameless else ()):
            if key in nameless:
                found.setdefault(int(offsets[index]), nameless[key])
        for offset in np.unique(offsets[self.limit :][offsets[self.limit :] == offsets[: -self.limit]]).tolist():
            named = len({*keys[slice(*np.searchsorted(offsets, [offset, offset + 1]).tolist())]})
            if named > self.limit:
                text = f"the record names {named} series, at most {self.limit} are kept (input.max_series)"
                found.setdefault(offset, (Reason.BAD_SERIES, text))
        return found

    def _count_to_last_new(self, keys: Sequence[bytes | None], offsets: Int64Array) -> int:
        """How many of k entries there are up to the end of the last record that begins a series; k where none does."""
        firsts = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        last = max((index for key, index in firsts.items() if key not in self._rows), default=len(keys) - 1)
        return int(np.searchsorted(offsets, offsets[last], side="right"))

    def _number_known(self, keys: Sequence[bytes | None], at_us: Int64Array) -> Int64Array | None:
        """The row of each record, where no series is new or may be silent for too long; else None."""
        try:
            rows = np.fromiter(map(self._rows.__getitem__, keys), np.int64, len(keys))
        except KeyError:
            return None
        if self._ttl_us:
            stream_us = np.maximum.accumulate(np.maximum(at_us, self._stream_us))
            if stream_us[-1] > self._checked_until_us:
                return None
            self._stream_us = int(stream_us[-1])
            self._at_us[rows] = stream_us
        self._last[rows] = self._counted(len(rows))  # of several records of a row the last one counts
        return rows

    def _counted(self, entries: int) -> Int64Array:
        """The numbers of so many more entries."""
        self._count += entries
        return np.arange(self._count - entries, self._count)

    def _number_one_by_one(
        self,
        keys: Sequence[bytes | None],
        rows_in_poll: Int64Array,
        offsets: Int64Array,
        at_us: Int64Array,
        found: Numbered,
        problems: Mapping[int, Problem],
    ) -> None:
        """Notes in `found` what `number` says of the first k of these columns' entries, which begin a record."""
        rows, k, before = found.rows, len(keys), -1
        columns = zip(keys, offsets[:k].tolist(), at_us[:k].tolist(), self._counted(k).tolist(), strict=True)
        for index, (key, offset, time_us, count) in enumerate(columns):
            if offset in problems:
                found.rejected.append(Rejected(int(rows_in_poll[index]), *problems[offset]))
                rows[index] = -1
                continue
            if self._ttl_us:
                self._advance(offset, time_us, found.forgotten)
            row = self._rows.get(key)
            if row is None:
                row = self._admit(key or b"", offset, time_us, found, begins=offset != before)
            rows[index], before = row, offset
            self._last[row], self._at_us[row] = count, self._stream_us

    def _advance(self, offset: int, time_us: int, forgotten: list[Forgotten]) -> None:
        """Moves the partition's event time on, and forgets who was silent for too long by then."""
        first = self._stream_us == UNKNOWN_US
        self._stream_us = max(self._stream_us, time_us)
        if first:
            self._at_us[self._at_us == UNKNOWN_US] = self._stream_us
        while self._rows and self._stream_us > self._checked_until_us:
            oldest = self._oldest()
            self._checked_until_us = int(self._at_us[oldest]) + self._ttl_us
            if self._stream_us > self._checked_until_us:
                forgotten.append(self._forget(oldest, offset, time_us, "silent"))

    def _admit(self, key: bytes, offset: int, time_us: int, found: Numbered, *, begins: bool) -> int:
        """The row of a new series; a record `begins` here, and so may a segment."""
        self._before.setdefault(key, []).append((offset, -1))
        if len(self._rows) >= self.limit:
            found.forgotten.append(self._forget(self._oldest(), offset, time_us, "forgotten"))
        if begins and not self._free and len(self._keys) >= self.most_rows and self._limbo:
            self._free, self._limbo = self._limbo, []
            found.segments.append(Segment(offset, [], []))
        self._changes.append((offset, len(self)))
        row = self._register(key)
        found.segments[-1].rows.append(row)
        found.segments[-1].serials.append(self._serials[row])
        return row

    def _register(self, key: bytes) -> int:
        name = key.decode()
        serial, self._next_serial = self._next_serial, self._next_serial + 1
        if self._free:
            row = self._free.pop()
            self._keys[row], self._serials[row] = key, serial
        else:
            row = len(self._keys)
            self._keys.append(key)
            self._serials.append(serial)
            self._grow(row + 1)
        self._rows[key] = row
        self.names[serial] = name
        return row

    def _grow(self, rows: int) -> None:
        if rows > len(self._last):
            size = max(rows, 2 * len(self._last), 16)
            self._last = grown(self._last, size, _VACANT)
            self._at_us = grown(self._at_us, size, UNKNOWN_US)

    def _forget(self, row: int, offset: int, time_us: int, reason: EndReason) -> Forgotten:
        key = self._keys[row]
        self._before.setdefault(key, []).append((offset, row))
        self._changes.append((offset, len(self)))
        del self._rows[key]
        self._last[row] = _VACANT
        self._limbo.append(row)
        return Forgotten(self._serials[row], offset, time_us, reason)

    def _oldest(self) -> int:
        """The row whose last record is oldest. Rows are sorted once for as many as were seen or forgotten since."""
        while True:
            while self._head < len(self._queue):
                row, last = self._queue[self._head]
                if self._last[row] == last:
                    return row
                self._head += 1
            rows = self._by_age()
            self._queue = list(zip(rows.tolist(), self._last[rows].tolist(), strict=True))
            self._head = 0

    def _by_age(self) -> Int64Array:
        rows = np.flatnonzero(self._last != _VACANT)
        return rows[np.argsort(self._last[rows], kind="stable")]

    def release(self, serial: int) -> str:
        """The name of a forgotten series, which nothing refers to any more."""
        return self.names.pop(serial)

    def shrink(self, offset: int, time_us: int) -> list[Forgotten]:
        """Forgets as many as there are over the limit, which was higher when they were remembered."""
        over = range(len(self._rows) - self.limit)
        return [self._forget(self._oldest(), offset, time_us, "forgotten") for _ in over]

    def rows_before(self, keys: Iterable[bytes | None], offsets: Int64Array) -> Int64Array:
        """The row that each of k keys had right before an offset among the last records; -1 where it had none."""
        return np.fromiter(map(self._row_before, keys, offsets.tolist()), np.int64, len(offsets))

    def _row_before(self, key: bytes | None, offset: int) -> int:
        changes = self._before.get(key or b"", ())
        return next((row for at, row in changes if at >= offset), self._rows.get(key, -1))

    def by_age(self) -> tuple[Int64Array, list[bytes], Int64Array]:
        """Rows, keys, and event times of the partition at their last record: a checkpoint's order, oldest first."""
        rows = self._by_age()
        at_us = self._at_us[rows] if self._ttl_us else np.full(len(rows), UNKNOWN_US, dtype=np.int64)
        return rows, [self._keys[row] for row in rows.tolist()], at_us

    def restore(self, keys: Sequence[bytes], at_us: Int64Array) -> Segment:
        """Puts back, in an empty registry, what `by_age` returned."""
        rows = [self._register(key) for key in keys]
        self._last[rows] = np.arange(-len(rows), 0)  # older than any record to come
        self._at_us[rows] = at_us
        self._stream_us = int(at_us.max(initial=UNKNOWN_US))
        return Segment(0, rows, [self._serials[row] for row in rows])

    def recall(self, keys: Iterable[bytes], time_us: int) -> Segment:
        """Registers series of which only the name is known, as the oldest of all."""
        oldest = int(self._last[self._by_age()[:1]].min(initial=0))
        rows = [self._register(key) for key in sorted(keys)]
        self._last[rows] = np.arange(min(oldest, 0) - len(rows), min(oldest, 0))
        self._at_us[rows] = max(self._stream_us, time_us)
        self._queue, self._head = [], 0  # they come before everybody who is queued
        return Segment(0, rows, [self._serials[row] for row in rows])


def segments_of(segments: Sequence[Segment], offsets: Int64Array) -> Iterator[tuple[slice, Segment | None, int]]:
    """Where each segment lies among samples of these offsets (n,), what begins with it, and at which offset it ends."""
    if not segments:
        yield slice(None), None, _LAST_OFFSET
        return
    ends = [segment.offset for segment in segments[1:]]
    bounds = np.searchsorted(offsets, ends).tolist()
    spans = zip([0, *bounds], [*bounds, len(offsets)], [*ends, _LAST_OFFSET], segments, strict=True)
    for first, end, until, segment in spans:
        yield slice(first, end), segment, until
