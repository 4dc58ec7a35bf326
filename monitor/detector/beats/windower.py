"""Windows about heartbeats: each is emitted with a fixed lag, when the beat is known and its window is whole.

    samples   ...|--before--R-----after-----|....lag....x
                 [        the window        ]           the sample that closes it

The first channel is the lead in which beats are looked for. Windows are at the series' own rate, which is the
artifact's: nothing is resampled. Where a template is asked for, a window holds what is usual too (`beats.own`), one
after the other: the beat, the template, a row with the spread, and one with how early the beat came, in all channels;
until the template is known, there is no window. What a series has learnt of its beats outlives a gap; the time since
the beat before one does not.

Rules of this file: as those of `rings`. Which samples are beats follows from the samples about them, and what was usual
from the beats before: so a restart cuts the same windows.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from monitor.detector.arrays import BoolArray, Float32Array, Int64Array
from monitor.detector.arrivals import AS_THEY_COME, Order
from monitor.detector.beats.own import OwnBeats, Usual
from monitor.detector.beats.qrs import LEAST_RATE_HZ, MOST_RATE_HZ, BeatRule
from monitor.detector.event_time import counts_of
from monitor.detector.rings import RingWindower
from monitor.detector.spec import WindowSpec
from monitor.detector.windows import Ordered, Windows


class Beats(RingWindower):
    """Windows of `length` samples, `before` of them before a beat."""

    def __init__(self, window: WindowSpec, channels: int, order: Order = AS_THEY_COME) -> None:
        assert window.sampling_rate_hz is not None
        self._rule = BeatRule.at(window.sampling_rate_hz)
        self._own = OwnBeats(window.template_beats, window.length, channels)
        self._beat = np.arange(-window.before, window.length - window.before)
        self._rows_of_window = window.rows
        self._lag = max(self._rule.lag, window.length - window.before - 1)
        self._reach = max(self._rule.lag, window.before) + self._lag + 1  # samples that are needed for one window
        super().__init__(msgspec.structs.replace(window, length=self._reach), channels, order)

    @staticmethod
    def problems(window: WindowSpec) -> list[str]:
        """What keeps such windows from being cut."""
        rate_hz, found = window.sampling_rate_hz, []
        if rate_hz is None or not LEAST_RATE_HZ <= rate_hz <= MOST_RATE_HZ:
            found.append(
                f"window.sampling_rate_hz is {rate_hz}: to find beats it must be known, and {LEAST_RATE_HZ:g} to "
                f"{MOST_RATE_HZ:g}; state it in the recipe where the data does not"
            )
        if not window.before:
            found.append("window.before is 0, must be 1 or more")
        return found

    @property
    def row_bytes(self) -> int:
        """What a series takes in memory."""
        return super().row_bytes + self._own.row_bytes

    @property
    def snapshot_bytes(self) -> int:
        """What a series takes in a snapshot, at most."""
        return super().snapshot_bytes + self._own.row_bytes

    def grow(self, rows: int, most: int | None = None) -> None:
        """Makes room for series 0 to `rows - 1`, and for some more."""
        before = len(self._written)
        super().grow(rows, most)
        if len(self._written) > before:
            self._own.grow(len(self._written))
            self._own.clear(np.arange(before, len(self._written)))

    def clear(self, rows: Int64Array) -> None:
        """Empties rows, for new series."""
        super().clear(rows)
        self._own.clear(rows)

    def closing(self, ordered: Ordered, index: Int64Array, /) -> Int64Array:
        """The samples with which a beat is known and its window whole."""
        firsts = ordered.firsts
        counts = counts_of(firsts, len(index))
        series = ordered.samples.series[firsts]
        # Of each series the samples before its first one here that it needs, then those here.
        wanted = counts + self._reach - 1
        starts = np.cumsum(wanted) - wanted
        position = np.arange(int(wanted.sum())) + np.repeat(self._written[series] - wanted - starts, wanted)
        lead = self._values[np.repeat(series, wanted), position & (self.capacity - 1), 0]
        at = np.arange(len(index)) + np.repeat(starts - firsts, counts)
        return np.flatnonzero(self._known(lead)[at] & (index >= self._reach - 1))

    def _known(self, lead: Float32Array) -> BoolArray:
        """For each sample but the first `reach - 1` whether the one `lag` before it is a beat."""
        if len(lead) < self._reach:
            return np.zeros(0, dtype=np.bool_)
        found = self._rule.beats(lead)
        first = self._reach - self._rule.span - (self._lag - self._rule.lag)
        return found[first : first + len(lead) - self._reach + 1]

    def cut(self, whole: Ordered, position: Int64Array, index: Int64Array, *, cut: bool) -> Windows:
        """The windows of the beats that are known now; the series learn from them whether or not they are `cut`."""
        closing = self.closing(whole, index)
        at = position[closing] - self._lag
        windows = self.read(whole.samples, closing, at + self._beat[-1], len(self._beat))
        series, slot = windows.series, at & (self.capacity - 1)
        origin = at + self._lag - index[closing]
        usual = self._own.take(series, windows.values, at, self._time_us[series, slot], origin)
        windows = replace(windows, values=self._in_full(windows.values, usual), at=whole.samples.placed_at[closing])
        kept = np.flatnonzero(usual.known) if self._rows_of_window > len(self._beat) else np.arange(len(closing))
        kept = kept[: None if cut else 0]
        return windows[kept[np.argsort(whole.position[closing[kept]])]]

    def _in_full(self, beats: Float32Array, usual: Usual) -> Float32Array:
        """Beats with what was usual: (n, rows, channels)."""
        if self._rows_of_window == len(self._beat):
            return beats
        early = np.broadcast_to(usual.early[:, None, None], (len(beats), 1, beats.shape[2]))
        return np.concatenate([beats, usual.template, usual.spread[:, None], early], axis=1)

    def held(self, rows: Int64Array) -> bytes:
        """What is remembered of the series `rows` but samples, as many bytes of each."""
        if not len(rows):
            return b""
        own = self._own.snapshot(rows, self._origin[rows])
        parts = [np.frombuffer(each, np.uint8).reshape(len(rows), -1) for each in (super().held(rows), own)]
        return np.concatenate(parts, axis=1).tobytes()

    def hold_again(self, rows: Int64Array, kept: bytes) -> None:
        """Puts back what `held` returned; other bytes are ignored."""
        if not len(rows) or len(kept) % len(rows):
            return
        columns = np.frombuffer(kept, np.uint8).reshape(len(rows), -1)
        held = super().held(rows)
        width = len(held) // len(rows)
        super().hold_again(rows, columns[:, :width].tobytes())
        self._own.restore(rows, columns[:, width:].tobytes())
