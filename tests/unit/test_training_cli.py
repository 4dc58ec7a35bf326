"""`telltale train` and `telltale evaluate`, from files to an artifact that loads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from monitor.detector import storage
from monitor.detector.artifact import check_known_answers
from monitor.errors import DataError, TelltaleError
from monitor.replay import FileSource, overridden, replayed
from training.commands import commands


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
def beats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 windows in the UCR form: waves are normal (1), noise is not (2)."""
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(24) / 3) + rng.normal(0, 0.05, (160, 24))
    table = np.column_stack([np.repeat([1, 2], [160, 40]), np.concatenate([waves, rng.normal(size=(40, 24))])])
    path = tmp_path_factory.mktemp("data") / "BEATS.txt"
    np.savetxt(path, table, fmt="%.7e")
    return path


def test_a_file_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    """Its artifact, report and card can be written, and say which file it was."""
    data = tmp_path / "caf\udce9.csv"
    data.write_text("value\n" + "\n".join(f"{np.sin(row / 3):.4f}" for row in range(1_500)) + "\n")
    run("train", data, "--epochs", "1", "--out", tmp_path / "a")
    assert storage.load(tmp_path / "a").manifest.training["data"][0]["file"] == "caf\\udce9.csv"
    for name in ("report.html", "MODEL_CARD.md"):
        assert "udce9.csv" in (tmp_path / "a" / name).read_text(encoding="utf-8")


def test_windows_to_artifact_to_figures(beats: Path, tmp_path: Path) -> None:
    out, err = run(
        "train", beats, "--recipe", "ecg5000-tutorial", "--epochs", "40", "--seed", "3", "--out", tmp_path / "a"
    )
    lines = out.splitlines()
    assert lines[0].startswith("data       BEATS.txt: 200 rows")
    assert "mean + 1 standard deviations" in out
    assert "baseline: flag everything" in out
    assert "epoch 40/40" in err
    loaded = storage.load(tmp_path / "a")
    check_known_answers(loaded, loaded.scorer())
    assert lines[-1] == f"artifact   {tmp_path / 'a'}  (sha256 {loaded.digest[:12]})"
    training = loaded.manifest.training
    assert loaded.manifest.name == "a"
    assert training["data"][0]["sha256"] == hashlib.sha256(beats.read_bytes()).hexdigest()
    assert training["data"][0]["rows"] == 200
    assert training["seed"] == 3
    assert {"jax", "jaxlib", "flax", "optax", "numpy", "python"} <= training["libraries"].keys()
    assert str(beats.parent) not in json.dumps(training)
    assert len(loaded.extras["metrics.jsonl"].splitlines()) == 40
    out, err = run("evaluate", tmp_path / "a", beats, "--json")
    figures = json.loads(out)
    assert figures["detector"]["auroc"] > 0.95
    assert figures["windows"] == 200
    assert figures["intervals"]["auroc"]["low"] <= figures["detector"]["auroc"]
    assert (figures["drawn"], figures["series"]) == ("windows", None)
    assert "trained on" in err
    assert "anomalies found" in run("evaluate", tmp_path / "a", beats)[0]


def test_the_same_seed_gives_the_same_tensors(beats: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run("train", beats, "--recipe", "ecg-beats", "--epochs", "3", "--out", tmp_path / name)
    first, second = (storage.load(tmp_path / name) for name in ("a", "b"))
    for name, tensor in first.parameters.items():
        np.testing.assert_array_equal(tensor, second.parameters[name])


def test_a_series_to_a_zip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = np.sin(np.arange(600)[:, None] / 4 + np.array([0, 1])) + rng.normal(0, 0.05, (600, 2))
    path = tmp_path / "pump.csv"
    header = "timestamp,pressure,flow"
    np.savetxt(path, np.column_stack([np.arange(600) + 1.7e9, values]), delimiter=",", header=header, comments="")
    out, _ = run(
        "train", path, "--window", "16", "--hop", "4", "--epochs", "5", "--quantile", "0.9", "--out", tmp_path / "a.zip"
    )  # fmt: skip
    assert "channels pressure, flow" in out
    assert "no labels" in out
    assert "quantile 0.9" in out
    loaded = storage.load(tmp_path / "a.zip")
    assert loaded.manifest.window_shape == (16, 2)
    assert loaded.manifest.calibration.held_out
    assert loaded.manifest.threshold.parameters == {"quantile": 0.9}
    labelled = tmp_path / "labelled.csv"
    values[300:340] += 5
    marks = (np.abs(np.arange(600) - 320) <= 20).astype(int)
    table = np.column_stack([np.arange(600) + 1.7e9, values, marks])
    np.savetxt(labelled, table, delimiter=",", header=f"{header},anomaly", comments="")
    figures = json.loads(run("evaluate", tmp_path / "a.zip", labelled, "--json")[0])
    assert figures["detector"]["auroc"] > 0.9
    assert (figures["series"]["events"]["events"], figures["series"]["delay_unit"]) == (1, "seconds")
    assert figures["baselines"] == {}
    as_the_daemon = overridden(None, service=None, topic=None, threshold=None)
    published, _, _ = replayed(tmp_path / "a.zip", FileSource(path=labelled, series="pump"), as_the_daemon)
    firing = [alert for alert in published if json.loads(alert)["data"]["status"] == "firing"]
    assert figures["series"]["events"]["alerts"] == len(firing) > 1
    faults = _written(tmp_path / "faults.csv", labelled.read_text().replace("anomaly", "fault"))
    told, notes = run("evaluate", tmp_path / "a.zip", faults, "--label-column", "fault", "--baselines-from", path)
    assert f"note: {path}: no labels in a column fault" in notes
    rows = [line[:31].strip() for line in told.splitlines()]
    assert rows.count("this detector") == 2, "of events and of rows"
    for name in ("PCA", "nearest neighbours", "random"):
        assert rows.count(f"baseline: {name}") == 3
    assert "series     1: 600 rows, 15 without a score; 1 of 1 events found" in told
    with pytest.raises(DataError, match="no column 'pressure'"):
        run("evaluate", tmp_path / "a.zip", _written(tmp_path / "other.csv", "a,b\n1,2\n"))


@pytest.mark.parametrize(
    ("content", "arguments", "told"),
    [
        ("v\n1\n2\n", [], "no normal windows to fit"),
        ("v\n1\n2\n", ["--recipe", "slidin"], "did you mean sliding"),
        ("v,anomaly\n" + "1,1\n" * 400, [], "normal is 0"),
        ("v,w\n" + ",1\n" * 400, [], "channel v has no number at all; leave it out with --channels"),
    ],
)
def test_what_can_not_be_trained_is_said(tmp_path: Path, content: str, arguments: list[str], told: str) -> None:
    path = _written(tmp_path / "bad.csv", content)
    with pytest.raises(DataError, match=told):
        run("train", path, *arguments, "--out", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_what_stands_at_the_place_of_the_artifact_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    _written(tmp_path / "notes" / "mine.txt", "years of work")
    with pytest.raises(DataError, match="choose another --out"):
        run("train", tmp_path / "no such data", "--out", tmp_path / "notes")


def test_windows_of_another_length_are_refused(beats: Path, tmp_path: Path) -> None:
    short = _written(tmp_path / "short.txt", "1 0.5 0.25\n2 0.5 0.1\n")
    with pytest.raises(DataError, match=r"windows of \[2, 24\] samples"):
        run("train", beats, short, "--recipe", "ecg-beats", "--out", tmp_path / "a")


def test_a_constant_series_gets_a_line_over_zero(tmp_path: Path) -> None:
    path = _written(tmp_path / "flat.csv", "v\n" + "7\n" * 600)
    run("train", path, "--epochs", "2", "--out", tmp_path / "a")
    assert storage.load(tmp_path / "a").manifest.threshold.value > 0


def _written(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_the_command_is_kept_however_long_its_words(
    beats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of channels may be longer than a file's name can be."""
    words = ["train", str(beats), "--channels", "a_long_name," * 40, "/"]
    monkeypatch.setattr("sys.argv", ["telltale", *words])
    run("train", beats, "--recipe", "beats-dense", "--epochs", "1", "--out", tmp_path / "a")
    assert f"telltale train BEATS.txt --channels {words[3]} /" in (tmp_path / "a" / "MODEL_CARD.md").read_text()


def test_one_file_is_given_once(beats: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"BEATS\.txt: is given twice"):
        run("train", beats, beats, "--recipe", "beats-dense", "--out", tmp_path / "a")
    copy = tmp_path / "COPY.txt"
    copy.write_bytes(beats.read_bytes())
    _, err = run(
        "train", beats, copy, "--recipe", "beats-linear", "--epochs", "1", "--no-report", "--out", tmp_path / "b"
    )
    assert "note: COPY.txt is the same as BEATS.txt" in err


def test_a_series_that_runs_backwards_is_told_where_nothing_is_left(tmp_path: Path) -> None:
    """All of it would be turned; here it goes on once in between."""
    rows = "".join(f"{1_700_000_000 - at + 1_000 * (at >= 150)},{at % 7}\n" for at in range(300))
    with pytest.raises(DataError, match=r"no normal windows .* time steps back at 298"):
        run(
            "train",
            _written(tmp_path / "backwards.csv", "time,v\n" + rows),
            "--window",
            "20",
            "--out",
            tmp_path / "a",
        )


def steady(path: Path, rows: int, *, label: int | None = None, missing: int = 0) -> Path:
    """A wave, a sample every ten seconds; the first `missing` of every ten cells are empty."""
    cells = ["" if row % 10 < missing else f"{np.sin(row / 7):.4f}" for row in range(rows)]
    lines = [
        f"{1_760_000_000 + 10 * row},{cell}" + ("" if label is None else f",{label}") for row, cell in enumerate(cells)
    ]
    path.write_text("time,value" + ("" if label is None else ",label") + "\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (
            400,
            {},
            "the threshold by .* a window takes 140 rows, and the calibration split of the longest series has 80;",
        ),
        (400, {}, r"a shorter window \(--window 80 at most\), or a larger split.calibration"),
        (120, {}, "to fit the model to .* the fit split of the longest series has "),
        (2_000, {"label": 1}, r"the labels leave none \(normal is 0\); give --normal-class"),
        (2_000, {"missing": 1}, r'windows were left out for their missing numbers; .* window.missing = "fill"'),
    ],
)
def test_which_split_is_empty_and_what_fills_it(tmp_path: Path, rows: int, options: dict[str, int], said: str) -> None:
    data = steady(tmp_path / "data.csv", rows, **options)
    with pytest.raises(DataError, match=said):
        run("train", data, "--epochs", "1", "--window", "140", "--hop", "14", "--out", tmp_path / "a")


def test_a_budget_of_alarms_is_an_option_of_training(tmp_path: Path) -> None:
    data = steady(tmp_path / "data.csv", 60_000)
    arguments = (data, "--epochs", "1", "--window", "140", "--hop", "70", "--alarms-per-day", "2")
    out, _ = run("train", *arguments, "--out", tmp_path / "a")
    threshold = storage.load(tmp_path / "a").manifest.threshold
    assert (threshold.method, threshold.parameters) == ("budget", {"alarms_per_day": 2.0})
    assert "at most 2 incidents a day per series" in out
    with pytest.raises(DataError, match="--quantile and --alarms-per-day each choose the threshold"):
        run("train", *arguments, "--quantile", "0.9", "--out", tmp_path / "b")
