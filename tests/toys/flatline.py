"""A check: a series whose first channel hardly moves for more than `LIMIT` samples in a row, itself counted."""

from __future__ import annotations

import numpy as np

from monitor.detector.arrays import Int64Array
from monitor.detector.incidents import Policy
from monitor.detector.spec import Manifest
from monitor.detector.windows import Ordered
from monitor.processing.checks import Findings, Memory

LIMIT, MOVES = 3, 0.05


class Flatline:
    policy = Policy(open_after=1, close_after=2, update_every=3)
    nothing = np.array((np.nan, 0), [("value", "<f4"), ("count", "<i8")])[()]

    def __init__(self, _manifest: Manifest) -> None:
        pass

    def take(self, ordered: Ordered, _stream_us: Int64Array, memory: Memory) -> Findings:
        samples = ordered.samples
        count = np.full(len(samples), np.nan)  # of a missing number, which says nothing
        for at, (row, value) in enumerate(zip(samples.series, samples.values[:, 0], strict=True)):
            if np.isnan(value):
                continue
            before = memory[row]
            count[at] = before["count"] + 1 if abs(value - before["value"]) < MOVES else 1
            memory[row] = value, count[at]
        limit = np.full(len(samples), float(LIMIT))
        place = samples.series, samples.offset, samples.index
        return Findings(*place, samples.time_us, samples.time_us, count, limit, ordered.at)

    def describe(self, value: float, threshold: float) -> str:
        return f"hardly moves for {value:.0f} samples, at most {threshold:.0f}"
