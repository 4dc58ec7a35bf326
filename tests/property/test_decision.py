"""Verdicts: each by its own comparison."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.detector.decision import Verdict, decide

N, A, U = Verdict.NORMAL, Verdict.ANOMALY, Verdict.UNSCORABLE


def test_a_nan_score_is_unscorable_and_never_normal() -> None:
    scores = np.array([0, 1, np.nan, -np.nan, np.inf, 3.4e38], np.float32)
    assert decide(scores, 0.5).tolist() == [N, A, U, U, A, A]
    assert decide(np.full(3, np.nan, np.float32), 1e30).tolist() == [U, U, U]
    assert decide(np.empty(0, np.float32), 1.0).tolist() == []


def test_the_threshold_itself_is_normal() -> None:
    limit = np.float32(0.3)
    scores = np.array([np.nextafter(limit, np.float32(0)), limit, np.nextafter(limit, np.float32(1))])
    assert scores.dtype == np.float32
    assert decide(scores, float(limit)).tolist() == [N, N, A]


@given(st.floats(1e-30, 1e30))
def test_the_threshold_is_compared_in_float32(threshold: float) -> None:
    limit = np.float32(threshold)
    above, below = np.nextafter(limit, np.float32(np.inf)), np.nextafter(limit, np.float32(0))
    scores = np.array([below, limit, above], dtype=np.float32)
    # in float64 the middle one would be over a threshold that float32 rounds up
    assert decide(scores, threshold).tolist() == [N, N, A]
    assert float(above) / threshold > 1.0, "an anomaly's ratio is always over 1"


@given(st.lists(st.floats(width=32), max_size=20), st.floats(1e-6, 1e6))
def test_every_score_has_the_verdict_of_its_own_comparison(scores: list[float], threshold: float) -> None:
    expected = [U if math.isnan(s) else A if np.float32(s) > np.float32(threshold) else N for s in scores]
    assert decide(np.array(scores, np.float32), threshold).tolist() == expected
