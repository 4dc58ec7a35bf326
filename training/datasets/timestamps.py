"""What a series' timestamps look like: order, repeats, gaps, rate. Reported, never fixed.

Rules of this file: pure. A sample at or before the newest one is dropped later, when windows are cut, as the daemon
drops late samples; here it is only counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable, WindowTable
from monitor.detector.arrays import Int64Array
from monitor.detector.times import NEWEST_US, OLDEST_US

_GAP_STEPS = 1.5  # a step over this many median steps is a gap
_TOLERANCE = 0.01  # a regular series' steps lie this close to their mean, by its share
_REGULAR_SHARE = 0.99  # of its steps, at least
_CLOCK_TICKS_US = (1_000_000, 1_000)
_TOLD = 3
_LONGEST_COUNT_US = 10**14
# Days from 2000 to 2100 as others count them, read as seconds
_DAYS_US = {
    "Excel's count of days since 1900": (36_526_000_000, 73_051_000_000),
    "MATLAB's count of days since the year 0": (730_486_000_000, 767_011_000_000),
    "a Julian date": (2_451_544_000_000, 2_488_070_000_000),
}
_FAR_US = 2_840_140_800_000_000  # 2060: where seconds since 1904 lie, of data from 1994 on


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeReport:
    """Of n samples: `steps_back` rows are older than the one before, `repeats` of the same time, `late` no newer than
    some row before, which is what will be left out.

    `back_at` are the first few rows (from 0) that step back. `gaps` counts steps over 1.5 median steps, the longest is
    `largest_gap_us`, 0 without gaps. `step_us` is the median step forward, 0 where there is none; `jitter` the standard
    deviation of the steps that are no gaps, over their mean. `sampling_rate_hz` is theirs where the series is regular.
    """

    samples: int
    steps_back: int
    back_at: tuple[int, ...]
    repeats: int
    late: int
    gaps: int
    largest_gap_us: int
    step_us: float
    jitter: float
    sampling_rate_hz: float | None


def check(time_us: Int64Array) -> TimeReport:
    """The report of one series' times (n,), in the order of its rows."""
    steps = np.diff(time_us)
    back = np.flatnonzero(steps < 0) + 1
    forward = steps[steps > 0]
    median = float(np.median(forward)) if len(forward) else 0.0
    is_gap = forward > _GAP_STEPS * median
    even = forward[~is_gap].astype(np.float64)
    mean = float(even.mean()) if len(even) else 0.0
    return TimeReport(
        samples=len(time_us),
        steps_back=len(back),
        back_at=tuple(back[:_TOLD].tolist()),
        repeats=int((steps == 0).sum()),
        late=int((time_us[1:] <= np.maximum.accumulate(time_us)[:-1]).sum()),
        gaps=int(is_gap.sum()),
        largest_gap_us=int(forward[is_gap].max()) if is_gap.any() else 0,
        step_us=median,
        jitter=float(even.std()) / mean if mean else 0.0,
        sampling_rate_hz=1e6 / mean if mean and _is_regular(time_us, even, mean) else None,
    )


def _is_regular(time_us: Int64Array, steps: NDArray[np.float64], mean: float) -> bool:
    """Whether nearly all steps are the mean one, as far as the clock ticks: 360 Hz in ms has steps of 2 and 3."""
    tick = next((tick for tick in _CLOCK_TICKS_US if not (time_us % tick).any()), 1)
    allowed = max(_TOLERANCE * mean, float(tick) if tick < mean else 0.0)
    return bool((np.abs(steps - mean) <= allowed).mean() >= _REGULAR_SHARE)


def notes(tables: Sequence[SeriesTable], sampling_rate_hz: float | None = None) -> Iterator[str]:
    """What a person should know before training on `tables`, a line for each series and finding.

    `sampling_rate_hz` is the recipe's: a regular series of another rate is reported.
    """
    for table in tables:
        if table.time_us is None or len(table.time_us) < 2:
            continue
        report = check(table.time_us)
        called = table.series or table.source
        if report.steps_back or report.repeats:
            first = ", ".join(_written(table.time_us[row]) for row in report.back_at)
            yield (
                f"{called}: of {report.samples} rows time steps back at {report.steps_back} and repeats at "
                f"{report.repeats}{f'; the first at {first}' if first else ''}; {report.late} late and repeated "
                "samples are left out"
            )
            if 2 * report.late > report.samples:
                yield f"{called}: that is most of it; where it holds several series, name them with --series-column"
        if report.gaps:
            yield (
                f"{called}: time has gaps at {report.gaps} rows, the longest {_span(report.largest_gap_us)} where "
                f"a step is {_span(report.step_us)}; windows reach over them unless window.max_gap_ms is set"
            )
        rate = report.sampling_rate_hz
        yield from _implausible(called, table.time_us)
        if sampling_rate_hz is not None and rate is not None and abs(rate / sampling_rate_hz - 1) > _TOLERANCE:
            yield f"{called}: sampled at {rate:.6g} Hz, but the recipe says {sampling_rate_hz:.6g} Hz"


def stated_rate(tables: Sequence[SeriesTable | WindowTable]) -> float | None:
    """The sampling rate that the sources themselves state, all of them the same one; None where one does not."""
    rates = {table.sampling_rate_hz if isinstance(table, SeriesTable) else None for table in tables}
    return rates.pop() if len(rates) == 1 else None


def _implausible(called: str, time_us: Int64Array) -> Iterator[str]:
    """A note on years that the daemon refuses. Times that count from 0, for three years at most, are none at all."""
    first_us, last_us = int(time_us.min()), int(time_us.max())
    steps_us = np.diff(time_us)
    for what, (since_us, until_us) in _DAYS_US.items():
        if since_us <= first_us and last_us < until_us and 0 < np.median(steps_us) < 1_000_000:
            yield (
                f"{called}: times of {first_us / 1e6:.6g} to {last_us / 1e6:.6g} s; is that {what}? Export times as "
                "dates, 2026-01-31 12:00:00"
            )
    if first_us >= _FAR_US and last_us < NEWEST_US:
        yield (
            f"{called}: times from {_written(first_us)} to {_written(last_us)}; do they count from 1900 or 1904, as "
            "NTP and LabVIEW do? Export times as dates, 2026-01-31 12:00:00"
        )
    counts_from_0 = first_us >= 0 and last_us < _LONGEST_COUNT_US
    if not counts_from_0 and (first_us < OLDEST_US or last_us >= NEWEST_US):
        yield (
            f"{called}: times from {_written(first_us)} to {_written(last_us)}; is that right? A number's unit is "
            "inferred from its size, and the daemon refuses times before input.oldest_time (2000) and from 2200 on"
        )


def _written(time_us: int) -> str:
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(time_us))).isoformat()
    except OverflowError:
        return f"{time_us} us since 1970"


def _span(span_us: float) -> str:
    return f"{span_us / 1e3:.6g} ms" if span_us < 1e6 else f"{span_us / 1e6:.6g} s"
