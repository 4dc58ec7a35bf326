"""Readings are put together as one by one, however records are handed over."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.detector.arrivals import Order
from monitor.detector.event_time import Reached
from monitor.detector.spec import WindowSpec
from monitor.detector.times import FOREVER_US, NEVER_US, NEWEST_US, NO_TIME
from monitor.detector.windowing import Sliding
from monitor.detector.windows import Samples
from tests.property.test_waiting import checkpointed

SERIES, CHANNELS = 3, 3
Made = tuple[int, int, int, int, tuple[float, ...]]  # where it took its place; its own offset and index; time; values


class Reading(NamedTuple):
    """Of a series (-1: the record says nothing of any) at a time, of some channels."""

    series: int
    time: int
    channels: tuple[int, ...]


@st.composite
def records(draw: st.DrawFn) -> list[list[Reading]]:
    """A log of records, each with some readings: most of them in order, some late, some again."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread, now, found = draw(st.integers(0, 3)), 100, []
    for _ in range(draw(st.integers(0, 50))):
        now += int(rng.choice([0, 0, 1, 2, 6]))
        readings = []
        for _ in range(int(rng.choice([1, 1, 2]))):
            carried = rng.random(CHANNELS) < rng.choice([0.4, 0.4, 1.0])
            time = now - int(rng.integers(spread + 1)) - (20 if rng.integers(12) == 0 else 0)
            series = int(rng.integers(SERIES)) if rng.integers(12) else -1
            readings.append(Reading(series, time, tuple(np.flatnonzero(carried).tolist()) or (0,)))
        found.append(readings)
        if rng.integers(5) == 0:
            found.append(readings)
    return found


def value_of(offset: int, index: int, channel: int) -> float:
    """A number of its own, or a missing one."""
    return float("nan") if (offset + channel) % 7 == 0 else offset * 100.0 + index * 10 + channel


def samples_of(log: list[list[Reading]], first: int) -> Samples:
    """The readings of records from offset `first` on."""
    rows = [(offset, index, each) for offset, record in enumerate(log, first) for index, each in enumerate(record)]
    rows = [row for row in rows if row[2].series >= 0]
    values, carried = np.full((len(rows), CHANNELS), np.nan, np.float32), np.zeros((len(rows), CHANNELS), np.bool_)
    for row, (offset, index, each) in enumerate(rows):
        for channel in each.channels:
            carried[row, channel], values[row, channel] = True, value_of(offset, index, channel)
    places = [(each.series, each.time, offset, index) for offset, index, each in rows]
    series, times, offsets, indices = np.array(places, dtype=np.int64).reshape(-1, 4).T
    none = np.zeros(len(rows), dtype=np.bool_)
    return Samples(series, values, times, times, none, offsets, indices, carried=None if carried.all() else carried)


def oracle(log: list[list[Reading]], tolerance: int, wait: int) -> tuple[list[Made], int, int]:
    """The samples, reading by reading; and how many readings are late, and come twice."""
    opened: dict[int, tuple[int, int, dict[int, float], int, int]] = {}
    last = [NEVER_US] * SERIES
    stream, late, twice = NO_TIME, 0, 0
    found: list[tuple[int, int, Made]] = []

    def leave(series: int, at: int) -> None:
        head, _, values, own, index = opened.pop(series)
        last[series] = head
        numbers = tuple(values.get(channel, float("nan")) for channel in range(CHANNELS))
        found.append((at, head, (at, own, index, head, numbers)))

    for offset, record in enumerate(log):
        stream = max(stream, *(each.time for each in record))
        for index, (series, time, channels) in enumerate(record):
            if series < 0:
                continue
            if series in opened and time > opened[series][0] + tolerance:
                leave(series, offset)
            if series not in opened:
                if last[series] != NEVER_US and time <= last[series] + tolerance:
                    late, twice = late + (time != last[series]), twice + (time == last[series])
                    continue
                opened[series] = (time, stream, {}, offset, index)
            head, came, values, *_ = opened[series]
            new = [channel for channel in channels if channel not in values]
            if time < head:
                late += 1
            elif not new:
                twice += 1
            else:
                values |= {channel: value_of(offset, index, channel) for channel in new}
                opened[series] = (head, came, values, offset, index)
            if len(values) == CHANNELS:
                leave(series, offset)
        for series in [each for each, (_, came, *_) in opened.items() if came + wait <= stream]:
            leave(series, offset)
    return [made for _, _, made in sorted(found, key=lambda each: (each[0], each[1], each[2][1:3]))], late, twice


@settings(max_examples=300)
@given(
    records(),
    st.integers(0, 3),
    st.integers(4, 12) | st.just(NEWEST_US),
    st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=6),
)
def test_readings_are_joined_as_one_by_one(
    log: list[list[Reading]], tolerance: int, wait: int, cuts: list[tuple[int, bool]]
) -> None:
    """However the log is cut into polls, after which some crash."""

    def windower_of() -> Sliding:
        made = Sliding(WindowSpec(kind="sliding", length=1, hop=1), CHANNELS, Order(0, True, tolerance))
        assert made._arrivals._joiner is not None
        made._arrivals._joiner._wait_us = wait
        made.grow(SERIES)
        return made

    windower = windower_of()
    stream = np.maximum.accumulate([NO_TIME, *(max(each.time for each in record) for record in log)])
    reached = Reached(np.arange(len(log)), stream.astype(np.int64))
    late = twice = 0
    found: list[Made] = []
    bounds = sorted((min(cut, len(log)), crash) for cut, crash in cuts)
    for (begin, crash), (end, _) in pairwise([(0, False), *bounds, (len(log), False)]):
        if crash:
            windower = checkpointed(windower, windower_of(), CHANNELS)
        own, reached = reached.split(end)
        out = windower.let_out(samples_of(log[begin:end], begin), own)
        assert isinstance(out, Samples)
        appended = windower.append(out)
        windows, late, twice = appended.windows, late + appended.late, twice + appended.duplicates
        columns = windows.placed_at, windows.last_offset, windows.last_index, windows.end_us
        values = [tuple(map(float, window[0])) for window in windows.values]
        places = np.stack(columns, axis=1).tolist()
        found += [(at, own, index, time, each) for (at, own, index, time), each in zip(places, values, strict=True)]
    made, *dropped = oracle(log, tolerance, wait)
    assert repr(found) == repr(made)
    assert [late, twice] == dropped
    due_us, waiting = windower.due_us, windower._arrivals._joiner
    assert waiting is not None
    assert (due_us < FOREVER_US) == (wait < NEWEST_US and len(waiting) > 0)
    for now_us, leaves in ((due_us - 1, False), (due_us, True)) if due_us < FOREVER_US else ():  # ticks
        tick = Reached(np.array([len(log)]), np.array([stream[-1], now_us]))
        assert (len(windower.let_out(samples_of([], len(log)), tick)) > 0) == leaves
