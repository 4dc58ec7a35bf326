"""Which rows fit the model, which choose the threshold, which are looked at only once.

Rules of this file: rows are divided before anything is fitted, and series before windows are cut, so that no sample is
in two subsets. Pure functions of their arguments and a seed.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import msgspec
import numpy as np

from monitor.detector import windowing
from monitor.detector.arrays import BoolArray, Float32Array, Int64Array
from monitor.detector.spec import WindowSpec
from monitor.detector.windows import Samples
from training.recipes.schema import WindowPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Row numbers of four disjoint subsets; `validation` may be empty."""

    fit: Int64Array
    validation: Int64Array
    calibration: Int64Array
    test: Int64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class CutWindows:
    """Windows of one slice of a series: `values` (m, length, channels); `first` and `last` row of each, (m,)."""

    values: Float32Array
    first: Int64Array
    last: Int64Array


def random_split(normal: BoolArray, *, test: float, calibration: float, seed: int, validation: float = 0.0) -> Split:
    """Permutes rows and divides them; abnormal rows outside the test split are left out.

    Args:
        normal: (n,), which rows may be learnt from.
        test: share of all rows, rounded up. The permutation is that of scikit-learn's `train_test_split`, so the same
            seed gives the tutorial's subsets on the tutorial's file.
        calibration: share of the remaining normal rows, rounded down, but at least one where it is over 0.
        validation: share of what then remains, likewise.
    """
    order = np.random.RandomState(seed % 2**32).permutation(len(normal)).astype(np.int64)
    tested = math.ceil(test * len(normal))
    rest = order[tested:]
    learnt = rest[normal[rest]]
    held = max(int(calibration * len(learnt)), 1 if calibration else 0)
    watched = max(int(validation * (len(learnt) - held)), 1 if validation else 0)
    return Split(
        fit=learnt[held + watched :],
        validation=learnt[held : held + watched],
        calibration=learnt[:held],
        test=order[:tested],
    )


def training_rows(rows: int, *, test: float, seed: int) -> Int64Array:
    """All rows outside the test split of `random_split`, abnormal ones too."""
    return np.random.RandomState(seed % 2**32).permutation(rows).astype(np.int64)[math.ceil(test * rows) :]


def time_split(
    rows: int, *, test: float, calibration: float, validation: float = 0.0
) -> tuple[slice, slice, slice, slice]:
    """Slices of a series of `rows` samples, in order of time: fit, validation, calibration, test."""
    tested = math.ceil(test * rows)
    held = int(calibration * (rows - tested))
    watched = int(validation * (rows - tested - held))
    ends = np.cumsum([rows - tested - held - watched, watched, held, tested]).tolist()
    return slice(0, ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2]), slice(ends[2], ends[3])


def blocks(rows: int, count: int, window: WindowSpec) -> list[slice]:
    """A series of `rows` samples in at most `count` blocks of about as many windows, for cross-fitting.

    A block is all samples of its windows, so the last ones of a block are the first of the next: together they hold
    each window once, in order of time.
    """
    windows = max((rows - window.length) // window.hop + 1, 0)
    ends = [windows * number // count for number in range(count + 1)]
    return [
        slice(first * window.hop, (last - 1) * window.hop + window.length)
        for first, last in itertools.pairwise(ends)
        if first < last
    ]


def without(part: slice, block: slice) -> tuple[slice, ...]:
    """What is left of `part` before and after `block`: no sample is in both."""
    before, after = slice(part.start, max(block.start, part.start)), slice(min(block.stop, part.stop), part.stop)
    return tuple(each for each in (before, after) if each.start < each.stop)


def series_split(
    count: int, *, test: float, calibration: float, seed: int, validation: float = 0.0
) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Numbers of whole series for fit, validation, calibration and test, drawn by `seed`: a patient is in one of them.

    Each share that is over 0 gets one series at least, and fit too where there are enough.
    """
    order = np.random.RandomState(seed % 2**32).permutation(count).astype(np.int64)
    sizes: list[int] = []
    for share in (test, calibration, validation):
        left = count - sum(sizes)
        sizes.append(min(max(round(share * left), 1 if share else 0), max(left - 1, 0)))
    tested, held, watched = np.cumsum(sizes).tolist()
    return order[watched:], order[held:watched], order[tested:held], order[:tested]


def about_event(part: WindowPart, rate_hz: float | None) -> tuple[int, int]:
    """How many samples a window about an event has before it, and in all, at a sampling rate; 0 where none is known."""
    if rate_hz is None:
        return 0, part.length
    before = max(1, round(part.before_ms / 1000 * rate_hz))
    return before, part.length or before + max(1, round(part.after_ms / 1000 * rate_hz))


def cut(samples: Float32Array, time_us: Int64Array | None, part: slice, window: WindowSpec) -> CutWindows:
    """Cuts the windows that lie wholly in `part` of a series, with the daemon's own windower.

    Args:
        samples: (n, channels), NaN where missing.
        time_us: (n,) event time; late samples are dropped and gaps start the series afresh, as the daemon does it.
            None: samples are in order, without gaps.
    """
    rows = np.arange(len(samples), dtype=np.int64)[part]
    if time_us is None:
        window = msgspec.structs.replace(window, max_gap_ms=None, max_hold_ms=None, gap_fill="none")
    windower = windowing.windower(window, samples.shape[1])
    windower.grow(1)
    times = rows if time_us is None else time_us[part]
    columns = Samples(
        series=np.zeros(len(rows), dtype=np.int64),
        values=samples[part],
        time_us=times,
        clock_us=times,
        offset=rows,
        index=np.zeros(len(rows), dtype=np.int64),
        ties=np.zeros(len(rows), dtype=np.bool_),
    )
    windows = windower.append(columns).windows
    return CutWindows(values=windows.values, first=windows.first_offset, last=windows.last_offset)


def touched(cuts: CutWindows, marked: BoolArray) -> BoolArray:
    """Which windows (m,) hold a marked row of their series."""
    sums = np.concatenate([[0], np.cumsum(marked, dtype=np.int64)])
    result: BoolArray = sums[cuts.last + 1] > sums[cuts.first]
    return result


def check_no_leak(*subsets: Int64Array) -> None:
    """Asserts that no row number is in two subsets; a failure is our own fault, never the data's."""
    together = np.concatenate([np.unique(part) for part in subsets])
    if len(np.unique(together)) != len(together):
        raise AssertionError("a row is in two subsets of the split")
