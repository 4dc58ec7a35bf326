"""Metrics of windows (or of points) that carry one label each.

Rules of this file: precision and recall are given for both classes as the positive one: the tutorial's metrics describe
*normal* beats, and the same run reads differently as an anomaly detector. A window that can't be scored is counted on
its own and is in no other metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, FloatArray


class ClassMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One class taken as the positive one."""

    precision: float | None
    recall: float | None
    f1: float | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of one scorer at one threshold; the first four count windows, anomaly being positive."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int
    unscorable: int
    accuracy: float | None
    anomaly: ClassMetrics
    normal: ClassMetrics
    auroc: float | None
    average_precision: float | None


class Oracle(msgspec.Struct, frozen=True, kw_only=True, tag="oracle", tag_field="chosen_by"):
    """The best threshold in hindsight: chosen by the labels, so no detector reaches it except by luck.

    A window is flagged where its score is strictly over `threshold`.
    """

    threshold: float
    precision: float
    recall: float
    f1: float


def report(anomalous: BoolArray, scores: FloatArray, flagged: BoolArray) -> Report:
    """All metrics.

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
        accuracy=ratio(tp + tn, len(truth)),
        anomaly=class_metrics(tp, fp, fn),
        normal=class_metrics(tn, fn, fp),
        auroc=auroc(truth, scores[scored]),
        average_precision=average_precision(truth, scores[scored]),
    )


def auroc(anomalous: BoolArray, scores: FloatArray) -> float | None:
    """The chance that an anomaly scores over a normal window, ties counting half (Mann-Whitney U).

    Args:
        anomalous: (n,) the truth.
        scores: (n,) without NaN.

    Returns:
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


@dataclass(frozen=True, slots=True)
class OperatingPoints:
    """What each distinct threshold gives, from the highest: flagging all scores >= `scores[i]` finds so many of each.

    `scores` (m,) are the distinct scores in falling order, `true_positive` and `false_positive` (m,) int64.
    """

    scores: FloatArray
    true_positive: NDArray[np.int64]
    false_positive: NDArray[np.int64]


def operating_points(anomalous: BoolArray, scores: FloatArray) -> OperatingPoints:
    """The points of the ROC and precision-recall curves; `scores` (n,) without NaN."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(scores) - 1) if len(scores) else np.zeros(0, int)
    found = np.cumsum(anomalous[order], dtype=np.int64)[ends]
    return OperatingPoints(scores=falling[ends], true_positive=found, false_positive=ends + 1 - found)


def average_precision(anomalous: BoolArray, scores: FloatArray) -> float | None:
    """Precision at each distinct threshold, weighted by the recall gained there; None without an anomaly.

    The step-wise sum of scikit-learn's `average_precision_score`, without interpolation.
    """
    positives = int(anomalous.sum())
    if not positives:
        return None
    at = operating_points(anomalous, scores)
    precision = at.true_positive / (at.true_positive + at.false_positive)
    return float(np.sum(np.diff(at.true_positive / positives, prepend=0.0) * precision))


def best_f1(anomalous: BoolArray, scores: FloatArray) -> Oracle | None:
    """The highest F1 of any threshold, the highest such threshold where several give it; None without an anomaly.

    Args:
        anomalous: (n,) the truth.
        scores: (n,) NaN = unscorable, left out as in `report`.
    """
    scored = ~np.isnan(scores)
    truth, values = anomalous[scored], scores[scored]
    positives = int(truth.sum())
    if not positives:
        return None
    at = operating_points(truth, values)
    flagged = at.true_positive + at.false_positive
    best = int(np.argmax(2 * at.true_positive / (flagged + positives)))
    tp, fp = int(at.true_positive[best]), int(at.false_positive[best])
    return Oracle(
        threshold=strictly_under(at.scores, best),
        precision=tp / (tp + fp),
        recall=tp / positives,
        f1=2 * tp / (tp + fp + positives),
    )


def strictly_under(falling: FloatArray, place: int) -> float:
    """The highest threshold that `falling[place]` is strictly over and that tells scores apart as well as any.

    It is the next lower of the distinct scores, so it survives rounding; below the lowest, the nearest number of the
    scores' own precision.
    """
    return float(falling[place + 1] if place + 1 < len(falling) else np.nextafter(falling[place], -np.inf))


def class_metrics(tp: int, fp: int, fn: int) -> ClassMetrics:
    """Precision, recall and F1 from counts; F1 is that of the counts, so 0 where only misses or false alarms are."""
    return ClassMetrics(precision=ratio(tp, tp + fp), recall=ratio(tp, tp + fn), f1=ratio(2 * tp, 2 * tp + fp + fn))


def ratio(part: float, whole: float) -> float | None:
    """`part / whole`, None where there is no whole."""
    return part / whole if whole else None
