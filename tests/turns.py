"""Turns of a log, for checks alone: samples of some series, read as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from monitor.detector.arrays import BoolArray, Int64Array
from monitor.detector.event_time import Reached, grouped
from monitor.detector.memory import Memory
from monitor.detector.windows import Samples, Windows
from monitor.processing.checks import Check, Findings
from monitor.processing.turns import Course, Turn


def samples_of(
    series: Sequence[int] | Int64Array,
    values: np.ndarray,
    time_us: Int64Array | None = None,
    hole: BoolArray | None = None,
) -> Samples:
    """Samples (n,) in log order, one a record, a second apart unless `time_us` says otherwise."""
    count = len(values)
    offset = np.arange(count)
    times = offset * 1_000_000 if time_us is None else time_us
    return Samples(
        series=np.asarray(series, dtype=np.int64),
        values=np.asarray(values, dtype=np.float32).reshape(count, -1),
        time_us=times,
        clock_us=times,
        ties=np.ones(count, dtype=np.bool_),
        offset=offset,
        index=np.zeros(count, dtype=np.int64),
        hole=hole,
    )


def turns_of(samples: Samples, cuts: Sequence[int]) -> Iterator[Turn]:
    """The turns in which samples are read that are all in time, cut before some of them."""
    bounds = [0, *sorted(cuts), len(samples)]
    for first, end in pairwise(bounds):
        part = samples[first:end]
        course = Course(Reached(part.offset, np.concatenate([part.time_us[:1], part.time_us])))
        yield Turn(part, part.time_us, grouped(part), None, course)


def turn_of_windows(windows: Windows) -> Turn:
    """The turn in which records are read that are windows."""
    course = Course(Reached(windows.last_offset, np.append(windows.end_us[:1], windows.end_us)))
    return Turn(windows, windows.end_us, None, None, course)


def findings(check: Check, turns: Iterator[Turn] | Sequence[Turn], series: int = 8) -> list[tuple[float, ...]]:
    """What a check says of turns: (offset, index, series, channel, start, end, value, threshold), in log order."""
    memory = Memory.full(series, check.nothing)
    found: list[tuple[float, ...]] = []
    for turn in turns:
        made = check.take(turn, memory)
        if made is not None:
            found += listed(made)
    return sorted(found)


def listed(made: Findings) -> list[tuple[float, ...]]:
    """Findings one by one, as `findings` has them."""
    columns = made.offset, made.index, made.series, made.channel, made.start_us, made.end_us, made.value, made.threshold
    return list(zip(*(column.tolist() for column in columns), strict=True))
