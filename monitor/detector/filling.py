"""What is made up of a series before windows are cut: channels that come less often are held, gaps are filled.

    max_hold_ms     a number that is missing is the channel's last one, as long as that is no older
    gap_fill        where samples of a regular series are missing, up to `max_gap_ms`, they are made up: the sample
                    before (`previous`), or linearly between that and the one after (`interpolate`)

Rules of this file: what is made up follows from the samples of the series in order, however they were handed over. What
a refused record left is not held: it stays missing. No Python loop over samples.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from monitor.detector.arrays import Float32Array, Int64Array, grown
from monitor.detector.spec import WindowSpec
from monitor.detector.times import NEVER_US
from monitor.detector.windows import Ordered, Samples


def gap_periods(window: WindowSpec) -> float | None:
    """How many periods the longest gap that is filled has; None where none is filled."""
    if window.gap_fill == "none" or window.sampling_rate_hz is None or window.max_gap_ms is None:
        return None
    return window.max_gap_ms / 1000 * window.sampling_rate_hz


def record_of(offset: Int64Array) -> Int64Array:
    """The offsets of the records that samples belong to; one that fills a gap has its record's inverted."""
    return np.where(offset < 0, ~offset, offset)


class Holder:
    """The last numbers of the channels of many series, by row."""

    def __init__(self, max_hold_ms: float, channels: int) -> None:
        self._most_us = round(max_hold_ms * 1000)
        self._last = np.empty(0, np.dtype([("value", "<f4", (channels,)), ("time_us", "<i8", (channels,))]))

    @property
    def row_bytes(self) -> int:
        """What a series takes, in memory and in a snapshot."""
        return self._last.itemsize

    def grow(self, rows: int) -> None:
        """Makes room for series 0 to `rows - 1`."""
        self._last = grown(self._last, rows)

    def clear(self, rows: Int64Array) -> None:
        """Empties rows, for new series."""
        self._last["time_us"][rows] = NEVER_US

    def snapshot(self, rows: Int64Array) -> bytes:
        """What is remembered of series, as many bytes of each."""
        return self._last[rows].tobytes()

    def restore(self, rows: Int64Array, kept: bytes) -> None:
        """Puts back what `snapshot` returned; other bytes are ignored."""
        if len(kept) == len(rows) * self.row_bytes:
            self._last[rows] = np.frombuffer(kept, self._last.dtype)

    def hold(self, ordered: Ordered) -> Ordered:
        """The same samples, with what is missing held."""
        samples, firsts = ordered.samples, ordered.firsts
        there = ~np.isnan(samples.values)
        row = np.arange(len(samples))[:, None]
        first = np.repeat(firsts, ordered.lasts - firsts + 1)[:, None]
        latest = np.maximum.accumulate(np.where(there, row, -1), axis=0)
        is_here = latest >= first
        before = self._last[samples.series]
        value = np.where(is_here, np.take_along_axis(samples.values, latest, axis=0), before["value"])
        time_us = np.where(is_here, samples.time_us[latest], before["time_us"])
        held = ~there & (time_us != NEVER_US) & (samples.time_us[:, None] - time_us <= self._most_us)
        if samples.hole is not None:
            held &= ~samples.hole[:, None]
        touched = samples.series[ordered.lasts]
        self._last["value"][touched], self._last["time_us"][touched] = value[ordered.lasts], time_us[ordered.lasts]
        return ordered._replace(samples=replace(samples, values=np.where(held, value, samples.values)))


class Filled(NamedTuple):
    """Samples with those that fill gaps among them; `real` (n,) are the rows of the others.

    One that fills a gap has the record of the sample after it, and that record's offset inverted (`~offset`).
    """

    ordered: Ordered
    real: Int64Array


def fill_gaps(
    ordered: Ordered, window: WindowSpec, before_us: Int64Array, before: Float32Array, begun: Int64Array
) -> Filled:
    """The same samples, and those that are made up between them.

    Args:
        ordered: n samples of m series.
        before_us: (m,) the time of each series' sample before these.
        before: (m, channels) its numbers.
        begun: (m,) how many samples there are since the last gap; where there is none, nothing is filled.
    """
    assert window.sampling_rate_hz is not None
    samples, firsts = ordered.samples, ordered.firsts
    time_us, values = np.roll(samples.time_us, 1), np.roll(samples.values, 1, axis=0)
    time_us[firsts], values[firsts] = before_us, before
    gap_us = samples.time_us - time_us
    gap_us[firsts[begun == 0]] = 0
    if ordered.after_gap is not None:
        gap_us[ordered.after_gap] = 0
    count = np.maximum(np.rint(gap_us / 1e6 * window.sampling_rate_hz).astype(np.int64) - 1, 0)
    real = np.arange(len(samples)) + np.cumsum(count)
    if not count.any():
        return Filled(ordered, real)
    owner = np.repeat(np.arange(len(samples)), count + 1)
    step = np.arange(len(owner)) - (real - count)[owner] + 1  # 1 and so on; the last is the sample itself
    share = step / (count[owner] + 1)
    made = samples[owner]
    is_made = np.ones(len(owner), dtype=np.bool_)
    is_made[real] = False
    between = values[owner] + (made.values - values[owner]) * share[:, None].astype(np.float32)
    numbers = between if window.gap_fill == "interpolate" else values[owner]
    moved_us = np.rint(gap_us[owner] * (1 - share)).astype(np.int64)
    made = replace(
        made,
        values=np.where(is_made[:, None], numbers, made.values).astype(np.float32),
        time_us=made.time_us - moved_us,
        offset=np.where(is_made, ~made.offset, made.offset),
        at=made.placed_at,
    )
    new_firsts = (real - count)[firsts]
    lasts = real[ordered.lasts]
    position = np.empty(len(owner), dtype=np.int64)
    position[np.lexsort((step, ordered.position[owner]))] = np.arange(len(owner))
    after_gap = None if ordered.after_gap is None else ordered.after_gap[owner] & ~is_made
    return Filled(Ordered(_own(made), position, new_firsts, lasts, after_gap), real)


def _own(samples: Samples) -> Samples:
    """Without a mark on what was made up that a refused record left it."""
    if samples.hole is None:
        return samples
    return replace(samples, hole=samples.hole & (samples.offset >= 0))
