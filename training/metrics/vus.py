"""Volume under the surface: precision-recall and ROC areas that forgive a label's edge, over all widths of forgiving.

A buffer of `w` rows lets each labelled event fade out over `w // 2` rows on both sides, as sqrt(1 - d / w) at distance
d; where two fade-outs meet it is 1. At a threshold that flags N rows, with S of them among the P labelled ones and
fade-outs worth R under its flags:

    TP = S + R                        recall = min(TP / (P + R / 2), 1) * share of the faded events that are flagged
    precision = TP / N                FPR = (N - TP) / (rows - P - R / 2)

The area under precision-recall is a step-wise sum, that under ROC a trapezoid closed at (1, 1); the volume is the mean
over w = 0 .. window. Thresholds are the scores at 250 evenly spaced ranks. That is what TSB-AD computes ("opt"), whose
`window` is the period of the series; figures agree to rounding.

Where others differ: aeon (1.6) sums precision-recall by trapezoids, takes half the *whole* worth of the fade-outs for
R / 2, whatever is flagged, and fades one row less after an event than before it. `vus` (0.0.6) and TSB-AD agree on the
volumes; their separate `RangeAUC` looks for unit steps in the faded labels and, from about w = 10 on, finds none: range
AUC here is the volume's last slice, w = window.

References:
    Paparrizos et al. 2022, Volume Under the Surface, PVLDB 15(11), doi:10.14778/3551793.3551830.
    Liu & Paparrizos 2024, The Elephant in the Room (TSB-AD), NeurIPS; its package TSB-AD 1.5.
"""

from __future__ import annotations

import msgspec
import numpy as np

from monitor.detector.arrays import BoolArray, Float64Array, FloatArray, Int64Array
from training.metrics.events import intervals

THRESHOLDS = 250  # TSB-AD's
# TSB-AD's rule for the period: lags 3 to 400 of the first 20,000 rows, and 125 where no peak lies between 6 and 303.
PERIOD_ROWS, PERIOD_LAGS, FIRST_LAG, LONGEST_PEAK, FALLBACK_PERIOD = 20_000, 400, 3, 300, 125


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """Volumes and range areas of one series; `unscorable` rows count as the lowest scores, flagged last of all.

    Random scores give neither the labelled share nor 1/2: fade-outs raise, many short events lower them.
    `random_volume` is what they give on the labels at hand.
    """

    window: int
    thresholds: int
    vus_pr: float
    vus_roc: float
    range_pr: float
    range_roc: float
    unscorable: int


def period(samples: FloatArray) -> int:
    """The lag of the highest autocorrelation peak, in rows, as TSB-AD's `find_length_rank` of rank 1.

    Args:
        samples: (n,) one channel, the whole series as it is evaluated; of several channels TSB-AD takes the first.

    Returns:
        6 to 303, or 125 where there is no such peak: a constant series, or one with missing numbers.
    """
    values = np.asarray(samples[:PERIOD_ROWS], dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        return FALLBACK_PERIOD
    centred = values - values.mean()
    spectrum = np.fft.rfft(centred, 2 * len(values))
    products = np.fft.irfft(spectrum * spectrum.conj(), 2 * len(values))[: len(values)][FIRST_LAG : PERIOD_LAGS + 1]
    peaks = np.flatnonzero((products[1:-1] > products[:-2]) & (products[1:-1] > products[2:])) + 1
    if not np.ptp(values) or not len(peaks):
        return FALLBACK_PERIOD
    highest = int(peaks[np.argmax(products[peaks])])
    return highest + FIRST_LAG if FIRST_LAG <= highest <= LONGEST_PEAK else FALLBACK_PERIOD


def volume(anomalous: BoolArray, scores: FloatArray, window: int, *, thresholds: int = THRESHOLDS) -> Volume | None:
    """VUS-PR, VUS-ROC and the range areas of one series.

    Only ranks matter: a strictly increasing function of the scores gives the same metrics. Time and memory grow with
    the rows and with `window * thresholds`, not with their product.

    Args:
        anomalous: (n,) labelled rows; each run is an event.
        scores: (n,) NaN where a row has none.
        window: the widest buffer in rows, `period` of the series for metrics that compare with TSB-AD's.

    Returns:
        None where no row or every row is labelled.
    """
    rows, positives = len(anomalous), int(anomalous.sum())
    if not 0 < positives < rows:
        return None
    unscored = np.isnan(scores)
    ranks = _ranks(np.where(unscored, -np.inf, scores.astype(np.float64)), thresholds)
    flagged = _running(ranks, thresholds)
    inside = _running(ranks[anomalous], thresholds)
    faded = _Fading(anomalous, ranks, window // 2, thresholds)
    precision_recall, roc = np.empty(window + 1), np.empty(window + 1)
    for width in range(window + 1):
        worth, existence = faded.at(width)
        found = inside + worth
        grown = positives + worth / 2
        recall = np.minimum(found / grown, 1.0) * existence
        false = (flagged - found) / (rows - grown)
        precision_recall[width] = np.sum(np.diff(recall, prepend=0.0) * (found / flagged))
        roc[width] = np.trapezoid(np.concatenate([[0.0], recall, [1.0]]), np.concatenate([[0.0], false, [1.0]]))
    return Volume(
        window=window,
        thresholds=thresholds,
        vus_pr=float(precision_recall.mean()),
        vus_roc=float(roc.mean()),
        range_pr=float(precision_recall[-1]),
        range_roc=float(roc[-1]),
        unscorable=int(unscored.sum()),
    )


def random_volume(anomalous: BoolArray, window: int, *, seed: int, draws: int = 5) -> Volume | None:
    """The baseline: mean metrics of uniform random scores; None as in `volume`."""
    rng = np.random.default_rng(seed)
    found = [volume(anomalous, rng.random(len(anomalous)), window) for _ in range(draws)]
    volumes = [each for each in found if each is not None]
    if not volumes:
        return None

    def mean(name: str) -> float:
        return float(np.mean([getattr(each, name) for each in volumes]))

    return msgspec.structs.replace(
        volumes[0], **{name: mean(name) for name in ("vus_pr", "vus_roc", "range_pr", "range_roc")}
    )


def _ranks(scores: Float64Array, thresholds: int) -> Int64Array:
    """The first of the falling thresholds that each score reaches, (n,)."""
    falling = np.sort(scores)[::-1]
    cutoffs = falling[np.linspace(0, len(scores) - 1, thresholds).astype(np.int64)]
    return (thresholds - np.searchsorted(cutoffs[::-1], scores, side="right")).astype(np.int64)


def _running(ranks: Int64Array, thresholds: int) -> Int64Array:
    """How many of `ranks` each threshold reaches, (thresholds,)."""
    return np.cumsum(np.bincount(ranks, minlength=thresholds))


class _Fading:
    """The fade-outs' worth and the events' existence under every threshold, for widths asked for in rising order.

    sqrt(1 - d / w) is over 1/2 for every d <= w // 2, so wherever two events reach a row the sum is over 1 and is
    clipped to it: only a row's nearest and second nearest event matter, and a row enters two histograms once each.
    """

    def __init__(self, anomalous: BoolArray, ranks: Int64Array, half: int, thresholds: int) -> None:
        self._ranks, self._thresholds, self._half = ranks, thresholds, half
        self._first, self._last = intervals(anomalous).T
        bounds = np.column_stack([self._first, self._last + 1]).ravel()
        self._lowest = np.minimum.reduceat(np.append(ranks, thresholds), bounds)[::2]
        nearest, second, ranked = self._distances(anomalous)
        self._near = self._histogram(ranked, nearest)
        order = np.argsort(second, kind="stable")
        self._nearest, self._second, self._ranked = nearest[order], second[order], ranked[order]
        self._crowded = np.zeros_like(self._near)
        self._reached = 0

    def at(self, width: int) -> tuple[Float64Array, Float64Array]:
        """The worth R and the share of faded events that are flagged, both (thresholds,)."""
        half = width // 2
        while self._reached < half:
            self._widen(self._reached + 1)
        existence = self._existence(half)
        if not half:
            return np.zeros(self._thresholds), existence
        slope = np.sqrt(1 - np.arange(1, half + 1) / width)
        reach = slice(1, half + 1)
        return np.cumsum(self._near[:, reach] @ slope + self._crowded[:, reach] @ (1 - slope)), existence

    def _widen(self, half: int) -> None:
        new = slice(*np.searchsorted(self._second, [half, half + 1]))
        self._crowded += self._histogram(self._ranked[new], self._nearest[new])
        left, right = self._first - half, self._last + half
        within = left >= 0
        self._lowest[within] = np.minimum(self._lowest[within], self._ranks[left[within]])
        within = right < len(self._ranks)
        self._lowest[within] = np.minimum(self._lowest[within], self._ranks[right[within]])
        self._reached = half

    def _existence(self, half: int) -> Float64Array:
        apart = self._last[:-1] + half < self._first[1:] - half
        starts = np.flatnonzero(np.concatenate([[True], apart]))
        lowest = np.minimum.reduceat(self._lowest, starts)
        return _running(lowest, self._thresholds) / len(lowest)

    def _distances(self, anomalous: BoolArray) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Distances to the nearest and second nearest event, and rank, of the unlabelled rows within reach of one."""
        rows = np.flatnonzero(~anomalous)
        far = len(anomalous) + self._half + 1
        first = np.concatenate([self._first, [2 * far, 2 * far]])
        last = np.concatenate([[-far, -far], self._last])
        passed = np.searchsorted(self._first, rows)
        left, left_2 = rows - last[passed + 1], rows - last[passed]
        right, right_2 = first[passed] - rows, first[passed + 1] - rows
        nearest = np.minimum(left, right)
        second = np.minimum(np.maximum(left, right), np.minimum(left_2, right_2))
        within = nearest <= self._half
        return nearest[within], second[within], self._ranks[rows[within]]

    def _histogram(self, ranked: Int64Array, distances: Int64Array) -> Float64Array:
        cells = self._thresholds * (self._half + 1)
        counts = np.bincount(ranked * (self._half + 1) + distances, minlength=cells)
        return counts.reshape(self._thresholds, self._half + 1).astype(np.float64)
