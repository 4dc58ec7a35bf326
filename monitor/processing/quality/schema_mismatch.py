"""Schema mismatch: records of a series are rejected, which were accepted before, whatever the reason.

Empty values are not meant: they are deletions. Ten rejected records with fewer than ten accepted samples between two. A
series is known from the first record that was accepted, so that one of which nothing can be read is not meant:
`telltale_records_rejected_total` counts it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.detector.incidents import Policy
from monitor.detector.memory import Memory
from monitor.detector.spec import Manifest
from monitor.detector.windows import Windows
from monitor.errors import Reason
from monitor.processing.checks import Findings, Problem, QualityRules
from monitor.processing.quality import arrivals
from monitor.processing.quality.arrivals import MarkedArrivals
from monitor.processing.turns import REASONS, Refused, Turn

ENOUGH, GAP, WELL = 10, 10, 10  # rejected records; accepted samples
NOT_MEANT = {Reason.EMPTY}
MOST_LETTERS = 300  # of a detail
_NOT_MEANT = [REASONS.index(reason) for reason in NOT_MEANT]


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
            refused = refused[~np.isin(refused.reason, _NOT_MEANT)]
        some = arrivals.concerned(refused.series, taken.series, memory)
        if some is None:
            return None
        if not isinstance(taken, Windows) and taken.hole is not None:
            some &= ~taken.hole
        none, times = np.zeros(len(refused), dtype=np.int64), turn.course.reached.at(refused.offset)
        bad = MarkedArrivals(
            refused.series,
            refused.offset,
            refused.offset,
            none - 1,
            times,
            np.ones(len(refused), dtype=np.bool_),
            np.arange(len(refused), dtype=np.float64),
        )
        there = MarkedArrivals.concatenate([MarkedArrivals.of(taken[some], marked=False), bad]).in_order()
        if not len(there):
            return None
        found = arrivals.watch(there, memory, (ENOUGH, GAP, WELL), np.full(len(memory), np.nan))
        return None if found is None else replace(found, note=_notes(found, refused), observed=None)

    def describe(self, problem: Problem) -> str:
        """How many were rejected, and why the last."""
        text = f"{problem.value:.0f} of its records were rejected, with fewer than {GAP} samples accepted between two"
        return f"{text}; the last as {problem.note}" if problem.note else text


def _notes(found: Findings, refused: Refused) -> NDArray[np.object_]:
    """Why the record of each finding was refused, by its index in `refused`; empty where none was."""
    assert found.observed is not None
    notes = np.full(len(found), "", dtype=np.object_)
    for at in np.flatnonzero(~np.isnan(found.observed)).tolist():
        row = int(found.observed[at])
        detail = "" if refused.detail is None else f": {refused.detail[row][:MOST_LETTERS]}"
        notes[at] = REASONS[int(refused.reason[row])].value + detail
    return notes
