"""A threshold that follows a series' own scores, in event time: what is usual for it now raises the threshold.

A threshold that was chosen once is over by no more than planned as long as data stay as they were. Where a machine
drifts, a quarter of its normal rows may be over it some days later, inside one incident that never ends. So a series'
threshold is raised over what its scores of the last day exceed for a share of that day only, in times the static one:

    threshold in force = static threshold x high x high / median

`high` is that quantile of the day, `median` that of the time over the static threshold: what is usual now may vary, and
at the quantile itself it would open an incident now and then all day. Where `high` is not over 1, nothing is raised.

It is never lower than the static one. An anomaly shorter than that share of a day raises nothing, and a raised
threshold falls back as the day is forgotten.

Rules of this file: pure, and a function of each series' own windows in order, score and end; windows out of scores
count nowhere. What is remembered is `COUNTS` numbers of ms: how long, by an exponentially decaying memory, the series
was within so many times its static threshold. A window counts from the one before to its own end, a step at most, so
that neither the rate of windows nor pauses matter. Thresholds change only where a step of event time begins, by the
windows that ended before; they are whole numbers of ms, so that sums are exact. Hence however windows are handed over,
the thresholds are the same. No loop over windows or series: one over the steps of event time among those handed over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from monitor.detector.arrays import BoolArray, Float32Array, Float64Array, Int64Array, StructOfArrays, stable_order
from monitor.detector.memory import Memory
from monitor.detector.spec import FollowSpec

# From the static threshold to 55,000 times it; a quarter of an octave each, but the last, which is open.
COUNTS = 64
_QUARTERS = (1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429)
_EDGES = np.array([_QUARTERS[i % 4] * 2.0 ** (i // 4) for i in range(COUNTS + 1)])
STEPS = 96  # in a day of memory: a quarter of an hour each
_DAY_MS = 86_400_000
_NEVER_MS = -(1 << 61)
_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class ScoredWindows(StructOfArrays):
    """n windows in the order in which they are decided, and what became of them up to now.

    `row` (n,) is that of their series in the memory, `end_us` their closing sample's time. `score` is NaN where there
    is none; `threshold` is what it is compared with, `static` what that was before anything followed (None: the same).
    `errors_before` (n, channels) are each channel's errors while the series was at rest before, for windows over their
    threshold; NaN in others, and where nothing is known (None: of none is).
    """

    row: Int64Array
    end_us: Int64Array
    score: Float32Array
    threshold: Float64Array
    static: Float64Array | None = None
    errors_before: Float32Array | None = None


# Indices (k,) of windows to how far each channel is from what is expected, (k, channels), as `Scorer.errors`.
Measure = Callable[[Int64Array], Float32Array]


class Follower(Protocol):
    """What follows the windows of many series, one after the other, and remembers a row of numbers of each.

    It may change what the next follower sees, or keep only for itself; and it is a pure function of each series' own
    windows in order, however they are handed over: after a crash those since the checkpoint are handed over again.
    """

    @property
    def nothing(self) -> np.void:
        """What is remembered of a new series; its dtype is the layout of `memory`."""

    @property
    def name(self) -> str:
        """Under which it is kept in checkpoints: what was remembered under another name is not taken up again."""

    def advance(self, windows: ScoredWindows, memory: Memory, measure: Measure, /) -> ScoredWindows:
        """Takes the next windows in, and returns them as they are from here on; `memory` is updated in place.

        `measure` says more of some of the windows, at about the cost of their scores.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowingRules:
    """How a threshold follows.

    `quantile`: that of the last day, or of `memory_ms`, which the threshold is over.
    `raises`: whether it follows at all, beside `relearn_after_ms`: so long without a window under the static threshold
    (0: never) makes those scores its new static one, and as long without one over the former brings that back.
    """

    quantile: float = 0.95
    raises: bool = True
    relearn_after_ms: int = 0
    memory_ms: int = _DAY_MS

    @classmethod
    def of(cls, said: FollowSpec) -> FollowingRules:
        """As an artifact says it."""
        return cls(quantile=said.quantile, memory_ms=said.memory_ms)


class Following:
    """The thresholds of many series that follow their scores: a `Follower`."""

    def __init__(self, rules: FollowingRules) -> None:
        self._rules = rules
        self._step_ms = rules.memory_ms // STEPS
        self._allowed = (1 - rules.quantile) * rules.memory_ms
        # What a number of steps leaves; so many more leave nothing. Products in order: the same on every machine.
        self._left = np.cumprod(np.full(40 * STEPS, np.exp(-1 / STEPS)))
        self._left[-1] = 0.0

    @property
    def nothing(self) -> np.void:
        """A series that was never over its threshold, and has no time yet."""
        layout = np.dtype(
            [
                ("counts", "<i4", (COUNTS,)),  # ms
                ("last_ms", "<i8"),  # when its last window ended
                ("step", "<i8"),  # of event time, in which it did
                ("raised", "<f8"),  # in force: times the static threshold
                ("relearnt", "<f8"),  # times the static threshold, for good
                ("over_ms", "<i8"),  # without a window under the threshold, that which was relearnt
                ("under_ms", "<i8"),  # without a window over the static one
            ]
        )
        return np.void((np.zeros(COUNTS), _NEVER_MS, _NEVER_MS, 1.0, 1.0, 0, 0), layout)

    @property
    def name(self) -> str:
        """By all that its numbers mean something by."""
        return f"following {self._rules.memory_ms}"

    def advance(self, windows: ScoredWindows, memory: Memory, _measure: Measure | None = None, /) -> ScoredWindows:
        """The windows with the thresholds that are in force for them."""
        thresholds = windows.threshold.copy()
        scored = np.flatnonzero(~np.isnan(windows.score))
        for first in range(0, len(scored), _AT_ONCE):
            at = scored[first : first + _AT_ONCE]
            at = at[stable_order(windows.row[at])]
            thresholds[at] *= self._ratios(windows[at], memory)
        static = windows.threshold if windows.static is None else windows.static
        return replace(windows, threshold=thresholds, static=static)

    def _ratios(self, windows: ScoredWindows, memory: Memory) -> Float64Array:
        """Times the static threshold, for windows in order of series, those of each as they are decided."""
        begins = np.diff(windows.row, prepend=-1) != 0
        ended_ms = _never_back(windows.end_us // 1000, memory["last_ms"][windows.row], begins)
        before_ms = np.where(begins, memory["last_ms"][windows.row], np.roll(ended_ms, 1))
        held_ms = np.where(before_ms == _NEVER_MS, 0, np.minimum(ended_ms - before_ms, self._step_ms))
        step = ended_ms // self._step_ms
        ratio = windows.score.astype(np.float64) / windows.threshold
        bucket = np.searchsorted(_EDGES[:COUNTS], ratio) - 1
        parts = _Parts.of(windows.row, step, begins)
        found = np.ones(len(windows))
        moving = self._moving(windows.row, bucket, begins, memory)
        for which in parts.rounds(moving):
            self._begin(parts.row[which], parts.step[which], memory)
            raised = memory["raised"] if self._rules.raises else memory["relearnt"]
            inside, part = parts.windows(which)
            found[inside] = raised[parts.row[which]][part]
            counted = inside[bucket[inside] >= 0]
            np.add.at(memory["counts"], (windows.row[counted], bucket[counted]), held_ms[counted])
            if self._rules.relearn_after_ms:
                self._count_runs(parts.row[which], part, ratio[inside], held_ms[inside], memory)
        lasts = np.flatnonzero(np.append(begins[1:], True))
        memory["last_ms"][windows.row[lasts]] = ended_ms[lasts]
        memory["step"][windows.row[lasts]] = step[lasts]
        return found

    def _moving(self, row: Int64Array, bucket: Int64Array, begins: BoolArray, memory: Memory) -> BoolArray:
        """Which windows (n,) are of series that are or were over their threshold: the others' stays."""
        firsts = np.flatnonzero(begins)
        rows = row[firsts]
        moving = np.maximum.reduceat(bucket, firsts) >= 0 if len(firsts) else np.zeros(0, dtype=np.bool_)
        moving |= (memory["raised"][rows] > 1) | (memory["relearnt"][rows] > 1) | memory["counts"][rows].any(axis=1)
        return np.repeat(moving, np.diff(firsts, append=len(row)))

    def _begin(self, rows: Int64Array, steps: Int64Array, memory: Memory) -> None:
        """Begins a step of event time for those series that are not in it yet: forgets, and sets what is in force."""
        before = memory["step"][rows]
        new = steps > before
        rows, passed = rows[new], (steps - before)[new]
        left = self._left[np.minimum(passed, len(self._left)) - 1]
        counts = np.floor(memory["counts"][rows] * left[:, None])
        if self._rules.relearn_after_ms:
            self._relearn(rows, counts, memory)
        memory["counts"][rows] = counts
        usual = _over_usual(counts, np.full(len(rows), self._allowed))
        memory["raised"][rows] = np.maximum(memory["relearnt"][rows], usual)
        memory["step"][rows] = steps[new]

    def _relearn(self, rows: Int64Array, counts: Float64Array, memory: Memory) -> None:
        after, relearnt = self._rules.relearn_after_ms, memory["relearnt"][rows]
        usual = _over_usual(counts, (1 - self._rules.quantile) * counts.sum(axis=1))
        is_normal, was_normal = memory["over_ms"][rows] >= after, memory["under_ms"][rows] >= after
        relearnt = np.where(is_normal, np.maximum(relearnt, usual), np.where(was_normal, 1.0, relearnt))
        memory["relearnt"][rows] = relearnt
        memory["over_ms"][rows[is_normal]] = 0

    def _count_runs(
        self, rows: Int64Array, part: Int64Array, ratio: Float64Array, held_ms: Int64Array, memory: Memory
    ) -> None:
        """How long the series `rows` have been over, or not; `part` (w,) says of which of them each window is."""
        over = ratio > memory["relearnt"][rows][part]
        memory["over_ms"][rows] = _run(over, part, held_ms, memory["over_ms"][rows])
        memory["under_ms"][rows] = _run(ratio <= 1, part, held_ms, memory["under_ms"][rows])


@dataclass(frozen=True, slots=True)
class _Parts:
    """Windows in order of series and time, parted where a series or a step of event time begins."""

    row: Int64Array
    step: Int64Array
    first: Int64Array
    end: Int64Array
    number: Int64Array  # among those of its series

    @classmethod
    def of(cls, row: Int64Array, step: Int64Array, begins: BoolArray) -> _Parts:
        first = np.flatnonzero(begins | (np.diff(step, prepend=0) != 0))
        of_series = np.flatnonzero(begins[first])
        number = np.arange(len(first)) - np.repeat(of_series, np.diff(of_series, append=len(first)))
        return cls(row[first], step[first], first, np.append(first, len(row))[1:], number)

    def rounds(self, moving: BoolArray) -> list[Int64Array]:
        """One of each series at a time, in order, of those whose windows move."""
        parts = np.flatnonzero(moving[self.first])
        order = parts[np.argsort(self.number[parts], kind="stable")]
        return np.split(order, np.flatnonzero(np.diff(self.number[order])) + 1) if len(order) else []

    def windows(self, which: Int64Array) -> tuple[Int64Array, Int64Array]:
        """The windows of these parts, one part after the other, and the number of each one's part here."""
        sizes = self.end[which] - self.first[which]
        part = np.repeat(np.arange(len(which)), sizes)
        return np.arange(len(part)) + np.repeat(self.first[which] - np.cumsum(sizes) + sizes, sizes), part


def _over_usual(counts: Float64Array, allowed: Float64Array) -> Float64Array:
    """What is over what is usual (k,), by `counts` (k, COUNTS): 1 where no more than `allowed` ms are over 1."""
    high = _exceeded(counts, allowed)
    median = np.minimum(high, _exceeded(counts, counts.sum(axis=1) / 2))
    return np.asarray(high * (high / median))


def _exceeded(counts: Float64Array, allowed: Float64Array) -> Float64Array:
    """What is exceeded for no longer than `allowed` (k,), by `counts` (k, COUNTS): in proportion within a count."""
    over = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    last = (over > allowed[:, None]).sum(axis=1) - 1  # the highest count that is reached for longer
    at, rows = np.maximum(last, 0), np.arange(len(counts))
    above = over[rows, at] - counts[rows, at]
    share = (allowed - above) / np.maximum(counts[rows, at], 1)
    value = _EDGES[at + 1] - (_EDGES[at + 1] - _EDGES[at]) * share
    return np.where(last >= 0, value, 1.0)


def _run(holds: BoolArray, part: Int64Array, held_ms: Int64Array, before_ms: Int64Array) -> Int64Array:
    """For how long something has held without a break at the end of each part (k,), `before_ms` before it."""
    total = np.cumsum(held_ms)
    broken = np.full(len(before_ms), -1)
    np.maximum.at(broken, part[~holds], np.flatnonzero(~holds))
    ends = np.flatnonzero(np.append(np.diff(part) != 0, True)) if len(part) else part
    starts = np.concatenate([[0], total[ends][:-1]])
    since = np.where(broken >= 0, np.append(total, 0)[broken], starts - before_ms)
    return np.asarray(total[ends] - since)


def _never_back(ended_ms: Int64Array, before_ms: Int64Array, begins: BoolArray) -> Int64Array:
    """The times (n,) as far as each series' time had come: none is before the one before."""
    ended_ms = np.where(begins, np.maximum(ended_ms, before_ms), ended_ms)
    if not (np.diff(ended_ms)[~begins[1:]] < 0).any():
        return ended_ms
    group, lowest = np.cumsum(begins) - 1, int(ended_ms.min())
    span = int(ended_ms.max()) - lowest + 1
    return np.asarray(np.maximum.accumulate(ended_ms - lowest + group * span) + lowest - group * span)
