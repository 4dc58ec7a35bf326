"""Any chunking and any interleaving of series gives the windows that NumPy cuts offline."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.detector.spec import WindowSpec
from monitor.detector.times import NO_TIME
from monitor.detector.windowing import Sliding
from monitor.detector.windows import Samples, Tails, Windows, fill_missing, impute_or_blank
from tests.helpers import sliding_windows

US = 1_000


def sliding(length: int, hop: int, channels: int, max_gap_us: int | None = None) -> Sliding:
    gap_ms = None if max_gap_us is None else max_gap_us / 1000
    return Sliding(WindowSpec(kind="sliding", length=length, hop=hop, max_gap_ms=gap_ms), channels)


def samples(
    series: np.ndarray, values: np.ndarray, clock: np.ndarray, first: int = 0, *, ties: bool = False
) -> Samples:
    count = len(series)
    return Samples(
        series=series.astype(np.int64),
        values=values.astype(np.float32),
        time_us=clock.astype(np.int64),
        clock_us=clock.astype(np.int64),
        ties=np.full(count, ties),
        offset=np.arange(first, first + count),
        index=np.zeros(count, dtype=np.int64),
    )


Log = tuple[int, int, int, np.ndarray, np.ndarray, list[int]]


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """length, hop, channels, the series of each sample, its values, and where the log is cut into chunks."""
    length, hop, channels = draw(st.integers(1, 9)), draw(st.integers(1, 12)), draw(st.integers(1, 3))
    count = draw(st.integers(0, 120))  # a list of any length is mostly short, and rings never go round
    order = np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)), dtype=np.int64)
    values = np.arange(len(order) * channels, dtype=np.float32).reshape(len(order), channels)
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=8)))
    return length, hop, channels, order, values, cuts


def offline(length: int, hop: int, order: np.ndarray, values: np.ndarray) -> list[tuple[int, int, bytes]]:
    """(closing sample, series, window), by slicing each series on its own."""
    found = []
    for series in np.unique(order):
        mine = np.flatnonzero(order == series)
        for end in range(length - 1, len(mine), hop):
            window = values[mine[end - length + 1 : end + 1]]
            found.append((int(mine[end]), int(series), window.tobytes()))
    return sorted(found)


def online(parts: list[Windows]) -> list[tuple[int, int, bytes]]:
    return [(int(w.last_offset[i]), int(w.series[i]), w.values[i].tobytes()) for w in parts for i in range(len(w))]


@given(logs())
def test_any_chunking_cuts_the_same_windows(log: Log) -> None:
    length, hop, channels, order, values, cuts = log
    windower = sliding(length, hop, channels)
    windower.grow(4)
    parts = []
    clock = np.arange(len(order)) * US
    for begin, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
        chunk = samples(order[begin:end], values[begin:end], clock[begin:end], begin)
        parts.append(windower.append(chunk).windows)
    assert online(parts) == offline(length, hop, order, values)


@given(logs(), st.integers(0, 120))
def test_a_restart_from_tails_cuts_the_same_windows(log: Log, crash: int) -> None:
    length, hop, channels, order, values, _ = log
    crash = min(crash, len(order))
    clock = np.arange(len(order)) * US
    before, after = sliding(length, hop, channels), sliding(length, hop, channels)
    before.grow(4)
    first = before.append(samples(order[:crash], values[:crash], clock[:crash])).windows
    tails = before.snapshot(np.arange(4))
    for kept in np.split(tails.offset, np.cumsum(tails.kept)[:-1]):
        assert (np.diff(kept) > 0).all(), "oldest first, as checkpoints have it that are already in the log"
    after.restore(np.arange(4), Tails(*(getattr(tails, name).copy() for name in Tails.__slots__)))
    second = after.append(samples(order[crash:], values[crash:], clock[crash:], crash)).windows
    assert online([first, second]) == offline(length, hop, order, values)


@given(
    st.lists(st.integers(0, 12), max_size=60),
    st.booleans(),
    st.lists(st.integers(0, 60), max_size=4),
    st.integers(1, 5),
)
def test_late_samples_are_dropped_and_counted(clock: list[int], ties: bool, cuts: list[int], length: int) -> None:
    """And those that came before, as far as the window reaches back: there a restart forgets them."""
    windower = sliding(length, 1, 1)
    windower.grow(1)
    kept: list[int] = []
    duplicates = 0
    for place, time in enumerate(clock):
        newest = max((clock[k] for k in kept), default=-1)
        if time > newest or (ties and time == newest):
            kept.append(place)
        else:
            duplicates += time in [clock[k] for k in kept[-max(1, length - 1) :]]
    times, zeros = np.array(clock, dtype=np.int64), np.zeros(len(clock), dtype=np.int64)
    seen, late, again = [], 0, 0
    bounds = sorted(min(cut, len(clock)) for cut in cuts)
    for begin, end in zip([0, *bounds], [*bounds, len(clock)], strict=True):
        chunk = samples(zeros[begin:end], np.zeros((end - begin, 1)), times[begin:end], begin, ties=ties)
        appended = windower.append(chunk)
        seen += appended.windows.last_offset.tolist()
        late, again = late + appended.late, again + appended.duplicates
    assert seen == kept[length - 1 :]
    assert (late, again) == (len(clock) - len(kept) - duplicates, duplicates)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 3), st.integers(0, 60))
def test_a_gap_restarts_the_series(steps: list[int], length: int, hop: int, cut: int) -> None:
    clock = np.cumsum(steps) * US
    values = np.arange(len(steps), dtype=np.float32)[:, None]
    zeros = np.zeros(len(steps), dtype=np.int64)
    windower = sliding(length, hop, 1, max_gap_us=4 * US)
    windower.grow(1)
    cut = min(cut, len(steps))
    parts = [windower.append(samples(zeros[a:b], values[a:b], clock[a:b], a)) for a, b in ((0, cut), (cut, len(steps)))]
    breaks = [0, *(i for i in range(1, len(steps)) if steps[i] > 4), len(steps)]
    expected = [
        (begin + end, 0, values[begin + end - length + 1 : begin + end + 1].tobytes())
        for begin, stop in pairwise(breaks)
        for end in range(length - 1, stop - begin, hop)
    ]
    assert online([part.windows for part in parts]) == expected
    assert sum(part.gaps for part in parts) == len(breaks) - 2


@given(
    st.lists(st.tuples(st.sampled_from("sshtl"), st.integers(0, 2)), max_size=60),
    st.integers(1, 5),
    st.integers(1, 3),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_holes_keep_their_position_and_move_no_time(
    events: list[tuple[str, int]], length: int, hop: int, cuts: list[int]
) -> None:
    """Of three series: samples (s), holes without a time (h) and with one (t), and late samples (l)."""
    count = len(events)
    kind = np.array([what for what, _ in events], dtype="U1")
    owner = np.array([which for _, which in events], dtype=np.int64)
    time = np.where(kind == "h", NO_TIME, np.where(kind == "l", 0, np.arange(1, count + 1) * US)).astype(np.int64)
    values = np.where(np.isin(kind, ["h", "t"]), np.nan, np.arange(count))[:, None]
    log = replace(samples(owner, values, time), hole=np.isin(kind, ["h", "t"]), ties=kind == "h")
    windower = sliding(length, hop, 1, max_gap_us=count * 2 * US)
    windower.grow(3)
    bounds = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [windower.append(log[begin:end]) for begin, end in pairwise(bounds)]
    expected, late = [], 0
    for series in range(3):
        kept: list[int] = []
        newest = -1
        for place in np.flatnonzero(owner == series).tolist():
            if kind[place] == "s" or (kind[place] == "l" and newest < 0) or (kind[place] in "ht" and kept):
                kept.append(place)
                newest = max(newest, int(time[place]))
            late += kind[place] == "l" and kept[-1:] != [place]
        times = np.maximum.accumulate(time[kept]) if kept else time[:0]
        for end in range(length - 1, len(kept), hop):
            mine = kept[end - length + 1 : end + 1]
            expected.append((mine[-1], series, values[mine].astype(np.float32).tobytes(), int(times[end - length + 1])))
    found = [part.windows for part in parts]
    starts = [int(time) for part in found for time in part.start_us]
    assert sorted((*window, start) for window, start in zip(online(found), starts, strict=True)) == sorted(expected)
    assert (sum(part.late + part.duplicates for part in parts), sum(part.gaps for part in parts)) == (late, 0)


@given(st.lists(st.integers(0, 12), max_size=4))
def test_chunks_without_a_time_of_their_own_have_no_gap_and_lose_nothing(cuts: list[int]) -> None:
    """Twelve chunks of ten samples at 250 Hz, stamped when they are sent: every 38 ms, so that they overlap by 2 ms."""
    chunk = np.repeat(np.arange(12), 10)
    index = np.tile(np.arange(10), 12)
    clock = chunk * 38 * US
    log = replace(
        samples(np.zeros(120), np.arange(120.0)[:, None], clock, ties=True),
        time_us=clock + index * 4 * US, offset=chunk, index=index,
    )  # fmt: skip
    windower = sliding(10, 5, 1, max_gap_us=5 * US)
    windower.grow(1)
    bounds = [0, *sorted(10 * cut for cut in cuts), 120]
    parts = [windower.append(log[begin:end]) for begin, end in pairwise(bounds)]
    assert (sum(part.late for part in parts), sum(part.gaps for part in parts)) == (0, 0)
    closing = np.concatenate([part.windows.values[:, -1, 0] for part in parts])
    assert closing.tolist() == list(range(9, 120, 5))


def test_a_long_chunk_of_one_series_is_cut_whole() -> None:
    values = np.random.default_rng(1).normal(size=(5_000, 2)).astype(np.float32)
    zeros, clock = np.zeros(5_000, dtype=np.int64), np.arange(5_000) * US
    windower = sliding(64, 7, 2)
    windower.grow(1)
    windows = windower.append(samples(zeros, values, clock)).windows
    np.testing.assert_array_equal(windows.values, sliding_windows(values, 64, 7))
    np.testing.assert_array_equal(windows.first_offset, np.arange(0, 5_000 - 63, 7))
    np.testing.assert_array_equal(windows.end_us - windows.start_us, 63 * US)


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_the_missing_share_is_of_all_numbers_of_a_window(length: int, channels: int, most: int, seed: int) -> None:
    """Of numbers, not of samples: half of two channels is a quarter."""
    rng = np.random.default_rng(seed)
    windows = rng.normal(size=(7, length, channels)).astype(np.float32)
    windows[rng.random(windows.shape) < rng.choice([0.1, 0.4])] = np.nan
    before = windows.copy()
    imputed, share = impute_or_blank(windows, most / 6)
    for window, made, ratio in zip(windows, imputed, share, strict=True):
        missing = int(np.isnan(window).sum())
        np.testing.assert_allclose(ratio, missing / window.size, rtol=1e-6)
        if missing and np.float32(missing / window.size) > np.float32(most / 6):
            assert np.isnan(made).all()
        else:
            np.testing.assert_array_equal(made, fill_missing(window[None])[0])
    np.testing.assert_array_equal(windows, before)


def test_missing_samples_are_filled_along_time() -> None:
    nan = np.nan
    windows = np.array([[[1, nan], [nan, nan], [3, nan], [nan, nan]], [[1, 1], [2, 2], [3, 3], [4, 4]]], np.float32)
    filled = fill_missing(windows)
    np.testing.assert_array_equal(filled[0, :, 0], [1, 2, 3, 3])
    assert np.isnan(filled[0, :, 1]).all(), "a channel without a sample can't be made up"
    np.testing.assert_array_equal(filled[1], windows[1])
