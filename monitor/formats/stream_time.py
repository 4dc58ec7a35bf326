"""A partition's newest time that can be believed, which says what lies in the future: `input.max_future_ms`.

One record from 2100 would silence its series for good: everything after it is late. It is refused, and moves nothing.
But that it is from 2100 can't be seen by the log alone: after a silence every time jumps ahead, after a weekend by
days, and those records are good. To wait for the next record would hold back alerts of a topic that has one record an
hour. So a jump is judged by what the log says first, and by the reader's clock where the log can't decide:

    up to max_future ahead of the newest believed time     believed: time goes on
    else, a jump, further ahead than that of the clock     refused, and so is the next such one, and the first of all
    a jump by a `ts` that the record's own timestamp,      refused: the record itself says that there was no silence,
    itself no older than the log, does not follow          unless `ts` is the clock's present: then its timestamp is off
    any other jump                                         believed: a silence has ended
    the tenth refused in a row, near each other            believed: the log outvotes a clock that is behind

The reader's clock decides only where it must, and what it said then (a tick: input offset, time) is state, committed
with the decision: a restart reads the same records with the same ticks, and decides alike. What the clock can't tell
is a time ahead of its neighbours that is past when it is read, as in a backlog: after silence it is one more jump.

Rules of this file: pure; the clock is handed in. Refused records move nothing but the count of those in a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from monitor.detector.arrays import BoolArray, Int64Array
from monitor.detector.times import NEWEST_US, NO_TIME

CONFIRMED_BY = 10
_BLOCK, _NEAR = 4096, 64  # records looked at as one; and one by one, after a jump
_FARTHEST_US = 1 << 60  # so that sums of times stay within an int64


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of n records which are `refused`, and the newest believed time after each (`NO_TIME`: none yet)."""

    refused: BoolArray
    newest_us: Int64Array


@dataclass(slots=True)
class StreamTime:
    """What one partition's log has shown of time, at one offset; `ticks` are what the clock said since a checkpoint.

    `clock_us` is the reader's clock as far as it decided anything, `NO_TIME` where it never did. `ahead` records were
    refused in a row, the last of them at `ahead_us`. Where there never was a clock (`clocked`), every jump is believed
    that the record's own timestamp follows.

    Where nothing comes, time is moved on to `idle_us` (`NO_TIME`: it never was). `idle` says at which input offsets
    that was, and to when, since the checkpoint. It is no evidence of what records say: jumps are judged without it.
    """

    newest_us: int = NO_TIME
    clock_us: int = NO_TIME
    ahead: int = 0
    ahead_us: int = NO_TIME
    ticks: dict[int, int] = field(default_factory=dict)
    clocked: bool = False
    idle_us: int = NO_TIME
    idle: list[tuple[int, int]] = field(default_factory=list)

    @property
    def reached_us(self) -> int:
        """How far time has come, by records or without."""
        return max(self.newest_us, self.idle_us)

    def judge(
        self,
        offsets: Int64Array,
        times_us: Int64Array,
        own_us: Int64Array,
        max_future_us: int,
        now_us: int | None,
        *,
        live: bool,
    ) -> Judgement:
        """Judges records in log order, and moves on.

        Args:
            offsets: (n,) the records' offsets.
            times_us: (n,) the time of each one's last sample.
            own_us: (n,) its own timestamp, `NO_TIME` where it has none that is possible.
            max_future_us: how far ahead a time may lie.
            now_us: the reader's clock; None: there is none.
            live: they were not read before; else the ticks say what the clock said then.
        """
        if live:
            self.clocked = now_us is not None
        reach_us = min(max_future_us, _FARTHEST_US)
        refused = np.zeros(len(offsets), dtype=np.bool_)
        newest_us = np.empty(len(offsets), dtype=np.int64)
        if self.newest_us != NO_TIME and times_us.max(initial=NO_TIME) <= self.newest_us + reach_us:
            newest_us = np.maximum(np.maximum.accumulate(times_us), self.newest_us)
            if len(newest_us):
                self.newest_us, self.ahead = int(newest_us[-1]), 0
            return Judgement(refused, newest_us)
        first = 0
        while first < len(offsets):
            until = np.maximum.accumulate(np.concatenate([[self.newest_us], times_us[first : first + _BLOCK]]))
            jumps = times_us[first : first + _BLOCK] > until[:-1] + reach_us
            steps = int(np.argmax(jumps)) if jumps.any() else len(jumps)
            if steps:
                newest_us[first : first + steps] = until[1 : steps + 1]
                self.newest_us, self.ahead = int(until[steps]), 0
                first += steps
            # Where one jump is, others may be near.
            for row in range(first, min(first + _NEAR, len(offsets)) if steps < len(jumps) else first):
                time_us, own = int(times_us[row]), int(own_us[row])
                if time_us <= self.newest_us + reach_us or self._believed(
                    int(offsets[row]), time_us, own, reach_us, now_us, live=live
                ):
                    self.newest_us, self.ahead = max(self.newest_us, time_us), 0
                else:
                    refused[row] = True
                newest_us[row] = self.newest_us
                first += 1
        return Judgement(refused, newest_us)

    def _believed(
        self, offset: int, time_us: int, own_us: int, reach_us: int, now_us: int | None, *, live: bool
    ) -> bool:
        """Whether a jump to `time_us` is believed."""
        clock_us = self._ask_clock(offset, time_us, reach_us, now_us, live=live)
        behind_the_log = self.newest_us != NO_TIME and own_us < self.newest_us - reach_us
        follows = own_us == NO_TIME or time_us <= own_us + reach_us or behind_the_log
        if time_us <= clock_us + reach_us and (follows or time_us >= clock_us - reach_us):
            return True
        near = self.ahead > 0 and abs(time_us - self.ahead_us) <= reach_us
        self.ahead, self.ahead_us = self.ahead + 1 if near else 1, time_us
        return self.ahead >= CONFIRMED_BY

    def _ask_clock(self, offset: int, time_us: int, reach_us: int, now_us: int | None, *, live: bool) -> int:
        """The clock, asked only where what it said before is not enough."""
        if not self.clocked:
            return NEWEST_US
        if time_us > self.clock_us + reach_us:
            if not live:
                self.clock_us = self.ticks.get(offset, self.clock_us)
            elif now_us is not None and time_us <= now_us + reach_us:
                self.clock_us = self.ticks[offset] = now_us
        return self.clock_us
