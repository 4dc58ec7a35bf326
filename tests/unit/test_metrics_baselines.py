"""FittedBaselines against scikit-learn, and the expectation of random scores against all orders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from monitor.errors import DataError
from training.metrics import baseline_scores, windows


def drawn(rows: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, size)).astype(np.float32)


@pytest.mark.parametrize(("rows", "positives"), [(1, 1), (4, 1), (5, 2), (6, 3), (5, 5)])
def test_average_precision_of_random_scores_is_exact(rows: int, positives: int) -> None:
    found = []
    for places in itertools.combinations(range(rows), positives):
        truth = np.zeros(rows, np.bool_)
        truth[list(places)] = True
        precision = windows.average_precision(truth, np.arange(rows, dtype=np.float64))
        assert precision is not None
        found.append(precision)
    assert baseline_scores.random_average_precision(rows, positives) == pytest.approx(np.mean(found))


def test_expected_figures_have_average_precision() -> None:
    truth = np.arange(10_000) % 4 == 0
    expected = baseline_scores.expected(truth, 0.3)
    assert expected["flag_everything"].average_precision == windows.average_precision(truth, np.ones(10_000)) == 0.25
    assert expected["random"].average_precision == pytest.approx(0.25, abs=0.001)
    for baseline in baseline_scores.expected(np.zeros(3, np.bool_), 0.5).values():
        assert (baseline.average_precision, baseline.auroc, baseline.anomaly.recall) == (None, None, None)
    assert baseline_scores.expected(np.zeros(0, np.bool_), 0.0)["random"].accuracy is None


@pytest.mark.parametrize(("remembered_rows", "asked_rows", "size"), [(300, 100, 20), (5_000, 3_500, 2)])
def test_neighbours_agree_with_scikit_learn(remembered_rows: int, asked_rows: int, size: int) -> None:
    # the second is more than a chunk: 64 MiB hold the distances of 1,677 windows to 5,000
    remembered, asked = drawn(remembered_rows, size), drawn(asked_rows, size, seed=1) + 50
    theirs, _ = NearestNeighbors(n_neighbors=5).fit(remembered.astype(float)).kneighbors(asked.astype(float))
    np.testing.assert_allclose(baseline_scores.neighbour_distances(asked, remembered), theirs[:, -1], rtol=1e-9)


def test_with_fewer_neighbours_the_farthest_counts() -> None:
    remembered, asked = drawn(2, 20), drawn(9, 20, seed=1)
    distances = np.linalg.norm(asked[:, None].astype(float) - remembered.astype(float), axis=2)
    np.testing.assert_allclose(baseline_scores.neighbour_distances(asked, remembered), distances.max(axis=1), rtol=1e-9)


def test_pca_agrees_with_scikit_learn() -> None:
    fitted, asked = drawn(200, 12) * np.arange(1, 13, dtype=np.float32), drawn(50, 12, seed=1)
    theirs = PCA(3, svd_solver="full").fit(fitted.astype(float))
    errors = asked - theirs.inverse_transform(theirs.transform(asked.astype(float)))
    found = baseline_scores.scores(baseline_scores.fit(fitted, components=3, seed=0), asked)
    np.testing.assert_allclose(found["pca"], np.abs(errors).mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["pca_squared"], np.square(errors).mean(axis=1), rtol=1e-6)


def test_the_same_metrics_apply_to_every_baseline() -> None:
    learnt = baseline_scores.fit(drawn(400, 30).reshape(400, 15, 2), components=4, seed=0)
    asked = drawn(60, 30, seed=1).reshape(60, 15, 2)
    asked[40:] += 3
    asked[5, 0, 0] = np.nan
    truth = np.arange(60) >= 40
    found = baseline_scores.scores(learnt, asked)
    assert set(found) == {"random", "flag_everything", "pca", "pca_squared", "knn"}
    reports = {name: windows.report(truth, scores, scores > np.nanmedian(scores)) for name, scores in found.items()}
    assert {report.unscorable for report in reports.values()} == {1}
    assert reports["knn"].auroc == reports["pca"].auroc == 1.0
    assert reports["flag_everything"].auroc == 0.5
    again = baseline_scores.scores(learnt, asked)
    assert all(np.array_equal(found[name], again[name], equal_nan=True) for name in found)


def test_memory_is_bounded_and_chosen_by_the_seed() -> None:
    many = drawn(6_000, 3)
    one, same, other = (baseline_scores.fit(many, components=1, seed=seed).remembered for seed in (0, 0, 1))
    assert len(one) == baseline_scores.MAX_REMEMBERED
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert len(np.unique(one, axis=0)) == len(one)


def test_large_windows_have_no_pca() -> None:
    learnt = baseline_scores.fit(np.zeros((3, 5_000), np.float32), components=2, seed=0)
    assert set(baseline_scores.scores(learnt, np.ones((2, 5_000), np.float32))) == {"random", "flag_everything", "knn"}


def test_windows_with_missing_numbers_are_not_learnt_from() -> None:
    fitted = drawn(10, 4)
    fitted[3, 2] = np.nan
    assert len(baseline_scores.fit(fitted, components=99, seed=0).remembered) == 9
    with pytest.raises(DataError, match="none of 2 fitting windows"):
        baseline_scores.fit(np.full((2, 4), np.nan, np.float32), components=1, seed=0)


def test_an_empty_test_part() -> None:
    learnt = baseline_scores.fit(drawn(10, 4), components=2, seed=0)
    assert {len(scores) for scores in baseline_scores.scores(learnt, drawn(0, 4)).values()} == {0}


def test_baselines_are_of_the_windows_that_could_be_scored() -> None:
    truth, scores = np.array([True, True, False, False]), np.array([np.nan, 2.0, 1.0, np.nan])
    found = baseline_scores.beside(truth, scores, np.array([False, True, False, False]))
    assert found == baseline_scores.expected(np.array([True, False]), 0.5)
    assert baseline_scores.beside(truth, np.full(4, np.nan), truth)["flag_everything"].accuracy is None
