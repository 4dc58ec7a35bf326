"""The UCR anomaly archive's question: where is the one anomaly?

Rules of this file: a detector names one row, that of its highest score; it is right or wrong. Rows count from 0.

References:
    Wu & Keogh 2021, Current Time Series Anomaly Detection Benchmarks are Flawed, IEEE TKDE; the archive's own rule
    forgives 100 rows or the anomaly's length, whichever is more, on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from monitor.detector.arrays import FloatArray
from monitor.errors import DataError
from training.metrics.windows import ratio

TOLERANCE_ROWS = 100


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """One series: the row named, None where none has a score; `correct` within `tolerance` rows of the anomaly.

    `by_chance` is the share of the scored rows that would have been right.
    """

    row: int | None
    correct: bool
    tolerance: int
    by_chance: float | None


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """Over an archive; `by_chance` is what naming a row at random gives on average."""

    series: int
    correct: int
    accuracy: float | None
    by_chance: float | None


def locate(scores: FloatArray, first: int, last: int, *, tested_from: int = 0) -> Location:
    """The highest score from row `tested_from` on, the earliest where several are equal.

    A causal score names the row that closes a window, an overlap-averaged one a row inside it: say which it was.

    Args:
        scores: (n,) point scores, NaN where there is none.
        first, last: the anomaly's rows; the distance allowed is max(100, last - first + 1) rows from them, inclusive.

    Raises:
        DataError: the anomaly is not among the tested rows.
    """
    if not 0 <= tested_from <= first <= last < len(scores):
        raise DataError(
            f"ucr: anomaly in rows {first} to {last}, tested rows are {tested_from} to {len(scores) - 1}; "
            "it must lie within them"
        )
    tolerance = max(TOLERANCE_ROWS, last - first + 1)
    candidates = np.flatnonzero(~np.isnan(scores[tested_from:])) + tested_from
    right = (candidates >= first - tolerance) & (candidates <= last + tolerance)
    if not len(candidates):
        return Location(row=None, correct=False, tolerance=tolerance, by_chance=None)
    named = int(np.argmax(scores[candidates]))
    return Location(
        row=int(candidates[named]),
        correct=bool(right[named]),
        tolerance=tolerance,
        by_chance=float(right.mean()),
    )


def accuracy(locations: Sequence[Location]) -> Accuracy:
    """The share of series that are right; a series without scores counts as wrong."""
    chances = [each.by_chance or 0.0 for each in locations]
    correct = sum(each.correct for each in locations)
    return Accuracy(
        series=len(locations),
        correct=correct,
        accuracy=ratio(correct, len(locations)),
        by_chance=float(np.mean(chances)) if chances else None,
    )
