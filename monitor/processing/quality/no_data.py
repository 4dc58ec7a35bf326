"""`no_data`: a series that has stopped sending, by how often it used to send.

How often that is, is learned from the partition's time between the series' own records, in blocks of them: a series is
known after `FIRST` pauses, and goes by the last 128 to 256 from then on.

    usual pause    the mean, without the two longest
    limit          `PERIODS` usual pauses; at least four times the second longest of all, and `no_data_least_ms`

So one long pause, such as an outage, changes nothing, and two of a kind are not reported a third time. Who sends in
bursts, in chunks, or only what has changed, is measured by the pauses between. While little is known, more is asked
for: eight times the second longest after eight pauses, and `YOUNG` times `no_data_least_ms` until a series is as old.

Silence is found by the records of others in the partition, at the first that moves its time past the limit. But where
one record moves it by far more, the whole partition was silent, which says nothing of any one series: three quarters of
the limit have to pass after the record that moves time past its first quarter. Where nothing comes at all, the daemon's
ticks move time on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import Float64Array, Int64Array, StructOfArrays, stable_order
from monitor.detector.event_time import Reached, firsts_of
from monitor.detector.incidents import Policy
from monitor.detector.spec import Manifest
from monitor.detector.times import FOREVER_US, NEVER_US
from monitor.messages.alerts import duration, rfc3339
from monitor.processing.checks import WHOLE_SERIES, Findings, Problem, QualityRules
from monitor.processing.memory import Memory
from monitor.processing.turns import Turn

PERIODS = 10
FIRST, SECOND, BLOCK = 8, 32, 128  # pauses after which the limit is learned anew: the third again and again
LONGEST, FEW = 4, 32  # the limit is (LONGEST + FEW / pauses) times the second longest pause, at least
YOUNG = 30
# Of m times some pauses: how many, their sum, the longest and the second longest, (4, m)
Pauses = Int64Array


class _Learned(NamedTuple):
    """The limit and the usual pause of m series, (m,)."""

    limit_us: Int64Array
    usual_us: Int64Array


@dataclass(frozen=True, slots=True)
class _Quiet(StructOfArrays):
    """Series that may be silent, k of them: since when, and when a quarter of the limit had passed.

    `suspect_us` is `NEVER_US` where that is not yet.
    """

    series: Int64Array
    last_us: Int64Array
    suspect_us: Int64Array
    limit_us: Int64Array
    usual_us: Int64Array

    @classmethod
    def of(cls, memory: Memory, rows: Int64Array) -> _Quiet:
        """Some series, as they are remembered."""
        return cls(rows, *(memory[name][rows] for name in ("last_us", "suspect_us", "limit_us", "usual_us")))

    @property
    def quarter_us(self) -> Int64Array:
        """When a quarter of the limit has passed."""
        return self.last_us + (self.limit_us >> 2)

    def silent_us(self, suspect_us: Int64Array) -> Int64Array:
        """The last time at which they are not silent yet, where a quarter had passed at `suspect_us`."""
        until_us: Int64Array = np.maximum(self.last_us, suspect_us - (self.limit_us >> 2)) + self.limit_us
        return until_us


class NoData:
    """Watches for series that have stopped sending."""

    policy = Policy(open_after=1, close_after=1, update_every=0)
    severity: Literal["error"] = "error"
    recovered = "sends again"
    unit = "s"

    def __init__(self, _manifest: Manifest, rules: QualityRules) -> None:
        self._least_us = rules.no_data_least_ms * 1000
        after_us = FOREVER_US if rules.no_data_after_ms is None else rules.no_data_after_ms * 1000
        layout = [
            ("last_us", "<i8"),  # the partition's time at its last record
            ("suspect_us", "<i8"),  # the first such time at which a quarter of its limit had passed without one
            ("silent", "?"),
            ("unused", "<i1", 7),  # so that what follows is aligned: many times faster to read
            ("limit_us", "<i8"),
            ("usual_us", "<i8"),
            ("pauses", "<i8"),  # how many there were, and how long in all
            ("age_us", "<i8"),
            ("block", "<i8", 4),  # those of the present block, and of the one before
            ("before", "<i8", 4),
        ]
        self.nothing = np.array((NEVER_US, NEVER_US, False, 0, after_us, 0, 0, 0, 0, 0), layout)[()]

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        """Series that have fallen silent in a turn, and those that send again."""
        if turn.damaged:  # what it held may have been theirs
            memory["suspect_us"] = NEVER_US
            return None
        parts = self._arrived(turn, memory) if len(turn.taken) else []
        if len(turn.course.reached.positions):
            parts.append(_fallen(turn.course.reached, memory))
        parts = [part for part in parts if len(part)]
        return Findings.concatenate(parts) if parts else None

    def describe(self, problem: Problem) -> str:
        """Since when there is no record, and what is usual."""
        text = f"no record since {rfc3339(problem.start_us)}, for {duration(problem.value)}"
        if math.isnan(problem.usual):
            return f"{text}; reported after {duration(problem.threshold)} (quality.no_data_after_ms)"
        return f"{text}; usually one every {duration(problem.usual)}"

    def due_us(self, memory: Memory) -> int:
        """The partition's time from which on something is found where no record comes; `FOREVER_US`: nothing is."""
        quiet = _Quiet.of(memory, np.flatnonzero((memory["last_us"] != NEVER_US) & ~memory["silent"]))
        due_us = np.where(quiet.suspect_us == NEVER_US, quiet.quarter_us, quiet.silent_us(quiet.suspect_us) + 1)
        return min(int(due_us.min(initial=FOREVER_US)), FOREVER_US)

    def _arrived(self, turn: Turn, memory: Memory) -> list[Findings]:
        """What the records of a turn say of their own series; each is remembered as of its last one."""
        reached, order = turn.course.reached, stable_order(turn.taken.series)
        series, at_us, offset = turn.taken.series[order], turn.at_us[order], turn.taken.offset[order]
        firsts = firsts_of(series)
        rows, counts = series[firsts], np.diff(np.append(firsts, len(series)))
        kept = memory.take(rows)
        known_us = kept["last_us"]
        before_us = np.concatenate([known_us[:1], at_us[:-1]])
        before_us[firsts] = np.where(known_us == NEVER_US, at_us[firsts], known_us)
        pauses_us = at_us - before_us
        own, pauses = np.flatnonzero(pauses_us), counts  # records at one time are one
        if len(own) < len(pauses_us):
            pauses = np.add.reduceat(pauses_us != 0, firsts, dtype=np.int64)
            pauses_us = pauses_us[own]
        long, in_force = self._learn(kept, pauses, pauses_us)
        ends = own[long]  # the records that end a long pause, in which silence may have been found
        of = np.searchsorted(firsts, ends, side="right") - 1
        first = ends == firsts[of]
        suspect_us = np.where(first, kept["suspect_us"][of], NEVER_US)
        quiet = _Quiet(series[ends], before_us[ends], suspect_us, *in_force)
        step = _step(reached, quiet)
        found = step <= np.searchsorted(reached.positions, offset[ends])
        silent = kept["silent"].copy()
        found &= ~(first & silent[of])
        back = np.concatenate([firsts[silent], ends[found]])
        limit_us = np.concatenate([kept["limit_us"][silent], quiet.limit_us[found]])
        kept["last_us"] = at_us[firsts + counts - 1]
        kept["suspect_us"], kept["silent"] = NEVER_US, False
        memory.put(rows, kept)
        again = _findings(series[back], offset[back], at_us[back], at_us[back], limit_us)
        return [_silences(reached, quiet[found], step[found]), again]

    def _learn(self, kept: Memory, pauses: Int64Array, pauses_us: Int64Array) -> tuple[Int64Array, _Learned]:
        """Learns from pauses (n,), in order, of which `pauses` (m,) are of each of the series in `kept` (m,).

        Returns those over the limit in force at each (k,), and what was known there.
        """
        known, first = kept["pauses"], np.cumsum(pauses) - pauses
        begins, of = _parts(known, pauses, first)
        seen = _summed(pauses_us, begins)
        _, total_us, longest_us, _ = seen.copy()
        opening = np.flatnonzero(np.diff(of, prepend=-1))
        some = of[opening]
        seen[:, opening] = _merged(seen[:, opening], kept["block"][some].T)
        before = np.concatenate([seen[:, :1], seen[:, :-1]], axis=1)
        before[:, opening] = kept["before"][some].T
        counts = np.diff(np.append(begins, len(pauses_us)))
        passed_us = np.cumsum(total_us)
        since_us = (passed_us - total_us)[opening]
        age_us = kept["age_us"][of] + passed_us - np.repeat(since_us, np.diff(np.append(opening, len(begins))))
        after = self._limits(_merged(before, seen), age_us)
        limit_us, usual_us = (np.concatenate([column[:1], column[:-1]]) for column in after)
        limit_us[opening], usual_us[opening] = kept["limit_us"][some], kept["usual_us"][some]
        long, part = _over(pauses_us, begins, counts, limit_us, np.flatnonzero(longest_us > limit_us))
        in_force = _Learned(limit_us[part], usual_us[part])
        ends = np.append(opening, len(begins))[1:] - 1
        until = (known + pauses)[some]
        whole = (until == FIRST) | (until == SECOND) | (until % BLOCK == 0)
        kept["pauses"][some], kept["age_us"][some] = until, age_us[ends]
        kept["limit_us"][some] = np.where(whole, after.limit_us[ends], limit_us[ends])
        kept["usual_us"][some] = np.where(whole, after.usual_us[ends], usual_us[ends])
        kept["before"][some] = np.where(whole, seen[:, ends], before[:, ends]).T
        kept["block"][some] = np.where(whole, 0, seen[:, ends]).T
        return long, in_force

    def _limits(self, pauses: Pauses, age_us: Int64Array) -> _Learned:
        """What follows from m blocks of pauses, for series as old as `age_us` (m,)."""
        count, total, longest, second = pauses
        usual_us = (total - longest - second) // np.maximum(count - 2, 1)
        factor = LONGEST + FEW / np.maximum(count, 1)
        limit_us = np.maximum(PERIODS * usual_us, np.rint(factor * second).astype(np.int64))
        least_us = np.where(age_us < YOUNG * self._least_us, YOUNG * self._least_us, self._least_us)
        return _Learned(np.maximum(limit_us, least_us), usual_us)


def _over(
    pauses_us: Int64Array, begins: Int64Array, counts: Int64Array, limit_us: Int64Array, parts: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Which pauses (n,) of some `parts` are over the part's limit, (k,), and the part of each.

    Part i of m is the `counts[i]` pauses from `begins[i]` on.
    """
    part = np.repeat(parts, counts[parts])
    first = np.cumsum(counts[parts]) - counts[parts]
    pause = np.arange(len(part)) + np.repeat(begins[parts] - first, counts[parts])
    over = pauses_us[pause] > limit_us[part]
    return pause[over], part[over]


def _parts(known: Int64Array, pauses: Int64Array, first: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Where `pauses` (m,) of each of m groups, from `first` (m,) on, come into another block: indices, and groups.

    `known` (m,) are how many pauses came before, by which blocks are counted. A group's first pause begins a part too.
    """
    some = np.flatnonzero(pauses)
    until = known + pauses
    whole = known // BLOCK + 1  # the first block that begins within the group
    count = np.maximum((until - 1) // BLOCK - whole + 1, 0)[some]
    group = np.repeat(some, count)
    number = (whole[group] + np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)) * BLOCK
    early = [some[(known[some] < at) & (at < until[some])] for at in (FIRST, SECOND)]
    numbers = [np.full(len(each), at) for each, at in zip(early, (FIRST, SECOND), strict=True)]
    of, at = np.concatenate([some, group, *early]), np.concatenate([known[some], number, *numbers])
    begins = first[of] + at - known[of]
    order = np.argsort(begins)
    return begins[order], of[order]


def _summed(pauses_us: Int64Array, begins: Int64Array) -> Pauses:
    """Of pauses (n,), of which some follow each of `begins` (m,)."""
    if not len(begins):
        return np.empty((4, 0), dtype=np.int64)
    counts = np.diff(np.append(begins, len(pauses_us)))
    longest = np.maximum.reduceat(pauses_us, begins)
    is_longest = pauses_us == np.repeat(longest, counts)
    several = np.add.reduceat(is_longest.astype(np.int64), begins) > 1
    second = np.maximum.reduceat(np.where(is_longest, 0, pauses_us), begins)
    return np.stack([counts, np.add.reduceat(pauses_us, begins), longest, np.where(several, longest, second)])


def _merged(some: Pauses, others: Pauses) -> Pauses:
    """Of both together."""
    (count, total, longest, second), (more, more_us, other_longest, other_second) = some, others
    next_longest = np.maximum(np.minimum(longest, other_longest), np.maximum(second, other_second))
    return np.stack([count + more, total + more_us, np.maximum(longest, other_longest), next_longest])


def _fallen(reached: Reached, memory: Memory) -> Findings:
    """The series that have fallen silent after their last record; notes them, and those that may have."""
    rows = np.flatnonzero(reached.newest_us[-1] - memory["last_us"] >= memory["limit_us"] >> 2)
    rows = rows[(memory["last_us"][rows] != NEVER_US) & ~memory["silent"][rows]]
    found = _Quiet.of(memory, rows)
    memory["suspect_us"][rows] = _suspected(reached, found)
    step = _step(reached, found)
    silent = step < len(reached.newest_us)
    memory["silent"][rows[silent]] = True
    return _silences(reached, found[silent], step[silent])


def _suspected(reached: Reached, quiet: _Quiet) -> Int64Array:
    """The partition's first time at which a quarter of the limit has passed; `NEVER_US`, where that is not yet."""
    step = np.searchsorted(reached.newest_us, quiet.quarter_us)
    return np.where(quiet.suspect_us != NEVER_US, quiet.suspect_us, np.append(reached.newest_us, NEVER_US)[step])


def _step(reached: Reached, quiet: _Quiet) -> Int64Array:
    """The first step of time, 1 to k, at which each is found silent; k + 1 where it is not."""
    suspect_us = _suspected(reached, quiet)
    step = np.maximum(np.searchsorted(reached.newest_us, quiet.silent_us(suspect_us), side="right"), 1)
    return np.where(suspect_us == NEVER_US, len(reached.newest_us), step)


def _silences(reached: Reached, quiet: _Quiet, step: Int64Array) -> Findings:
    usual_s = np.where(quiet.usual_us > 0, quiet.usual_us / 1e6, np.nan)
    offset, now_us = reached.positions[step - 1], reached.newest_us[step]
    return _findings(quiet.series, offset, quiet.last_us, now_us, quiet.limit_us, usual_s)


def _findings(
    series: Int64Array,
    offset: Int64Array,
    since_us: Int64Array,
    now_us: Int64Array,
    limit_us: Int64Array,
    usual_s: Float64Array | None = None,
) -> Findings:
    whole: NDArray[np.int64] = np.full(len(series), WHOLE_SERIES)
    usual_s = np.full(len(series), np.nan) if usual_s is None else usual_s
    value = (now_us - since_us) / 1e6
    return Findings(series, whole, offset, whole, since_us, now_us, value, limit_us / 1e6, usual_s)
