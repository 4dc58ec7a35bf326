"""Thresholds against their promises, incidents against the daemon's own step, one after the other."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from monitor.detector import thresholds
from monitor.detector.decision import Verdict, decide
from monitor.detector.incidents import Incident, Policy, Status, step
from monitor.detector.spec import ThresholdSpec
from monitor.detector.thresholds import Thresholds
from monitor.errors import DataError
from tests.helpers import make_artifact
from training.thresholds import false_alarms
from training.thresholds.calibration import PROBABILITIES, CalibrationScores
from training.thresholds.choose import LabelledScores, choose
from training.thresholds.false_alarms import trade_off
from training.thresholds.recalibrate import recalibrated
from training.thresholds.rules import Method, ThresholdPart

_finite = npst.arrays(np.float32, st.integers(1, 200), elements=st.floats(0, 1e6, width=32))
# Few distinct values, so that there are ties and long runs.
_coarse = npst.arrays(np.float32, st.integers(1, 60), elements=st.integers(1, 6).map(lambda number: number / 8))
_policies = st.builds(Policy, open_after=st.integers(1, 4), close_after=st.integers(1, 4))
_methods = st.sampled_from(["mean_std", "quantile", "budget", "pot", "conformal"])


def stepped(scores: np.ndarray, line: float, policy: Policy) -> int:
    """Incidents as the daemon opens them, window by window."""
    incident, opened = Incident(), 0
    for verdict in decide(scores, line).tolist():
        status = step(incident, verdict, 1.0, 0, 0, policy)
        if status is Status.FIRING:
            incident.fingerprint = "x"
            opened += 1
        elif status is Status.RESOLVED:
            incident = Incident()
    return opened


@st.composite
def several(draw: st.DrawFn) -> CalibrationScores:
    scores = draw(_coarse)
    series = draw(npst.arrays(np.int64, len(scores), elements=st.integers(0, 2)))
    return CalibrationScores(
        scores=scores,
        series=series,
        names=("a", "b", "c"),
        overlap=draw(st.sampled_from([1.0, 2.5])),
        windows_per_day=draw(st.sampled_from([2.0, 10.0, 1e4])),
        policy=draw(_policies),
    )


def all_stepped(calibration: CalibrationScores, line: float) -> int:
    assert calibration.series is not None
    assert calibration.policy is not None
    runs = [calibration.scores[calibration.series == code] for code in range(3)]
    return sum(stepped(run, line, calibration.policy) for run in runs)


@given(several(), st.floats(0, 1, width=32))
def test_incidents_are_those_that_the_daemon_opens(calibration: CalibrationScores, line: float) -> None:
    found = false_alarms.expected(calibration, thresholds.given(line))
    assert found.incidents == all_stepped(calibration, line)
    assert found.over == int((calibration.scores > np.float32(line)).sum())
    assert found.low <= found.rate <= found.high


@given(several(), st.dictionaries(st.sampled_from("abc"), st.floats(0, 1, width=32)))
def test_incidents_by_each_series_own_threshold(calibration: CalibrationScores, lines: dict[str, float]) -> None:
    assert calibration.series is not None
    assert calibration.policy is not None
    runs = [calibration.scores[calibration.series == code] for code in range(3)]
    expected = sum(
        stepped(run, lines.get(name, 0.4), calibration.policy) for name, run in zip("abc", runs, strict=True)
    )
    own = Thresholds(ThresholdSpec(value=0.4, method="given", series=lines))
    assert false_alarms.expected(calibration, own).incidents == expected


@given(several(), st.integers(0, 6))
def test_the_lowest_threshold_within_a_budget_is_that_of_trying_each(
    calibration: CalibrationScores, allowed: int
) -> None:
    line, reached = false_alarms.lowest_threshold(calibration, allowed)
    distinct = np.unique(calibration.scores)[::-1]
    tried = [*distinct.tolist(), float(np.nextafter(distinct[-1], np.float32(0)))]
    counts = [all_stepped(calibration, each) for each in tried]
    broken = [place for place, found in enumerate(counts) if found > allowed]
    if broken:
        assert (line, reached) == (tried[broken[0] - 1], True)
    else:
        assert not reached
        assert all_stepped(calibration, line) == max(counts)


@given(_coarse, st.floats(0, 1, width=32), st.integers(0, 6))
def test_in_random_order_each_window_over_the_threshold_is_an_incident(
    scores: np.ndarray, line: float, allowed: int
) -> None:
    shuffled = CalibrationScores(scores=scores, policy=None)
    found = false_alarms.expected(shuffled, thresholds.given(line))
    assert found.incidents == found.over == int((scores > np.float32(line)).sum())
    lowest, reached = false_alarms.lowest_threshold(shuffled, allowed)
    assert reached == (len(scores) > allowed)
    assert (scores > np.float32(lowest)).sum() <= allowed
    assert not reached or (scores >= np.float32(lowest)).sum() > allowed


@given(several(), st.floats(0.5, 50))
def test_a_budget_is_kept(calibration: CalibrationScores, alarms_per_day: float) -> None:
    chosen = choose(calibration, ThresholdPart(method="budget", alarms_per_day=alarms_per_day))
    assert chosen.expected.a_day
    assert chosen.expected.rate <= alarms_per_day + 1e-9


@given(_finite, st.floats(0.01, 1.0))
def test_at_most_a_share_of_the_calibration_windows_is_over_the_threshold(scores: np.ndarray, quantile: float) -> None:
    chosen = choose(CalibrationScores(scores=scores), ThresholdPart(method="quantile", quantile=quantile))
    over = int((decide(scores, chosen.threshold.value) == Verdict.ANOMALY).sum())
    assert over <= len(scores) * (1 - quantile) + 1e-9
    assert over == chosen.expected.over
    assert chosen.threshold.value > 0


@given(_finite, st.floats(0.001, 0.999), _finite)
def test_over_the_conformal_threshold_are_the_windows_with_a_small_p_value(
    scores: np.ndarray, p_value: float, new: np.ndarray
) -> None:
    chosen = choose(CalibrationScores(scores=scores), ThresholdPart(method="conformal", p_value=p_value))
    p = (1 + (scores[None, :] >= new[:, None]).sum(axis=1)) / (len(scores) + 1)
    if 1 / (len(scores) + 1) > p_value:
        assert any("no p-value under" in note for note in chosen.notes)
        p_value = 1 / (len(scores) + 1)
    # Scores under the least threshold there is are never over it.
    flagged = decide(new, chosen.threshold.value) == Verdict.ANOMALY
    telling = (new > 1e-6) & (np.abs(p - p_value) > 1e-9)
    assert (flagged == (p <= p_value))[telling].all()


@given(several(), st.sampled_from(["quantile", "budget", "conformal", "mean_std"]), st.data())
def test_asking_for_fewer_alarms_never_lowers_the_threshold(
    calibration: CalibrationScores, method: Method, data: st.DataObject
) -> None:
    some, more = sorted(data.draw(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2)))
    numbers: dict[Method, tuple[str, tuple[float, float]]] = {
        "quantile": ("quantile", (some, more)),
        "mean_std": ("k", (some, more)),
        "conformal": ("p_value", (more, some)),
        "budget": ("alarms_per_day", (more * 20, some * 20)),
    }
    name, (lax, strict) = numbers[method]
    rule = ThresholdPart(method=method)
    low = choose(calibration, msgspec.structs.replace(rule, **{name: lax})).threshold.value
    high = choose(calibration, msgspec.structs.replace(rule, **{name: strict})).threshold.value
    assert low <= high


@given(_finite)
def test_the_table_is_increasing_and_spans_the_scores(scores: np.ndarray) -> None:
    kept = choose(CalibrationScores(scores=scores), ThresholdPart(method="quantile")).calibration
    probabilities, values = zip(*kept.quantiles, strict=True)
    assert list(probabilities) == sorted(set(probabilities))
    assert list(values) == sorted(values)
    assert (values[0], values[-1]) == (float(scores.min()), float(scores.max()))
    assert kept.windows == len(scores)


@given(_finite, st.sampled_from(PROBABILITIES[1:]))
def test_without_data_a_tabled_quantile_gives_the_threshold_that_data_give(scores: np.ndarray, quantile: float) -> None:
    rule = ThresholdPart(method="quantile", quantile=quantile)
    first, _ = recalibrated(ARTIFACT, ThresholdPart(method="quantile", quantile=0.5), CalibrationScores(scores=scores))
    with_data, _ = recalibrated(ARTIFACT, rule, CalibrationScores(scores=scores))
    without, _ = recalibrated(first, rule)
    assert without.manifest.threshold == with_data.manifest.threshold


ARTIFACT = make_artifact()


@given(_finite, _methods, st.sampled_from([np.nan, np.inf]), st.data())
def test_scores_that_are_not_numbers_are_refused(
    scores: np.ndarray, method: Method, bad: float, data: st.DataObject
) -> None:
    scores = scores.copy()
    scores[data.draw(st.integers(0, len(scores) - 1))] = bad
    calibration = CalibrationScores(scores=scores, windows_per_day=10.0)
    with pytest.raises(DataError, match="all with finite scores"):
        choose(calibration, ThresholdPart(method=method))
    with pytest.raises(DataError, match="all with finite scores"):
        trade_off(calibration)


@given(_coarse, st.data())
def test_no_threshold_has_a_better_f1_than_the_oracles(scores: np.ndarray, data: st.DataObject) -> None:
    truth = data.draw(npst.arrays(np.bool_, len(scores)))
    truth[0] = True
    oracle = LabelledScores(scores=scores, anomalous=truth)
    line = choose(CalibrationScores(scores=scores), ThresholdPart(method="oracle"), oracle=oracle).threshold.value

    def f1(at: float) -> float:
        flagged = decide(scores, at) == Verdict.ANOMALY
        return float(2 * (flagged & truth).sum() / (flagged.sum() + truth.sum()))

    assert f1(line) == pytest.approx(max(f1(at) for at in [0.0, *scores.tolist()]))


@given(several())
def test_the_trade_off_is_what_each_threshold_costs(calibration: CalibrationScores) -> None:
    found = trade_off(calibration)
    assert (np.diff(found.thresholds) > 0).all()
    assert found.thresholds[-1] == calibration.scores.max()
    assert found.expected[-1] == 0
    days = calibration.days
    assert days is not None
    assert false_alarms.at_each(calibration, found.thresholds) == [
        false_alarms.expected(calibration, thresholds.given(line)) for line in found.thresholds.tolist()
    ]
    for line, rate in zip(found.thresholds, found.expected, strict=True):
        assert rate * days == pytest.approx(all_stepped(calibration, float(line)))
