"""Which channels and samples made a score, for the people who have to look at the machine.

A channel whose error is large now is not the one to blame where it was as large before: of many channels some are hard
to reconstruct at all times, and a drift of one shows in others through the code they share. So channels are put in
order by change, where the artifact says how far each usually is from what is expected:

    (root mean square error over the window - the same before the incident) / sqrt(that over calibration windows)

The root is half a way between the errors as they are, of which those of the loudest channel are always the largest, and
errors in units of each channel's own, of which those of the quietest are.

Rules of this file: pure. What differs from one kind of score to another is the limit in its row of `scores.KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.detector import levels
from monitor.detector.arrays import Float32Array, Float64Array
from monitor.detector.spec import Manifest

MOST_CONTRIBUTIONS = 3
# A sample whose error is less than this share of the window's worst is not named: means are then of samples alike.
LEAST_SHARE = 0.1
# Channels are listed with their change up to so many, about 10 KB of JSON; the others changed least.
MOST_CHANNELS = 100
# A channel whose usual error is less than this share of all channels' mean is taken for one with as much: one that was
# constant, and exactly reconstructed, would else come before all others by a movement that nobody would see.
LEAST_USUAL = 0.01


class Contribution(NamedTuple):
    """Samples `first` to `last` of one channel: their share of the whole error, and their means, in the data's unit."""

    channel: str
    first: int
    last: int
    share: float
    observed: float
    expected: float


class ChannelChange(NamedTuple):
    """A channel's share of the whole error over a window, and how much more its root mean square error is than before.

    `change` and `before` are in the data's unit.
    """

    channel: str
    share: float
    change: float
    before: float


class _Runs(NamedTuple):
    """Samples `first` to `end - 1` of `channel`, each (n,)."""

    channel: NDArray[np.intp]
    first: NDArray[np.intp]
    end: NDArray[np.intp]


class Attribution:
    """Says what made the scores of one artifact's windows."""

    def __init__(self, manifest: Manifest, sample_limit: Callable[[Float64Array, float], float]) -> None:
        """`sample_limit` is that of the score's kind."""
        self._sample_limit = sample_limit
        self._channels = [channel.name for channel in manifest.channels]
        self._levels = levels.of(manifest.channels)
        self._per_window = manifest.scaling.kind == "window"
        self._scale = np.asarray(manifest.scaling.scale, dtype=np.float64)
        usual = np.asarray(manifest.calibration.channel_errors, dtype=np.float64)
        self._usual = usual if len(usual) > 1 else None

    def __call__(
        self, values: Float32Array, expected: Float32Array, threshold: float, before: Float32Array | None = None
    ) -> list[Contribution]:
        """The runs of samples that lie further from what was expected than the kind's limit, worst first.

        Where the threshold is the limit there is at least one: the mean error of an anomalous window is over it. Those
        with less than a tenth of the worst error are left out. Shares are of the sum of the scaled absolute errors over
        the whole window; they sum to at most 1.

        Where the artifact says what errors are usual, it is one run of each of the channels whose errors have grown
        most: the worst, or the whole window where no sample is over the limit.

        Args:
            values, expected: (length, channels), less the channels' levels.
            before: (channels,) root mean square errors before the incident, scaled; None: as they usually are.
        """
        errors = self._errors(self._scales(values), values, expected)
        limit = self._sample_limit(errors, threshold)
        runs = _runs((errors > limit) & (errors >= LEAST_SHARE * errors.max()))
        if self._usual is not None:
            growth = self._growth(errors, self._before(before))
            grown = np.argsort(-growth, kind="stable")[: min(MOST_CONTRIBUTIONS, max(1, int((growth > 0).sum())))]
            runs = _worst_of_each(grown, errors, runs)
        shares = _shares(errors, runs)
        order = np.lexsort((runs.first, runs.channel, -shares)) if self._usual is None else np.arange(len(shares))
        worst = order[:MOST_CONTRIBUTIONS]
        return [
            Contribution(
                channel=self._channels[channel],
                first=first,
                last=end - 1,
                share=share,
                observed=self._mean(values, channel, first, end),
                expected=self._mean(expected, channel, first, end),
            )
            for channel, first, end, share in zip(*(each[worst].tolist() for each in (*runs, shares)), strict=True)
        ]

    def changes(
        self, values: Float32Array, expected: Float32Array, before: Float32Array | None = None
    ) -> list[ChannelChange]:
        """The channels, the one whose error has grown most first; none where the artifact has one, or does not say
        what errors are usual. Arguments are those of a call."""
        if self._usual is None:
            return []
        scale, was = self._scales(values), self._before(before)
        errors = self._errors(scale, values, expected)
        order = np.argsort(-self._growth(errors, was), kind="stable")[:MOST_CHANNELS]
        sums = errors.sum(axis=1)
        columns = sums / sums.sum(), (_rms(errors) - was) * scale, was * scale
        return [
            ChannelChange(self._channels[at], *each)
            for at, each in zip(order.tolist(), np.stack(columns, axis=1)[order].tolist(), strict=True)
        ]

    def _before(self, known: Float32Array | None) -> Float64Array:
        assert self._usual is not None
        return self._usual if known is None else known.astype(np.float64)

    def _growth(self, errors: Float64Array, before: Float64Array) -> Float64Array:
        """What channels are put in order by, (channels,)."""
        assert self._usual is not None
        least = max(LEAST_USUAL * float(self._usual.mean()), float(np.finfo(np.float32).tiny))
        growth: Float64Array = (_rms(errors) - before) / np.sqrt(np.maximum(self._usual, least))
        return growth

    def _scales(self, values: Float32Array) -> Float64Array:
        """What a window's errors are divided by, (channels,)."""
        if not self._per_window:
            return self._scale
        scales: Float64Array = np.maximum(values.astype(np.float64).std(axis=0), self._scale)
        return scales

    def _errors(self, scale: Float64Array, values: Float32Array, expected: Float32Array) -> Float64Array:
        """Scaled absolute errors, (channels, length). In float64: what is far out of range may overflow in float32."""
        errors: Float64Array = (np.abs(values.astype(np.float64) - expected) / scale).T
        return errors

    def _mean(self, numbers: Float32Array, channel: int, first: int, end: int) -> float:
        mean = float(numbers[first:end, channel].mean(dtype=np.float64))
        return mean if self._levels is None else mean + float(self._levels[channel])


def _rms(errors: Float64Array) -> Float64Array:
    means: Float64Array = np.sqrt(np.square(errors).mean(axis=1))
    return means


def _worst_of_each(channels: NDArray[np.intp], errors: Float64Array, runs: _Runs) -> _Runs:
    """The run of each of `channels` with the largest sum of errors; the whole window of one that has none."""
    found = []
    for channel in channels.tolist():
        own = np.flatnonzero(runs.channel == channel)
        sums = [errors[channel, runs.first[at] : runs.end[at]].sum() for at in own]
        at = own[int(np.argmax(sums))] if len(own) else None
        found.append((channel, 0, errors.shape[1]) if at is None else (channel, int(runs.first[at]), int(runs.end[at])))
    return _Runs(*np.array(found, dtype=np.intp).T)


def _runs(over: NDArray[np.bool_]) -> _Runs:
    """The runs of samples that are `over`, (channels, length)."""
    channels, length = over.shape
    # Where a run begins and where it has ended, in pairs: every row starts and stops with a sample that is not over.
    padded = np.zeros((channels, length + 2), dtype=np.bool_)
    padded[:, 1:-1] = over
    edges = np.flatnonzero(padded[:, 1:] != padded[:, :-1]).reshape(-1, 2)
    return _Runs(edges[:, 0] // (length + 1), edges[:, 0] % (length + 1), edges[:, 1] % (length + 1))


def _shares(errors: Float64Array, runs: _Runs) -> Float64Array:
    """Each run's share of the sum of all `errors`."""
    until = np.zeros((len(errors), errors.shape[1] + 1))
    np.cumsum(errors, axis=1, dtype=np.float64, out=until[:, 1:])
    shares: Float64Array = (until[runs.channel, runs.end] - until[runs.channel, runs.first]) / until[:, -1].sum()
    return shares
