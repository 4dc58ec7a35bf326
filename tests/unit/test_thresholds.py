"""Thresholds, tails and intervals against known distributions, tables and formulas; notes where data are too few."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy import stats

from monitor.detector import spec
from monitor.detector.incidents import Policy
from monitor.detector.spec import CalibrationSpec, TailSpec, ThresholdSpec, WindowSpec
from monitor.errors import ArtifactFormatError, DataError
from tests.helpers import make_artifact
from training.thresholds import poisson, rules, tail
from training.thresholds.calibration import LOWEST_THRESHOLD, PROBABILITIES, CalibrationScores, windows_per_day
from training.thresholds.choose import LabelledScores, choose, described, too_few
from training.thresholds.false_alarms import trade_off
from training.thresholds.recalibrate import recalibrated
from training.thresholds.rules import ThresholdPart

DISTRIBUTIONS = {
    "exponential": stats.expon(),
    "half normal": stats.halfnorm(),
    "gamma": stats.gamma(3),
    "pareto": stats.genpareto(0.2),
}


def calibration_of(scores: object, **known: object) -> CalibrationScores:
    return CalibrationScores(scores=np.asarray(scores, np.float32), **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "tolerance"), [("exponential", 0.12), ("half normal", 0.09), ("gamma", 0.12), ("pareto", 0.25)]
)
def test_the_level_of_a_risk_is_near_the_true_quantile(name: str, tolerance: float) -> None:
    """The mean over 10 seeds, at a risk five times further out than 20,000 windows reach.

    One seed's level has a relative standard deviation of 0.09, 0.05, 0.08 and 0.22 there (measured over 20 seeds) and a
    bias of up to 0.04, so the tolerance is three standard errors of the mean and the bias.
    """
    true = DISTRIBUTIONS[name]
    for risk, closer in ((1e-3, 3), (1e-5, 1)):
        rule, levels = ThresholdPart(method="pot", risk=risk), []
        for seed in range(10):
            drawn = true.rvs(20_000, random_state=np.random.default_rng(seed))
            levels.append(choose(calibration_of(drawn), rule).threshold.value)
        assert np.mean(levels) == pytest.approx(true.isf(risk), rel=tolerance / closer)


def test_a_risk_beyond_the_windows_is_extrapolated_loudly() -> None:
    """Of 1,000 windows the share over the threshold at a risk of 1e-4 was over twice as high in half of 60 draws."""
    rule = ThresholdPart(method="pot", risk=1e-3)
    drawn = stats.expon().rvs(2_000, random_state=np.random.default_rng(0))
    assert choose(calibration_of(drawn), rule).notes == []
    for notes in (
        choose(calibration_of(drawn), msgspec.structs.replace(rule, risk=1e-4)).notes,
        choose(calibration_of(np.repeat(drawn, 4), overlap=16.0), rule).notes,
    ):
        assert len(notes) == 1
        assert notes[0].startswith("EXTRAPOLATED: a risk of")
    assert "8000 calibration windows count as about 500 independent ones" in notes[0]


def test_the_level_is_that_of_the_paper() -> None:
    # Siffer et al. 2017, equation 1: t + scale / shape ((q n / N)^-shape - 1)
    fitted = TailSpec(start=2.0, shape=0.25, scale=0.5, share=0.02, peaks=100)
    assert tail.level(fitted, 1e-4) == pytest.approx(2.0 + 0.5 / 0.25 * ((1e-4 / 0.02) ** -0.25 - 1))
    assert tail.level(msgspec.structs.replace(fitted, shape=0.0), 1e-4) == pytest.approx(2.0 + 0.5 * np.log(200))
    assert tail.level(fitted, 0.03) is None
    level = tail.level(fitted, 1e-5)
    assert level is not None
    assert tail.exceeding(fitted, np.array([level]))[0] == pytest.approx(1e-5 / 0.02)


def test_peaks_are_one_of_each_cluster() -> None:
    scores = np.random.default_rng(0).exponential(size=4000)
    fitted = tail.fit(calibration_of(scores)).tail
    # Each window twice, as overlapping windows do.
    doubled = tail.fit(calibration_of(np.repeat(scores, 2), overlap=2.0, policy=Policy(close_after=6))).tail
    assert fitted is not None
    assert doubled is not None
    assert doubled.peaks == fitted.peaks
    assert doubled.share == pytest.approx(fitted.share, rel=0.02)
    assert doubled.scale == pytest.approx(fitted.scale, rel=0.02)
    start = float(np.quantile(scores.astype(np.float32), 0.98, method="higher"))
    alone = tail.fit(calibration_of(scores, policy=None)).tail
    assert alone is not None
    assert alone.peaks == (scores.astype(np.float32) > start).sum() > fitted.peaks


def test_a_tail_that_can_not_be_fitted_says_why_and_the_threshold_is_a_quantile() -> None:
    few = choose(calibration_of(np.arange(1, 61)), ThresholdPart(method="pot", risk=0.01))
    assert few.calibration.tail is None
    assert few.threshold.value == 60
    assert "separate peaks" in few.notes[0]
    flat = tail.fit(calibration_of(np.tile([1.0] * 19 + [2.0], 100)))
    assert flat.tail is None
    assert "all the same" in (flat.reason or "")


@pytest.mark.parametrize("shape", [-0.3, -0.1, 0.0, 0.2, 0.8])
@pytest.mark.parametrize("peaks", [100, 5_000])
def test_the_likeliest_tail_is_scipys(shape: float, peaks: int) -> None:
    drawn = stats.genpareto(shape).rvs(peaks, random_state=np.random.default_rng(peaks))
    excess = drawn / drawn.mean()
    found = tail.likeliest(excess)
    theirs = stats.genpareto.fit(excess, floc=0)
    likelihoods = [stats.genpareto.logpdf(excess, c, scale=scale).mean() for c, scale in (found, theirs[::2])]
    assert likelihoods[0] >= likelihoods[1] - 1e-9
    assert found == pytest.approx(theirs[::2], abs=2e-3)


@pytest.mark.parametrize("shape", [-0.3, 1e-12, 0.4])
def test_the_share_of_peaks_over_a_threshold_is_scipys(shape: float) -> None:
    thresholds = np.linspace(0.5, 8.0, 50)
    spec = TailSpec(start=1.0, shape=shape, scale=0.7, share=0.02, peaks=40)
    theirs = stats.genpareto.sf(thresholds, shape, loc=1.0, scale=0.7)
    assert tail.exceeding(spec, thresholds) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(("shape", "taken"), [(-1.0, 0.0), (1.8, 0.9)])
def test_an_irregular_tail_is_replaced_by_a_regular_one(shape: float, taken: float) -> None:
    drawn = stats.genpareto(shape).rvs(20_000, random_state=np.random.default_rng(0))
    fitted = tail.fit(calibration_of(drawn))
    assert fitted.tail is not None
    assert fitted.tail.shape == pytest.approx(taken)
    assert "irregular" in (fitted.reason or "")
    assert fitted.tail.scale > 0


@pytest.mark.parametrize("size", [1e-41, 1e36])
def test_scores_at_the_ends_of_float32_give_a_threshold_that_can_be_served(size: float) -> None:
    drawn = np.exp(3 * np.random.default_rng(0).normal(size=3000)) * size
    scores = np.minimum(drawn, spec.MAX_FLOAT32)
    rule = ThresholdPart(method="pot", risk=1e-9)
    chosen = choose(calibration_of(scores), rule)
    bare = make_artifact().manifest
    spec.check(msgspec.structs.replace(bare, threshold=chosen.threshold, calibration=chosen.calibration))
    assert LOWEST_THRESHOLD <= chosen.threshold.value <= spec.MAX_FLOAT32
    assert chosen.notes


def test_intervals_are_garwoods() -> None:
    low, high = zip(*map(poisson.interval, (0, 1, 5, 10)), strict=True)
    # Garwood 1936, table of 95% limits of a Poisson mean.
    assert low == pytest.approx([0.0, 0.0253, 1.6235, 4.7954], abs=1e-4)
    assert high == pytest.approx([3.6889, 5.5716, 11.6683, 18.3904], abs=1e-4)


def test_intervals_are_scipys() -> None:
    counts = np.array([0, 1, 2, 3, 7, 30, 1_000, 123_456, 10_000_000])
    low, high = zip(*map(poisson.interval, counts.tolist()), strict=True)
    assert low[1:] == pytest.approx(stats.chi2.ppf(0.025, 2 * counts[1:]) / 2, rel=1e-9)
    assert high == pytest.approx(stats.chi2.isf(0.025, 2 * counts + 2) / 2, rel=1e-9)


def test_a_budget_that_the_data_can_show_is_counted() -> None:
    # 10 days; separate peaks 1, 2, ... 40
    scores = np.full(1000, 0.5)
    scores[5::25] = np.random.default_rng(0).permutation(np.arange(1, 41))
    chosen = choose(calibration_of(scores, windows_per_day=100.0), ThresholdPart(method="budget", alarms_per_day=2))
    assert chosen.threshold == ThresholdSpec(value=20.0, method="budget", parameters={"alarms_per_day": 2.0})
    assert (chosen.expected.incidents, chosen.expected.rate) == (20, 2.0)
    assert chosen.notes == []


def test_a_budget_beyond_the_data_is_extrapolated_loudly() -> None:
    scores = stats.expon().rvs(20_000, random_state=np.random.default_rng(2))
    rule = ThresholdPart(method="budget", alarms_per_day=0.1)
    chosen = choose(calibration_of(scores, windows_per_day=10_000.0), rule)
    assert "EXTRAPOLATED: 2 days" in chosen.notes[0]
    assert chosen.expected.incidents == 0
    # Once in 10 days of 10,000 independent windows: a probability of 1e-5.
    assert chosen.threshold.value == pytest.approx(stats.expon().isf(1e-5), rel=0.2)
    few = choose(calibration_of(scores[:50], windows_per_day=10_000.0), rule)
    assert few.threshold.value == pytest.approx(scores[:50].max())
    assert "the rate unknown" in few.notes[0]


def test_an_extrapolated_budget_counts_peaks_of_all_windows() -> None:
    """By hand, from the tail that is kept: overlapping windows are fewer observations, but no fewer windows a day."""
    scores = np.repeat(stats.expon().rvs(5_000, random_state=np.random.default_rng(3)), 4)
    rule = ThresholdPart(method="budget", alarms_per_day=0.1)
    chosen = choose(calibration_of(scores, overlap=4.0, windows_per_day=10_000.0), rule)
    fitted = chosen.calibration.tail
    assert fitted is not None
    peaks_a_day = fitted.peaks / 2  # two days
    expected = fitted.start + fitted.scale / fitted.shape * ((0.1 / peaks_a_day) ** -fitted.shape - 1)
    assert chosen.threshold.value == pytest.approx(expected, rel=1e-9)
    assert "EXTRAPOLATED: 2 days" in chosen.notes[0]


@pytest.mark.parametrize("open_after", [1, 3])
def test_peaks_are_not_all_incidents_where_several_windows_open_one(open_after: int) -> None:
    scores = np.random.default_rng(0).exponential(size=2_000)
    calibration = calibration_of(scores, windows_per_day=1_000.0, policy=Policy(open_after=open_after))
    rule = ThresholdPart(method="budget", alarms_per_day=0.01)
    chosen = choose(calibration, rule)
    made, _ = recalibrated(make_artifact(), ThresholdPart(method="quantile"), calibration)
    _, stored = recalibrated(made, rule)
    for notes in (chosen.notes, stored):
        assert any("tail" in note for note in notes)
        assert any("3 windows in a row" in note for note in notes) == (open_after == 3)


def test_a_budget_of_whole_incidents_is_not_rounded_down() -> None:
    # 0.29 a day in 100 days are 29, but 28.999999999999996 in floating point
    scores = np.full(1000, 0.5)
    scores[5::20] = np.random.default_rng(0).permutation(np.arange(1, 51))
    chosen = choose(calibration_of(scores, windows_per_day=10.0), ThresholdPart(method="budget", alarms_per_day=0.29))
    assert (chosen.expected.incidents, chosen.threshold.value) == (29, 21.0)


def test_the_tails_share_is_of_the_windows_over_its_start() -> None:
    # 2,000 windows: the 0.98 quantile is 5, which twenty windows equal and thirty exceed
    scores = np.concatenate([np.linspace(0.1, 0.9, 1950), np.full(20, 5.0), 6 + np.linspace(0, 4, 30) ** 2])
    fitted = tail.fit(calibration_of(scores, policy=None)).tail
    assert fitted is not None
    assert (fitted.start, fitted.peaks, fitted.share) == (5.0, 30, 0.015)


def test_a_budget_needs_to_know_the_rate() -> None:
    with pytest.raises(DataError, match=r"sampling_rate_hz.*timestamps"):
        choose(calibration_of([1, 2, 3]), ThresholdPart(method="budget"))


def test_a_budget_that_no_threshold_spends() -> None:
    scores = np.full(100, 1.0)
    scores[50:] = 2.0
    chosen = choose(calibration_of(scores, windows_per_day=10.0), ThresholdPart(method="budget", alarms_per_day=5))
    assert chosen.threshold.value == 1.0
    assert "no threshold opens as many" in chosen.notes[0]


def test_overlapping_windows_are_thinned_for_p_values() -> None:
    scores = np.arange(1, 1001)
    alone = choose(calibration_of(scores), ThresholdPart(method="conformal", p_value=0.01))
    assert (alone.threshold.value, alone.notes) == (991.0, [])
    # Every tenth: 1, 11, ... 991; p 0.01 needs 99 of them.
    thinned = choose(calibration_of(scores, overlap=10.0), ThresholdPart(method="conformal", p_value=0.01))
    assert (thinned.threshold.value, thinned.notes) == (991.0, [])
    short = choose(calibration_of(scores, overlap=10.0), ThresholdPart(method="conformal", p_value=0.001))
    assert "no p-value under 0.0099" in short.notes[0]
    assert "give 999 independent" in short.notes[0]


def test_the_tutorials_threshold() -> None:
    scores = np.array([1, 2, 3, 4], np.float32)
    chosen = choose(calibration_of(scores, held_out=False), ThresholdPart(method="mean_std", k=2.0))
    expected = 2.5 + 2 * float(np.std(scores.astype(np.float64)))
    assert chosen.threshold == ThresholdSpec(value=expected, method="mean_std", parameters={"k": 2.0})
    assert not chosen.calibration.held_out


def test_what_was_fitted_on_flatters() -> None:
    chosen = choose(calibration_of(np.arange(1, 1000), held_out=False), ThresholdPart(method="quantile"))
    assert "fitted on" in chosen.notes[0]


def test_nothing_to_calibrate_with() -> None:
    with pytest.raises(DataError, match="0 calibration windows"):
        choose(calibration_of([]), ThresholdPart(method="quantile"))


def test_a_model_that_is_never_wrong_has_the_lowest_threshold_there_is() -> None:
    chosen = choose(calibration_of(np.zeros(500)), ThresholdPart(method="quantile"))
    assert chosen.threshold.value == LOWEST_THRESHOLD
    assert "lowest possible" in chosen.notes[0]


def test_too_few_windows_for_a_quantile_are_told() -> None:
    assert too_few(100, 0.99) is None
    assert "needs 100" in (too_few(99, 0.99) or "")
    assert too_few(200, 0.99, overlap=4.0) is not None
    assert "needs 100" in choose(calibration_of(np.arange(1, 99)), ThresholdPart(method="quantile")).notes[0]


def test_series_have_their_own_thresholds_where_they_have_windows() -> None:
    scores = np.concatenate([np.arange(1, 1001), np.arange(1, 501) + 5000, np.arange(1, 21) * 1e5])
    series = np.repeat([0, 1, 2], [1000, 500, 20])
    known = {"series": series, "names": ("a", "b", "c")}
    enough = choose(
        calibration_of(scores[:199], series=np.repeat([0, 1], [100, 99]), names=("a", "b")),
        ThresholdPart(method="quantile", quantile=0.9, per="series"),
    )
    assert (tuple(enough.threshold.series), enough.calibration.series) == (("a",), ("a",)), "a hundred are enough"
    chosen = choose(calibration_of(scores, **known), ThresholdPart(method="quantile", quantile=0.99, per="series"))
    assert chosen.threshold.series == {"a": 991.0, "b": 5496.0}
    assert chosen.threshold.value == np.quantile(scores, 0.99, method="higher")
    assert any("1 of 3 series" in note and "(c)" in note for note in chosen.notes)
    assert chosen.calibration.series == ("a", "b")
    assert chosen.table is not None
    assert (chosen.table.shape, chosen.table.dtype) == ((2, len(PROBABILITIES)), np.dtype(np.float32))
    assert chosen.table[1].tolist() == np.quantile(scores[series == 1], PROBABILITIES, method="higher").tolist()
    assert (chosen.series_expected["a"].over, chosen.series_expected["b"].over) == (9, 4)
    assert sum(each.over for each in chosen.series_expected.values()) == chosen.expected.over


def test_many_series_do_not_say_the_same_many_times() -> None:
    scores = stats.expon().rvs(8000, random_state=np.random.default_rng(0))
    known = {"series": np.repeat(np.arange(8), 1000), "names": tuple("abcdefgh"), "windows_per_day": 2000.0}
    chosen = choose(calibration_of(scores, **known), ThresholdPart(method="budget", alarms_per_day=1, per="series"))
    assert len(chosen.threshold.series) == 8
    assert sum(note.startswith("series ") for note in chosen.notes) == 3
    assert any(note.startswith("5 more notes") for note in chosen.notes)


def test_lines_in_words() -> None:
    assert described(ThresholdSpec(value=1.0, method="budget", parameters={"alarms_per_day": 0.5})) == (
        "at most 0.5 incidents a day per series"
    )
    assert described(ThresholdSpec(value=1.0, method="given")) == "given"
    assert described(ThresholdSpec(value=1.0, method="quantile")) == "quantile"


def test_lines_per_series_need_series() -> None:
    with pytest.raises(DataError, match="named series"):
        choose(calibration_of(np.arange(1, 500)), ThresholdPart(method="quantile", per="series"))


def test_an_oracle_needs_labels_and_says_what_it_is() -> None:
    rule, some = ThresholdPart(method="oracle"), calibration_of([1, 2])
    with pytest.raises(DataError, match="labelled windows"):
        choose(some, rule)
    scores = np.array([1, 2, np.nan, 3, 4], np.float32)
    nothing = np.array([False, False, True, False, False])
    with pytest.raises(DataError, match="labelled anomalies"):
        choose(some, rule, oracle=LabelledScores(scores=scores, anomalous=nothing))
    found = choose(
        some, rule, oracle=LabelledScores(scores=scores, anomalous=np.array([False, False, True, True, True]))
    )
    assert found.threshold.value == 2.0
    assert found.notes[0].startswith("ORACLE")


def test_rules_that_can_not_be_meant() -> None:
    assert rules.problems(ThresholdPart(method="quantile")) == []
    wrong = ThresholdPart(
        method="oracle", quantile=99, k=float("nan"), alarms_per_day=0, risk=1, p_value=-1, per="series"
    )
    found = rules.problems(wrong)
    assert "threshold.quantile is 99, must be in (0, 1]" in found
    assert len(found) == 6
    with pytest.raises(DataError, match=r"threshold\.quantile is 99"):
        choose(calibration_of([1, 2]), wrong)


def test_codes_that_name_no_series_are_refused() -> None:
    with pytest.raises(DataError, match="series codes"):
        choose(calibration_of([1, 2], series=np.array([0, 1]), names=("a",)), ThresholdPart(method="quantile"))


def test_windows_a_day() -> None:
    sliding = WindowSpec(kind="sliding", length=8, hop=4, sampling_rate_hz=2.0)
    assert windows_per_day(sliding, []) == 86_400 * 2 / 4
    by_time = msgspec.structs.replace(sliding, sampling_rate_hz=None)
    minutes = np.arange(10, dtype=np.int64) * 60_000_000
    assert windows_per_day(by_time, [None, minutes]) == 1440 / 4
    assert windows_per_day(by_time, [None, minutes[:1]]) is None


def test_the_trade_off_has_about_fifty_thresholds_and_a_unit() -> None:
    scores = stats.expon().rvs(5000, random_state=np.random.default_rng(0))
    found = trade_off(calibration_of(scores))
    assert 40 <= len(found.thresholds) <= 51
    assert not found.a_day
    assert (found.low <= found.expected).all()
    assert (found.expected <= found.high).all()
    assert trade_off(calibration_of(scores, windows_per_day=100.0)).a_day


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("calibration", {"windows_per_day": 0.0}, "windows_per_day is 0.0"),
        ("calibration", {"series": ("a", "a")}, "names that differ"),
        (
            "calibration",
            {"tail": TailSpec(start=1.0, shape=0.0, scale=0.0, share=0.1, peaks=2)},
            "positive, finite scale",
        ),
        ("calibration", {"tail": TailSpec(start=1.0, shape=2.0, scale=1.0, share=0.1, peaks=2)}, "shape is 2.0"),
        ("calibration", {"tail": TailSpec(start=1.0, shape=0.0, scale=1.0, share=0.0, peaks=2)}, "share is 0.0"),
        ("calibration", {"tail": TailSpec(start=1.0, shape=0.0, scale=1.0, share=0.1, peaks=9)}, "peaks is 9"),
        ("threshold", {"series": {"a": 0.0}}, "each positive"),
        ("threshold", {"series": {"a": 1e-40}}, "each positive"),
    ],
)
def test_an_artifact_with_impossible_calibration_is_refused(part: str, change: dict[str, object], said: str) -> None:
    manifest = make_artifact().manifest
    held: CalibrationSpec | ThresholdSpec = getattr(manifest, part)
    wrong = msgspec.structs.replace(manifest, **{part: msgspec.structs.replace(held, **change)})
    with pytest.raises(ArtifactFormatError, match=said):
        spec.check(wrong)


def test_trimming_leaves_out_as_many_as_fitting_does() -> None:
    kept = calibration_of(np.array([3.0, 1.0, 2.0, 9.0, 5.0, 4.0, 8.0, 7.0, 6.0, 0.0])).trimmed(0.1)
    assert kept.scores.tolist() == [3, 1, 2, 5, 4, 8, 7, 6, 0]
    assert len(calibration_of(np.ones(5)).trimmed(0.1).scores) == 5
