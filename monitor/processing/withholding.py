"""Whether the records are wrong, or what reads them: rejected records counted by partition, in log order.

A wrong artifact, format or field would turn a whole stream into dead letters. So a partition is held when the first
`FIRST` records after it was taken over are all rejected, or later more than a share (`input.max_rejected_ratio`) of
`BLOCK` in a row, or a run of more than `input.max_rejected_run`: nothing of it is committed from then on. Nothing is
committed before a record was accepted either, so that a trickle of rejected records does not pass one commit at a time.

Records may rightly be of no channel and be ignored, but not all of them: a partition is held as well when `BLOCK`
records were ignored and not one was accepted, in this life or, as its series say, in one before.

Rules of this file: pure. Counts decide, never a clock, so that two runs over the same records agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from monitor.backends.abstract import RecordColumns
from monitor.detector.arrays import Int64Array
from monitor.formats.decoder import NOTHING_IGNORED, Ignored, Rejected

FIRST = 20
BLOCK = 1_000


class Withholding:
    """Of one partition since it was taken over. `max_ratio` 1: never; `max_run` 0: runs may be of any length."""

    def __init__(self, max_ratio: float, max_run: int = 0) -> None:
        self._off = max_ratio >= 1
        self._most = round(max_ratio * BLOCK)
        self._max_run = max_run
        self._run = 0  # refused one after the other, up to now
        self._run_since = 0  # offset of the first of them
        self._accepted = False
        self._leading = 0  # refused before anything was accepted
        self._known = False  # a record was accepted, or one was in an earlier life
        self._ignored = 0  # records that were ignored before that
        self._ignored_since = 0  # offset of the first of them
        self._seen = self._refused = 0  # in the present block
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, tuple[int, str]] = {}
        self.why = ""  # the partition is held: why
        self.since: int | None = None  # offset of the block's first; None: none was accepted before

    @property
    def withheld(self) -> bool:
        """Nothing is to be committed: the partition is held, or all of its records so far were refused."""
        return bool(self.why) or (self._leading > 0 and not self._accepted)

    @property
    def why_withheld(self) -> str:
        """Why nothing is to be committed; empty where it is."""
        if self.why or not self.withheld:
            return self.why
        return f"all {self._leading} records so far were refused, and until one is accepted none is committed; " + (
            self._example()
        )

    def received(
        self,
        columns: RecordColumns,
        rejected: Sequence[Rejected],
        ignored: Ignored = NOTHING_IGNORED,
        *,
        known: bool = True,
    ) -> None:
        """Counts live records, of which `rejected`, in order, were refused; `known`: it had series before them."""
        count = len(columns.offsets)
        if self._off or not count:
            return
        rows = np.fromiter((rejection.row for rejection in rejected), np.int64, len(rejected))
        for rejection in rejected:
            self._reasons[rejection.reason.value] += 1
            self._examples[rejection.reason.value] = int(columns.offsets[rejection.row]), rejection.detail
        if not self._accepted:
            leading = int(np.argmin(np.append(rows == np.arange(len(rows)), False)))
            self._leading += leading
            self._accepted = self._leading < FIRST and leading < count
            if self._leading >= FIRST:
                self.why, self.since = f"all of the first {FIRST} records were refused; {self._example()}", None
                return
        self._count(columns.offsets, rows)
        if self._max_run and not self.why:
            self._count_run(columns.offsets, rows)
        self._known |= known
        if not self._known and not self.why:
            self._count_ignored(columns.offsets, rows, ignored)

    def _count_ignored(self, offsets: Int64Array, rows: Int64Array, ignored: Ignored) -> None:
        """Follows records that are of no channel, as long as none was accepted."""
        left_out = np.array(ignored.rows, dtype=np.int64)
        others = np.setdiff1d(np.arange(len(offsets)), np.concatenate([rows, left_out]))
        before = left_out if not len(others) else left_out[left_out < others[0]]
        if len(before) and not self._ignored:
            self._ignored_since = int(offsets[before[0]])
        self._ignored += len(before)
        self._known = len(others) > 0
        if self._ignored >= BLOCK:
            self.since = self._ignored_since
            self.why = (
                f"{BLOCK} records were ignored before any was accepted: they hold no channel of the artifact; "
                f"{ignored.example}; see input.channels, entries and channel_field (`telltale doctor TOPIC` proposes "
                "them), or, if this partition rightly holds none, set input.max_rejected_ratio = 1"
            )

    def _count_run(self, offsets: Int64Array, rows: Int64Array) -> None:
        """Follows runs of refused records, which may go on from poll to poll."""
        if not len(rows):
            self._run = 0
            return
        starts = np.flatnonzero(np.diff(rows, prepend=-2) > 1)
        lengths, sinces = np.diff(starts, append=len(rows)), offsets[rows[starts]]
        if self._run and rows[0] == 0:
            lengths[0] += self._run
            sinces[0] = self._run_since
        for run in np.flatnonzero(lengths > self._max_run)[:1].tolist():
            self.why = f"more than {self._max_run} records one after the other were refused; {self._example()}"
            self.since = int(sinces[run])
        ended = int(rows[-1]) < len(offsets) - 1
        self._run, self._run_since = (0, 0) if ended else (int(lengths[-1]), int(sinces[-1]))

    def _count(self, offsets: Int64Array, rows: Int64Array) -> None:
        start, count = 0, len(offsets)
        while start < count:
            stop = min(count, start + BLOCK - self._seen)
            first, end = np.searchsorted(rows, (start, stop)).tolist()
            if end > first and not self._refused:
                self.since = int(offsets[rows[first]])
            self._refused += end - first
            self._seen += stop - start
            if self._refused > self._most:
                self.why = f"more than {self._most} of {BLOCK} records in a row were refused; {self._example()}"
                return
            if self._seen == BLOCK:
                self._seen = self._refused = 0
            start = stop

    def _example(self) -> str:
        reason, _ = self._reasons.most_common(1)[0]
        offset, detail = self._examples[reason]
        return f"most often {reason}, as at offset {offset}: {detail}"
