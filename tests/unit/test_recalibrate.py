"""Another threshold for an artifact: what changes, what must not, what stored tables can't answer, and the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from monitor.detector import artifact as form
from monitor.detector import storage
from monitor.detector.artifact import Artifact
from monitor.detector.decision import Verdict, decide
from monitor.errors import DataError, TelltaleError
from tests.helpers import make_artifact
from training.commands.calibrate import calibrate
from training.thresholds.calibration import CalibrationScores
from training.thresholds.choose import choose
from training.thresholds.recalibrate import expected_alarms, recalibrated
from training.thresholds.rules import ThresholdPart


def calibrated(
    count: int = 4000, *, days: float | None = 2.0, overlap: float = 1.0
) -> tuple[Artifact, CalibrationScores]:
    """An artifact with a calibration of its own, of two series."""
    scores = np.random.default_rng(0).gamma(3, size=count).astype(np.float32)
    calibration = CalibrationScores(
        scores=scores,
        series=np.repeat([0, 1], count // 2),
        names=("a", "b"),
        overlap=overlap,
        windows_per_day=None if days is None else count / days,
    )
    bare = make_artifact(kind="record")
    extras = {"report.html": b"<html>", "MODEL_CARD.md": b"# card", "metrics.json": b"{}\n"}
    made, _ = recalibrated(replace(bare, extras=extras), ThresholdPart(method="quantile"), calibration)
    return replace(made, extras=extras), calibration


@pytest.mark.parametrize(
    "rule",
    [
        ThresholdPart(method="quantile", quantile=0.999),
        ThresholdPart(method="mean_std", k=3.0),
        ThresholdPart(method="pot", risk=1e-5),
        ThresholdPart(method="budget", alarms_per_day=0.1),
        ThresholdPart(method="quantile", quantile=0.99, per="series"),
    ],
)
def test_without_data_the_threshold_is_the_one_that_data_give(rule: ThresholdPart) -> None:
    artifact, calibration = calibrated()
    made, _ = recalibrated(artifact, rule)
    chosen = choose(calibration, rule).threshold
    found = made.manifest.threshold
    assert found.value == pytest.approx(chosen.value, rel=1e-6)
    assert found.series == pytest.approx(chosen.series)
    assert (found.method, found.parameters) == (chosen.method, chosen.parameters)


def test_a_p_value_without_data_is_about_that_with_data() -> None:
    artifact, calibration = calibrated()
    rule = ThresholdPart(method="conformal", p_value=0.01)
    threshold = recalibrated(artifact, rule)[0].manifest.threshold.value
    assert threshold == pytest.approx(choose(calibration, rule).threshold.value, rel=0.02)
    _, notes = recalibrated(artifact, ThresholdPart(method="conformal", p_value=1e-5))
    assert "no p-value under" in notes[0]


def test_only_the_threshold_changes_and_the_artifact_is_whole(tmp_path: Path) -> None:
    artifact, _ = calibrated()
    made, notes = recalibrated(artifact, ThresholdPart(method="quantile", quantile=0.999))
    assert notes == []
    assert made.digest == ""
    assert set(made.extras) == {"metrics.json"}
    assert made.manifest.training["recalibrated"] == {
        "method": "quantile",
        "parameters": {"quantile": 0.999},
        "from": "the stored tables",
        "artifact": artifact.digest,
        "before": {"value": artifact.manifest.threshold.value, "method": "quantile"},
    }
    saved = storage.save(made, tmp_path / "new")
    loaded = storage.load(tmp_path / "new")
    assert loaded.digest == saved.digest != storage.save(artifact, tmp_path / "old").digest
    form.check_known_answers(loaded, loaded.scorer())
    assert loaded.manifest.model == artifact.manifest.model
    assert loaded.manifest.calibration == artifact.manifest.calibration
    np.testing.assert_array_equal(loaded.known_scores, artifact.known_scores)
    np.testing.assert_array_equal(loaded.calibration_table, artifact.calibration_table)


def test_a_threshold_that_is_given() -> None:
    artifact, _ = calibrated()
    made, notes = recalibrated(artifact, 0.25)
    assert notes == []
    assert (made.manifest.threshold.value, made.manifest.threshold.method) == (0.25, "given")
    for wrong in (0.0, -1.0, float("nan"), float("inf"), 1e39):
        with pytest.raises(DataError, match="must be a finite number"):
            recalibrated(artifact, wrong)


def test_an_artifact_of_version_1_becomes_one_of_version_2() -> None:
    artifact = replace(make_artifact(kind="record"), format_version=1)
    _, calibration = calibrated()
    made, _ = recalibrated(artifact, ThresholdPart(method="quantile", per="series"), calibration)
    read = form.decode(form.encode(made))
    assert read.format_version == 2
    assert set(read.manifest.threshold.series) == {"a", "b"}


def test_a_quantile_between_two_of_the_table_is_told() -> None:
    artifact, calibration = calibrated()
    made, notes = recalibrated(artifact, ThresholdPart(method="quantile", quantile=0.985))
    assert "between the stored ones at 0.98 and 0.99" in notes[0]
    assert made.manifest.threshold.value == pytest.approx(np.quantile(calibration.scores, 0.985), rel=0.02)


def test_too_few_windows_are_told_without_data_too() -> None:
    artifact, _ = calibrated(200)
    _, notes = recalibrated(artifact, ThresholdPart(method="quantile", quantile=0.999))
    assert "needs 1000" in notes[0]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (ThresholdPart(method="oracle"), "labelled windows"),
        (ThresholdPart(method="budget"), "how many windows a day"),
        (ThresholdPart(method="pot", per="series"), "only their quantiles are stored"),
        (ThresholdPart(method="quantile", quantile=2), "threshold.quantile is 2"),
    ],
)
def test_what_the_stored_tables_can_not_answer(rule: ThresholdPart, said: str) -> None:
    artifact, _ = calibrated(days=None)
    with pytest.raises(DataError, match=said):
        recalibrated(artifact, rule)


def test_a_budget_that_can_not_be_told_says_which_can() -> None:
    """The lowest rate that the stored windows show is one window of all of them; asked for, it is answered."""
    bare = make_artifact(kind="record")
    windows = bare.manifest.calibration.windows
    slow = msgspec.structs.replace(bare.manifest.calibration, windows_per_day=10.0)
    timed = replace(bare, manifest=msgspec.structs.replace(bare.manifest, calibration=slow))
    with pytest.raises(DataError) as caught:
        recalibrated(timed, ThresholdPart(method="budget", alarms_per_day=10 / windows / 4))
    said = str(caught.value)
    assert f"they are {windows / 10:.3g} days of one series" in said
    assert f"the lowest rate they can show is {10 / windows:.3g} a day" in said
    assert f"needs {4 * windows / 10:.3g} days of normal data" in said
    asked = float(said.rsplit("--alarms-per-day ", 1)[1])
    recalibrated(timed, ThresholdPart(method="budget", alarms_per_day=asked))
    with pytest.raises(DataError, match="can have 10 alarms at most; give fewer"):
        recalibrated(timed, ThresholdPart(method="budget", alarms_per_day=11))


def test_an_artifact_without_tail_and_series() -> None:
    bare = make_artifact(kind="record")
    with pytest.raises(DataError, match="has none stored"):
        recalibrated(bare, ThresholdPart(method="pot"))
    with pytest.raises(DataError, match="no quantiles of single series"):
        recalibrated(bare, ThresholdPart(method="quantile", per="series"))
    slow = msgspec.structs.replace(bare.manifest.calibration, windows_per_day=10.0)
    timed = replace(bare, manifest=msgspec.structs.replace(bare.manifest, calibration=slow))
    with pytest.raises(DataError, match="can't be estimated"):
        recalibrated(timed, ThresholdPart(method="budget", alarms_per_day=0.1))
    made, notes = recalibrated(timed, ThresholdPart(method="budget", alarms_per_day=5))
    assert made.manifest.threshold.value == pytest.approx(0.4)
    assert "fewer will come" in notes[0]


def test_what_a_threshold_costs_by_the_stored_tables() -> None:
    artifact, calibration = calibrated()
    manifest, scores = artifact.manifest, calibration.scores
    assert manifest.calibration.tail is not None
    median = float(np.median(scores))
    rate, unit = expected_alarms(manifest, median)
    assert unit == "windows over the threshold a day per series"
    assert rate == pytest.approx(1000, rel=0.01)
    high = float(np.quantile(scores, 0.995))
    rate, unit = expected_alarms(manifest, high)
    assert unit == "incidents a day per series"
    # 20 of 4000 windows in 2 days are over it, nearly all by themselves.
    assert rate == pytest.approx(10, rel=0.25)
    assert expected_alarms(calibrated(days=None)[0].manifest, median)[1].endswith("per 1,000 windows")


def test_what_the_artifact_was_is_kept() -> None:
    artifact = make_artifact(kind="record")
    made, _ = recalibrated(artifact, 0.25)
    assert made.manifest.training["recalibrated"]["artifact"] == artifact.digest != ""


def test_more_alarms_without_data_never_raise_the_threshold() -> None:
    # Windows over a threshold come in fours, as overlapping ones do: at the tail's start the table takes over from it.
    scores = np.repeat(np.random.default_rng(0).exponential(size=2500), 4).astype(np.float32)
    calibration = CalibrationScores(scores=scores, windows_per_day=1000.0)
    artifact, _ = recalibrated(make_artifact(kind="record"), ThresholdPart(method="quantile"), calibration)
    fitted = artifact.manifest.calibration.tail
    assert fitted is not None
    peaks_a_day = 1000.0 * fitted.peaks / len(scores)
    thresholds = [
        recalibrated(artifact, ThresholdPart(method="budget", alarms_per_day=peaks_a_day * times))[0]
        for times in (0.5, 0.9, 0.99, 1.01, 1.1, 2, 4)
    ]
    values = [made.manifest.threshold.value for made in thresholds]
    assert values == sorted(values, reverse=True)


def test_a_stored_series_with_too_few_windows_has_the_common_threshold() -> None:
    scores = np.random.default_rng(0).exponential(size=5000).astype(np.float32)
    series = np.repeat([0, 1], [4880, 120])
    calibration = CalibrationScores(scores=scores, series=series, names=("big", "small"))
    rule = ThresholdPart(method="quantile", quantile=0.999, per="series")
    artifact, _ = recalibrated(make_artifact(kind="record"), ThresholdPart(method="quantile"), calibration)
    made, notes = recalibrated(artifact, rule)
    assert made.manifest.threshold.series == choose(calibration, rule).threshold.series
    assert set(made.manifest.threshold.series) == {"big"}
    assert any("1 stored series have too few" in note for note in notes)


def run(*arguments: str | Path) -> tuple[str, str]:
    """Stdout and stderr."""
    app = typer.Typer()
    app.command()(calibrate)
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(result.exception, TelltaleError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout, result.stderr


def test_the_command_without_data(tmp_path: Path) -> None:
    artifact, _ = calibrated()
    storage.save(artifact, tmp_path / "old")
    out, _ = run(tmp_path / "old", "--quantile", "0.999", "--out", tmp_path / "new.zip")
    made = storage.load(tmp_path / "new.zip")
    before, now, policy, place = out.splitlines()
    assert before.startswith(f"before     {artifact.manifest.threshold.value:.6g} (quantile 0.99): about ")
    assert now.startswith(f"now        {made.manifest.threshold.value:.6g} (quantile 0.999): about ")
    assert now.endswith("false incidents a day per series, by the stored calibration")
    assert policy == "policy     open_after = 1, close_after = 3, update_every = 20 (as the stored calibration has it)"
    assert place == f"artifact   {tmp_path / 'new.zip'}  (sha256 {made.digest[:12]})"
    assert "nothing is written" in run(tmp_path / "old", "--threshold", "0.5")[0]
    out, err = run(tmp_path / "old", "--method", "quantile", "--per", "series")
    assert "(quantile 0.99, 2 series with their own)" in out
    assert "2 series have their own threshold" in err


def test_the_command_with_data(tmp_path: Path) -> None:
    artifact = make_artifact(length=8, hop=4)
    storage.save(artifact, tmp_path / "old")
    rng = np.random.default_rng(0)
    values = rng.normal(size=4000)
    times = 1_700_000_000 + np.arange(4000) * 60
    labels = np.zeros(4000, np.int64)
    labels[1000:1100] = 1
    values[1000:1100] += 50
    data = tmp_path / "normal.csv"
    rows = zip(times.tolist(), values.tolist(), labels.tolist(), strict=True)
    data.write_text("time,value,label\n" + "".join(f"{time},{value:.6f},{label}\n" for time, value, label in rows))
    arguments = (data, "--label-column", "label", "--time-column", "time")
    out, err = run(tmp_path / "old", *arguments, "--alarms-per-day", "5", "--out", tmp_path / "new")
    made = storage.load(tmp_path / "new")
    assert made.manifest.threshold.method == "budget"
    assert made.manifest.calibration.windows_per_day == pytest.approx(360)
    assert "are labelled anomalies" in err
    assert "false alarms a day per series (95% interval" in out.splitlines()[1]
    # The same windows, cut and scored here.
    cut = np.lib.stride_tricks.sliding_window_view(values.round(6).astype(np.float32), 8)[::4]
    touched = np.lib.stride_tricks.sliding_window_view(labels, 8)[::4].any(axis=1)
    scores = artifact.scorer()(np.ascontiguousarray(cut[~touched][:, :, None]))
    assert made.manifest.calibration.windows == len(scores)
    over = int((decide(scores, made.manifest.threshold.value) == Verdict.ANOMALY).sum())
    assert f"{over} of {len(scores)} normal windows over it" in out.splitlines()[1]
    oracle, told = run(tmp_path / "old", *arguments, "--method", "oracle")
    assert "ORACLE" in told
    assert "0 of" in oracle.splitlines()[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "no method is given"),
        (("--quantile", "0.9", "--k", "2"), "of several methods"),
        (("--method", "pot", "--k", "2"), "not all are the number of --method pot"),
        (("--threshold", "1", "--k", "2"), "--threshold is the value itself"),
    ],
)
def test_options_that_contradict_each_other(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        run(tmp_path, *options)
