"""Samples that wait for those of an earlier time leave as a heap would let them, however records are handed over."""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.backends.abstract import StateRecord, TopicPartition
from monitor.detector.arrivals import Order
from monitor.detector.event_time import Reached
from monitor.detector.spec import WindowSpec
from monitor.detector.times import NEVER_US, NO_TIME
from monitor.detector.windowing import Sliding
from monitor.detector.windows import Samples
from monitor.processing import snapshots
from monitor.processing.snapshots import Checkpoint, Mark

SERIES = 3
Placed = tuple[int, int, int, int]  # where it took its place: offset; its own offset and index; its time


class Record(NamedTuple):
    """One record, of a series (-1: it says nothing of any), at the times of its samples; `hole`: it was refused."""

    series: int
    times: list[int]
    hole: bool


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    """A log: of each series, times that mostly increase; duplicates, late ones, chunks, refused records."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, disorder = draw(st.integers(0, 60)), draw(st.integers(0, 12))
    now, found = 100, []
    for _ in range(count):
        now += int(rng.choice([0, 1, 1, 2, 9]))
        kind = rng.integers(12)
        size = int(rng.choice([1, 1, 1, 3]))
        times = [now - int(rng.integers(disorder + 1)) for _ in range(size)]
        if kind == 0:
            found.append(Record(-1, [now], False))
        elif kind == 1:
            found.append(Record(int(rng.integers(SERIES)), [NO_TIME if rng.integers(2) else times[0]], True))
        else:
            found.append(Record(int(rng.integers(SERIES)), times, False))
    return found


def samples_of(log: list[Record], first: int) -> Samples:
    """The samples of records from offset `first` on."""
    rows = [
        (record.series, time, first + place, index, record.hole, record.hole and time == NO_TIME)
        for place, record in enumerate(log)
        for index, time in enumerate(record.times)
        if record.series >= 0
    ]
    series, time, offset, index, hole, untimed = np.array(rows, dtype=np.int64).reshape(-1, 6).T
    values = np.where(hole, np.nan, offset * 10 + index)[:, None].astype(np.float32)
    return Samples(series, values, time, time, untimed > 0, offset, index, hole > 0 if hole.any() else None)


def reached_of(log: list[Record]) -> Reached:
    """The partition's time by offset: refused records do not move it."""
    seen = [max(record.times) for record in log]
    positions = [place for place, record in enumerate(log) if not record.hole]
    newest = np.maximum.accumulate([NO_TIME, *(seen[place] for place in positions)])
    return Reached(np.array(positions, dtype=np.int64), newest.astype(np.int64))


def oracle(log: list[Record], grace: int, most: int) -> tuple[list[Placed], int]:
    """What takes its place where, record by record, with a heap for each series; and how many are dropped."""
    heaps: list[list[tuple[int, int, int, bool, int, int]]] = [[] for _ in range(SERIES)]
    newest, last = [NEVER_US] * SERIES, [NEVER_US] * SERIES
    stream, came, dropped = NO_TIME, 0, 0
    found: list[tuple[Placed, int]] = []
    for offset, record in enumerate(log):
        if not record.hole:
            stream = max(stream, *record.times)
        for index, stated in enumerate(record.times if record.series >= 0 else []):
            series, time = record.series, stated
            came += 1
            if record.hole and newest[series] == NEVER_US:
                continue
            if time == NO_TIME:
                time = newest[series]
            newest[series] = max(newest[series], time)
            untimed = stated == NO_TIME
            heapq.heappush(heaps[series], (time, offset, index, untimed, stream + grace, came))
        leaving = []
        for series, heap in enumerate(heaps):
            due = [time for time, *_, until, number in heap if until <= stream or number + most <= came]
            limit = max([newest[series] - grace, last[series], *due])
            while heap and heap[0][0] <= limit:
                leaving.append((heapq.heappop(heap), series))
                last[series] = max(last[series], leaving[-1][0][0])
        accepted = {series: max((p[3] for p, s in found if s == series), default=NEVER_US) for series in range(SERIES)}
        for (time, own, index, untimed, _, _), series in sorted(leaving):
            is_hole = log[own].hole
            if is_hole and accepted[series] == NEVER_US:
                continue
            if time > accepted[series] or (untimed and time == accepted[series]):
                found.append(((offset, own, index, time), series))
                accepted[series] = time
            else:
                dropped += 1
    return [place for place, _ in found], dropped


def windower_of(grace: int, most: int) -> Sliding:
    windower = Sliding(WindowSpec(kind="sliding", length=1, hop=1), 1, Order(grace))
    assert windower._arrivals._queue is not None
    windower._arrivals._queue._most = most
    windower.grow(SERIES)
    return windower


def checkpointed(windower: Sliding, fresh: Sliding, channels: int = 1) -> Sliding:
    """`fresh`, so that it continues where `windower` stood, by its checkpoint."""
    rows, names = np.array([2, 0, 1]), [f"c{channel}" for channel in range(channels)]
    tails, waiting = windower.snapshot(rows), windower.waiting(rows)
    found = Checkpoint([b"a", b"b", b"c"], np.zeros(3, dtype=np.int64), tails, {}, waiting)
    partition = TopicPartition("t", 0)
    records = [StateRecord(*each) for each in snapshots.encode_checkpoint(partition, Mark(7, ""), names, found)]
    again = snapshots.decode_checkpoint(partition, 7, records, names)
    fresh.restore(rows, again.tails, again.waiting)
    return fresh


@settings(max_examples=300)
@given(
    records(),
    st.integers(1, 14),
    st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=6),
    st.integers(1, 9) | st.just(1_000),
    st.sampled_from([1, 4, 1_000]),
)
def test_samples_leave_as_from_a_heap(
    log: list[Record], grace: int, cuts: list[tuple[int, bool]], slice_: int, most: int
) -> None:
    """However the log is cut into polls, after which some crash, and however few of those let out are taken at once."""
    windower = windower_of(grace, most)
    reached, dropped = reached_of(log), 0
    found: list[tuple[int, ...]] = []
    bounds = sorted((min(cut, len(log)), crash) for cut, crash in cuts)
    for (begin, crash), (end, _) in pairwise([(0, False), *bounds, (len(log), False)]):
        if crash:
            windower = checkpointed(windower, windower_of(grace, most))
        own, reached = reached.split(end)
        out = windower.let_out(samples_of(log[begin:end], begin), own)
        assert isinstance(out, Samples)
        for first in range(0, len(out), slice_):
            appended = windower.append(out[first : first + slice_])
            windows, dropped = appended.windows, dropped + appended.late + appended.duplicates
            columns = windows.placed_at, windows.last_offset, windows.last_index, windows.end_us
            found += [tuple(map(int, place)) for place in zip(*columns, strict=True)]
    assert (found, dropped) == oracle(log, grace, most)
