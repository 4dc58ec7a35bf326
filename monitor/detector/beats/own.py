"""What is usual for a series' own heart: its beat, from its first ones, and its rhythm of the moment.

    template   the median of its first beats, each less its mean: the medians of so many in a row, and of those again
               (a remedian: what is remembered is twice the square root of what is learnt from)
    spread     how far those first beats usually were from the median of their group: root mean square by channel, the
               median over a group and then over the groups
    early      1 - the time since the beat before / the median of the last such times; 0 where those are too few

Rules of this file: a series' beats in their order decide, however they are handed over. A beat with missing numbers is
not learnt from. No Python loop over series: those that have a first beat here are gone through together, then those
that have a second, and so on.

References: Rousseeuw & Bassett 1990, "The remedian", doi:10.1080/01621459.1990.10475311.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from monitor.detector.arrays import BoolArray, Float32Array, Int64Array, grown, stable_order
from monitor.detector.event_time import counts_of, firsts_of

# Times between beats whose median is usual, and how many there have to be: an odd count, so that one of them is it.
INTERVALS, LEAST_INTERVALS = 9, 5


class Usual(NamedTuple):
    """What was usual for n beats: `template` (n, length, channels), `spread` (n, channels), and how `early` each came.

    `early` (n,); `known` (n,) marks those whose series had a template.
    """

    template: Float32Array
    spread: Float32Array
    early: Float32Array
    known: BoolArray


class OwnBeats:
    """What is usual for many series, by row."""

    def __init__(self, learnt: int, length: int, channels: int) -> None:
        """`learnt` is of how many beats a template is made: the square of an odd number; 0: none is asked for."""
        self._shape = length, channels
        self._base = math.isqrt(learnt)
        shape, base = self._shape, self._base
        self._state = np.empty(
            0,
            np.dtype(
                [
                    ("at", "<i8"),  # of the last beat, counted as samples of its series are; -1: there is none
                    ("time_us", "<i8"),
                    ("intervals", "<i8", (INTERVALS,)),
                    ("counted", "<i8"),
                    ("learnt", "<i8"),
                    ("template", "<f4", shape if base else (0,)),
                    ("spreads", "<f4", (base, channels)),  # of groups; the first is the median of all once it is known
                ]
            ),
        )
        self._learning = np.empty((0, 2, base, *shape) if base else (0, 0), dtype=np.float32)

    @property
    def row_bytes(self) -> int:
        """What a series takes in memory, and in a snapshot at most."""
        return self._state.itemsize + 4 * 2 * self._base * math.prod(self._shape)

    def grow(self, rows: int) -> None:
        """Makes room for series 0 to `rows - 1`."""
        self._state, self._learning = grown(self._state, rows), grown(self._learning, rows)

    def clear(self, rows: Int64Array) -> None:
        """Empties rows, for new series."""
        self._state[rows] = np.zeros((), self._state.dtype)
        self._state["at"][rows] = -1

    def take(
        self, series: Int64Array, beats: Float32Array, at: Int64Array, time_us: Int64Array, origin: Int64Array
    ) -> Usual:
        """Takes beats in and returns what was usual for each before it came.

        Args:
            series: (n,) whose each is; a series' beats in their order.
            beats: (n, length, channels).
            at: (n,) where in its series, and when; `origin` is where that began, or began again after a gap.
        """
        shape = self._shape if self._base else (0, self._shape[1])
        count = len(series)
        usual = Usual(
            template=np.zeros((count, *shape), np.float32),
            spread=np.zeros((count, shape[1]), np.float32),
            early=np.zeros(count, np.float32),
            known=np.zeros(count, np.bool_),
        )
        order = stable_order(series)
        firsts = firsts_of(series[order])
        counts = counts_of(firsts, count)
        for nth in range(int(counts.max(initial=0))):
            rows = order[firsts[counts > nth] + nth]
            of = series[rows]
            usual.early[rows] = self._early(of, at[rows], time_us[rows], origin[rows])
            if self._base:
                usual.known[rows] = self._state["learnt"][of] >= self._base**2
                usual.template[rows], usual.spread[rows] = self._state["template"][of], self._state["spreads"][of, 0]
                self._learn(of, beats[rows])
        return usual

    def _early(self, of: Int64Array, at: Int64Array, time_us: Int64Array, origin: Int64Array) -> Float32Array:
        """How early beats came, one of each of some series; their times are noted."""
        state = self._state[of]
        follows = state["at"] >= origin
        interval = time_us - state["time_us"]
        there_are = np.minimum(state["counted"], INTERVALS)
        ordered = np.sort(
            np.where(np.arange(INTERVALS) < there_are[:, None], state["intervals"], np.iinfo(np.int64).max)
        )
        median = np.take_along_axis(ordered, np.maximum(there_are - 1, 0)[:, None] // 2, axis=1)[:, 0]
        judged = follows & (there_are >= LEAST_INTERVALS) & (median > 0)
        early = np.where(judged, 1 - interval / np.where(judged, median, 1), 0.0)
        noted = of[follows]
        self._state["intervals"][noted, self._state["counted"][noted] % INTERVALS] = interval[follows]
        self._state["counted"][noted] += 1
        self._state["at"][of], self._state["time_us"][of] = at, time_us
        return early.astype(np.float32)

    def _learn(self, of: Int64Array, beats: Float32Array) -> None:
        """Learns from one beat of each of some series, as long as they are learning."""
        learnt = (self._state["learnt"][of] < self._base**2) & np.isfinite(beats).all(axis=(1, 2))
        of, beats = of[learnt], beats[learnt]
        count = self._state["learnt"][of]
        self._learning[of, 0, count % self._base] = centred(beats)
        self._state["learnt"][of] = count + 1
        full = of[(count + 1) % self._base == 0]
        group = self._state["learnt"][full] // self._base
        medians = np.median(self._learning[full, 0], axis=1)
        self._learning[full, 1, group - 1] = medians
        self._state["spreads"][full, group - 1] = _spread(self._learning[full, 0], medians)
        whole = full[group == self._base]
        self._state["template"][whole] = np.median(self._learning[whole, 1], axis=1)
        self._state["spreads"][whole, 0] = np.median(self._state["spreads"][whole], axis=1)

    def snapshot(self, rows: Int64Array, origin: Int64Array) -> bytes:
        """What is remembered of series, as many bytes of each; `origin` is where each began."""
        state = self._state[rows]
        state["at"] = np.maximum(state["at"] - origin, -1)
        kept = [_bytes(state)]
        if (state["learnt"] < self._base**2).any():
            kept.append(_bytes(self._learning[rows]))
        return np.concatenate(kept, axis=1).tobytes()

    def restore(self, rows: Int64Array, kept: bytes) -> None:
        """Puts back what `snapshot` returned; other bytes are ignored."""
        width = len(kept) // max(1, len(rows))
        if len(kept) != width * len(rows) or width not in (self._state.itemsize, self.row_bytes):
            return
        columns = np.frombuffer(kept, np.uint8).reshape(len(rows), width)
        self._state[rows] = np.ascontiguousarray(columns[:, : self._state.itemsize]).view(self._state.dtype)[:, 0]
        if width > self._state.itemsize:
            learning = np.ascontiguousarray(columns[:, self._state.itemsize :]).view("<f4")
            self._learning[rows] = learning.reshape(len(rows), *self._learning.shape[1:])


def _spread(groups: Float32Array, medians: Float32Array) -> Float32Array:
    """How far beats (n, count, length, channels) usually are from the medians (n, length, channels): (n, channels)."""
    apart = groups.astype(np.float64) - medians[:, None]
    spread: Float32Array = np.median(np.sqrt(np.square(apart).mean(axis=2)), axis=1).astype(np.float32)
    return spread


def centred(beats: Float32Array) -> Float32Array:
    """Beats (n, length, channels), each channel less its mean."""
    with np.errstate(over="ignore"):  # of numbers that nothing measures
        less: Float32Array = beats - beats.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    return less


def _bytes(rows: np.ndarray) -> np.ndarray:
    """Each row's bytes, (n, width)."""
    return np.frombuffer(rows.tobytes(), np.uint8).reshape(len(rows), -1)
