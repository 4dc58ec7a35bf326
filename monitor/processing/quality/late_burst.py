"""Late burst: many samples of a series come too late, and are dropped, and usually few are.

Twenty late samples with fewer than ten in time between two are a burst. Of a series that lost more than one in
twenty of its first 500 samples nothing is said: its producer is like that, and `telltale_samples_late_total` counts.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from monitor.detector.event_time import counts_of, firsts_of
from monitor.detector.incidents import Policy
from monitor.detector.memory import Memory
from monitor.detector.spec import Manifest
from monitor.processing.checks import Findings, Problem, QualityRules
from monitor.processing.quality import arrivals
from monitor.processing.quality.arrivals import MarkedArrivals
from monitor.processing.quality.episodes import LAYOUT
from monitor.processing.quality.wording import percent
from monitor.processing.turns import Turn

ENOUGH, GAP, WELL = 20, 10, 50  # samples
LEARNT = 500  # samples, in which it is found out what is usual
USUAL = LEARNT // 20  # of these may be late, at most


class LateBurst:
    """Watches each series whose samples have an order."""

    policy = Policy(open_after=1, close_after=1, update_every=0)
    severity: Literal["warning"] = "warning"
    unit = "samples"
    recovered = "its samples come in time again"
    nothing: np.void = np.zeros(1, [*LAYOUT, ("seen", "<u2"), ("late", "<u2")])[0]

    def __init__(self, _manifest: Manifest, _rules: QualityRules) -> None:
        pass

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        """What there is to say of samples that were dropped."""
        if turn.ordered is None:
            return None
        samples, late = turn.ordered.samples, turn.late
        bad = np.empty(0, dtype=np.int64) if late is None else late.series
        some = arrivals.concerned(bad, samples.series, memory)
        if some is not None:
            there = [MarkedArrivals.of(samples[some], marked=False)]
            there += [] if late is None else [MarkedArrivals.of(late, marked=True)]
            return self._judge(MarkedArrivals.concatenate(there).in_order(), samples.series[~some], memory)
        rows = samples.series[turn.ordered.firsts]
        counts = turn.ordered.lasts + 1 - turn.ordered.firsts
        memory["seen"][rows] = np.minimum(memory["seen"][rows] + counts, LEARNT)
        return None

    def _judge(self, there: MarkedArrivals, others: np.ndarray, memory: Memory) -> Findings | None:
        rows, counts = np.unique(others, return_counts=True)
        memory["seen"][rows] = np.minimum(memory["seen"][rows] + counts, LEARNT)
        firsts = firsts_of(there.series)
        rows, counts = there.series[firsts], counts_of(firsts, len(there))
        number = memory["seen"][there.series] + np.arange(len(there)) - np.repeat(firsts, counts)
        learns = number < LEARNT
        memory["late"][rows] += np.add.reduceat(there.marked & learns, firsts, dtype=np.uint16)
        memory["seen"][rows] = np.minimum(memory["seen"][rows] + counts, LEARNT)
        there.marked[learns | (memory["late"][there.series] > USUAL)] = False
        return arrivals.watch(there, memory, (ENOUGH, GAP, WELL), memory["late"] / LEARNT)

    def describe(self, problem: Problem) -> str:
        """How many were late, and how many usually are."""
        return (
            f"{problem.value:.0f} samples came too late and were dropped, with fewer than {GAP} in time between two; "
            f"of its first {LEARNT} samples {percent(problem.usual)} did (input.grace_ms waits for late ones)"
        )
