"""What every figure must satisfy, and each against a direct, slow computation of the same definition."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from monitor.detector.decision import Verdict, decide
from training.metrics import bootstrap, events, nab, series, vus, windows

# Few distinct values, so that there are ties; sixteenths, so that the transforms below are exactly increasing.
SIXTEENTHS = st.integers(0, 40).map(lambda number: number / 16)


@st.composite
def labelled(draw: st.DrawFn, least: int = 2, most: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Labels with both classes, and scores."""
    rows = draw(st.integers(least, most))
    truth = draw(npst.arrays(np.bool_, rows))
    at = draw(st.integers(0, rows - 2))
    truth[at : at + 2] = [True, False]
    return truth, draw(npst.arrays(np.float64, rows, elements=SIXTEENTHS))


def surface(truth: np.ndarray, scores: np.ndarray, window: int, thresholds: int) -> tuple[float, float]:
    """VUS-PR and VUS-ROC, row by row and line by line, as the definition reads (Paparrizos et al. 2022)."""
    rows, positives = len(truth), int(truth.sum())
    runs = events.intervals(truth)
    lines = np.sort(scores)[::-1][np.linspace(0, rows - 1, thresholds).astype(int)]
    precision_recall, roc = [], []
    for width in range(window + 1):
        half = width // 2
        worth = np.zeros(rows)
        segments: list[list[int]] = []  # segments that share a row are one
        for first, last in runs.tolist():
            if segments and first - half <= segments[-1][1]:
                segments[-1][1] = last + half
            else:
                segments.append([max(first - half, 0), last + half])
            for distance in range(1, half + 1):
                for row in (first - distance, last + distance):
                    if 0 <= row < rows:
                        worth[row] += np.sqrt(1 - distance / width)
        worth = np.where(truth, 1.0, np.minimum(worth, 1.0))
        points, area = [(0.0, 0.0)], 0.0
        for line in lines:
            flagged = scores >= line
            found = worth[flagged].sum()
            base = positives + worth[flagged & ~truth].sum() / 2
            existence = np.mean([flagged[first : last + 1].any() for first, last in segments])
            recall = min(found / base, 1.0) * existence
            area += (recall - points[-1][1]) * found / flagged.sum()
            points.append(((flagged.sum() - found) / (rows - base), recall))
        points.append((1.0, 1.0))
        precision_recall.append(area)
        roc.append(np.trapezoid([recall for _, recall in points], [false for false, _ in points]))
    return float(np.mean(precision_recall)), float(np.mean(roc))


@given(labelled(), st.integers(0, 12), st.sampled_from([3, 20, 60]))
def test_volumes_are_what_the_definition_says(
    case: tuple[np.ndarray, np.ndarray], window: int, thresholds: int
) -> None:
    truth, scores = case
    found = vus.volume(truth, scores, window, thresholds=thresholds)
    assert found is not None
    precision_recall, roc = surface(truth, scores, window, thresholds)
    assert found.vus_pr == pytest.approx(precision_recall, abs=1e-12)
    assert found.vus_roc == pytest.approx(roc, abs=1e-12)


@given(labelled(), st.integers(0, 20))
def test_volumes_are_shares_and_the_perfect_score_has_all(case: tuple[np.ndarray, np.ndarray], window: int) -> None:
    truth, scores = case
    found, perfect = vus.volume(truth, scores, window), vus.volume(truth, truth * 1.0, window)
    assert found is not None
    assert perfect is not None
    for value in (found.vus_pr, found.vus_roc, found.range_pr, found.range_roc):
        assert -1e-12 <= value <= 1 + 1e-12
    assert (perfect.vus_pr, perfect.vus_roc) == pytest.approx((1.0, 1.0))
    assert (perfect.range_pr, perfect.range_roc) == pytest.approx((1.0, 1.0))


@given(labelled(), st.integers(0, 9), st.sampled_from([np.exp, np.cbrt, lambda x: 3 * x - 7, lambda x: x**3]))
def test_only_the_order_of_scores_matters(case: tuple[np.ndarray, np.ndarray], window: int, transform: object) -> None:
    truth, scores = case
    other = transform(scores)  # type: ignore[operator]
    assert windows.auroc(truth, other) == windows.auroc(truth, scores)
    assert windows.average_precision(truth, other) == windows.average_precision(truth, scores)
    assert vus.volume(truth, other, window) == vus.volume(truth, scores, window)
    one, two = windows.best_f1(truth, scores), windows.best_f1(truth, other)
    assert one is not None
    assert two is not None
    assert one.f1 == two.f1


@given(labelled())
def test_turning_the_scores_around_turns_auroc_around(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, scores = case
    assert windows.auroc(truth, -scores) == pytest.approx(1 - (windows.auroc(truth, scores) or 0.0))
    assert windows.auroc(truth, truth * 1.0) == windows.average_precision(truth, truth * 1.0) == 1.0


def test_random_scores_find_the_share_of_anomalies() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(40_000) < 0.1
    scores = rng.random(40_000)
    assert windows.auroc(truth, scores) == pytest.approx(0.5, abs=0.01)
    assert windows.average_precision(truth, scores) == pytest.approx(truth.mean(), abs=0.01)
    many = vus.volume(truth, scores, 0)
    assert many is not None
    assert many.vus_pr == pytest.approx(truth.mean(), abs=0.02)
    # with thousands of events recall is multiplied by the share of them that is touched: x * x under ROC
    assert many.vus_roc == pytest.approx(1 / 3, abs=0.02)
    one = vus.volume(np.arange(40_000) < 4_000, scores, 0)
    assert one is not None
    assert (one.vus_pr, one.vus_roc) == pytest.approx((0.1, 0.5), abs=0.01)


@given(labelled())
def test_best_f1_is_scikit_learns_best_point_and_its_line_gives_it(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, scores = case
    precision, recall, _ = sklearn.metrics.precision_recall_curve(truth, scores)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
    found = windows.best_f1(truth, scores)
    assert found is not None
    assert found.f1 == pytest.approx(best)
    at_line = windows.report(truth, scores, scores > found.threshold)
    assert (at_line.anomaly.f1, at_line.anomaly.precision) == (found.f1, found.precision)
    narrow = scores.astype(np.float32)
    line = windows.best_f1(truth, narrow)
    assert line is not None
    served = decide(narrow, line.threshold) == Verdict.ANOMALY
    assert windows.report(truth, narrow, served).anomaly.f1 == line.f1, "the daemon compares in float32"
    with_gap = windows.best_f1(np.append(truth, True), np.append(scores, np.nan))
    assert with_gap == found


def test_best_f1_needs_an_anomaly() -> None:
    assert windows.best_f1(np.zeros(3, np.bool_), np.arange(3.0)) is None
    assert windows.best_f1(np.zeros(0, np.bool_), np.zeros(0)) is None


@given(labelled())
def test_the_curves_are_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, scores = case
    false, true, thresholds = sklearn.metrics.roc_curve(truth, scores, drop_intermediate=False)
    at = windows.operating_points(truth, scores)
    np.testing.assert_array_equal(at.scores, thresholds[1:])
    np.testing.assert_allclose(at.true_positive / truth.sum(), true[1:])
    np.testing.assert_allclose(at.false_positive / (~truth).sum(), false[1:])


@st.composite
def cut(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Scores, first and last rows of a series' windows, with gaps, and its length."""
    length, hop = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    steps = draw(st.lists(st.integers(hop, hop + 5), max_size=12))
    first = draw(st.integers(0, 5)) + np.cumsum([0, *steps])
    scores = draw(npst.arrays(np.float64, len(first), elements=SIXTEENTHS | st.just(float("nan"))))
    return scores, first, first + length - 1, int(first[-1]) + length + draw(st.integers(0, 5))


@given(cut())
def test_point_scores_are_what_they_say(case: tuple[np.ndarray, np.ndarray, np.ndarray, int]) -> None:
    scores, first, last, rows = case
    causal, mean = series.causal(scores, first, last, rows), series.overlap_mean(scores, first, last, rows)
    for row in range(rows):
        closed = [score for score, end in zip(scores, last, strict=True) if end <= row]
        np.testing.assert_equal(causal.values[row], closed[-1] if closed else np.nan)
        over = scores[(first <= row) & (row <= last) & ~np.isnan(scores)]
        np.testing.assert_allclose(mean.values[row], over.mean() if len(over) else np.nan)
    # nothing of the future: what comes later changes no causal score
    half = len(scores) // 2
    if half:
        past = series.causal(scores[:half], first[:half], last[:half], rows).values
        np.testing.assert_array_equal(past[: last[half]], causal.values[: last[half]])


@given(npst.arrays(np.bool_, st.integers(0, 60)), st.integers(1, 8))
def test_intervals_hold_what_is_marked(marked: np.ndarray, gap: int) -> None:
    runs = events.intervals(marked, gap=gap)
    held = np.zeros(len(marked), np.bool_)
    for first, last in runs:
        assert marked[first]
        assert marked[last]
        held[first : last + 1] = True
    assert not (marked & ~held).any()
    between = runs[1:, 0] - runs[:-1, 1] - 1
    assert (between >= gap).all()
    assert all(last - first + 1 < gap for first, last in events.intervals(held & ~marked))


@given(labelled(), npst.arrays(np.bool_, 60), st.integers(1, 6), st.integers(0, 6))
def test_events_are_counted_one_by_one(
    case: tuple[np.ndarray, np.ndarray], flags: np.ndarray, merge_gap: int, tolerance: int
) -> None:
    truth, _ = case
    flagged = flags[: len(truth)]
    found = events.report(truth, flagged, merge_gap=merge_gap, tolerance=tolerance)
    runs, alerts = events.intervals(truth), events.intervals(flagged, gap=merge_gap)
    reach = [
        (first, min(last + tolerance, after - 1))
        for (first, last), after in zip(runs.tolist(), [*runs[1:, 0].tolist(), len(truth)], strict=True)
    ]
    after = [next((row - first for row in range(first, end + 1) if flagged[row]), None) for first, end in reach]
    assert list(found.found_after) == after
    within = {row for first, end in reach for row in range(first, end + 1)}
    true = sum(any(flagged[row] and row in within for row in range(first, last + 1)) for first, last in alerts)
    assert (found.alerts, found.true_alerts) == (len(alerts), true)
    assert found.normal_rows == len(truth) - len(within)
    assert found.delay.missed == found.events - found.found
    assert events.pool([found]) == found


@given(labelled())
def test_flagging_nothing_and_everything(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, _ = case
    nothing = events.report(truth, np.zeros_like(truth))
    assert (nothing.recall, nothing.precision, nothing.alerts, nothing.delay.missed) == (0.0, None, 0, nothing.events)
    everything = events.report(truth, np.ones_like(truth))
    assert (everything.recall, everything.alerts, everything.delay.median) == (1.0, 1, 0.0)


@st.composite
def corpus(draw: st.DrawFn) -> list[nab.File]:
    files = []
    for _ in range(draw(st.integers(1, 3))):
        edges = np.cumsum(draw(st.lists(st.integers(1, 6), min_size=0, max_size=8)))
        edges = edges[: len(edges) // 2 * 2].astype(np.int64)
        rows = (int(edges[-1]) if len(edges) else 0) + draw(st.integers(1, 8))
        scores = draw(npst.arrays(np.float64, rows, elements=SIXTEENTHS | st.just(float("nan"))))
        files.append(nab.File(scores, edges.reshape(-1, 2)))
    return files


@given(corpus(), st.sampled_from([nab.STANDARD, nab.REWARD_LOW_FP, nab.REWARD_LOW_FN]))
def test_the_oracle_is_the_best_frozen_line(files: list[nab.File], profile: nab.Profile) -> None:
    best = nab.oracle(files, profile=profile)
    candidates = np.unique(np.concatenate([[-1.0, 9.0], *(file.scores for file in files)]))
    tried = [
        nab.frozen(files, [float(line)] * len(files), profile=profile).raw for line in candidates[~np.isnan(candidates)]
    ]
    assert best.raw == pytest.approx(max(tried))
    if best.score is not None:
        assert -1e-9 <= best.score <= 100 + 1e-9


@given(labelled(), st.floats(0, 2), st.integers(0, 99))
def test_intervals_are_in_order_and_within_bounds(case: tuple[np.ndarray, np.ndarray], line: float, seed: int) -> None:
    truth, scores = case
    found = bootstrap.of_windows(truth, scores, scores > line, seed=seed, resamples=60)
    for interval in (found.accuracy, found.auroc, found.average_precision, found.normal_f1, found.anomaly_f1):
        if interval is not None:
            assert 0 <= interval.low <= interval.high <= 1 + 1e-12
    assert found.auroc is not None
    perfect = bootstrap.of_windows(truth, truth * 1.0, truth, seed=seed, resamples=20)
    assert perfect.auroc == bootstrap.Interval(low=1.0, high=1.0, level=0.95, resamples=20)
    assert perfect.average_precision == perfect.accuracy == perfect.anomaly_f1 == perfect.auroc
