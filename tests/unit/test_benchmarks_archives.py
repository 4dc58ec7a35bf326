"""Whole archives: their files as they are written, runs that go on, and scores that do not depend on the parts."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from monitor.datafiles import SeriesTable
from monitor.errors import DataError
from tests.benchmarks import results
from tests.benchmarks.series import archive, at_hand, contest, smap_msl, tsb_ad, tsb_uad, ucr
from tests.benchmarks.series.archive import FileScore, Log
from training import recipes

NAB = "001_NAB_id_1_Facility_tr_1007_1st_2014.csv"
YAHOO = next(name for name in tsb_ad.PARTS[0].files if "_YAHOO_" in name)
SMD = "057_SMD_id_1_Facility_tr_4529_1st_4629.csv"


def beat(rows: int, channels: int = 1) -> np.ndarray:
    """A signal that repeats every 20 rows."""
    rng = np.random.default_rng(rows)
    wave = np.sin(2 * np.pi * np.arange(rows) / 20)[:, None] * np.linspace(1, 2, channels)
    return np.asarray(wave + 0.05 * rng.normal(size=(rows, channels)))


def write(path: Path, values: np.ndarray, first: int, last: int) -> None:
    """In TSB-AD's form: a header, the channels, then `Label`."""
    values[first : last + 1] += 1.5
    labels = np.zeros(len(values), dtype=int)
    labels[first : last + 1] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    heads = ["Data"] if values.shape[1] == 1 else [f"Data{at}" for at in range(values.shape[1])]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*heads, "Label"])
        writer.writerows([*map(float, row), label] for row, label in zip(values, labels, strict=True))


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A recipe that is learnt at once."""
    recipe = recipes.load("rhythm")
    text = (Path(recipes.__file__).parent / "rhythm.toml").read_text(encoding="utf-8")
    text = text.replace(f"epochs = {recipe.fit.epochs}", "epochs = 1").replace("widths = [64, 16]", "widths = [4]")
    (tmp_path / "tiny.toml").write_text(text.replace('name = "rhythm"', 'name = "tiny"'), encoding="utf-8")
    return str(tmp_path / "tiny.toml")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of results."""
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    return tmp_path / "results"


def test_the_lists_are_tsb_ads() -> None:
    univariate, several = tsb_ad.PARTS
    assert (len(univariate.files), len(several.files)) == (350, 180)
    names = [(tsb_ad.NAME.fullmatch(name), name) for part in tsb_ad.PARTS for name in part.files]
    assert all(match is not None and match["family"] == name.split("_")[1] for match, name in names)
    assert not {*univariate.files} & {*several.files}
    # the means of its leaderboard, to the digits that it prints
    means = {name: np.mean(list(each.values())) for name, each in univariate.published.items()}
    assert {name: round(float(value), 2) for name, value in means.items()} == {
        "Sub-PCA": 0.42,
        "KShapeAD": 0.40,
        "MOMENT (FT)": 0.39,
        "KMeansAD": 0.37,
        "Sub-KNN": 0.35,
        "MatrixProfile": 0.35,
        "USAD": 0.36,
        "CNN": 0.34,
        "AutoEncoder": 0.26,
    }
    ends = [[re.findall(r"_tr_(\d+)_1st_(\d+)", name)[0] for name in part.files] for part in tsb_ad.PARTS]
    assert [sum(int(learnt) >= int(first) for learnt, first in each) for each in ends] == [34, 20]


def test_rows_that_miss_a_number_are_dropped(tmp_path: Path) -> None:
    (tmp_path / SMD).write_text("time,b,Label\n1.5,2,0\n,3,1\n4,nan,0\n5,6,1\n", encoding="utf-8")
    table = tsb_ad.read(tmp_path / SMD)
    assert table.labels is not None
    assert (table.channels, table.samples.tolist(), table.labels.tolist()) == (
        ("time", "b"),
        [[1.5, 2], [5, 6]],
        [0, 1],
    )


def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
    main: Callable[[], None] = tsb_ad.main,
) -> str:
    monkeypatch.setattr("sys.argv", ["benchmark", *arguments])
    main()
    return capsys.readouterr().out


def test_a_run_goes_on_where_the_last_one_ended(
    tmp_path: Path, kept: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    write(data / "TSB-AD-U" / NAB, beat(1_500), 1_200, 1_230)
    (data / YAHOO).write_text("Data,Label\n1,0\n2,1\n", encoding="utf-8")
    write(data / "TSB-AD-U" / "003_NAB_id_3_WebService_tr_1362_1st_1462.csv", beat(1_400), 1_380, 1_390)  # of tuning
    arguments = ("--data", str(data), "--recipe", tiny)
    some = run(monkeypatch, capsys, *arguments, "--only", "NAB")
    assert "1 of 1: 001_NAB" in some
    log = kept / "files" / "tsb-ad-u.csv"
    before = log.read_text(encoding="utf-8")
    log.write_text(before + "002_NAB_id_2_W", encoding="utf-8")  # the machine went down
    rest = run(monkeypatch, capsys, *arguments)
    assert "1 of 2" not in rest
    assert f"2 of 2: {YAHOO}: counts as 0: " in rest
    text = log.read_text(encoding="utf-8")
    assert text.startswith(before)
    assert text.count("\n") == before.count("\n") + 1
    assert "| NAB | 1 |" in rest
    assert "348 files are left" in rest
    assert not (kept / "tsb-ad-u.csv").exists()  # what is not whole is no result
    rows = {row.scorer: row for row in Log(log, archive.RANKING).rows if row.file == NAB}
    assert {"detector", "pca", "knn", "random"} <= set(rows)
    assert rows["knn"].figures["VUS-PR, averaged"] > 0.5 > rows["random"].figures["VUS-PR, averaged"]
    # two seeds: only the second is new
    assert run(monkeypatch, capsys, *arguments, "--only", "NAB", "--seeds", "2").count("1 of 1: ") == 1


def test_what_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, "--data", str(tmp_path / "nowhere"))
    said = capsys.readouterr().err
    assert "https://www.thedatum.org/datasets/TSB-AD-U.zip" in said
    assert f"make tsb-ad DATA={tmp_path / 'nowhere'}" in said


def test_any_number_of_ucr_series(
    tmp_path: Path, kept: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = beat(900)[:, 0]
    for name, first in (("001_UCR_Anomaly_one_400_701_720.txt", 700), ("250_UCR_Anomaly_two_400_801_810.txt", 800)):
        series = values.copy()
        series[first : first + 10] += 3.0
        path = tmp_path / "archive" / "below" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"  {value:.7e}\n" for value in series), encoding="utf-8")
    arguments = ("--data", str(tmp_path / "archive"), "--recipe", tiny, "--seeds", "1")
    said = run(monkeypatch, capsys, *arguments, main=ucr.main)
    assert "2 of 2: 250_UCR_Anomaly_two_400_801_810.txt, seed 0, windows of 20" in said
    assert "| chosen on | 1 | 1.000 | 1.000 | 1.000 |" in said
    assert "| all | 2 |" in said
    by_chance = (220 / 500 + 200 / 500) / 2  # 100 rows on both sides, of 500; the second's end with the series
    assert f"| {by_chance:.3f} |" in said
    assert not (kept / "ucr.csv").exists()  # neither the 16 nor all 250
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, "--data", str(tmp_path / "nowhere"), main=ucr.main)
    assert "UCR_TimeSeriesAnomalyDatasets2021.zip" in capsys.readouterr().err


def test_spacecraft_channels(
    tmp_path: Path, kept: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    for part, rows in (("train", 400), ("test", 500)):
        (folder / part).mkdir(parents=True)
        for channel in ("P-1", "P-2"):
            values = beat(rows, 2)
            values[:, 1] = 0.0  # a command that was never sent
            values[300:320, 0] += 2.0 if part == "test" else 0.0
            np.save(folder / part / f"{channel}.npy", values)
    heads = "chan_id,spacecraft,anomaly_sequences,class,num_values\n"
    text = heads + 'P-1,SMAP,"[[300, 309], [310, 319]]","[point, point]",500\n'
    text += 'P-2,SMAP,"[[300, 309]]",[point],500\nP-2,SMAP,"[[310, 319]]",[point],500\n'  # listed twice
    text += 'A-9,MSL,"[[1, 2]]",[point],9\n'  # not there
    (tmp_path / "labeled_anomalies.csv").write_text(text, encoding="utf-8")
    craft = smap_msl.labelled(folder)
    assert craft["P-1"] == craft["P-2"] == ("SMAP", [(300, 309), (310, 319)])
    recipe = recipes.load("servers")
    text = (Path(recipes.__file__).parent / "servers.toml").read_text(encoding="utf-8")
    (tmp_path / "quick.toml").write_text(text.replace(f"epochs = {recipe.fit.epochs}", "epochs = 1"), encoding="utf-8")
    arguments = ("--data", str(folder), "--recipe", str(tmp_path / "quick.toml"))
    said = run(monkeypatch, capsys, *arguments, main=smap_msl.main)
    assert "| SMAP | 2 |" in said
    assert "published for SMAP in TSB-AD-M, VUS-PR: CNN 0.191" in said
    (causal, averaged) = results.read("smap-msl", folder=kept)
    assert causal.data == averaged.data == "SMAP, 2 channels"
    assert causal.baselines["knn"] > 0.8
    (tmp_path / "labeled_anomalies.csv").write_text(heads + 'P-1,SMAP,"[[300, 900]]",[point],9\n', encoding="utf-8")
    (entry,) = smap_msl.entries(folder)
    with pytest.raises(DataError, match="rows 300 to 900 of 500"):
        entry.load()
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, "--data", str(tmp_path / "nowhere"), main=smap_msl.main)
    assert "telemanom/data.zip" in capsys.readouterr().err


def test_a_file_of_tsb_uad(
    tmp_path: Path, kept: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = beat(1_200)[:, 0]
    values[800:820] += 3.0
    path = tmp_path / "Public" / "ECG" / tsb_uad.AT_HAND
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{value},{int(800 <= at < 820)}\n" for at, value in enumerate(values)), encoding="utf-8")
    (entry,) = tsb_uad.entries(tmp_path)
    task = entry.load()
    assert (entry.family, task.length, len(task.learnt.samples), len(task.tested.samples)) == ("ECG", 16, 120, 1_200)
    assert task.tested.labels is not None
    assert np.flatnonzero(task.tested.labels).tolist() == list(range(800, 820))
    said = run(monkeypatch, capsys, "--data", str(tmp_path / "Public"), "--recipe", tiny, main=tsb_uad.main)
    assert "| ECG | 1 |" in said
    assert [row.published.get("NORMA") for row in results.read("tsb-uad")] == [None, None, 0.775, 0.775]
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, "--data", str(tmp_path / "nowhere"), main=tsb_uad.main)
    assert "TSB-UAD-Public.zip" in capsys.readouterr().err


def rows_of(name: str, family: str, values: dict[str, float], seed: int = 0) -> list[FileScore]:
    return [
        FileScore(
            file=name,
            family=family,
            recipe="tiny 0",
            seed=seed,
            scorer=scorer,
            rows=9,
            length=2,
            seconds=1.0,
            problem="",
            figures={"VUS-PR, causal": value},
        )
        for scorer, value in values.items()
    ]


def test_nothing_is_missing_of_what_is_made_of_data_at_hand() -> None:
    names = {*at_hand.NAB, *at_hand.SMD, *at_hand.SMAP}
    assert len(names) == 14
    assert names <= {name for part in tsb_ad.PARTS for name in part.files}


def test_without_a_folder_files_are_made_of_data_at_hand(
    tmp_path: Path, kept: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """NAB's form: times and values, windows of labels in a file of their own."""
    series = at_hand.NAB[NAB]
    times = [f"2014-03-{1 + at // 288:02} {at // 12 % 24:02}:{at % 12 * 5:02}:00" for at in range(1_500)]
    values = beat(1_500)[:, 0]
    values[1_201:1_230] += 3.0
    path = tmp_path / "nab" / "data" / series
    path.parent.mkdir(parents=True)
    rows = [f"{time},{value}" for time, value in zip(times, values, strict=True)]
    path.write_text("\n".join(["timestamp,value", *rows]), encoding="utf-8")
    windows = {series: [[f"{times[1_200]}.000000", f"{times[1_229]}.000000"]]}
    (tmp_path / "nab" / "labels").mkdir()
    (tmp_path / "nab" / "labels" / "combined_windows.json").write_text(json.dumps(windows), encoding="utf-8")
    made = at_hand.readers(tmp_path)[NAB]()
    assert at_hand.facts(made) == (1_499, 1, 29, 1_200)  # one row less at the beginning, and of the window
    assert made.samples[1_200, 0] == np.float32(values[1_201])
    monkeypatch.setattr(tsb_ad, "AT_HAND", tmp_path)
    assert "1 of 1: 001_NAB" in run(monkeypatch, capsys, "--recipe", tiny)


@pytest.mark.data
def test_files_made_of_data_at_hand_are_tsb_ads(data_directory: Path) -> None:
    """By the facts that its tables (benchmark_eval_results) and its names have of each."""
    known = {
        "001": (4031, 3, 343),
        "009": (2161, 1, 216),
        "013": (2494, 2, 248),
        "014": (1537, 1, 152),
        "016": (7266, 2, 724),
        "017": (4031, 1, 402),
        "018": (1881, 2, 188),
        "019": (4031, 2, 400),
        "025": (15832, 2, 1580),
        "026": (2499, 1, 238),
        "057": (23694, 10, 542),
        "063": (23694, 13, 1170),
        "066": (23687, 8, 977),
        "165": (8516, 2, 508),
    }
    found = at_hand.readers(data_directory)
    assert {name[:3] for name in found} == set(known)
    for name, reader in found.items():
        assert at_hand.facts(reader()) == (*known[name[:3]], int(name.split("_1st_")[1].removesuffix(".csv")))


def test_tables_and_results_are_means_over_files() -> None:
    rows = rows_of("a", "A", {"detector": 0.2, "pca": 0.5}) + rows_of("b", "B", {"detector": 0.6, "pca": 0.1})
    rows += rows_of("a", "A", {"detector": 0.4}, seed=1) + rows_of("b", "B", {"detector": 0.6}, seed=1)
    published = {"CNN": {"a": 0.3, "b": 0.5, "c": 0.9}, "nobody": {"c": 0.9}}
    assert archive.families_table(rows, "VUS-PR, causal", published).splitlines() == [
        "| VUS-PR, causal | series | detector | pca | CNN |",
        "|---|---|---|---|---|",
        "| A | 1 | 0.300 ± 0.100 | 0.500 | 0.300 |",
        "| B | 1 | 0.600 ± 0.000 | 0.100 | 0.500 |",
        "| all | 2 | 0.450 ± 0.050 | 0.300 | 0.400 |",
    ]
    found = archive.result(rows, "TSB", "VUS-PR, causal", {"CNN": 0.4}, "make tsb-ad")
    assert [found.ours, found.spread] == pytest.approx([0.45, 0.05])
    assert found.baselines == {"pca": pytest.approx(0.3)}
    assert (found.detector, found.series, found.seeds) == ("tiny", 2, 2)


def test_in_parts_scores_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipes.override(recipes.load("rhythm"), length=20, epochs=1, normal_class="all")
    recipe = msgspec.structs.replace(recipe, score=msgspec.structs.replace(recipe.score, smoothing=5))
    tested = SeriesTable(samples=beat(700, 2).astype(np.float32), channels=("a", "b"))
    part = contest.rows_of(tested, slice(0, 400))
    whole = contest.contest(recipe, part, tested, seed=0)
    monkeypatch.setattr(contest, "PART_NUMBERS", 20 * 2 * 37)
    ranked = contest.ranked(recipe, part, tested, seed=0)
    assert set(ranked) == set(whole)
    for name, scored in ranked.items():
        np.testing.assert_array_equal(scored.first, whole[name].first)
        np.testing.assert_allclose(scored.scores, whole[name].scores, rtol=1e-6)
    monkeypatch.setattr(contest, "MOST_LEARNT", 100)
    sparing = contest.ranked(recipe, part, tested, seed=0, with_baselines=False)
    assert len(sparing["detector"].scores) == len(whole["detector"].scores)
    assert not np.allclose(sparing["detector"].scores, whole["detector"].scores)


def test_average_precision_is_tsb_ads_where_rows_have_no_score() -> None:
    labels = np.zeros(300, dtype=np.int64)
    labels[[3, 4, 150, 151, 152]] = 1
    table = SeriesTable(samples=beat(300).astype(np.float32), channels=("a",), labels=labels)
    task = archive.series_task(table, table, None)
    scores = np.random.default_rng(0).random(291).astype(np.float32)
    at = np.arange(291)
    scored = contest.Scored(scores=scores, first=at, last=at + 9, rows=300, threshold=0.0)
    whole = np.concatenate([np.full(9, -1.0), scores])
    assert task.figures(scored)["AUC-PR, causal"] == pytest.approx(average_precision_score(labels, whole))
    assert len(labels) / 5 * task.chance()["AUC-PR, causal"] == pytest.approx(2, abs=0.1)  # few rows: over 1 in 60


def test_a_changed_recipe_is_another() -> None:
    recipe = recipes.load("rhythm")
    changed = msgspec.structs.replace(recipe, score=msgspec.structs.replace(recipe.score, kind="mae"))
    assert archive.fingerprint(recipe) == archive.fingerprint(recipes.load("rhythm")) != archive.fingerprint(changed)
    assert archive.fingerprint(changed).startswith("rhythm ")
