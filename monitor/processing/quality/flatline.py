"""Flatline: a channel that stays at one value far longer than it ever does in normal data.

How long equal values may follow each other is what training saw (`QualitySpec`), and what the series itself showed
since: three times the longest run of them, and 30 at least. A run that broke its limit counts for ten times that at
most, so that a habit, such as nights, is known after a few alerts, and an outage of days does not blind. Where too
little is known, for a channel that hardly ever moves or of which only some samples were seen, nothing is said.

A missing number neither ends a run nor counts in it.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, Float32Array, Int64Array
from monitor.detector.event_time import counts_of
from monitor.detector.incidents import Policy
from monitor.detector.memory import Memory
from monitor.detector.spec import Manifest
from monitor.detector.times import NEVER_US
from monitor.processing.checks import Findings, Problem, QualityRules
from monitor.processing.quality.readings import About, Readings, readings
from monitor.processing.quality.runs import Runs
from monitor.processing.turns import Turn

LEAST = 30  # samples; no shorter run is reported
LONGER = 3  # times the longest run known
LEARNT = 10  # times the limit that it broke, at most, is what a run counts for
FEWEST = 300  # samples, that must be known before anything is said
OFTEN = 100  # times its longest run must a channel have been seen
MOST = 2**32 - 1  # is counted
BLOCK = 32_768  # numbers that are looked at together: as many as the processor's cache holds with what is made of them


class Flatline:
    """Watches each channel of each series."""

    policy = Policy(open_after=1, close_after=1, update_every=0)
    severity: Literal["warning"] = "warning"
    unit = "samples"
    recovered = "moves again"

    def __init__(self, manifest: Manifest, _rules: QualityRules) -> None:
        channels = len(manifest.channels)
        self._levels = np.array([channel.level for channel in manifest.channels])
        known = manifest.quality
        self._samples = 0 if known is None else known.samples
        longest = [0] * channels if known is None else [each.longest_run for each in known.channels]
        layout = [("value", "<f4"), ("run", "<u4"), ("longest", "<u4"), ("ended", "<u4"), ("since_us", "<i8")]
        nothing = np.zeros((), [(name, kind, (channels,)) for name, kind in layout])
        nothing["value"], nothing["longest"], nothing["since_us"] = np.nan, longest, NEVER_US
        self.nothing = cast(np.void, nothing[()])

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        """What there is to say of the runs that a turn makes longer, or ends."""
        read = readings(turn)
        if read is None:
            return None
        rows = memory.take(read.series)
        still = read.still(rows["value"])
        if (long := rows["run"] > LEAST).any():
            still |= long.any(axis=1)
        if not still.any():
            _keep_moving(read, rows)  # as most sensors' numbers do
            memory.put(read.series, rows)
            return None
        if not still.all():
            moving, kept = read.of(~still), rows.take(np.flatnonzero(~still))
            _keep_moving(moving, kept)
            memory.put(moving.series, kept)
        return self._follow(read.of(still), rows.take(np.flatnonzero(still)), memory)

    def _follow(self, read: Readings, rows: Memory, memory: Memory) -> Findings | None:
        """What there is to say of series with equal numbers in a row."""
        count, channels = read.values.shape
        width = max(1, BLOCK // count)
        values = np.ascontiguousarray(read.values.T)
        blocks = [slice(at, min(at + width, channels)) for at in range(0, channels, width)]
        found = [self._watch(read, rows, _There(read, values[block], block)) for block in blocks]
        memory.put(read.series, rows)
        some = [each for each in found if each is not None]
        return Findings.concatenate(some) if some else None

    def _watch(self, read: Readings, rows: Memory, there: _There) -> Findings | None:
        """What there is to say of some of the channels; `rows` (m,) are what is remembered of the turn's series."""
        if not len(there.values):
            return None
        kept = _Kept(rows, there)
        changed = np.empty(len(there.values), dtype=np.bool_)
        np.not_equal(there.values[1:], there.values[:-1], out=changed[1:])
        changed[there.firsts] = there.values[there.firsts] != kept.value
        if changed.all() and kept.run.max(initial=0) <= LEAST:  # as most sensors' numbers do
            kept.keep_moving(read)
            return None
        runs = Runs.of(changed, there.firsts, kept.run)
        found, learnt = self._judge(read, there, runs, kept)
        kept.keep(read, runs, learnt)
        return found

    def _judge(self, read: Readings, there: _There, runs: Runs, kept: _Kept) -> tuple[Findings | None, Int64Array]:
        """The findings, and what each run (r,) counts for once it has ended.

        Only runs over the limit as it was before the turn can be over their own, which are few: one by one, in order.
        Of one that was over it before, and goes on, there is nothing new to say.
        """
        learnt = runs.lengths.copy()
        if not (runs.lengths > LEAST).any():
            return None, learnt
        limits = np.maximum(LEAST, LONGER * kept.longest)
        over = runs.lengths > np.repeat(limits, counts_of(runs.firsts, len(runs.lengths)))
        over[runs.firsts[(runs.firsts == runs.lasts) & (kept.run > limits)]] = False
        long = np.flatnonzero(over)
        found: list[tuple[int, int, int, int, int, int]] = []
        for run, sequence in zip(long.tolist(), runs.sequences(long).tolist(), strict=True):
            first, length = int(runs.firsts[sequence]), int(runs.lengths[run])
            before = slice(first, run)
            longest = max(int(kept.longest[sequence]), int(learnt[before].max(initial=0)))
            known = self._samples + int(kept.ended[sequence]) + int(runs.lengths[before].sum())
            if not self._is_known(longest, known):
                continue
            limit = max(LEAST, LONGER * longest)
            carried = int(kept.run[sequence]) if run == first else 0
            ended = run != runs.lasts[sequence]
            if carried <= limit < length:
                found.append((sequence, run, int(runs.starts[run]) + limit - carried, limit + 1, limit, longest))
            if ended and limit < length:
                found.append((sequence, run, int(runs.starts[run + 1]), 1, limit, longest))
                learnt[run] = min(length, LEARNT * limit)
        return self._findings(read, there, runs, kept, found), learnt

    def _is_known(self, longest: int, known: int) -> bool:
        return longest > 0 and known >= max(OFTEN * longest, 1 if self._samples else FEWEST)

    def _findings(
        self,
        read: Readings,
        there: _There,
        runs: Runs,
        kept: _Kept,
        found: list[tuple[int, int, int, int, int, int]],
    ) -> Findings | None:
        if not found:
            return None
        sequence, run, element, value, limit, longest = np.array(found, dtype=np.int64).T
        samples, channel = there.samples(element), there.channels_of(sequence)
        start_us = read.times_us(there.samples(np.minimum(runs.starts[run], len(there.values) - 1)))
        start_us = np.where(run == runs.firsts[sequence], kept.since_us[sequence], start_us)
        start_us = np.where(value == 1, read.times_us(samples), start_us)
        observed = there.values[element].astype(np.float64) + self._levels[channel]
        numbers = value.astype(np.float64), limit.astype(np.float64), longest.astype(np.float64)
        return read.findings(samples, About(channel, start_us, *numbers, observed))

    def describe(self, problem: Problem) -> str:
        """Where it stays, for how long, and how long is usual."""
        usual = f"at most {problem.usual:,.0f} in a row are" if problem.usual > 1 else "no two in a row are"
        return f"has been {problem.observed:.7g} for {problem.value:,.0f} samples; usually {usual} equal"


def _keep_moving(read: Readings, rows: Memory) -> None:
    """Remembers that no value was that of the sample before; `rows` (m,) are the memories of the turn's series."""
    count = read.counts()[:, None]
    rows["ended"] = np.minimum(rows["ended"] + (rows["run"] + count - 1), MOST)
    rows["longest"] = np.maximum(rows["longest"], np.maximum(rows["run"], count > 1))
    rows["value"], rows["run"] = read.lasts(), 1
    rows["since_us"] = read.times_us(read.firsts + count[:, 0] - 1)[:, None]


class _There:
    """The numbers of some channels that are not missing, one sequence for each channel of each series that has any.

    `values` (k,) by channel, then by series; `firsts` (g,) is each sequence's first. Sequence `sequences` (g,) is
    number channel x series + index of the series, among the turn's `series` and the `channels`.
    """

    def __init__(self, read: Readings, values: Float32Array, channels: slice) -> None:
        """`values` are the numbers of the `channels`, (channels, n)."""
        self.channels = channels
        self.series = len(read.series)
        self._count = len(read.values)
        self._kept: Int64Array | None = None
        self.values = values.ravel()
        self.firsts = (np.arange(len(values))[:, None] * self._count + read.firsts).ravel()
        self.sequences = np.arange(len(self.firsts))
        missing = np.isnan(self.values)
        if missing.any():
            self._drop(missing)

    def _drop(self, missing: BoolArray) -> None:
        counts = np.add.reduceat(~missing, self.firsts, dtype=np.int64)
        self._kept = np.flatnonzero(~missing)
        self.values = self.values[self._kept]
        self.sequences = np.flatnonzero(counts)
        self.firsts = (np.cumsum(counts) - counts)[self.sequences]

    def samples(self, elements: Int64Array) -> Int64Array:
        """The samples that some of the values (k,) are of."""
        places: Int64Array = elements if self._kept is None else self._kept[elements]
        return places % self._count

    def channels_of(self, sequences: Int64Array) -> Int64Array:
        """The channels of some of the sequences (k,)."""
        found: Int64Array = self.channels.start + self.sequences[sequences] // self.series
        return found


class _Kept:
    """What is remembered of sequences, as (g,) columns; `rows` (m,) are the memories of the turn's series."""

    def __init__(self, rows: Memory, there: _There) -> None:
        self._rows, self._there = rows, there
        self.value: Float32Array = self._column("value")
        self.run: Int64Array = self._column("run").astype(np.int64)
        self.longest: Int64Array = self._column("longest").astype(np.int64)
        self.ended: Int64Array = self._column("ended").astype(np.int64)
        self.since_us: Int64Array = self._column("since_us")

    def _column(self, name: str) -> NDArray[Any]:
        column = self._rows[name][:, self._there.channels].T.ravel()
        return column if len(column) == len(self._there.sequences) else column[self._there.sequences]

    def keep_moving(self, read: Readings) -> None:
        """Remembers that no value was that of the sample before."""
        there = self._there
        lasts = np.append(there.firsts[1:], len(there.values)) - 1
        ended = self.run + lasts - there.firsts
        self._put("value", there.values[lasts])
        self._put("run", np.ones_like(lasts))
        self._put("longest", np.maximum(self.longest, np.maximum(self.run, lasts > there.firsts)))
        self._put("ended", np.minimum(self.ended + ended, MOST))
        self._put("since_us", read.times_us(there.samples(lasts)))

    def keep(self, read: Readings, runs: Runs, learnt: Int64Array) -> None:
        """Remembers the runs that may go on, and what the others say of the channels."""
        there, last, ended = self._there, runs.lasts, runs.lengths.copy()
        learnt[last] = ended[last] = 0
        begun = last != runs.firsts
        since_us = self.since_us.copy()
        since_us[begun] = read.times_us(there.samples(runs.starts[last[begun]]))
        self._put("value", there.values[np.append(there.firsts[1:], len(there.values)) - 1])
        self._put("run", np.minimum(runs.lengths[last], MOST))
        self._put("longest", np.maximum(self.longest, np.maximum.reduceat(learnt, runs.firsts)))
        self._put("ended", np.minimum(self.ended + np.add.reduceat(ended, runs.firsts), MOST))
        self._put("since_us", since_us)

    def _put(self, name: str, column: NDArray[Any]) -> None:
        field, sequences = self._rows[name][:, self._there.channels], self._there.sequences
        if len(sequences) == field.size:
            field[...] = column.reshape(field.shape[::-1]).T
        else:
            field[sequences % len(field), sequences // len(field)] = column
