"""What `telltale evaluate` computes of labelled series: counted by hand, by scikit-learn, by the daemon's own step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import sklearn.metrics

from monitor.datafiles import SeriesTable, WindowTable
from monitor.detector.artifact import Artifact
from monitor.detector.decision import Verdict
from monitor.detector.incidents import Incident, Policy, Status, step
from monitor.errors import DataError
from training import pipeline, recipes
from training.commands import summary
from training.evaluation import labelled
from training.evaluation.labelled import evaluate_artifact
from training.evaluation.scored import FlaggedScores, scored
from training.evaluation.series_metrics import LabelledSeries, Rules, alerts, block_rows, over_series
from training.metrics import bootstrap, windows
from training.thresholds import alert_policy
from training.thresholds.recalibrate import recalibrated
from training.windows.subsets import Table

change = msgspec.structs.replace
LENGTH, HOP = 8, 4
RULES = Rules(hop=HOP, policy=Policy())


def marks(drawing: str) -> np.ndarray:
    return np.array([sign not in ". " for sign in drawing])


def labelled_series(drawing: str, begin: int = 0, seconds: float | None = None) -> LabelledSeries:
    """A series of which every fourth row closes a window of eight, the first of which is window `begin`."""
    truth = marks(drawing)
    last = np.arange(LENGTH - 1, len(truth), HOP)
    return LabelledSeries(
        name=f"from {begin}",
        anomalous=truth,
        times_secs=None if seconds is None else seconds * np.arange(len(truth)),
        period=6,
        windows=slice(begin, begin + len(last)),
        first=last - LENGTH + 1,
        last=last,
    )


#        windows close at  7   11  15  19  23  27  31  35  39  43  47  51  55  59
#        over the threshold        x       x                   x               x
#          0         1         2         3         4         5
#          012345678901234567890123456789012345678901234567890123456789
DRAWING = "................[====]....................[=]..............."
OVER = marks("..x.x....x...x")
LATE = marks("....x.........")


def judged(flagged: np.ndarray = OVER) -> FlaggedScores:
    scores = np.where(flagged, 0.9, 0.1) + 0.01 * np.arange(len(flagged))
    return FlaggedScores(scores=scores.astype(np.float32), flagged=flagged)


def test_one_series_by_hand() -> None:
    """The first two windows over are one alert, rows 15 to 26; rows 43 to 46 and row 59 open another each."""
    one = labelled_series(DRAWING, seconds=10.0)
    assert alerts(one, judged(), RULES).tolist() == [[15, 26], [43, 46], [59, 59]]
    found = over_series([one], judged(), {}, RULES, block=None)
    assert (found.rows, found.unscored_rows, found.merge_gap, found.tolerance) == (60, 7, 12, 3)
    assert (found.events.events, found.events.alerts, found.events.false_alarms) == (2, 3, 1)
    assert found.events.found_after_secs == (0.0, 10.0), "rows 15 to 18 are over: at row 16; the other at row 43"
    detector = found.detector
    assert (detector.precision, detector.recall) == (2 / 3, 1.0)
    assert detector.f1 == pytest.approx(0.8)
    assert (detector.delay_median, detector.delay_p90, detector.missed) == (0.0, 10.0, 0)
    # 51 rows are unlabelled, of which three after each event still belong to it
    assert detector.false_alarms_per_day == pytest.approx(86_400 / 10 / (51 - 2 * 3))
    # unlabelled and over the threshold: 15, 23 to 26, 45, 46, 59
    assert detector.normal_flagged == pytest.approx(8 / 51)
    rows = np.repeat(judged().scores, HOP)[: 60 - 7]
    truth = marks(DRAWING)[7:]
    assert detector.average_precision == pytest.approx(sklearn.metrics.average_precision_score(truth, rows))
    everything, chance = found.baselines["flag_everything"], found.baselines["random"]
    assert (everything.precision, everything.recall, everything.normal_flagged) == (1.0, 1.0, 44 / 51)
    assert everything.average_precision == pytest.approx(truth.mean())
    assert chance.average_precision == pytest.approx(truth.mean(), abs=0.06)
    assert chance.recall is not None
    assert chance.recall < 1
    assert (found.drawn, found.intervals) == (None, {}), "two events are too few to draw blocks"


def test_what_opens_no_incident_finds_nothing_and_delays_are_those_of_alerts() -> None:
    """Where three windows in a row open one, the first event has but two, and the second is found at the third."""
    #            windows close at  7   11  15  19  23  27  31  35  39  43  47  51  55  59
    flagged = marks("..xx.....xxxx.")
    one = labelled_series("............[====]......................[===================]", seconds=10.0)
    rules = Rules(hop=HOP, policy=Policy(open_after=3, close_after=1))
    assert alerts(one, judged(flagged), rules).tolist() == [[51, 58]]
    found = over_series([one], judged(flagged), {}, rules, block=None)
    assert (found.events.events, found.events.found, found.events.alerts, found.events.false_alarms) == (2, 1, 1, 0)
    assert found.events.found_after_secs == (None, 110.0)
    soon = over_series([one], judged(flagged), {}, RULES, block=None)
    assert soon.events.found_after_secs == (30.0, 30.0)
    assert soon.detector.normal_flagged == found.detector.normal_flagged, "flagged is over the threshold, alert or not"


def test_delays_are_in_rows_without_times_and_a_miss_is_counted() -> None:
    found = over_series([labelled_series(DRAWING)], judged(LATE), {}, RULES, block=None)
    assert (found.delay_unit, found.detector.delay_median, found.detector.delay_p90) == ("rows", 7.0, None)
    assert (found.detector.missed, found.detector.false_alarms_per_day) == (1, None)
    assert found.detector.false_alarms_per_1000_rows == 0.0


def test_series_are_pooled_and_drawn_again() -> None:
    one, other = labelled_series(DRAWING), labelled_series(DRAWING, begin=14)
    both = FlaggedScores(
        scores=np.concatenate([judged().scores, judged(LATE).scores]),
        flagged=np.concatenate([OVER, LATE]),
    )
    found = over_series([one, other], both, {"knn": both}, RULES, block=None)
    assert (found.events.events, found.events.found, found.events.alerts, found.events.false_alarms) == (4, 3, 4, 1)
    assert (found.detector.precision, found.detector.recall) == (3 / 4, 3 / 4)
    each = [of.metrics for of in found.each]
    assert found.detector.vus_pr == pytest.approx(np.mean([of.volume.vus_pr for of in each if of and of.volume]))
    assert found.baselines["knn"] == found.detector
    assert found.drawn == "2 series"
    # a draw is both, or either twice: precision 2/3, 3/4 or 1, recall 1, 3/4 or 1/2
    precision, recall = found.intervals["precision"], found.intervals["recall"]
    assert precision is not None
    assert recall is not None
    assert (precision.low, precision.high, recall.low, recall.high) == (2 / 3, 1.0, 0.5, 1.0)
    assert found.intervals["delay_p90"] is None, "where an event is missed it is longer than any"


def test_unscorable_windows_neither_flag_nor_close() -> None:
    """Three normal windows close an incident; of those between here one could not be scored."""
    one = labelled_series("." * 56)
    flagged = marks("x...x........")
    scores = np.where(flagged, 0.9, 0.1).astype(np.float32)
    assert len(alerts(one, FlaggedScores(scores=scores, flagged=flagged), RULES)) == 2
    scores[2] = np.nan
    assert alerts(one, FlaggedScores(scores=scores, flagged=flagged), RULES).tolist() == [[7, 26]]
    found = over_series([one], FlaggedScores(scores=scores, flagged=flagged), {}, RULES, block=None)
    assert (found.events.alerts, found.unscored_rows) == (1, 7 + HOP)


@pytest.mark.parametrize("policy", [Policy(), Policy(open_after=2, close_after=1), Policy(open_after=3, close_after=5)])
def test_alerts_are_those_that_the_daemon_opens(policy: Policy) -> None:
    rng = np.random.default_rng(0)
    one = labelled_series("." * 1_000)
    count = len(one.last)
    for share in (0.1, 0.4, 0.7):
        flagged = rng.random(count) < share
        scores = np.where(rng.random(count) < 0.1, np.nan, 1.0).astype(np.float32)
        verdicts = np.where(np.isnan(scores), Verdict.UNSCORABLE, flagged).tolist()
        found = alerts(one, FlaggedScores(scores=scores, flagged=flagged), Rules(hop=HOP, policy=policy))
        assert len(found) == sum(_firings(verdicts, policy))
        assert (found[1:, 0] > found[:-1, 1]).all()


def _firings(verdicts: list[int], policy: Policy) -> Iterator[bool]:
    incident = Incident()
    for verdict in verdicts:
        told = step(incident, verdict, 1.0, 0, 0, policy)
        if told is Status.FIRING:
            incident.fingerprint = "open"
        if told is Status.RESOLVED:
            incident = Incident()
        yield told is Status.FIRING


def test_blocks_need_a_long_series_with_events() -> None:
    assert block_rows([labelled_series(20 * "....[=]...")], LENGTH) == 9
    assert block_rows([labelled_series(20 * ".[==========].")], LENGTH) == 13
    assert block_rows([labelled_series(5 * ".[=]")], LENGTH) is None
    assert block_rows([labelled_series("[=]" + "." * 500)], LENGTH) is None
    assert block_rows([labelled_series(20 * "....[=]...")] * 2, LENGTH) is None


def test_drawn_windows_have_the_figures_of_what_was_drawn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(90) < 0.3
    scores = np.round(rng.normal(size=90) + truth, 1)
    scores[::7] = np.nan
    drawn = next(bootstrap.series_draws(np.repeat([5, 3, 9], 30), seed=1))
    assert len(drawn) == 90
    parts = sorted(set(drawn // 30))
    assert len(parts) < 3, "this seed draws one of the three twice, at least"
    found = bootstrap.of_draws(truth, scores, scores > 0.5, [drawn])
    theirs = windows.report(truth[drawn], scores[drawn], scores[drawn] > 0.5)
    kept = drawn[~np.isnan(scores[drawn])]
    for interval, value in (
        (found.accuracy, theirs.accuracy),
        (found.anomaly_f1, theirs.anomaly.f1),
        (found.normal_f1, theirs.normal.f1),
        (found.auroc, sklearn.metrics.roc_auc_score(truth[kept], scores[kept])),
        (found.average_precision, sklearn.metrics.average_precision_score(truth[kept], scores[kept])),
    ):
        assert interval is not None
        assert interval.low == interval.high == pytest.approx(value)


def waves(rows: int, seed: int, odd: tuple[slice, ...] = (), name: str = "waves") -> SeriesTable:
    rng = np.random.default_rng(seed)
    values = np.sin(np.arange(rows)[:, None] / 4 + np.array([0.0, 1.0])) + rng.normal(0, 0.05, (rows, 2))
    labels = np.zeros(rows, dtype=np.int64)
    for part in odd:
        values[part] += rng.normal(size=values[part].shape)
        labels[part] = 1
    return SeriesTable(
        samples=values.astype(np.float32),
        channels=("pressure", "flow"),
        time_us=np.arange(rows) * 1_000_000,
        labels=labels,
        series=name,
    )


TRAINED_ON = waves(2_500, 0, (slice(2_100, 2_130), slice(2_300, 2_320)))


@pytest.fixture(scope="module")
def trained() -> pipeline.Trained:
    recipe = recipes.override(recipes.load("sliding"), epochs=20, length=16, hop=4, quantile=0.9)
    return pipeline.train(recipe, [TRAINED_ON], seed=0, name="waves", batch_rows=64)


def evaluated(artifact: Artifact, *tables: Table, normal: tuple[Table, ...] = ()) -> labelled.Evaluated:
    return evaluate_artifact(artifact, artifact.scorer(), tables, normal_class=None, normal=normal)


def test_the_test_part_is_evaluated_as_the_training_did_with_baselines_from_its_data(trained: pipeline.Trained) -> None:
    part = slice(2_000, 2_500)  # the last fifth
    assert TRAINED_ON.labels is not None
    tested = replace(TRAINED_ON, samples=TRAINED_ON.samples[part], labels=TRAINED_ON.labels[part], time_us=None)
    found = evaluated(trained.artifact, tested, normal=(TRAINED_ON,))
    assert found.detector == trained.results.detector
    assert found.baselines == trained.results.baselines
    assert found.trivial_baselines == trained.results.trivial_baselines
    assert found.series is not None
    assert found.series.baselines.keys() == {"random", "flag_everything", "pca", "pca_squared", "knn"}
    assert found.series.delay_unit == "rows", "neither the data nor the artifact says how long one takes"
    assert found.intervals is None, "two events are too few"


def test_baselines_of_a_threshold_that_was_given_have_theirs_where_it_lies(trained: pipeline.Trained) -> None:
    line = trained.artifact.manifest.threshold.value  # the quantile 0.9
    given, _ = recalibrated(trained.artifact, line)
    assert given.manifest.threshold.method == "given"
    tested = waves(600, 1, (slice(300, 320),))
    assert (
        evaluated(given, tested, normal=(TRAINED_ON,)).baselines
        == evaluated(trained.artifact, tested, normal=(TRAINED_ON,)).baselines
    )


def test_what_a_person_reads(trained: pipeline.Trained) -> None:
    artifact = trained.artifact
    odd = tuple(slice(at, at + 20) for at in range(200, 1_400, 200))
    found = evaluated(artifact, waves(1_500, 1, odd, "long"))
    text = summary.of_evaluation(found)
    assert "6 of 6 events found" in text
    assert "drawing blocks of 21 rows again" in text
    assert "give it with --baselines-from" in text
    assert found.series is not None
    assert found.series.delay_unit == "seconds"
    for name in ("precision", "recall", "false_alarms_per_day", "average_precision"):
        interval, value = found.series.intervals[name], getattr(found.series.detector, name)
        assert interval is not None
        assert interval.low <= value <= interval.high
    several = evaluated(artifact, waves(400, 2, (slice(100, 120),), "a"), waves(9, 3, (slice(2, 4),), "short"))
    assert several.series is not None
    assert (several.series.events.events, several.series.detector.missed) == (2, 1)
    assert "by drawing 2 series again" in summary.of_evaluation(several)
    assert all(len(line) <= 125 for line in summary.of_evaluation(several).splitlines())


def test_data_with_nothing_to_tell(trained: pipeline.Trained) -> None:
    artifact = trained.artifact
    short = evaluated(artifact, waves(9, 0, (slice(2, 4),)))
    assert (short.windows, short.detector, short.intervals) == (0, None, None)
    assert "0 of 1 events found, 0 alerts" in summary.of_evaluation(short)
    holed = [waves(100, seed, (slice(50, 60),)) for seed in (0, 1)]
    for table in holed:
        table.samples[::8] = np.nan
    unscorable = evaluated(artifact, *holed)
    assert (unscorable.windows, unscorable.unscorable) == (44, 44)
    assert unscorable.intervals is not None
    assert unscorable.intervals.accuracy is None
    assert "0 of 2 events found, 0 alerts" in summary.of_evaluation(unscorable)
    everything = evaluated(artifact, waves(200, 0, (slice(0, 200),)))
    assert everything.series is not None
    assert everything.series.detector.vus_pr is None
    assert everything.series.detector.false_alarms_per_day is None
    nothing = evaluated(artifact, waves(200, 0))
    assert nothing.series is not None
    assert (nothing.series.detector.recall, nothing.series.detector.average_precision) == (None, None)
    assert nothing.series.detector.false_alarms_per_day is not None
    assert nothing.alerted is None


def test_series_without_labels_tell_how_often_the_daemon_would_have_spoken(trained: pipeline.Trained) -> None:
    """The alerts are those that the same rows have with labels, and each counts as one too many."""
    tables = [waves(200, 0, (slice(50, 60), slice(120, 125)), "a"), waves(300, 1, (), "b"), waves(9, 2, (), "short")]
    of_labelled = evaluated(trained.artifact, *tables).series
    found = evaluated(trained.artifact, *(replace(table, labels=None) for table in tables))
    assert (found.series, found.detector, found.trivial_baselines) == (None, None, {})
    assert of_labelled is not None
    assert found.alerted is not None
    assert found.alerted.alerts == of_labelled.events.alerts > 0
    assert found.alerted.each["short"] == 0
    assert found.alerted.each == {one.name: one.events.alerts for one in of_labelled.each}
    assert found.alerted.rows == 509
    assert found.alerted.series == 3
    assert found.alerted.days is not None
    assert found.alerted.days == pytest.approx(300 / 86_400), "the shorter ones lie within the longest"
    assert found.alerted.per_day == pytest.approx(found.alerted.alerts / found.alerted.days)
    assert found.alerted.per_day_and_series == pytest.approx(found.alerted.alerts / (509 / 86_400))
    assert of_labelled.detector.normal_flagged is not None
    flagged = found.alerted.flagged
    assert flagged is not None
    assert 0 < flagged < 1
    text = summary.of_evaluation(found)
    assert "no labels" in text
    assert f"alerts     {found.alerted.alerts} in 3 series: {found.alerted.per_day:.3g} a day over" in text
    assert f", {found.alerted.per_day_and_series:.3g} a day and series\n" in text
    assert f" {flagged:.2%} of the rows are over the threshold\n" in text
    each = found.alerted.each
    most = max(each, key=lambda name: each[name])
    assert f"most: {most} {each[most]}" in text
    assert all(len(line) <= 125 for line in text.splitlines())
    assert trained.artifact.manifest.window.sampling_rate_hz is None
    untimed = evaluated(trained.artifact, *(replace(table, labels=None, time_us=None, series="s") for table in tables))
    assert untimed.alerted is not None
    assert (untimed.alerted.series, untimed.alerted.days, untimed.alerted.per_day) == (3, None, None)
    assert untimed.alerted.each == {"s": found.alerted.alerts}
    assert "in 1000 rows, without times to count days by" in summary.of_evaluation(untimed)


def test_days_without_labels_are_those_in_which_something_was_watched(trained: pipeline.Trained) -> None:
    artifact, first = trained.artifact, replace(waves(200, 0, (slice(50, 60),), "a"), labels=None)
    assert first.time_us is not None
    year = 365 * 86_400_000_000
    later = replace(first, time_us=first.time_us + year, series="pump-building-seven-north-1")
    twice, times = np.concatenate([first.samples] * 2), np.concatenate([first.time_us, first.time_us + year])
    gap = replace(first, samples=twice, time_us=times)
    cases = [first], [gap], [first, later]
    alone, holed, apart = (found for each in cases if (found := evaluated(artifact, *each).alerted))
    assert alone.days == pytest.approx(200 / 86_400)
    assert alone.per_day == pytest.approx(alone.per_day_and_series)
    assert holed.days == apart.days == pytest.approx(400 / 86_400)
    assert holed.per_day == pytest.approx(holed.per_day_and_series)
    assert "most: pump-bu...en-north-1" in summary.of_evaluation(evaluated(artifact, later, first))


def test_rows_by_a_rate_are_on_no_clock(trained: pipeline.Trained) -> None:
    window = msgspec.structs.replace(trained.artifact.manifest.window, sampling_rate_hz=1.0)
    artifact = replace(trained.artifact, manifest=msgspec.structs.replace(trained.artifact.manifest, window=window))
    table = replace(waves(200, 0, (slice(50, 60),), "a"), labels=None)
    found = evaluated(artifact, table, replace(table, time_us=None, series="b"))
    assert found.alerted is not None
    assert (found.alerted.days, found.alerted.per_day) == (None, None)
    assert found.alerted.per_day_and_series == pytest.approx(found.alerted.alerts / (400 / 86_400))
    assert f" in 2 series: {found.alerted.per_day_and_series:.3g} a day and series\n" in summary.of_evaluation(found)


def test_without_a_window_that_could_be_scored_nothing_is_said_of_alerts(trained: pipeline.Trained) -> None:
    holed = replace(waves(100, 0, ()), labels=None)
    holed.samples[::8] = np.nan
    short = replace(waves(9, 0, ()), labels=None)
    for table, told in ((holed, "no window could be scored"), (short, "no series is long enough for a window")):
        found = evaluated(trained.artifact, table)
        assert found.alerted is None
        assert f"test       {told}" in summary.of_evaluation(found)


def test_other_channels_are_refused_where_both_sides_name_them(trained: pipeline.Trained) -> None:
    windows_of = np.random.default_rng(0).normal(size=(5, 16, 2)).astype(np.float32)
    for names in (("flow", "pressure"), ("pressure", "speed")):
        with pytest.raises(DataError, match=f"channels {', '.join(names)}; the artifact takes pressure, flow"):
            evaluated(trained.artifact, WindowTable(windows=windows_of, channels=names))
    with pytest.raises(DataError, match="channels flow, pressure"):
        evaluated(trained.artifact, SeriesTable(samples=windows_of[0], channels=("flow", "pressure")))
    with pytest.raises(DataError, match="the artifact takes"):
        evaluated(trained.artifact, SeriesTable(samples=windows_of[0, :, :1], channels=("pressure",)))
    assert evaluated(trained.artifact, WindowTable(windows=windows_of, channels=("0", "1"))).windows == 5


def test_baselines_need_to_know_how_the_training_divided_its_data(trained: pipeline.Trained) -> None:
    said = trained.artifact.manifest.training
    for training in ({}, {**said, "recipe": {"name": "x"}}, {**said, "seed": "first"}, {**said, "seed": None}):
        artifact = replace(trained.artifact, manifest=change(trained.artifact.manifest, training=training))
        with pytest.raises(DataError, match="leave --baselines-from out"):
            evaluated(artifact, waves(200, 0, (slice(50, 60),)), normal=(TRAINED_ON,))
    with pytest.raises(DataError, match="baselines: no normal windows to fit"):
        evaluated(trained.artifact, waves(200, 0, (slice(50, 60),)), normal=(waves(9, 0),))


def test_how_much_may_be_missing_is_what_the_configuration_says(trained: pipeline.Trained) -> None:
    """One sample of sixteen is missing in each window: less than the default, and more than 0."""
    samples = TRAINED_ON.samples[:800].copy()
    samples[::16] = np.nan
    table = replace(TRAINED_ON, samples=samples, labels=None, time_us=None)
    artifact, scorer = trained.artifact, trained.artifact.scorer()

    def unscorable(most: float | None) -> int:
        assumed = alert_policy.Assumed(max_missing_ratio=most)
        return evaluate_artifact(artifact, scorer, [table], normal_class=None, assumed=assumed).unscorable

    windows = (800 - 16) // 4 + 1
    assert (unscorable(None), unscorable(0.5), unscorable(0.0)) == (0, 0, windows)
    policy = alert_policy.DEFAULTS.policy
    with pytest.raises(DataError, match=r"but none is normal .* and complete"):
        scored(artifact, scorer, [table], normal_class=None, held_out=True, policy=policy, max_missing_ratio=0.0)
    kept = scored(artifact, scorer, [table], normal_class=None, held_out=True, policy=policy)
    assert len(kept.normal.scores) == windows
