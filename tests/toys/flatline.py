"""A check: a series whose first channel hardly moves for more than `LIMIT` samples in a row, itself counted."""

from __future__ import annotations

from typing import Literal

import numpy as np

from monitor.detector.incidents import Policy
from monitor.detector.memory import Memory
from monitor.detector.spec import Manifest
from monitor.detector.windows import Windows
from monitor.processing.checks import Findings, Problem, QualityRules
from monitor.processing.turns import Turn

LIMIT, MOVES = 3, 0.05


class Flatline:
    policy = Policy(open_after=1, close_after=2, update_every=3)
    severity: Literal["warning"] = "warning"
    recovered = "moves again"
    unit = "samples"
    nothing = np.array((np.nan, 0), [("value", "<f4"), ("count", "<i8")])[()]

    def __init__(self, _manifest: Manifest, _rules: QualityRules) -> None:
        pass

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        series, values, offset, index, time_us, at = _sample_by_sample(turn)
        count = np.full(len(series), np.nan)  # of a missing number, which says nothing
        for number, (row, value) in enumerate(zip(series, values, strict=True)):
            if np.isnan(value):
                continue
            count[number] = memory["count"][row] + 1 if abs(value - memory["value"][row]) < MOVES else 1
            memory["value"][row], memory["count"][row] = value, count[number]
        limit = np.full(len(series), float(LIMIT))
        usual = np.full(len(series), np.nan)
        return Findings(series, np.zeros_like(series), offset, index, time_us, time_us, count, limit, usual, at)

    def describe(self, problem: Problem) -> str:
        return f"hardly moves for {problem.value:.0f} samples, at most {problem.threshold:.0f}"


def _sample_by_sample(turn: Turn) -> tuple[np.ndarray, ...]:
    """Series, value, offset, index and time of each sample in time."""
    if turn.ordered is not None:
        samples = turn.ordered.samples
        return samples.series, samples.values[:, 0], samples.offset, samples.index, samples.time_us, samples.placed_at
    windows = turn.taken
    assert isinstance(windows, Windows)
    count, length, _ = windows.values.shape
    index = np.tile(np.arange(length), count)
    period_us = np.repeat((windows.end_us - windows.start_us) / max(1, length - 1), length)
    time_us = np.repeat(windows.start_us, length) + np.rint(index * period_us).astype(np.int64)
    series, offset = np.repeat(windows.series, length), np.repeat(windows.last_offset, length)
    return series, windows.values[:, :, 0].ravel(), offset, index, time_us, offset
