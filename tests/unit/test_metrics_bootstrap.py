"""Bootstrap intervals against SciPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from monitor.errors import DataError
from training.metrics import bootstrap, windows


def labelled(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(rows) < 0.4
    return truth, np.round(rng.normal(size=rows) + 1.5 * truth, 2)


def test_agrees_with_scipys_percentiles() -> None:
    truth, scores = labelled(300)
    found = bootstrap.of_windows(truth, scores, scores > 0.8, seed=1, resamples=4_000)

    def theirs(figure: object) -> tuple[float, float]:
        samples = (scores[truth], scores[~truth])
        interval = scipy.stats.bootstrap(
            samples, figure, vectorized=False, method="percentile", n_resamples=1_000, rng=np.random.default_rng(2)
        ).confidence_interval
        return interval.low, interval.high

    def joined(high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate([np.ones(len(high)), np.zeros(len(low))]), np.concatenate([high, low])

    for ours, figure in (
        (found.auroc, lambda high, low: sklearn.metrics.roc_auc_score(*joined(high, low))),
        (found.average_precision, lambda high, low: sklearn.metrics.average_precision_score(*joined(high, low))),
        (found.accuracy, lambda high, low: ((high > 0.8).sum() + (low <= 0.8).sum()) / 300),
        (
            found.anomaly_f1,
            lambda high, low: 2 * (high > 0.8).sum() / ((high > 0.8).sum() + len(high) + (low > 0.8).sum()),
        ),
        (
            found.normal_f1,
            lambda high, low: 2 * (low <= 0.8).sum() / ((low <= 0.8).sum() + len(low) + (high <= 0.8).sum()),
        ),
    ):
        assert ours is not None
        low, high = theirs(figure)
        assert ours.low == pytest.approx(low, abs=0.008)
        assert ours.high == pytest.approx(high, abs=0.008)
        assert (ours.level, ours.resamples) == (0.95, 4_000)


def test_a_seed_decides_all_and_chunks_nothing_of_the_counts() -> None:
    truth, scores = labelled(500)
    one = bootstrap.of_windows(truth, scores, scores > 1, seed=3)
    assert one == bootstrap.of_windows(truth, scores, scores > 1, seed=3)
    assert one != bootstrap.of_windows(truth, scores, scores > 1, seed=4)


def test_many_windows_are_done_in_chunks() -> None:
    truth = np.arange(10_000) % 2 == 0
    scores = np.random.default_rng(0).random(10_000)
    assert len(scores) * bootstrap.RESAMPLES > bootstrap.CELLS
    found = bootstrap.of_windows(truth, scores, scores > 0.5, seed=3)
    assert found.auroc is not None
    assert found.accuracy is not None
    assert found.auroc.resamples == 1_000
    # scores that know nothing: AUROC has variance (n + m + 1) / (12 n m), accuracy 1 / (4 n) (Mann & Whitney 1947)
    for interval, std in ((found.auroc, (10_001 / (12 * 5_000**2)) ** 0.5), (found.accuracy, 10_000**-0.5 / 2)):
        assert interval.high - interval.low == pytest.approx(2 * 1.96 * std, rel=0.15)


def test_unscorable_windows_are_left_out() -> None:
    truth, scores = labelled(200)
    more_truth, more = np.append(truth, [True, False]), np.append(scores, [np.nan, np.nan])
    assert bootstrap.of_windows(truth, scores, scores > 1, seed=0) == bootstrap.of_windows(
        more_truth, more, more > 1, seed=0
    )


def test_what_can_not_be_computed_is_none() -> None:
    scores = np.array([0.1, 0.2, 0.3])
    found = bootstrap.of_windows(np.zeros(3, np.bool_), scores, scores > 9, seed=0)
    assert (found.auroc, found.average_precision, found.anomaly_f1) == (None, None, None)
    assert found.accuracy == bootstrap.Interval(low=1.0, high=1.0, level=0.95, resamples=1_000)
    found = bootstrap.of_windows(np.ones(3, np.bool_), scores, scores > 0, seed=0)
    assert (found.auroc, found.normal_f1) == (None, None)
    assert found.average_precision == found.anomaly_f1 == found.accuracy
    nothing = bootstrap.of_windows(np.zeros(0, np.bool_), scores[:0], np.zeros(0, np.bool_), seed=0)
    assert (nothing.accuracy, nothing.auroc) == (None, None)


def test_over_series() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(40)
    found = bootstrap.over_series([None, *values.tolist()], seed=0, resamples=5_000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=5_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert found is not None
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    assert bootstrap.over_series([0.5, None], seed=0) is None


def over_blocks(truth: Any, scores: Any, block: int) -> bootstrap.Interval | None:
    draws = bootstrap.block_draws(len(truth), block, seed=0)
    return bootstrap.over_draws(lambda drawn: (windows.auroc(truth[drawn], scores[drawn]),), draws)[0]


def test_blocks_know_that_neighbours_are_alike() -> None:
    # every row twenty times over: windows drawn one by one would claim to know it all
    truth, scores = labelled(100)
    long_truth, long_scores = np.repeat(truth, 20), np.repeat(scores, 20)
    blocks = over_blocks(long_truth, long_scores, 60)
    rows = bootstrap.of_windows(long_truth, long_scores, long_scores > 1, seed=0).auroc
    honest = bootstrap.of_windows(truth, scores, scores > 1, seed=0).auroc
    assert blocks is not None
    assert rows is not None
    assert honest is not None
    assert rows.high - rows.low < (honest.high - honest.low) / 3
    assert blocks.high - blocks.low == pytest.approx(honest.high - honest.low, rel=0.35)


def test_blocks_refuse_and_give_up() -> None:
    truth, scores = np.zeros(100, np.bool_), np.arange(100.0)
    for block in (0, 101):
        with pytest.raises(DataError, match="1 to 100 rows"):
            over_blocks(truth, scores, block)
    assert over_blocks(truth, scores, 10) is None
