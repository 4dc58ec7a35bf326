"""A check: a series that says nothing for more than `LIMIT_US` of its partition's time, until it does again."""

from __future__ import annotations

from typing import Literal

import numpy as np

from monitor.detector.incidents import Policy
from monitor.detector.memory import Memory
from monitor.detector.spec import Manifest
from monitor.detector.times import NEVER_US
from monitor.processing.checks import WHOLE_SERIES, Findings, Problem, QualityRules
from monitor.processing.turns import Turn

LIMIT_US = 5_000


class Silence:
    policy = Policy(open_after=1, close_after=1, update_every=0)
    severity: Literal["error"] = "error"
    recovered = "sends again"
    unit = "s"
    nothing = np.array((NEVER_US, False), [("last_us", "<i8"), ("silent", "?")])[()]

    def __init__(self, _manifest: Manifest, _rules: QualityRules) -> None:
        pass

    def take(self, turn: Turn, memory: Memory) -> Findings:
        found: list[tuple[int, int, int, int]] = []
        arrived = zip(turn.taken.series.tolist(), turn.taken.offset.tolist(), turn.at_us.tolist(), strict=True)
        for row, offset, now_us in arrived:
            gone = (memory["last_us"] != NEVER_US) & (now_us - memory["last_us"] > LIMIT_US) & ~memory["silent"]
            memory["silent"] |= gone
            found += [(each, offset, int(memory["last_us"][each]), now_us) for each in np.flatnonzero(gone).tolist()]
            if memory["silent"][row]:
                found.append((row, offset, now_us, now_us))
            memory["last_us"][row], memory["silent"][row] = now_us, False
        series, offsets, start_us, end_us = np.array(found, dtype=np.int64).reshape(-1, 4).T
        whole, limit = np.full(len(found), WHOLE_SERIES), np.full(len(found), LIMIT_US / 1e6)
        usual = np.full(len(found), 0.001)
        return Findings(series, whole, offsets, whole, start_us, end_us, (end_us - start_us) / 1e6, limit, usual)

    def describe(self, problem: Problem) -> str:
        return f"no data for {problem.value:.4f} s, at most {problem.threshold} s"
