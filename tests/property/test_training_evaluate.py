"""Figures against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from training.metrics import baseline_scores, windows

# Few distinct values, so that there are ties.
_scores = npst.arrays(
    np.float32, st.integers(2, 40), elements=st.integers(0, 12).map(lambda number: number / 8)
) | npst.arrays(np.float32, st.integers(2, 40), elements=st.floats(0, 1e6, width=32))


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    scores = draw(_scores)
    truth = draw(npst.arrays(np.bool_, len(scores)))
    truth[:2] = [True, False]
    return truth, scores


@given(labelled())
def test_ranks_agree_with_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, scores = case
    assert windows.auroc(truth, scores) == pytest.approx(sklearn.metrics.roc_auc_score(truth, scores))
    assert windows.average_precision(truth, scores) == pytest.approx(
        sklearn.metrics.average_precision_score(truth, scores)
    )


@given(labelled(), st.floats(0, 2))
def test_figures_agree_with_scikit_learn_for_both_classes(case: tuple[np.ndarray, np.ndarray], line: float) -> None:
    truth, scores = case
    flagged = scores > line
    found = windows.report(truth, scores, flagged)
    assert found.accuracy == pytest.approx(sklearn.metrics.accuracy_score(truth, flagged))
    for positive, figures in ((True, found.anomaly), (False, found.normal)):
        precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
            truth, flagged, pos_label=positive, average="binary", zero_division=0.0
        )
        assert (figures.precision or 0.0) == pytest.approx(precision)
        assert (figures.recall or 0.0) == pytest.approx(recall)
        assert (figures.f1 or 0.0) == pytest.approx(f1)
    tn, fp, fn, tp = sklearn.metrics.confusion_matrix(truth, flagged, labels=[False, True]).ravel()
    assert (found.true_negative, found.false_positive, found.false_negative, found.true_positive) == (tn, fp, fn, tp)


@given(labelled(), st.data())
def test_unscorable_windows_are_counted_and_in_no_other_figure(
    case: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    truth, scores = case
    gone = data.draw(npst.arrays(np.bool_, len(scores)))
    some = np.where(gone, np.float32(np.nan), scores)
    found = windows.report(truth, some, some > 0.5)
    left = windows.report(truth[~gone], scores[~gone], scores[~gone] > 0.5)
    assert found.unscorable == gone.sum()
    assert found.auroc == left.auroc
    assert found.accuracy == left.accuracy


def test_what_can_not_be_computed_is_none() -> None:
    scores = np.array([1.0, 2.0], np.float32)
    found = windows.report(np.zeros(2, np.bool_), scores, np.zeros(2, np.bool_))
    assert (found.auroc, found.average_precision, found.anomaly.recall, found.anomaly.precision) == (None,) * 4
    assert found.accuracy == 1.0
    nothing = windows.report(np.zeros(0, np.bool_), scores[:0], np.zeros(0, np.bool_))
    assert nothing.accuracy is None


def test_baselines_are_what_flagging_blindly_gives_on_average() -> None:
    truth = np.arange(10_000) % 4 == 0
    expected = baseline_scores.expected(truth, 0.3)
    assert expected["flag_everything"].anomaly == windows.report(truth, truth * 1.0, np.ones(10_000, np.bool_)).anomaly
    flagged = np.random.default_rng(0).random(10_000) < 0.3
    drawn = windows.report(truth, flagged * 1.0, flagged)
    baseline = expected["random"]
    assert baseline.accuracy == pytest.approx(drawn.accuracy, abs=0.02)
    assert baseline.anomaly.precision == pytest.approx(drawn.anomaly.precision, abs=0.02)
    assert baseline.anomaly.recall == pytest.approx(drawn.anomaly.recall, abs=0.02)
    assert baseline.anomaly.f1 == pytest.approx(drawn.anomaly.f1, abs=0.02)


def test_components_reconstruct_what_lies_in_their_plane() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(2, 9))
    inside = (rng.normal(size=(50, 2)) @ plane + 3).astype(np.float32)
    components = baseline_scores.principal_components(inside, 2)
    assert components is not None
    assert np.max(baseline_scores.pca_errors(inside, components)) < 1e-5
    outside = rng.normal(size=(5, 9)).astype(np.float32)
    assert np.min(baseline_scores.pca_errors(outside, components)) > 0.01
    assert baseline_scores.principal_components(np.zeros((3, 5000), np.float32), 2) is None
