"""Drift: a channel is no longer where its training data was, for days: retraining is advised.

A day of event time differs where more than half of a channel's numbers lie beyond 95 % of its training data, all above
or all below; of each quarter of an hour the first sample is looked at. Seven such days in a row are drift, so that
neither an anomaly nor a long weekend is. A series has one alert, whichever of its channels differ; seven days on which
none has differed for as long end it.

How often that happens without drift has a bound that no dependence within a day changes: a day differs to one side with
a probability of at most 0.05 / 0.5 (Markov), to either of at most 0.2, and seven days in a row, where days do not
depend on each other, with at most 0.2^7: once in 200 years and channel. Days that do, such as seasons that training
did not see, are drift. Where the model takes each window by its own mean, levels do not matter, and nothing is said.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from monitor.detector.arrays import Int64Array
from monitor.detector.event_time import firsts_of
from monitor.detector.incidents import Policy
from monitor.detector.memory import Memory
from monitor.detector.spec import ChannelQuality, Manifest
from monitor.processing.checks import WHOLE_SERIES, Findings, Problem, QualityRules
from monitor.processing.quality.readings import About, Readings, readings
from monitor.processing.turns import Turn

DAY_US = 86_400_000_000
DAYS = 7  # in a row
DIFFERS = 0.5  # of a day's numbers
SLOTS = 96  # of a day: of each the first sample is looked at
SLOT_US = DAY_US // SLOTS
FEWEST = 10  # numbers of a channel in a day; a day with fewer counts for nothing
COUNTS = ("under", "over", "numbers")
NO_SLOT = np.iinfo(np.int64).min


class Drift:
    """Watches each series whose channels' quantiles training saw."""

    policy = Policy(open_after=1, close_after=DAYS, update_every=0)
    severity: Literal["warning"] = "warning"
    unit = "days"
    recovered = "is as in its training data again"

    def __init__(self, manifest: Manifest, _rules: QualityRules) -> None:
        channels, known = manifest.channels, manifest.quality
        self._names = [channel.name for channel in channels]
        self._is_known = known is not None and manifest.scaling.kind != "window"
        nowhere = [ChannelQuality(lowest=0.0, highest=0.0, longest_run=1)] * len(channels)
        limits = nowhere if known is None else known.channels
        self._low = np.array([-np.inf if each.low is None else each.low for each in limits])
        self._high = np.array([np.inf if each.high is None else each.high for each in limits])
        levels = np.array([channel.level for channel in channels])
        self._under, self._over = ((each - levels).astype(np.float32) for each in (self._low, self._high))
        nothing = np.zeros(1, [*((name, "<u2", (len(channels),)) for name in (*COUNTS, "days")), ("slot", "<i8")])
        nothing["slot"] = NO_SLOT
        self.nothing: np.void = nothing[0]

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        """What there is to say of the days that a turn ends."""
        read = readings(turn) if self._is_known else None
        if read is None:
            return None
        slot = read.times_us(np.arange(len(read.values))) // SLOT_US
        begins = np.empty(len(slot), dtype=np.bool_)
        np.not_equal(slot[1:], slot[:-1], out=begins[1:])
        begins[read.firsts] = slot[read.firsts] != memory["slot"][read.series]
        picked = np.flatnonzero(begins)
        return self._judge(read, memory, picked, slot[picked]) if len(picked) else None

    def _judge(self, read: Readings, memory: Memory, picked: Int64Array, slot: Int64Array) -> Findings | None:
        """The findings of days that end, each at the first of the samples picked (k,) that is of a later one."""
        values, day = read.values[picked], slot // SLOTS
        of = np.searchsorted(read.firsts, picked, side="right") - 1
        series = firsts_of(of)  # the first sample of each series
        parts = np.union1d(series, firsts_of(day))  # of each part of a day
        first, last = np.searchsorted(parts, series), np.append(np.searchsorted(parts, series)[1:], len(parts)) - 1
        rows = read.series[of[series]]
        kept = memory.take(rows)
        begun, kept_day = kept["slot"] != NO_SLOT, kept["slot"] // SLOTS
        goes_on = begun & (kept_day == day[series])
        marks = values < self._under, values > self._over, ~np.isnan(values)
        counts = [np.add.reduceat(mark.astype(np.int64), parts, axis=0) for mark in marks]
        for name, count in zip(COUNTS, counts, strict=True):
            count[first[goes_on]] += kept[name][goes_on]
            memory[name][rows] = count[last]
        memory["slot"][rows] = slot[np.append(series[1:], len(slot)) - 1]
        ended, before = np.setdiff1d(np.arange(len(parts)), last), np.flatnonzero(begun & ~goes_on)
        under, over, numbers = (
            np.concatenate([kept[name][before], count[ended]]) for name, count in zip(COUNTS, counts, strict=True)
        )
        at = np.concatenate([series[before], parts[ended + 1]])
        differs = np.where(numbers < FEWEST, -1, np.maximum(under, over) > DIFFERS * numbers)
        order = np.argsort(at, kind="stable")
        return self._findings(read, memory, picked[at[order]], read.series[of[at[order]]], differs[order])

    def _findings(
        self, read: Readings, memory: Memory, at: Int64Array, rows: Int64Array, differs: Int64Array
    ) -> Findings | None:
        """One for each of d days, in order by series; `differs` (d, channels) is -1 where too few numbers say so."""
        if not len(at):
            return None
        in_a_row = np.empty(differs.shape, dtype=np.int64)
        number = np.arange(len(at)) - np.maximum.accumulate(
            np.where(np.diff(rows, prepend=-1) != 0, np.arange(len(at)), 0)
        )
        for turn in range(int(number.max()) + 1):  # the first day of each series that ends, then the second
            days = np.flatnonzero(number == turn)
            before = memory["days"][rows[days]]
            in_a_row[days] = np.select([differs[days] < 0, differs[days] > 0], [before, np.minimum(before + 1, 999)], 0)
            memory["days"][rows[days]] = in_a_row[days]
        channel = in_a_row.argmax(axis=1)
        value = in_a_row.max(axis=1).astype(np.float64)
        start_us = read.times_us(at) - np.rint(value * DAY_US).astype(np.int64)
        whole, limit = np.full(len(at), WHOLE_SERIES), np.full(len(at), DAYS - 0.5)
        return read.findings(at, About(whole, start_us, value, limit, np.zeros(len(at)), channel.astype(np.float64)))

    def describe(self, problem: Problem) -> str:
        """Which channel differs, for how long, and what to do."""
        at = int(problem.observed)
        usual = f"{self._low[at]:.6g} to {self._high[at]:.6g}"
        return (
            f"channel {self._names[at]!r} has differed from its training data for {problem.value:.0f} days: it was "
            f"mostly outside {usual}, which held 90 % of that; retraining is advised"
        )
