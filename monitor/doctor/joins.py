"""Readings that come one by one, and how they make samples: what is one sample, and how long a channel's number holds.

Rules of this file: pure. Readings are put together here as `joining.py` does it, by the time of a sample's first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.detector.arrays import BoolArray, Int64Array
from monitor.doctor.trial import Trial, split

_NICE_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000)
_LACKING = 0.05  # of a channel's samples, at least, are without it where its numbers are to be held
_WHOLE = 0.5  # of the windows, at least, lack no number
_FEWEST = 10  # readings of a channel that show how often it comes
_SPARE = 1.5  # times the longest seen


@dataclass(frozen=True, slots=True)
class Joins:
    """How readings make samples.

    Those at most `tolerance_ms` later than a sample's first are of it, and a channel's number holds for `hold_ms` (0:
    it need not). `apart_us` is the most that readings of one sample were apart, `step_us` from sample to sample,
    usually, and `readings` how many a sample has.
    """

    tolerance_ms: int
    hold_ms: int
    apart_us: int
    step_us: float
    readings: float


def of(trial: Trial) -> Joins | None:
    """What is proposed for samples that carry some channels each; None where all carry all, or too little is known."""
    if len(trial.channels) < 2 or trial.carried.all():
        return None
    times = split(trial.time_us, trial.owners, len(trial.series))
    carried = split(trial.carried, trial.owners, len(trial.series))
    found = [each for part in zip(times, carried, strict=True) if (each := _of_series(*part)) is not None]
    if not found:
        return None
    return Joins(
        tolerance_ms=max(each.tolerance_ms for each in found),
        hold_ms=max(each.hold_ms for each in found),
        apart_us=max(each.apart_us for each in found),
        step_us=float(np.median([each.step_us for each in found])),
        readings=float(np.mean([each.readings for each in found])),
    )


def _of_series(time_us: Int64Array, carried: BoolArray) -> Joins | None:
    order = np.argsort(time_us, kind="stable")
    time_us, carried = time_us[order], carried[order]
    steps = [np.diff(np.unique(time_us[there])).astype(np.float64) for there in carried.T if there.sum() >= _FEWEST]
    steps = [each for each in steps if len(each)]
    if len(steps) < 2:
        return None
    usual = min(float(np.median(each)) for each in steps)
    shortest = min(float(np.quantile(each, 0.02)) for each in steps)
    starts = _starts(time_us, min(usual / 2, shortest))
    apart_us = int((time_us - starts).max())
    tolerance_ms = _nice(_SPARE * apart_us / 1000, shortest / 1000) if apart_us else 0
    samples, at = np.unique(starts, return_inverse=True)
    there = np.zeros((len(samples), carried.shape[1]), dtype=np.bool_)
    np.logical_or.at(there, at, carried)
    known = there[:, there.any(axis=0)]
    hold_ms = 0
    if (1 - known.mean(axis=0)).max() > _LACKING:
        hold_ms = max(_nice(_SPARE * float(np.quantile(each, 0.99)) / 1000, math.inf) for each in steps)
    return Joins(tolerance_ms, hold_ms, apart_us, float(np.median(np.diff(samples))), len(time_us) / len(samples))


def hold_for(series: Sequence[tuple[Int64Array, BoolArray]], length: int) -> tuple[int, float]:
    """For how many ms numbers are to be held so that windows of so many samples are whole, and which share is without.

    `series` are the times (n,) of samples, and which numbers are there (n, channels); 0 where most windows are whole.
    """
    count = whole = 0
    gaps_us: list[float] = []
    for time_us, there in series:
        bad = np.cumsum(np.concatenate([[0], ~there.all(axis=1)]))
        count += max(0, len(there) - length + 1)
        whole += int((bad[length:] == bad[:-length]).sum()) if len(there) >= length else 0
        gaps_us += [float(np.quantile(np.diff(time_us[each]), 0.99)) for each in there.T if each.sum() >= _FEWEST]
    share = whole / count if count else 1.0
    if share >= _WHOLE or not gaps_us:
        return 0, share
    return _nice(_SPARE * max(gaps_us) / 1000, math.inf), share


def _starts(time_us: Int64Array, tolerance_us: float) -> Int64Array:
    """The time of the first reading of each reading's sample; `time_us` never falls."""
    found, start = np.empty_like(time_us), -(1 << 62)
    for at, time in enumerate(time_us.tolist()):
        if time > start + tolerance_us:
            start = time
        found[at] = start
    return found


def _nice(wanted_ms: float, below_ms: float) -> int:
    """A round number of ms from what is wanted on, if it stays below a limit."""
    exactly = max(1, math.ceil(wanted_ms))
    nice = next((each for each in _NICE_MS if each >= exactly), exactly)
    return nice if nice < below_ms else max(1, min(exactly, math.ceil(below_ms) - 1))
