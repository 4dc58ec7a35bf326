"""Volume under the surface: by hand, against TSB-AD's own code where it is installed, and at the sizes we meet.

TSB-AD's requirements (torch, an older numpy) can't be met here, but its metric module needs numpy and scikit-learn
only: `pip install --no-deps tsb-ad==1.5`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from training.metrics import vus

CASES = [(seed, width) for seed in range(18) for width in (0, 1, 7, 30)]


@pytest.fixture(scope="module")
def tsb_ad() -> Any:
    return pytest.importorskip(
        "TSB_AD.evaluation.basic_metrics", reason="the second implementation: pip install --no-deps tsb-ad==1.5"
    )


def series(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels with runs of all lengths, some at the ends; scores that know something, some with many ties."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(20, 400))
    truth = np.repeat(rng.random(rows) < rng.choice([0.02, 0.1, 0.4]), rng.integers(1, 6))[:rows]
    truth[-1], truth[rows // 2] = seed % 2 == 0, not truth[-1]
    scores = rng.random(rows) + truth * rng.random()
    return truth, np.round(scores * 5) if seed % 3 == 0 else scores


def test_by_hand() -> None:
    truth, scores = np.array([False, True, False, False]), np.array([0.1, 0.5, 0.9, 0.2])
    found = vus.volume(truth, scores, 2, thresholds=4)
    assert found is not None
    # w = 0 and w = 1: the highest score is a false alarm, the second is the event: precision 1/2 from there on
    # w = 2: the highest score is in the fade-out, worth r of a row
    r = math.sqrt(1 / 2)
    recall = r / (1 + r / 2)
    assert found.range_pr == pytest.approx(recall * r + (1 - recall) * (1 + r) / 2)
    assert found.vus_pr == pytest.approx((1 / 2 + 1 / 2 + found.range_pr) / 3)
    # w = 0: nothing, then the event, at a third of the false alarms. At the last threshold of w = 2 both fade-outs are
    # flagged; ROC runs through (x, recall), (y, 1), ... to (1, 1)
    x, y = (1 - r) / (4 - 1 - r / 2), (2 - 1 - r) / (4 - 1 - r / 2)
    assert found.range_roc == pytest.approx(x * recall / 2 + (y - x) * (recall + 1) / 2 + (1 - y))
    assert found.vus_roc == pytest.approx((2 / 3 + 2 / 3 + found.range_roc) / 3)


@pytest.mark.parametrize(("seed", "width"), CASES)
def test_agrees_with_tsb_ad(tsb_ad: Any, seed: int, width: int) -> None:
    truth, scores = series(seed)
    *_, roc, precision_recall = tsb_ad.generate_curve(truth.astype(int), scores, width, "opt", 250)
    found = vus.volume(truth, scores, width)
    assert found is not None
    assert found.vus_pr == pytest.approx(precision_recall, abs=1e-12)
    assert found.vus_roc == pytest.approx(roc, abs=1e-12)


def test_range_areas_are_tsb_ads_last_slice(tsb_ad: Any) -> None:
    truth, scores = series(1)
    tpr, fpr, precision, *_ = tsb_ad.basic_metricor().RangeAUC_volume_opt(truth.astype(int), scores, 20)
    found = vus.volume(truth, scores, 20)
    assert found is not None
    assert found.range_pr == pytest.approx(np.dot(np.diff(tpr[-1][:-1]), precision[-1][1:]))
    assert found.range_roc == pytest.approx(np.trapezoid(tpr[-1], fpr[-1]))


def test_rows_without_a_score_are_flagged_last() -> None:
    truth, scores = series(2)
    lowest = np.where(np.arange(len(scores)) % 5 == 0, -1.0, scores)
    missing = np.where(lowest < 0, np.nan, lowest)
    one, other = vus.volume(truth, lowest, 10), vus.volume(truth, missing, 10)
    assert one is not None
    assert other is not None
    assert other.unscorable == len(scores[::5])
    assert (other.vus_pr, other.vus_roc) == (one.vus_pr, one.vus_roc)


def test_one_class_gives_nothing() -> None:
    for truth in (np.zeros(9, np.bool_), np.ones(9, np.bool_), np.zeros(0, np.bool_)):
        assert vus.volume(truth, np.arange(len(truth), dtype=np.float64), 3) is None
        assert vus.random_volume(truth, 3, seed=0) is None


def test_two_hundred_thousand_rows() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros(200_000, np.bool_)
    for start in range(500, 200_000, 2_000):
        truth[start : start + rng.integers(1, 200)] = True
    perfect = vus.volume(truth, truth * 1.0, 303)
    assert perfect is not None
    assert (perfect.vus_pr, perfect.vus_roc) == pytest.approx((1.0, 1.0))
    baseline = vus.random_volume(truth, 303, seed=1, draws=2)
    assert baseline is not None
    # whatever the score, fade-outs forgive: the baseline is over the labelled share, and it must be known
    assert truth.mean() < baseline.vus_pr < 4 * truth.mean()
    assert baseline.vus_roc > 0.5


def test_the_baseline_is_reproducible() -> None:
    truth, _ = series(3)
    assert vus.random_volume(truth, 5, seed=7) == vus.random_volume(truth, 5, seed=7)
    assert vus.random_volume(truth, 5, seed=7) != vus.random_volume(truth, 5, seed=8)


def autocorrelation(values: np.ndarray, lag: int) -> float:
    centred = values - values.mean()
    return float(centred[lag:] @ centred[: len(centred) - lag] / (centred @ centred))


@pytest.mark.parametrize("length", [9, 50, 130.5, 300])
def test_the_period_is_the_lag_of_the_highest_peak(length: float) -> None:
    rng = np.random.default_rng(0)
    values = np.sin(2 * np.pi * np.arange(3_000) / length) + 0.1 * rng.normal(size=3_000)
    found = vus.period(values)
    assert found % round(length) == pytest.approx(0, abs=2) or found == pytest.approx(length, abs=3)
    lags = [autocorrelation(values, lag) for lag in range(402)]
    peaks = [lag for lag in range(4, 400) if lags[lag - 1] < lags[lag] > lags[lag + 1]]
    assert found == max(peaks, key=lambda lag: lags[lag])


def test_without_a_peak_the_period_is_tsb_ads_fallback() -> None:
    slow = np.sin(2 * np.pi * np.arange(3_000) / 380)  # its peak is beyond lag 303
    fast = np.sin(2 * np.pi * np.arange(3_000) / 4.0) + np.sin(2 * np.pi * np.arange(3_000) / 4.0) ** 2
    for values in (np.ones(500), np.arange(500.0), np.array([1.0, np.nan] * 300), np.zeros(0), np.ones(1), slow, fast):
        assert vus.period(values) == 125


def test_only_the_first_twenty_thousand_rows_count() -> None:
    start = np.sin(2 * np.pi * np.arange(20_000) / 40)
    assert vus.period(np.concatenate([start, np.sin(np.arange(50_000))])) == vus.period(start)


@pytest.mark.data
def test_periods_of_the_ucr_series(data_directory: Any) -> None:
    # from TSB-AD 1.5's find_length_rank(series, rank=1) with statsmodels, on these files
    for name, expected in {
        "112_UCR_Anomaly_BIDMC1_2500_5400_5600": 81,
        "119_UCR_Anomaly_ECG1_10000_11800_12100": 91,
        "123_UCR_Anomaly_ECG4_5000_16800_17100": 125,
        "135_UCR_Anomaly_InternalBleeding16_1200_4187_4199": 183,
        "173_UCR_Anomaly_insectEPG1_3000_7000_7030": 26,
    }.items():
        assert vus.period(np.loadtxt(data_directory / "ucr_anomaly" / f"{name}.txt")) == expected, name
