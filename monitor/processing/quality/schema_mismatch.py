"""Schema mismatch: records of a series are rejected for their form, which were accepted before.

Ten rejected records with fewer than ten accepted samples between two. A series is known from the first record that was
accepted, so that one of which nothing can be read is not meant: `telltale_records_rejected_total` counts it.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from monitor.detector.incidents import Policy
from monitor.detector.spec import Manifest
from monitor.detector.windows import Windows
from monitor.errors import Reason
from monitor.processing.checks import Findings, Memory, Problem, QualityRules
from monitor.processing.quality import arrivals
from monitor.processing.quality.arrivals import Arrivals
from monitor.processing.turns import REASONS, Turn

ENOUGH, GAP, WELL = 10, 10, 10  # rejected records; accepted samples
FORM = {Reason.MALFORMED, Reason.WRONG_TYPE, Reason.WRONG_SHAPE, Reason.MISSING_CHANNEL, Reason.NOT_FINITE}
_FORM = [REASONS.index(reason) for reason in FORM]


class SchemaMismatch:
    """Watches each series."""

    policy = Policy(open_after=1, close_after=1, update_every=0)
    severity: Literal["error"] = "error"
    unit = "records"
    recovered = "its records are accepted again"
    nothing = arrivals.NOTHING

    def __init__(self, _manifest: Manifest, _rules: QualityRules) -> None:
        pass

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        """What there is to say of records that were refused."""
        taken = turn.taken
        refused = turn.course.refused
        if len(refused):
            refused = refused[np.isin(refused.reason, _FORM)]
        some = arrivals.concerned(refused.series, taken.series, memory)
        if some is None:
            return None
        if not isinstance(taken, Windows) and taken.hole is not None:
            some &= ~taken.hole
        none, times = np.zeros(len(refused), dtype=np.int64), turn.course.reached.at(refused.offset)
        bad = Arrivals(
            refused.series,
            refused.offset,
            refused.offset,
            none - 1,
            times,
            np.ones(len(refused), dtype=np.bool_),
            refused.reason.astype(np.float64),
        )
        there = Arrivals.concatenate([Arrivals.of(taken[some], marked=False), bad]).in_order()
        if not len(there):
            return None
        return arrivals.watch(there, memory, (ENOUGH, GAP, WELL), np.full(len(memory), np.nan))

    def describe(self, problem: Problem) -> str:
        """How many were rejected, and why the last."""
        text = f"{problem.value:.0f} records were rejected, fewer than {GAP} samples accepted between two"
        return text if math.isnan(problem.observed) else f"{text}; the last: {REASONS[int(problem.observed)].value}"
