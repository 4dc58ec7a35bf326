"""`no_data`: a series that has stopped sending, by how often it used to send.

How often that is, and after how long it is missed, is learned from its pauses (`pauses.py`).

Silence is found by the records of others in the partition, at the first that moves its time past the limit. But where
one record moves it by far more, the whole partition was silent, which says nothing of any one series: three quarters of
the limit have to pass after the record that moves time past its first quarter. Where nothing comes at all, the daemon's
ticks move time on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, Float64Array, Int64Array, StructOfArrays
from monitor.detector.event_time import Reached, counts_of
from monitor.detector.incidents import Policy
from monitor.detector.memory import Memory
from monitor.detector.spec import Manifest
from monitor.detector.times import FOREVER_US, NEVER_US, duration
from monitor.messages.alerts import rfc3339
from monitor.processing.checks import WHOLE_SERIES, Findings, Problem, QualityRules
from monitor.processing.quality import pauses
from monitor.processing.turns import Turn


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
        fields = {
            "last_us": NEVER_US,  # the partition's time at its last record
            "due_us": FOREVER_US,  # from when on there is something to find; `FOREVER_US`: it is silent, or not known
            "suspect_us": NEVER_US,  # when a quarter of its limit had passed without a record; `NEVER_US`: not yet
            **dict.fromkeys(pauses.FIELDS, 0),
            "limit_us": after_us,
        }
        self.nothing = np.array(tuple(fields.values()), [(name, "<i8") for name in fields])[()]

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        """Series that have fallen silent in a turn, and those that send again."""
        if turn.damaged:  # what it held may have been theirs
            waits = memory["due_us"] != FOREVER_US
            memory["due_us"][waits] = (memory["last_us"] + (memory["limit_us"] >> 2))[waits]
            memory["suspect_us"] = NEVER_US
            return None
        parts = self._arrived(turn, memory) if len(turn.taken) else []
        reached = turn.course.reached
        if len(reached.positions) and len(due := np.flatnonzero(memory["due_us"] <= reached.newest_us[-1])):
            parts.append(_fallen(reached, memory, due))
        parts = [part for part in parts if len(part)]
        return Findings.concatenate(parts) if parts else None

    def describe(self, problem: Problem) -> str:
        """Since when there is no record, what is usual, and why the limit is what it is."""
        text = f"no record since {rfc3339(problem.start_us)}, for {duration(problem.value)}"
        if math.isnan(problem.usual):
            return f"{text}; reported after {duration(problem.threshold)} (quality.no_data_after_ms)"
        limit = f"limit {duration(problem.threshold)}"
        if problem.threshold > 1.1 * pauses.PERIODS * problem.usual:
            is_young = abs(problem.threshold * 1e6 - pauses.YOUNG * self._least_us) < 1
            limit += " while the series is new" if is_young else ", by its longest pauses"
        return f"{text}; usually one every {duration(problem.usual)} ({limit})"

    def due_us(self, memory: Memory) -> int:
        """The partition's time from which on something is found where no record comes; `FOREVER_US`: nothing is."""
        return int(memory["due_us"].min(initial=FOREVER_US))

    def _arrived(self, turn: Turn, memory: Memory) -> list[Findings]:
        """What the records of a turn say of their own series; each is remembered as of its last one."""
        order, series, firsts = turn.by_series
        rows, at_us = series[firsts], turn.at_us[order]
        known_us = memory["last_us"][rows]
        if (new := known_us == NEVER_US).any():
            known_us[new] = at_us[firsts[new]]
            for name in ("since_us", "block_us", "before_us"):
                memory[name][rows[new]] = known_us[new]
        before_us = np.concatenate([known_us[:1], at_us[:-1]])
        before_us[firsts] = known_us
        found = self._ended(turn, memory, before_us, at_us)
        last_us = at_us[firsts + counts_of(firsts, len(order)) - 1]
        memory["last_us"][rows], memory["suspect_us"][rows] = last_us, NEVER_US
        memory["due_us"][rows] = last_us + (memory["limit_us"][rows] >> 2)
        return found

    def _ended(self, turn: Turn, memory: Memory, before_us: Int64Array, at_us: Int64Array) -> list[Findings]:
        """Silence that records (n,), by series, end: what was known of it, and what is only found now.

        `before_us` (n,) is the partition's time at the record before each of its series, or its own.
        """
        order, series, firsts = turn.by_series
        rows, reached = series[firsts], turn.course.reached
        silent = (memory["due_us"][rows] == FOREVER_US) & (memory["last_us"][rows] != NEVER_US)
        limit_us = memory["limit_us"][rows[silent]]
        own = np.flatnonzero(before_us != at_us)  # records at one time are one
        columns = series, before_us, at_us
        if len(own) < len(order):
            columns = series[own], before_us[own], at_us[own]
        long = pauses.learn(memory, *columns, self._least_us)
        if not len(long.pause) and not len(limit_us):
            return []
        ends = own[long.pause]  # the records that end a long pause, in which silence may have been found
        of = np.searchsorted(firsts, ends, side="right") - 1
        first, offset = ends == firsts[of], turn.taken.offset[order]
        suspect_us = np.where(first, memory["suspect_us"][rows[of]], NEVER_US)
        quiet = _Quiet(series[ends], before_us[ends], suspect_us, long.limit_us, long.usual_us)
        known, place = first & silent[of], np.searchsorted(reached.positions, offset[ends])

        def reported(some: Int64Array, limit_us: Int64Array) -> BoolArray:
            found: BoolArray = known[some] | (_step(reached, replace(quiet[some], limit_us=limit_us)) <= place[some])
            return found

        pause_us = at_us[ends] - quiet.last_us
        quiet = replace(quiet, limit_us=pauses.raised(memory, quiet.series, long, pause_us, at_us[ends], reported))
        step = _step(reached, quiet)
        found = (step <= place) & ~known
        back = np.concatenate([firsts[silent], ends[found]])
        limit_us = np.append(limit_us, quiet.limit_us[found])
        again = _findings(series[back], offset[back], at_us[back], at_us[back], limit_us)
        return [_silences(reached, quiet[found], step[found]), again]


def _fallen(reached: Reached, memory: Memory, rows: Int64Array) -> Findings:
    """Those of the series in `rows` that have fallen silent after their last record; notes them, and who may have."""
    found = _Quiet.of(memory, rows)
    suspect_us, step = _suspected(reached, found), _step(reached, found)
    silent = step < len(reached.newest_us)
    memory["suspect_us"][rows] = suspect_us
    memory["due_us"][rows] = np.where(silent, FOREVER_US, found.silent_us(suspect_us) + 1)
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
