"""Window scores as point scores, and where the UCR archive's anomaly is; by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from monitor.errors import DataError
from training.metrics import series, ucr

#  length 4, hop 3: windows 0-3, 3-6, 6-9
FIRST, LAST = np.array([0, 3, 6]), np.array([3, 6, 9])
SCORES = np.array([1.0, 3.0, 8.0])
NAN = float("nan")


def test_causal_holds_the_newest_windows_score() -> None:
    found = series.causal(SCORES, FIRST, LAST, 11)
    np.testing.assert_array_equal(found.values, [NAN, NAN, NAN, 1, 1, 1, 3, 3, 3, 8, 8])
    assert (found.way, found.lag_rows) == ("causal", 0)


def test_overlap_mean_waits_for_the_last_window() -> None:
    found = series.overlap_mean(SCORES, FIRST, LAST, 11)
    np.testing.assert_array_equal(found.values, [1, 1, 1, 2, 3, 3, 5.5, 8, 8, 8, NAN])
    assert (found.way, found.lag_rows) == ("overlap_mean", 3)


def test_an_unscorable_window() -> None:
    scores = np.array([1.0, NAN, 8.0])
    np.testing.assert_array_equal(
        series.causal(scores, FIRST, LAST, 10).values, [NAN, NAN, NAN, 1, 1, 1, NAN, NAN, NAN, 8]
    )
    np.testing.assert_array_equal(
        series.overlap_mean(scores, FIRST, LAST, 10).values, [1, 1, 1, 1, NAN, NAN, 8, 8, 8, 8]
    )


def test_equal_scores_stay_equal() -> None:
    rng = np.random.default_rng(0)
    first = np.arange(5_000)
    scores = np.repeat(0.1, 5_000)
    scores[2_000] = 1e9 * rng.random()
    values = series.overlap_mean(scores, first, first + 2, 5_002).values
    assert len(np.unique(values[2_010:-2])) == 1


def test_nothing_to_tell() -> None:
    none = np.zeros(0, np.int64)
    for way in (series.causal, series.overlap_mean):
        assert np.isnan(way(np.zeros(0), none, none, 4).values).all()
        assert len(way(np.zeros(0), none, none, 0).values) == 0


@pytest.mark.parametrize(
    ("scores", "first", "last", "why"),
    [
        ([1.0], [0, 3], [3, 6], "1 scores for 2"),
        ([1.0, 2.0], [3, 0], [6, 3], "not in the order"),
        ([1.0, 2.0], [0, 1], [3, 3], "not in the order"),
        ([1.0], [3], [2], "not in the order"),
        ([1.0], [-1], [2], "row -1 to row 2"),
        ([1.0], [8], [10], "row 8 to row 10, but the series has rows 0 to 9"),
    ],
)
def test_windows_that_do_not_fit_are_refused(scores: list[float], first: list[int], last: list[int], why: str) -> None:
    for way in (series.causal, series.overlap_mean):
        with pytest.raises(DataError, match=why):
            way(np.array(scores), np.array(first), np.array(last), 10)


def test_figures_of_a_series() -> None:
    truth = np.array([False] * 6 + [True] * 4)
    found = series.point_metrics(truth, series.causal(SCORES, FIRST, LAST, 10), window=2)
    assert (found.way, found.lag_rows, found.rows, found.unscorable, found.share) == ("causal", 0, 10, 3, 0.4)
    assert (found.auroc, found.average_precision) == (1.0, 1.0)
    assert found.oracle is not None
    assert (found.oracle.f1, found.oracle.threshold) == (1.0, 1.0)
    assert found.volume is not None
    assert (found.volume.vus_pr, found.volume.unscorable) == (1.0, 3)
    told = msgspec.json.decode(msgspec.json.encode(found))
    assert told["oracle"]["chosen_by"] == "oracle"


def test_figures_without_an_event_are_none() -> None:
    scores = series.causal(SCORES, FIRST, LAST, 10)
    found = series.point_metrics(np.zeros(10, np.bool_), scores, window=2)
    assert (found.auroc, found.average_precision, found.volume, found.oracle) == (None,) * 4
    with pytest.raises(DataError, match="same rows"):
        series.point_metrics(np.zeros(9, np.bool_), scores, window=2)


def test_location_within_a_hundred_rows_or_the_anomalys_length() -> None:
    scores = np.zeros(3_000)
    for row, right in ((900, True), (899, False), (1_109, True), (1_110, False)):
        scores[:] = 0
        scores[row] = 1
        assert ucr.locate(scores, 1_000, 1_009).correct is right, row
    scores[:] = 0
    scores[801] = 1
    assert ucr.locate(scores, 1_000, 1_198).correct  # 199 rows long: 199 rows before it are right
    assert not ucr.locate(scores, 1_001, 1_199).correct


def test_location_looks_at_scored_test_rows_only() -> None:
    scores = np.zeros(1_000)
    scores[10], scores[500], scores[501] = 9.0, np.nan, 3.0
    found = ucr.locate(scores, 450, 460, tested_from=100)
    assert found.by_chance == pytest.approx(210 / 899)
    assert found == ucr.Location(row=501, correct=True, tolerance=100, by_chance=found.by_chance)
    assert ucr.locate(np.full(1_000, np.nan), 450, 460).row is None
    with pytest.raises(DataError, match="must lie within"):
        ucr.locate(scores, 50, 60, tested_from=100)
    with pytest.raises(DataError, match="must lie within"):
        ucr.locate(scores, 50, 1_000)


def test_accuracy_over_an_archive() -> None:
    right = ucr.Location(row=1, correct=True, tolerance=100, by_chance=0.2)
    wrong = ucr.Location(row=None, correct=False, tolerance=100, by_chance=None)
    assert ucr.accuracy([right, wrong]) == ucr.Accuracy(series=2, correct=1, accuracy=0.5, by_chance=0.1)
    assert ucr.accuracy([]).accuracy is None
