"""Which times are believed: one from the future moves nothing, and no record is lost for one, nor behind a silence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.backends.abstract import Position, Restored, StateRecord
from monitor.detector.times import NO_TIME
from monitor.errors import Reason
from monitor.formats.stream_time import CONFIRMED_BY, StreamTime
from monitor.processing import time_records
from monitor.processing.processor import Processor
from tests.helpers import INPUT, make_artifact, make_columns, make_config, make_processor_at_zero

HOUR_MS, DAY_MS, YEAR_MS = 3_600_000, 86_400_000, 365 * 86_400_000
NOW_MS = 1_764_600_000_000
FAR_MS = 4_102_444_800_000  # 2100
ARTIFACT = make_artifact(length=6, hop=2)
CONFIG = make_config(
    input={
        "start": "earliest",
        "timestamp_unit": "auto",
        "oldest_time": "2000-01-01T00:00:00Z",
        "max_rejected_ratio": 1.0,
    }
)


def fed(stamps_ms: Sequence[int], now_ms: int | None = NOW_MS, *, ts: Sequence[object] | None = None) -> Processor:
    """A processor that was given a record for each Kafka timestamp, stating `ts` where it is given, one a poll."""
    processor = make_processor_at_zero(CONFIG, ARTIFACT)
    for place, stamp in enumerate(stamps_ms):
        value = {"value": 0.1} if ts is None or ts[place] is None else {"value": 0.1, "ts": ts[place]}
        columns = make_columns([json.dumps(value).encode()], timestamps_ms=[stamp], first_offset=place)
        processor.receive(columns, None if now_ms is None else now_ms * 1000)
        while processor.next_batch() is not None:
            pass
    return processor


def refused(processor: Processor) -> list[int]:
    letters = processor.take_outputs().dead_letters
    assert {letter.reason for letter in letters} <= {Reason.FUTURE_TIMESTAMP}
    assert all("input.max_future_ms" in letter.detail for letter in letters)
    return [letter.offset for letter in letters]


@pytest.mark.parametrize("far_ms", [FAR_MS, NOW_MS + HOUR_MS + 60_000, NOW_MS + YEAR_MS])
@pytest.mark.parametrize("places", [[0], [0, 1], [40], [40, 41], [0, 7, 40, 41, 42], [99]])
def test_times_of_the_future_move_nothing(places: list[int], far_ms: int) -> None:
    stamps = [NOW_MS - 100 + place if place not in places else far_ms + place for place in range(100)]
    processor = fed(stamps)
    assert processor.counts.samples_late == 0
    assert refused(processor) == places
    ahead = fed([NOW_MS] * 100, ts=[stamp if stamp < far_ms else stamp / 1000 for stamp in stamps])
    assert (ahead.counts.samples_late, refused(ahead)) == (0, places)


@pytest.mark.parametrize("silence_ms", [2 * HOUR_MS, 3 * DAY_MS, 20 * YEAR_MS])
@pytest.mark.parametrize("stated", [False, True])
def test_no_record_is_lost_behind_a_silence(silence_ms: int, stated: bool) -> None:
    stamps = [NOW_MS - silence_ms + place for place in range(20)] + [NOW_MS + place for place in range(20)]
    for now_ms in (NOW_MS, NOW_MS + 5 * YEAR_MS, None):  # read at once, read later, read without a clock
        processor = fed(stamps, now_ms, ts=stamps if stated else None)
        assert (processor.counts.samples_late, refused(processor)) == (0, [])


def test_one_record_an_hour_or_a_day_is_no_future() -> None:
    for step_ms in (2 * HOUR_MS, DAY_MS):
        stamps = [NOW_MS - (29 - place) * step_ms for place in range(30)]
        for now_ms in (NOW_MS, NOW_MS + YEAR_MS):
            assert refused(fed(stamps, now_ms)) == []


@pytest.mark.parametrize("own", ["0", "-1", "s", "us", "2001", "2100"])
def test_a_broken_clock_of_kafkas_refuses_no_good_time(own: str) -> None:
    named = {"0": 0, "-1": -1, "s": NOW_MS // 1000, "us": NOW_MS * 1000, "2001": 978_307_200_000, "2100": FAR_MS}
    ts = [NOW_MS + place for place in range(30)] + [NOW_MS + 3 * DAY_MS + place for place in range(30)]
    some = [5, 6, 30, 31]
    for places, read_later_ms in ((range(60), 0), (some, 0), (some, YEAR_MS)):
        stamps = [named[own] if place in places else int(time) for place, time in enumerate(ts)]
        processor = fed(stamps[:30], NOW_MS + read_later_ms, ts=ts)
        values = [json.dumps({"value": 1, "ts": time}).encode() for time in ts[30:]]
        later = make_columns(values, timestamps_ms=stamps[30:], first_offset=30)
        processor.receive(later, (NOW_MS + 3 * DAY_MS + read_later_ms) * 1000)
        assert processor.next_batch() is not None
        assert (processor.counts.samples_late, refused(processor)) == (0, [])


def test_in_a_backlog_a_records_own_timestamp_tells_a_time_of_the_future() -> None:
    """Three hours ahead, read a year later: the clock can't tell."""
    stamps = [NOW_MS + place for place in range(40)]
    ts = [stamp + (3 * HOUR_MS if place in (0, 7, 20) else 0) for place, stamp in enumerate(stamps)]
    processor = fed(stamps, NOW_MS + YEAR_MS, ts=ts)
    assert (processor.counts.samples_late, refused(processor)) == (0, [0, 7, 20])


def test_what_is_refused_leaves_no_trace_of_the_clock() -> None:
    time = StreamTime()
    for place, at_us in enumerate([NOW_MS, FAR_MS, NOW_MS + 1, FAR_MS]):
        offset, at = (np.array([value], dtype=np.int64) for value in (place, at_us * 1000))
        time.judge(offset, at, at, HOUR_MS * 1000, (NOW_MS + place) * 1000, live=True)
    assert time.ticks == {0: NOW_MS * 1000}, "one for the first record; a flood of bad ones must not fill the state"


def test_a_clock_that_is_behind_is_outvoted() -> None:
    stamps = [NOW_MS + place for place in range(40)]
    assert refused(fed(stamps, NOW_MS - 7 * DAY_MS)) == list(range(CONFIRMED_BY - 1))
    scattered = [NOW_MS + place * DAY_MS for place in range(40)]
    assert refused(fed(scattered, NOW_MS - 7 * DAY_MS)) == list(range(40)), "they don't agree"


@pytest.mark.parametrize("between", [1, 2])
def test_refused_records_that_others_follow_outvote_nobody(between: int) -> None:
    good = [NOW_MS - DAY_MS + place for place in range(30 * between)]
    stamps = [stamp for place in range(30) for stamp in [*good[place * between : (place + 1) * between], FAR_MS]]
    assert refused(fed(stamps, NOW_MS - DAY_MS)) == list(range(between, len(stamps), between + 1))


def test_a_refused_record_of_the_future_is_a_hole_of_its_series() -> None:
    processor = make_processor_at_zero(CONFIG, ARTIFACT)
    stamps = [NOW_MS + place if place != 4 else FAR_MS for place in range(8)]
    processor.receive(make_columns([b'{"value": 1}'] * 8, timestamps_ms=stamps), NOW_MS * 1000)
    batch = processor.next_batch()
    assert batch is not None
    assert [bool(np.isnan(window).any()) for window in batch.values] == [True, True]


times = st.lists(
    st.tuples(
        st.sampled_from(["next", "next", "next", "silence", "future", "far", "back"]),
        st.sampled_from(["follows", "follows", "none", "behind", "real"]),
    ),
    max_size=60,
)


def log_of(events: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The time of each record, its own timestamp, and what the clock says when it is read live, in µs."""
    now, found = NOW_MS, []
    for kind, own in events:
        now += 2 * DAY_MS if kind == "silence" else 1000
        time = {"future": now + 2 * HOUR_MS, "far": FAR_MS, "back": now - 5 * HOUR_MS}.get(kind, now)
        found.append((time, {"follows": time, "none": None, "behind": 978_307_200_000, "real": now}[own], now))
    times_us = np.array([time for time, _, _ in found], dtype=np.int64) * 1000
    own_us = np.array([NO_TIME if own is None else own * 1000 for _, own, _ in found], dtype=np.int64)
    return times_us, own_us, np.array([now for _, _, now in found], dtype=np.int64) * 1000


@given(times, st.lists(st.integers(0, 60), max_size=5), st.lists(st.integers(0, 60), min_size=1, max_size=3))
def test_a_restart_decides_as_was_decided(events: list[tuple[str, str]], cuts: list[int], restarts: list[int]) -> None:
    times_us, own_us, now_us = log_of(events)
    count, reach_us = len(events), HOUR_MS * 1000
    offsets = np.arange(count)
    live, expected = StreamTime(), np.zeros(count, dtype=np.bool_)
    bounds = [0, *sorted(min(cut, count) for cut in cuts), count]
    for begin, end in pairwise(bounds):
        part = slice(begin, end)
        now = int(now_us[end - 1]) if end else None
        expected[part] = live.judge(offsets[part], times_us[part], own_us[part], reach_us, now, live=True).refused
    # Again from a checkpoint at 0, with the ticks that were committed; in other polls, and years later.
    key, value = time_records.encode_time(INPUT, 0, StreamTime(clocked=True), live.ticks)
    again = time_records.decode_time(INPUT, 0, [StateRecord(key, value)])
    assert again is not None
    found = np.zeros(count, dtype=np.bool_)
    for begin, end in pairwise([0, *sorted(min(cut, count) for cut in restarts), count]):
        part = slice(begin, end)
        found[part] = again.judge(offsets[part], times_us[part], own_us[part], reach_us, 1 << 60, live=False).refused
    assert found.tolist() == expected.tolist()
    assert (again.newest_us, again.clock_us, again.ahead) == (live.newest_us, live.clock_us, live.ahead)


def test_a_restart_goes_on_from_the_time_that_was_committed() -> None:
    """A checkpoint, a silence that the clock explains, one of 2100, a crash; the successor's clock is behind."""
    before = [NOW_MS + place for place in range(8)]
    after = [NOW_MS + 3 * DAY_MS + place if place != 3 else FAR_MS for place in range(8)]
    first = make_processor_at_zero(CONFIG, ARTIFACT)
    first.receive(make_columns([b'{"value": 1}'] * 8, timestamps_ms=before), NOW_MS * 1000)
    assert first.next_batch() is not None
    outputs = first.take_outputs([INPUT])
    log = dict(outputs.checkpoints[INPUT])
    assert b"time/telltale.input/0" in log
    first.committed(outputs.positions)
    first.receive(make_columns([b'{"value": 1}'] * 8, timestamps_ms=after, first_offset=8), after[0] * 1000)
    assert first.next_batch() is not None
    outputs = first.take_outputs()
    log |= {key: value or b"" for _, key, value in outputs.state}
    position = outputs.positions[INPUT]
    assert (position.offset, position.replay_from) == (16, 8)

    second = make_processor_at_zero(CONFIG, ARTIFACT)
    second.revoke(INPUT)
    records = tuple(StateRecord(key, value) for key, value in log.items())
    second.assign(INPUT, Restored(Position(16, 8, 0), records, beginning=0, end=17), 0)
    refill = make_columns([b'{"value": 1}'] * 8, timestamps_ms=after, first_offset=8)
    news = make_columns([b'{"value": 1}'], timestamps_ms=[after[-1] + 1], first_offset=16)
    for columns in (refill, news):
        second.receive(columns, (NOW_MS - DAY_MS) * 1000)
    while second.next_batch() is not None:
        pass
    assert refused(second) == []
    assert second.counts.samples_late == 0


def assigned(position: Position | None, log: dict[bytes, bytes]) -> Processor:
    processor = make_processor_at_zero(CONFIG, ARTIFACT)
    processor.revoke(INPUT)
    records = tuple(StateRecord(key, value) for key, value in log.items())
    processor.assign(INPUT, Restored(position, records, beginning=0, end=100), 7)
    return processor


@pytest.mark.parametrize("idle_restarts", [0, 1, 2])
@pytest.mark.parametrize("good", [0, 3])
def test_what_was_refused_first_is_refused_after_a_restart_too(idle_restarts: int, good: int) -> None:
    """Nothing was believed by then, so no tick was kept: but that there was a clock is remembered."""
    first = assigned(None, {})
    outputs = first.take_outputs([INPUT])
    position, log = outputs.positions[INPUT], dict(outputs.checkpoints[INPUT])
    for _ in range(idle_restarts):
        first = assigned(position, log)
    stamps = [NOW_MS + place for place in range(good)] + [FAR_MS]
    before = make_columns([b'{"value": 1}'] * len(stamps), timestamps_ms=stamps, first_offset=7)
    first.receive(before, NOW_MS * 1000)
    assert first.next_batch() is None
    outputs = first.take_outputs()
    assert len(outputs.dead_letters) == 1
    log |= {key: value or b"" for _, key, value in outputs.state}

    second = assigned(outputs.positions[INPUT], log)
    stamps = [NOW_MS + 10 + place for place in range(8)]
    news = make_columns([b'{"value": 1}'] * 8, timestamps_ms=stamps, first_offset=before.next_offset)
    for columns in (before, news):
        second.receive(columns, NOW_MS * 1000)
    while second.next_batch() is not None:
        pass
    assert second.counts.replayed == good + 1
    assert (refused(second), second.counts.samples_late) == ([], 0)
