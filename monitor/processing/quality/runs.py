"""How many in a row are the same: runs in many sequences at once, each of which goes on from what is remembered of it.

remembered  3 equal |  now  a a b c c        runs  5 (of a), 1 (of b), 2 (of c, which may go on)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.detector.arrays import BoolArray, Int64Array


@dataclass(frozen=True, slots=True)
class Runs:
    """r runs in g sequences of n elements in all, those of a sequence together and in order.

    `starts` (r,) is each run's first element here, `lengths` (r,) how many it has by the end, with those remembered.
    `firsts` and `lasts` (g,) are each sequence's first run and its last: the first goes on from what was remembered,
    and may have nothing here, or nothing at all; the last may go on later.
    """

    starts: Int64Array
    lengths: Int64Array
    firsts: Int64Array
    lasts: Int64Array

    @classmethod
    def of(cls, changed: BoolArray, firsts: Int64Array, carried: Int64Array) -> Runs:
        """The runs where `changed` (n,) says which elements are not the same as the one before.

        `firsts` (g,) is each sequence's first element, `carried` (g,) the length of the run that is remembered of it.
        """
        changes = np.flatnonzero(changed)
        at = np.searchsorted(changes, firsts)
        starts = np.insert(changes, at, firsts)
        first_runs = at + np.arange(len(firsts))
        lengths = np.diff(starts, append=len(changed))
        lengths[first_runs] += carried
        return cls(starts, lengths, first_runs, np.append(first_runs[1:], len(starts)) - 1)

    def sequences(self, runs: Int64Array) -> Int64Array:
        """Which sequence some of the runs (k,) are of."""
        found: Int64Array = np.searchsorted(self.firsts, runs, side="right") - 1
        return found
