"""By whose policy and threshold incidents are counted: the operator's, as the daemon's processor opens them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from monitor.detector import storage, thresholds
from monitor.detector.incidents import Policy
from monitor.detector.spec import FollowSpec, Manifest
from monitor.errors import ConfigError, DataError, TelltaleError
from monitor.processing.counts import Counts
from monitor.replay import FileSource, overridden, replayed
from tests.helpers import make_artifact
from training.commands import commands
from training.thresholds import alert_policy

SERIES, ROWS = ("pump-1", "pump-2", "valve"), 1_200
POLICIES = [
    {},
    {"open_after": 3},
    {"close_after": 1},
    {"close_after": 100},
    {"open_after": 2, "close_after": 5, "update_every": 4},
]


def run(*arguments: str | Path) -> tuple[str, str]:
    """Stdout and stderr."""
    app = typer.Typer()
    commands(app)
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(result.exception, TelltaleError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout, result.stderr


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_artifact(length=8, hop=2, threshold=1.25, max_missing_ratio=0.25, max_gap_ms=60_000)
    chosen = msgspec.structs.replace(made.manifest.threshold, series={"valve": 1.5})
    made = replace(made, manifest=msgspec.structs.replace(made.manifest, threshold=chosen))
    place = tmp_path_factory.mktemp("artifact") / "a"
    storage.save(made, place)
    return place


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three series that take turns, restless to the end, with missing numbers and a gap of an hour."""
    rng = np.random.default_rng(0)
    spread = np.where(rng.random((ROWS // 20, len(SERIES))) < 0.4, 2.0, 1.0).repeat(20, axis=0)
    values = rng.normal(size=(ROWS, len(SERIES))) * spread
    values[rng.random(values.shape) < 0.05] = np.nan
    times = 1_760_000_000 + 10 * np.arange(ROWS) + np.where(np.arange(ROWS) < 700, 0, 3_600)
    rows = [
        f"{time},{name},{'' if np.isnan(value) else f'{value:.4f}'}"
        for time, sample in zip(times.tolist(), values.tolist(), strict=True)
        for name, value in zip(SERIES, sample, strict=True)
    ]
    path = tmp_path_factory.mktemp("data") / "plant.csv"
    path.write_text("\n".join(["time,pump,value", *rows]) + "\n")
    return path


def configured(directory: Path, options: Mapping[str, int | str], threshold: float | None = None) -> Path:
    path = directory / "telltale.toml"
    lines = ["[alerting]", *(f"{name} = {number}" for name, number in options.items())]
    lines += [] if threshold is None else ["[model]", f"threshold = {threshold}"]
    path.write_text("\n".join(lines) + "\n")
    return path


def opened_by_the_daemon(artifact: Path, data: Path, config: Path) -> tuple[int, Counts]:
    """Incidents that the processor opens on the in-memory backend, and what it counted."""
    source = FileSource(path=data, series_column="pump", partitions=2)
    alerts, counts, _ = replayed(artifact, source, overridden(config, service=None, topic=None, threshold=None))
    firing = sum(json.loads(alert)["data"]["status"] == "firing" for alert in alerts)
    return firing, counts


@pytest.mark.parametrize("options", POLICIES, ids=str)
def test_as_many_incidents_as_the_daemon_opens(
    artifact: Path, data: Path, tmp_path: Path, options: dict[str, int]
) -> None:
    config = configured(tmp_path, options)
    expected, counts = opened_by_the_daemon(artifact, data, config)
    assert counts.windows_unscorable > 10
    reading = (data, "--series-column", "pump", "--config", config)
    evaluated = json.loads(run("evaluate", artifact, *reading, "--json")[0])
    assert evaluated["alerted"]["alerts"] == expected
    policy = msgspec.structs.replace(Policy(), **options)
    source = "alerting of telltale.toml"
    assert evaluated["alerting"] == {"policy": msgspec.structs.asdict(policy), "source": source}
    said = f"policy     {alert_policy.in_words(policy)} ({source})"
    assert said in run("evaluate", artifact, *reading)[0].splitlines()
    calibrated = run("calibrate", artifact, *reading, "--threshold", "1.25")[0].splitlines()
    assert re.match(rf"before     1\.25 \(given, 1 series with their own\): {expected} incidents, ", calibrated[0])
    assert calibrated[2] == said


def test_thresholds_that_follow_open_as_many(artifact: Path, data: Path, tmp_path: Path) -> None:
    made = storage.load(artifact)
    follows = FollowSpec(quantile=0.9, memory_ms=3_600_000)
    threshold = msgspec.structs.replace(thresholds.of(made.manifest).chosen, follows=follows)
    manifest = msgspec.structs.replace(made.manifest, threshold=threshold)
    storage.save(replace(made, manifest=manifest, format_version=manifest.format_version), tmp_path / "a")
    found = {}
    for follow in ("auto", "off"):
        config = configured(tmp_path, {"follow": f'"{follow}"'})
        found[follow], _ = opened_by_the_daemon(tmp_path / "a", data, config)
        reading = (data, "--series-column", "pump", "--config", config)
        evaluated = json.loads(run("evaluate", tmp_path / "a", *reading, "--json")[0])
        assert evaluated["alerted"]["alerts"] == found[follow]
        before, *_ = run("calibrate", tmp_path / "a", *reading, "--threshold", "1.25")[0].splitlines()
        assert f": {found[follow]} incidents, " in before
    assert found["auto"] != found["off"]


def test_the_options_make_a_difference(artifact: Path, data: Path, tmp_path: Path) -> None:
    found = [opened_by_the_daemon(artifact, data, configured(tmp_path, options))[0] for options in POLICIES]
    assert len(set(found)) == len(POLICIES)
    assert min(found) >= len(SERIES)


def test_without_a_configuration_the_defaults_are_assumed_and_said(artifact: Path, data: Path, tmp_path: Path) -> None:
    default = "policy     open_after = 1, close_after = 3, update_every = 20 (the defaults: no --config was given)"
    expected, _ = opened_by_the_daemon(artifact, data, configured(tmp_path, {}))
    assert expected > 0
    assert default in run("evaluate", artifact, data, "--series-column", "pump")[0].splitlines()
    calibrated = run("calibrate", artifact, data, "--series-column", "pump", "--threshold", "1.25")[0]
    assert default in calibrated.splitlines()
    assert f": {expected} incidents, " in calibrated


@pytest.mark.parametrize(("threshold", "options"), [(0.9, {}), (1.75, {"open_after": 2})])
def test_the_operators_threshold_is_evaluated(
    artifact: Path, data: Path, tmp_path: Path, threshold: float, options: dict[str, int]
) -> None:
    config = configured(tmp_path, options, threshold)
    expected, counts = opened_by_the_daemon(artifact, data, config)
    own, _ = opened_by_the_daemon(artifact, data, configured(tmp_path, options))
    assert expected not in (0, own)
    config = configured(tmp_path, options, threshold)
    reading = (data, "--series-column", "pump", "--config", config)
    evaluated = json.loads(run("evaluate", artifact, *reading, "--json")[0])
    assert (evaluated["alerted"]["alerts"], evaluated["flagged"]) == (expected, counts.windows_anomalous)
    assert (evaluated["threshold"], evaluated["threshold_source"]) == (threshold, "model.threshold of telltale.toml")
    said = f"; threshold {threshold} (model.threshold of telltale.toml, instead of the artifact's)"
    assert run("evaluate", artifact, *reading)[0].splitlines()[1].endswith(said)


def test_without_a_threshold_of_the_operators_the_artifacts_are_evaluated(artifact: Path, data: Path) -> None:
    evaluated = json.loads(run("evaluate", artifact, data, "--series-column", "pump", "--json")[0])
    assert (evaluated["threshold"], evaluated["threshold_source"]) == (1.25, None)
    assert "instead of" not in run("evaluate", artifact, data, "--series-column", "pump")[0]


def test_a_calibration_says_that_the_daemon_would_use_the_operators(artifact: Path, data: Path, tmp_path: Path) -> None:
    own, _ = opened_by_the_daemon(artifact, data, configured(tmp_path, {}))
    config = configured(tmp_path, {}, 1.75)
    expected, _ = opened_by_the_daemon(artifact, data, config)
    arguments = ("--quantile", "0.9", "--config", config)
    before, now, in_service, policy = run("calibrate", artifact, data, "--series-column", "pump", *arguments)[
        0
    ].splitlines()[:4]
    assert f": {own} incidents, " in before
    assert "(quantile 0.9): " in now
    used = "in service 1.75 (model.threshold of telltale.toml, which the daemon uses instead): "
    assert in_service.startswith(f"{used}{expected} incidents, ")
    assert policy.startswith("policy ")
    stored = run("calibrate", artifact, *arguments, "--out", tmp_path / "b")[0].splitlines()
    assert re.match(rf"{re.escape(used)}about .* by the stored calibration", stored[2])
    assert storage.load(tmp_path / "b").manifest.threshold.method == "quantile", "the artifact gets what was chosen"


def test_the_environment_goes_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELLTALE__ALERTING__OPEN_AFTER", "7")
    monkeypatch.setenv("TELLTALE__MODEL__THRESHOLD", "0.5")
    found = alert_policy.assumed(configured(tmp_path, {"open_after": 2, "close_after": 4}, 0.25))
    assert found.alerting.policy == Policy(open_after=7, close_after=4)
    assert found.threshold == 0.5
    assert found.max_missing_ratio is None
    monkeypatch.setenv("TELLTALE__INPUT__MAX_MISSING_RATIO", "0.25")
    assert alert_policy.assumed(configured(tmp_path, {})).max_missing_ratio == 0.25


def test_a_configuration_that_is_wrong_is_refused_before_anything_is_computed(artifact: Path, tmp_path: Path) -> None:
    config = configured(tmp_path, {"open_after": 0})
    for command in (
        ("evaluate", artifact, "no such data"),
        ("calibrate", artifact, "no such data", "--quantile", "0.9"),
        ("train", "no such data", "--out", tmp_path / "a"),
    ):
        with pytest.raises(ConfigError, match=r"alerting\.open_after"):
            run(*command, "--config", config)


def kept(manifest: Manifest) -> Policy | None:
    stored = alert_policy.stored(manifest)
    return None if stored is None else stored.policy


def steady(path: Path) -> Path:
    rng = np.random.default_rng(0)
    values = np.sin(np.arange(6_000) / 7) + rng.normal(0, 0.2, 6_000)
    rows = [f"{1_760_000_000 + 10 * row},{value:.4f}" for row, value in enumerate(values.tolist())]
    path.write_text("time,value\n" + "\n".join(rows) + "\n")
    return path


def test_training_counts_by_the_configuration_and_keeps_which(tmp_path: Path) -> None:
    data, config = steady(tmp_path / "steady.csv"), configured(tmp_path, {"open_after": 4, "close_after": 2})
    arguments = ("train", data, "--epochs", "1", "--window", "16", "--hop", "4", "--quantile", "0.8", "--no-comparison")
    said = "open_after = 4, close_after = 2, update_every = 20 (alerting of telltale.toml)"
    out, err = run(*arguments, "--config", config, "--out", tmp_path / "a")
    assert f"           an alarm is an incident: {said}" in out.splitlines()
    assert "the daemon would use" not in err
    loaded = storage.load(tmp_path / "a")
    assert f"An alarm is an incident: {said}." in (tmp_path / "a" / "report.html").read_text()
    assert "An alarm is an incident" in (tmp_path / "a" / "MODEL_CARD.md").read_text()
    assert kept(loaded.manifest) == Policy(open_after=4, close_after=2)
    by_default, _ = run(*arguments, "--no-report", "--out", tmp_path / "b")
    assert "(the defaults: no --config was given)" in by_default
    rates = [json.loads(storage.load(tmp_path / name).extras["metrics.json"])["false_alarms"] for name in "ab"]
    assert rates[0]["expected"] < rates[1]["expected"]
    _, err = run("calibrate", tmp_path / "a", "--quantile", "0.9", "--config", config)
    assert "was not counted by" not in err
    out, err = run("calibrate", tmp_path / "b", "--quantile", "0.9", "--config", config)
    assert f"what is stored was not counted by {said}; give normal data" in err
    assert "policy     open_after = 1, close_after = 3, update_every = 20 (as the stored calibration has it)" in out
    run("calibrate", tmp_path / "b", data, "--quantile", "0.9", "--config", config, "--out", tmp_path / "c")
    assert kept(storage.load(tmp_path / "c").manifest) == Policy(open_after=4, close_after=2)


def test_training_notes_that_the_daemon_would_use_the_operators_threshold(tmp_path: Path) -> None:
    data, config = steady(tmp_path / "steady.csv"), configured(tmp_path, {}, 0.125)
    arguments = ("--epochs", "1", "--window", "16", "--hop", "4", "--no-comparison", "--no-report")
    _, err = run("train", data, *arguments, "--config", config, "--out", tmp_path / "a")
    assert "the daemon would use model.threshold of telltale.toml, 0.125, instead of this artifact's threshold" in err
    assert storage.load(tmp_path / "a").manifest.threshold.value != 0.125


def test_what_an_artifact_says_of_its_calibration() -> None:
    manifest = make_artifact().manifest

    assert kept(manifest) == Policy(), "as all were that don't say"
    assert kept(msgspec.structs.replace(manifest, training={"alerting": None})) is None
    assert alert_policy.counting(None).startswith("each window over the threshold")
    with pytest.raises(DataError, match=r"artifact tiny: alert policy .* Expected `int`"):
        kept(msgspec.structs.replace(manifest, training={"alerting": {"open_after": "three"}}))
