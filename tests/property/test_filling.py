"""Numbers that are held and gaps that are filled: by an oracle that goes from sample to sample."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.detector.spec import WindowSpec, filling_problems
from monitor.detector.windowing import Sliding
from monitor.detector.windows import Samples

SERIES, CHANNELS, PERIOD_US = 2, 2, 1_000_000
Fill = Literal["none", "previous", "interpolate"]
Cut = tuple[int, int, float, bytes]  # series, end, share of samples that fill gaps, values


def windower_of(length: int, hop: int, hold_s: float | None, fill: Fill, gap_s: int) -> Sliding:
    window = WindowSpec(
        kind="sliding", length=length, hop=hop, sampling_rate_hz=1.0, max_gap_ms=1000.0 * gap_s,
        max_hold_ms=None if hold_s is None else 1000.0 * hold_s, gap_fill=fill,
    )  # fmt: skip
    assert filling_problems(window) == []
    made = Sliding(window, CHANNELS)
    made.grow(SERIES)
    return made


def oracle(samples: Samples, length: int, hop: int, hold_s: float | None, fill: Fill, gap_s: int) -> list[Cut]:
    found: list[Cut] = []
    for series in range(SERIES):
        rows: list[tuple[int, list[float], bool]] = []  # time, values, made up; since the last gap
        last: dict[int, tuple[int, float]] = {}
        mine = np.flatnonzero(samples.series == series)
        before: int | None = None
        for row in mine.tolist():
            time_us, values = int(samples.time_us[row]), samples.values[row].tolist()
            if before is not None and time_us <= before:
                continue
            for channel, value in enumerate(values):
                if not np.isnan(value):
                    last[channel] = (time_us, value)
                elif hold_s is not None and channel in last and time_us - last[channel][0] <= hold_s * 1e6:
                    values[channel] = last[channel][1]
            if before is not None and time_us - before > gap_s * PERIOD_US:
                rows = []
            new = [(time_us, values, False)]
            if rows and fill != "none":
                missing = round((time_us - rows[-1][0]) / PERIOD_US) - 1
                for step in range(1, missing + 1):
                    share = step / (missing + 1)
                    old = rows[-1][1]
                    line = [
                        np.float32(a + np.float32(b - a) * np.float32(share)) for a, b in zip(old, values, strict=True)
                    ]
                    at = time_us - round((time_us - rows[-1][0]) * (1 - share))
                    new.insert(-1, (at, old if fill == "previous" else line, True))
            for each in new:
                rows.append(each)
                start = len(rows) - length
                if start >= 0 and start % hop == 0:
                    window = rows[start:]
                    numbers = np.array([values for _, values, _ in window], dtype=np.float32)
                    ratio = float(np.mean([made for *_, made in window], dtype=np.float32))
                    found.append((series, window[-1][0], ratio, numbers.round(4).tobytes()))
            before = time_us
    return sorted(found)


@settings(max_examples=200)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 6),
    st.integers(1, 4),
    st.sampled_from([None, 1.0, 3.0]),
    st.sampled_from(["none", "previous", "interpolate"]),
    st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=5),
)
def test_series_are_made_whole_sample_by_sample(
    seed: int, length: int, hop: int, hold_s: float | None, fill: Fill, cuts: list[tuple[int, bool]]
) -> None:
    rng = np.random.default_rng(seed)
    count, gap_s = int(rng.integers(60)), int(rng.integers(2, length + 1))
    steps = rng.choice([0, 1, 1, 1, 2, 3, 9], count) * PERIOD_US + rng.integers(-90_000, 90_000, count)
    values = rng.normal(size=(count, CHANNELS)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    time_us = 10**15 + np.cumsum(np.maximum(steps, 0))
    index = np.zeros(count, dtype=np.int64)
    samples = Samples(
        rng.integers(0, SERIES, count), values, time_us, time_us, index > 0, np.arange(count), index
    )  # fmt: skip
    windower = windower_of(length, hop, hold_s, fill, gap_s)
    found: list[Cut] = []
    bounds = sorted((min(cut, count), crash) for cut, crash in cuts)
    rows = np.arange(SERIES)
    for (begin, crash), (end, _) in pairwise([(0, False), *bounds, (count, False)]):
        if crash:
            again = windower_of(length, hop, hold_s, fill, gap_s)
            again.restore(rows, windower.snapshot(rows))
            again.hold_again(rows, windower.held(rows))
            windower = again
        windows = windower.append(samples[begin:end]).windows
        for row in range(len(windows)):
            ratio = 0.0 if windows.filled_ratio is None else float(windows.filled_ratio[row])
            numbers = windows.values[row].round(4).tobytes()
            found.append((int(windows.series[row]), int(windows.end_us[row]), ratio, numbers))
            assert 0 <= windows.first_offset[row] <= windows.last_offset[row] == windows.placed_at[row]
    assert sorted(found) == oracle(samples, length, hop, hold_s, fill, gap_s)
