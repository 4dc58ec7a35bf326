"""How good a detector is on labelled windows, with what costs nothing beside it.

Rules of this file: pure numpy. Precision and recall are given for both classes as the positive one: the tutorial's
figures describe *normal* beats, and the same run reads differently as an anomaly detector. A window that can't be
scored is counted on its own and is in no other figure. No point adjustment. What can't be computed is None.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]

MAX_PCA_SIZE = 2_048


class ClassFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One class taken as the positive one."""

    precision: float | None
    recall: float | None
    f1: float | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one scorer at one line; the first four count windows, anomaly being positive."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int
    unscorable: int
    accuracy: float | None
    anomaly: ClassFigures
    normal: ClassFigures
    auroc: float | None
    average_precision: float | None


def report(anomalous: BoolArray, scores: NDArray[np.floating], flagged: BoolArray) -> Report:
    """All figures.

    Args:
        anomalous: (n,) the truth.
        scores: (n,) higher = more anomalous; NaN = unscorable.
        flagged: (n,) what was found; only looked at where the score is a number.
    """
    scored = ~np.isnan(scores)
    truth, found = anomalous[scored], flagged[scored]
    tp, fp = int((truth & found).sum()), int((~truth & found).sum())
    fn, tn = int((truth & ~found).sum()), int((~truth & ~found).sum())
    return Report(
        true_positive=tp,
        false_positive=fp,
        true_negative=tn,
        false_negative=fn,
        unscorable=int((~scored).sum()),
        accuracy=_ratio(tp + tn, len(truth)),
        anomaly=_figures(tp, fp, fn),
        normal=_figures(tn, fn, fp),
        auroc=auroc(truth, scores[scored]),
        average_precision=average_precision(truth, scores[scored]),
    )


def auroc(anomalous: BoolArray, scores: NDArray[np.floating]) -> float | None:
    """The chance that an anomaly scores over a normal window, ties counting half (Mann-Whitney U).

    None where one of the classes is absent.
    """
    positives = int(anomalous.sum())
    negatives = len(anomalous) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]  # mean rank of equal scores, from 1
    return float((ranks[anomalous].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(anomalous: BoolArray, scores: NDArray[np.floating]) -> float | None:
    """Precision at each distinct line, weighted by the recall gained there; None without an anomaly.

    The step-wise sum of scikit-learn's `average_precision_score`, without interpolation.
    """
    positives = int(anomalous.sum())
    if not positives:
        return None
    order = np.argsort(-scores, kind="stable")
    lines = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    found = np.cumsum(anomalous[order])[lines]
    precision, recall = found / (lines + 1), found / positives
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """What needs no model."""

    accuracy: float | None
    anomaly: ClassFigures
    auroc: float | None


def floors(anomalous: BoolArray, flagged_share: float) -> dict[str, Floor]:
    """Expected figures of flagging everything, and of flagging at random as many windows as the detector flags."""
    share = float(anomalous.mean()) if len(anomalous) else None
    return {"flag_everything": _floor(share, 1.0), "random": _floor(share, flagged_share)}


@dataclass(frozen=True, slots=True)
class Components:
    """The linear floor: `mean` (size,) and an orthonormal `basis` (size, components)."""

    mean: NDArray[np.float64]
    basis: NDArray[np.float64]


def principal_components(fitted: NDArray[np.float32], count: int) -> Components | None:
    """The first `count` principal components of scaled normal windows (n, size).

    None where windows are too large for it to be quick (size over 2,048).
    """
    if fitted.shape[1] > MAX_PCA_SIZE:
        return None
    table = fitted.astype(np.float64)
    mean = table.mean(axis=0)
    centred = table - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return Components(mean, vectors[:, -count:])


def pca_errors(windows: NDArray[np.float32], components: Components) -> NDArray[np.float64]:
    """Mean absolute error of reconstructing scaled windows (n, size) from their components, (n,)."""
    rest = windows.astype(np.float64) - components.mean
    errors: NDArray[np.float64] = np.abs(rest - rest @ components.basis @ components.basis.T).mean(axis=1)
    return errors


def _floor(share: float | None, flagged: float) -> Floor:
    if share is None:
        return Floor(accuracy=None, anomaly=_figures(0, 0, 0), auroc=None)
    precision, recall = (share if flagged else None), (flagged if share else None)
    return Floor(
        accuracy=share * flagged + (1 - share) * (1 - flagged),
        anomaly=ClassFigures(precision=precision, recall=recall, f1=_harmonic(precision, recall)),
        auroc=0.5 if 0 < share < 1 else None,
    )


def _figures(tp: int, fp: int, fn: int) -> ClassFigures:
    precision, recall = _ratio(tp, tp + fp), _ratio(tp, tp + fn)
    return ClassFigures(precision=precision, recall=recall, f1=_ratio(2 * tp, 2 * tp + fp + fn))


def _harmonic(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None or a + b == 0 else 2 * a * b / (a + b)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
