"""Numbers of channels that are marked as bad, followed in episodes: what `nan_ratio` and `out_of_range` share."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from monitor.detector.arrays import BoolArray, Int64Array
from monitor.detector.memory import Memory
from monitor.processing.quality.episodes import LAYOUT, Limits, Marks, follow
from monitor.processing.quality.readings import Readings


class Followed(Protocol):
    """What is needed of `Readings` here."""

    series: Int64Array
    firsts: Int64Array

    def times_us(self, samples: Int64Array) -> Int64Array: ...


class Said(NamedTuple):
    """k things to say, each at a sample and of a channel: that something is wrong, since when, or that it is over."""

    samples: Int64Array
    channel: Int64Array
    start_us: Int64Array
    wrong: BoolArray


def nothing(channels: int) -> np.void:
    """What is remembered of a new series."""
    made: np.void = np.zeros(1, [(name, kind, (channels,)) for name, kind in LAYOUT])[0]
    return made


def are_followed(read: Readings, memory: Memory) -> bool:
    """Whether bad numbers of a turn's series are remembered."""
    return bool(memory["marks"].take(read.series, axis=0).any())


def watch(read: Followed, marked: BoolArray, memory: Memory, limits: Limits, first: int = 0) -> Said | None:
    """What there is to say where `marked` (n, channels) are the bad numbers, by each channel's limits (channels,).

    What is remembered, by row, is updated in place: of these channels from number `first` on. Only those with bad
    numbers, now or lately, are gone through.
    """
    if not len(marked):
        return None
    rows = memory.take(read.series)
    some = np.flatnonzero(marked.any(axis=0) | rows["marks"][:, first : first + marked.shape[1]].any(axis=0))
    if not len(some):
        return None
    (count, _), series = marked.shape, len(read.series)
    firsts = (np.arange(len(some))[:, None] * count + read.firsts).ravel()
    ends = np.append(firsts[1:], len(some) * count)
    element = np.flatnonzero(marked[:, some].T)
    of = np.searchsorted(firsts, element, side="right") - 1
    kept = np.empty(len(firsts), LAYOUT)
    for name, _ in LAYOUT:
        kept[name] = rows[name][:, first + some].T.ravel()
    channel = np.repeat(some, series)
    each = Limits(limits.enough[channel], limits.gap[channel], limits.well[channel])
    news = follow(Marks(element, of, read.times_us(element % count), firsts, ends), kept, each)
    for name, _ in LAYOUT:
        rows[name][:, first + some] = kept[name].reshape(len(some), series).T
    memory.put(read.series, rows)
    samples = np.concatenate([news.wrong, news.over]) % count
    return Said(
        samples,
        channel[np.concatenate([news.wrong_of, news.over_of])],
        np.concatenate([news.since_us, read.times_us(news.over % count)]),
        np.repeat([True, False], [len(news.wrong), len(news.over)]),
    )
