"""A check: a series that says nothing for more than `LIMIT_US` of its partition's time, until it does again."""

from __future__ import annotations

import numpy as np

from monitor.detector.arrays import Int64Array
from monitor.detector.incidents import Policy
from monitor.detector.spec import Manifest
from monitor.detector.times import NEVER_US
from monitor.detector.windows import Ordered
from monitor.processing.checks import Findings, Memory

LIMIT_US = 5_000


class Silence:
    policy = Policy(open_after=1, close_after=1, update_every=0)
    nothing = np.array((NEVER_US, False), [("last_us", "<i8"), ("silent", "?")])[()]

    def __init__(self, _manifest: Manifest) -> None:
        pass

    def take(self, ordered: Ordered, stream_us: Int64Array, memory: Memory) -> Findings:
        found: list[tuple[int, ...]] = []
        samples = ordered.samples
        for number in np.argsort(
            ordered.position
        ).tolist():  # in log order: a record that moves time finds others silent
            now_us, place = (
                int(stream_us[number]),
                (int(samples.offset[number]), int(samples.index[number]), int(ordered.at[number])),
            )
            gone = (memory["last_us"] != NEVER_US) & (now_us - memory["last_us"] > LIMIT_US) & ~memory["silent"]
            memory["silent"] |= gone
            found += [(row, *place, int(memory["last_us"][row]), now_us) for row in np.flatnonzero(gone).tolist()]
            row = int(samples.series[number])
            if memory["silent"][row]:
                found.append((row, *place, now_us, now_us))
            memory[row] = samples.time_us[number], False
        series, offset, index, at, start_us, end_us = np.array(found, dtype=np.int64).reshape(-1, 6).T
        limit = np.full(len(found), LIMIT_US / 1e6)
        return Findings(series, offset, index, start_us, end_us, (end_us - start_us) / 1e6, limit, at)

    def describe(self, value: float, threshold: float) -> str:
        return f"no data for {value:.4f} s, at most {threshold} s"
