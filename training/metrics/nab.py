"""The Numenta Anomaly Benchmark's score: early is worth more, and every false alarm costs.

Rules of this file: only the first flag in a window earns anything; one outside costs by its distance from the window
before it, the full price from three widths on or where no window came before. The first 15 % of a file, at most 750
rows, are for learning: not scored. The sum over the corpus is put on a scale where flagging nothing is 0 and flagging
the first row of every window, and no other, is 100. One threshold for a whole corpus chosen on that corpus is what
NAB's table shows: marked "oracle". A row is flagged where its score is strictly over the threshold.

    worth of row i in a window of `width` rows ending at row e:  s((e - i + 1) / width) / s(1)
    cost of row i after it:                          A_FP * s((i - e) / (width - 1))    s(x) = 2 / (1 + exp(-5 x)) - 1

References:
    Lavin & Ahmad 2015, Evaluating Real-time Anomaly Detection Algorithms, arXiv:1510.03336. The exact positions
    (the +1, the division by s(1), the price beyond three widths) are not in it: they are those of NAB 1.1's scorer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import Float64Array, Int64Array
from monitor.errors import DataError
from training.metrics.windows import strictly_under

PROBATION_SHARE, PROBATION_ROWS = 0.15, 750
STEEPNESS, FAR_WIDTHS = 5.0, 3.0


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a found window earns, and what a false alarm and a missed window cost; the standard profile."""

    true_positive: float = 1.0
    false_positive: float = 0.11
    false_negative: float = 1.0


STANDARD = Profile()
REWARD_LOW_FP = Profile(false_positive=0.22)
REWARD_LOW_FN = Profile(false_negative=2.0)


@dataclass(frozen=True, slots=True)
class File:
    """One series: `scores` (n,), NaN never flagged, and its labelled `windows` (k, 2), first and last row, in order."""

    scores: NDArray[np.floating]
    windows: Int64Array


class NabScore(msgspec.Struct, frozen=True, kw_only=True):
    """A corpus' score. `score` is the number in NAB's table, None without a window; `raw` the sum before scaling.

    `chosen_by` says where the threshold is from: "oracle", this very corpus; "frozen", elsewhere, with one threshold a
    file in `thresholds`. False alarms are counted in rows, as NAB does.
    """

    score: float | None
    raw: float
    windows: int
    found: int
    false_alarm_rows: int
    chosen_by: Literal["oracle", "frozen"]
    thresholds: tuple[float, ...]


def probation(rows: int) -> int:
    """How many rows at a file's start are not scored."""
    return min(math.floor(PROBATION_SHARE * rows), PROBATION_ROWS)


def row_values(rows: int, windows: Int64Array, profile: Profile = STANDARD) -> tuple[Float64Array, Int64Array]:
    """What a flag at each row is worth (n,), negative outside windows, and the window that holds it (n,), or -1.

    Args:
        windows: (k, 2) first and last row, in order, apart from each other.

    Raises:
        DataError: they are not, or outside the file.
    """
    first, last = windows.reshape(-1, 2).T
    if not ((first <= last).all() and (last[:-1] < first[1:]).all()):
        raise DataError(f"nab: windows must be in order and apart, as first and last row; found {windows.tolist()}")
    if len(first) and (first[0] < 0 or last[-1] >= rows):
        raise DataError(f"nab: windows in rows {first[0]} to {last[-1]}, but the file has rows 0 to {rows - 1}")
    if not len(first):
        return np.full(rows, -profile.false_positive), np.full(rows, -1, dtype=np.int64)
    at = np.arange(rows)
    begun = np.searchsorted(first, at, side="right") - 1  # the window that began last
    inside = (begun >= 0) & (at <= last[begun])
    before = np.where(begun >= 0, at - last[begun], rows)
    width = last[begun] - first[begun] + 1
    # a window of one row has no width to fall off over: one row is taken
    past = np.where(begun >= 0, before / np.maximum(width - 1, 1), np.inf)
    cost = np.where(past > FAR_WIDTHS, 1.0, _rise(np.clip(past, 0.0, FAR_WIDTHS)))
    worth = _rise(np.clip((1 - before) / width, 0.0, 1.0)) / _rise(np.ones(1))
    values = np.where(inside, profile.true_positive * worth, -profile.false_positive * cost)
    return values, np.where(inside, begun, -1)


def frozen(files: Sequence[File], thresholds: Sequence[float], *, profile: Profile = STANDARD) -> NabScore:
    """The score with thresholds that were chosen before: one for each file.

    Raises:
        DataError: not as many thresholds as files, or `row_values` refuses a file's windows.
    """
    if len(files) != len(thresholds):
        raise DataError(f"nab: {len(files)} files and {len(thresholds)} thresholds; one for each is needed")
    rows = _Rows.of(files, profile)
    flagged = rows.scores > np.asarray(thresholds, dtype=np.float64)[rows.file]
    best = np.full(rows.windows, -profile.false_negative)
    inside = flagged & (rows.owner >= 0)
    np.maximum.at(best, rows.owner[inside], rows.values[inside])
    outside = flagged & (rows.owner < 0)
    raw = float(best.sum() + rows.values[outside].sum())
    return NabScore(
        score=_scaled(raw, rows.windows, profile),
        raw=raw,
        windows=rows.windows,
        found=len(np.unique(rows.owner[inside])),
        false_alarm_rows=int(outside.sum()),
        chosen_by="frozen",
        thresholds=tuple(float(each) for each in thresholds),
    )


def oracle(files: Sequence[File], *, profile: Profile = STANDARD) -> NabScore:
    """The score at the one threshold that is best on these files; the highest one where several are.

    Scores should be on one scale over the files. Flagging nothing is among the choices, so it is never under 0.
    """
    rows = _Rows.of(files, profile)
    threshold = np.inf
    scored = ~np.isnan(rows.scores)
    order = np.flatnonzero(scored)[np.argsort(-rows.scores[scored], kind="stable")]
    if len(order):
        falling, values, owner = rows.scores[order], rows.values[order], rows.owner[order]
        gains = np.where(owner < 0, values, 0.0)
        for window in range(rows.windows):
            indices = np.flatnonzero(owner == window)
            held = np.maximum.accumulate(values[indices])
            gains[indices] = np.diff(held, prepend=-profile.false_negative)
        ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
        totals = np.cumsum(gains)[ends]
        best = int(np.argmax(totals))
        threshold = strictly_under(falling[ends], best) if totals[best] > 0 else float(falling[0])
    found = frozen(files, [threshold] * len(files), profile=profile)
    return msgspec.structs.replace(found, chosen_by="oracle", thresholds=(float(threshold),) if len(order) else ())


@dataclass(frozen=True, slots=True)
class _Rows:
    """All rows after probation: score, worth, number of the window over the corpus (or -1) and of the file."""

    scores: Float64Array
    values: Float64Array
    owner: Int64Array
    file: Int64Array
    windows: int

    @classmethod
    def of(cls, files: Sequence[File], profile: Profile) -> _Rows:
        """Windows that lie wholly in probation are nobody's to find: they are in no metric."""
        scores, values, owners, numbers, windows = [], [], [], [], 0
        for number, file in enumerate(files):
            worth, owner = row_values(len(file.scores), file.windows, profile)
            start = probation(len(file.scores))
            left, renumbered = np.unique(owner[start:], return_inverse=True)
            outside = int(len(left) > 0 and left[0] == -1)
            owners.append(np.where(owner[start:] < 0, -1, renumbered - outside + windows))
            windows += len(left) - outside
            scores.append(file.scores[start:].astype(np.float64))
            values.append(worth[start:])
            numbers.append(np.full(len(worth) - start, number, dtype=np.int64))
        return cls(
            scores=np.concatenate([np.zeros(0), *scores]),
            values=np.concatenate([np.zeros(0), *values]),
            owner=np.concatenate([np.zeros(0, np.int64), *owners]),
            file=np.concatenate([np.zeros(0, np.int64), *numbers]),
            windows=windows,
        )


def _scaled(raw: float, windows: int, profile: Profile) -> float | None:
    nothing, perfect = -profile.false_negative * windows, profile.true_positive * windows
    return 100 * (raw - nothing) / (perfect - nothing) if windows else None


def _rise(distance: Float64Array) -> Float64Array:
    return 2 / (1 + np.exp(-STEEPNESS * distance)) - 1
