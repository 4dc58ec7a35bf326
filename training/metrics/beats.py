"""Beats that were found, compared with annotated ones by the rules of ANSI/AAMI EC57.

Rules of this file: beats are matched one to one, in order, each with the nearest that is at most 150 ms from it. The
first of a record are left out of the count, while a detector learns the signal.

References: ANSI/AAMI EC57, "Testing and reporting performance results of cardiac rhythm and ST segment measurement
algorithms"; `bxb` of the WFDB software package counts by it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monitor.detector.arrays import Int64Array

TOLERANCE_S = 0.15


class Matched(NamedTuple):
    """`pairs` (k, 2) are the rows of beats that match, (annotated, found), of so many of each."""

    pairs: Int64Array
    annotated: int
    found: int

    @property
    def missed(self) -> int:
        """Annotated beats that were not found."""
        return self.annotated - len(self.pairs)

    @property
    def false(self) -> int:
        """Beats found where none is annotated."""
        return self.found - len(self.pairs)


def match(annotated: Int64Array, found: Int64Array, tolerance: int) -> Matched:
    """Which beats are the same ones; both in samples, rising."""
    pairs: list[tuple[int, int]] = []
    a = f = 0
    while a < len(annotated) and f < len(found):
        apart = abs(int(found[f] - annotated[a]))
        if apart > tolerance:
            a, f = (a, f + 1) if found[f] < annotated[a] else (a + 1, f)
        elif f + 1 < len(found) and abs(int(found[f + 1] - annotated[a])) < apart:
            f += 1
        elif a + 1 < len(annotated) and abs(int(found[f] - annotated[a + 1])) < apart:
            a += 1
        else:
            pairs.append((a, f))
            a, f = a + 1, f + 1
    return Matched(np.array(pairs, dtype=np.int64).reshape(-1, 2), len(annotated), len(found))


def sensitivity(matched: list[Matched]) -> float:
    """Se: the share of annotated beats that were found, over all records."""
    return sum(len(each.pairs) for each in matched) / sum(each.annotated for each in matched)


def predictivity(matched: list[Matched]) -> float:
    """PPV, or +P: the share of found beats that are annotated, over all records."""
    return sum(len(each.pairs) for each in matched) / sum(each.found for each in matched)
