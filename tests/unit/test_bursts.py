"""Incidents among the windows that a threshold is chosen by are named, and left out where the rule says so."""

from __future__ import annotations

import numpy as np
import pytest

from training.thresholds import bursts
from training.thresholds.calibration import CalibrationScores
from training.thresholds.choose import choose
from training.thresholds.rules import ThresholdPart

BUDGET = ThresholdPart(method="budget", alarms_per_day=1, leave_out=0.05)


def days_of(scores: np.ndarray, **more: object) -> CalibrationScores:
    """Calibration windows, a hundred a day."""
    return CalibrationScores(scores=scores.astype(np.float32), windows_per_day=100.0, **more)  # type: ignore[arg-type]


def usual(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.8, 1.2, count)


def test_an_incident_does_not_raise_the_threshold_above_itself() -> None:
    scores = usual(400)
    scores[100:110] = 50 + np.arange(10)
    calibration = days_of(
        scores,
        names=("pump",),
        rows=np.arange(400) + 9,
        times_us=(1_700_000_000 + 60 * np.arange(400)) * 1_000_000,
    )
    chosen = choose(calibration, BUDGET)
    assert chosen.threshold.value < 1.2
    assert len(chosen.used.scores) == 390
    assert chosen.expected.incidents <= 4
    times = chosen.notes[0].split("up to ")[1].split(" times")[0]
    assert 40 < float(times) < 60
    assert chosen.notes[0] == (
        "there is what looks like 1 incident in the data that the threshold is chosen by (series pump, rows 109 to "
        f"118, 2023-11-14T23:53:20Z to 2023-11-15T00:02:20Z: up to {times} times the usual score): 10 of 400 windows "
        "are left out; if they are normal, keep them (threshold.leave_out = 0)"
    )
    kept = choose(calibration, ThresholdPart(method="quantile", quantile=1.0))
    assert kept.threshold.value == 59
    assert "10 of 400 windows count as normal; label them, or leave them out" in kept.notes[0]


@pytest.mark.parametrize(
    ("places", "policy"),
    [
        ([slice(50, 55), slice(100, 105), slice(200, 205), slice(300, 305)], {}),  # again and again
        ([slice(100, 125)], {}),  # over 5 %
        ([slice(100, 110)], {"policy": None}),  # in random order
        ([slice(100, 110)], {"held_out": False}),
    ],
)
def test_what_is_no_incident_is_not_called_one(places: list[slice], policy: dict[str, object]) -> None:
    scores = usual(400)
    for place in places:
        scores[place] = 50
    calibration = days_of(scores, **policy)
    assert bursts.find(calibration, BUDGET) == []
    assert len(choose(calibration, BUDGET).used.scores) == 400


def test_each_series_is_judged_by_itself() -> None:
    scores = np.concatenate([usual(200), 100 * usual(200, seed=1), usual(20)])
    scores[50:54] = 20
    series = np.repeat([0, 1, 2], [200, 200, 20])
    calibration = days_of(scores, series=series, names=("a", "b", "c"))
    (found,) = bursts.find(calibration, BUDGET)
    assert found.series == "a"
    assert found.windows.tolist() == [50, 51, 52, 53]
    kept = bursts.without(calibration, [found])
    assert kept.series is not None
    assert np.bincount(kept.series).tolist() == [196, 200, 20]
    assert bursts.note(calibration, [found], BUDGET).startswith(
        "there is what looks like 1 incident in the data that the threshold is chosen by (series a: up to 19.5 "
    )


@pytest.mark.parametrize("method", ["mean_std", "conformal", "oracle"])
def test_methods_that_count_no_normal_windows_leave_none_out(method: str) -> None:
    scores = usual(400)
    scores[100:110] = 50
    assert not bursts.find(days_of(scores), ThresholdPart(method=method, leave_out=0.05))  # type: ignore[arg-type]


def test_windows_that_are_reconstructed_exactly_hide_no_incident() -> None:
    scores = np.zeros(100)
    scores[40:43] = 1
    (found,) = bursts.find(days_of(scores), BUDGET)
    assert found.windows.tolist() == [40, 41, 42]
