"""The one look-up of a threshold: a series' own, the artifact's for all others, or the operator's for all."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from monitor.detector import thresholds
from monitor.detector.decision import decide
from monitor.detector.spec import ThresholdSpec
from monitor.detector.thresholds import Quantiles, Thresholds
from tests.helpers import make_artifact

PLAIN = make_artifact().manifest
OWN = ThresholdSpec(value=0.3, method="quantile", parameters={"quantile": 0.99}, series={"a": 0.1, "b": 7.0})
MANIFEST = msgspec.structs.replace(PLAIN, threshold=OWN)


def test_a_series_has_its_own_or_the_one_of_all_others() -> None:
    found = thresholds.of(MANIFEST)
    assert [found.of_series(name) for name in ("a", "b", "unseen", "")] == [0.1, 7.0, 0.3, 0.3]
    assert found.value == 0.3
    assert found.chosen == OWN


def test_that_of_the_operator_is_for_every_series() -> None:
    found = thresholds.of(MANIFEST, override=2.0)
    assert [found.of_series(name) for name in ("a", "b", "unseen")] == [2.0, 2.0, 2.0]
    assert (found.chosen.method, found.chosen.parameters) == ("given", {})


def test_each_is_in_the_type_that_scores_are_compared_in() -> None:
    found = Thresholds(OWN).of_each(["b", "unseen", "a"])
    assert found.dtype == np.float32
    assert found.tolist() == [7.0, np.float32(0.3), np.float32(0.1)]
    assert not decide(found, found).any(), "a score of exactly the threshold is normal"


@pytest.mark.parametrize(
    ("score", "series", "expected"),
    [
        (0.0, "", 0.0),
        (0.1, "", 0.0),
        (0.25, "", 0.25),
        (0.4, "unseen", 0.75),  # of two equal quantiles the last: what scores 0.4 itself is not over it
        (1.2, "", 0.875),
        (9.0, "", 1.0),
        (0.5, "a", 0.25),
        (0.75, "a", 0.75),
        (9.0, "a", 1.0),
    ],
)
def test_the_share_of_calibration_windows_under_a_score(score: float, series: str, expected: float) -> None:
    table = ((0.0, 0.1), (0.5, 0.4), (0.75, 0.4), (1.0, 2.0))
    calibration = msgspec.structs.replace(PLAIN.calibration, quantiles=table, series=("a",))
    found = Quantiles(calibration, np.array([[0.25, 0.75, 0.75, 1.0]], np.float32)).share_under(score, series)
    assert found == pytest.approx(expected)
