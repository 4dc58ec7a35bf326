"""Rows of results: written and read again, compared with bars and baselines, printed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec
import pytest

from tests.benchmarks import bars, leaderboard, results
from tests.benchmarks.results import Result

ROW = Result(
    data='SMD, TSB-AD\'s rows, "3"',
    measure="VUS-PR, averaged",
    detector="auto",
    ours=0.7004,
    spread=0.01,
    series=3,
    seeds=3,
    baselines={"PCA, squared error": 0.583, "kNN": 1 / 3, "random": 0.05},
    published={"TSB-AD's CNN": 0.334},
    must=0.68,
    aim=0.75,
    command="make smd",
    date="2026-11-30",
)
change = msgspec.structs.replace


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    bare = Result(data="demo", measure="beats found", detector="demo", ours=120.0, date="2026-11-30")
    results.write("smd", [ROW, bare], tmp_path)
    assert results.read("smd", folder=tmp_path) == [ROW, bare]
    assert results.read("smd", "never-run", folder=tmp_path) == results.read(folder=tmp_path)


def test_a_later_row_takes_the_place_of_its_like(tmp_path: Path) -> None:
    other = change(ROW, detector="servers")
    results.write("smd", [ROW, other], tmp_path)
    results.write("smd", [change(ROW, ours=0.5)], tmp_path)
    assert results.read(folder=tmp_path) == [change(ROW, ours=0.5), other]


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (ROW, "met"),
        (change(ROW, ours=0.7496), "aim met"),
        (change(ROW, ours=0.6796), "met"),
        (change(ROW, ours=0.6794), "NOT MET"),
        (change(ROW, ours=0.75, aim=None), "met"),
        (change(ROW, must=None, aim=None), ""),
        (change(ROW, ours=0.57, must=0.5), "met; behind PCA, squared error"),
        (change(ROW, ours=0.573, must=0.5), "met"),
        (change(ROW, ours=0.582, spread=None, must=None), "behind PCA, squared error"),
        (change(ROW, ours=0.2, better="lower", baselines={"PCA": 0.1}, must=0.22, aim=0.15), "met; behind PCA"),
        (change(ROW, ours=0.15, better="lower", baselines={}, must=0.22, aim=0.15), "aim met"),
    ],
)
def test_the_verdict(row: Result, verdict: str) -> None:
    assert row.verdict == verdict


def test_the_table() -> None:
    heads, _, row = results.table([ROW]).splitlines()
    assert heads.count("|") == row.count("|")
    assert row == (
        '| SMD, TSB-AD\'s rows, "3" | VUS-PR, averaged | auto | 0.700 ± 0.010 | 3 x 3 '
        "| PCA, squared error 0.583, kNN 0.333, random 0.050 | TSB-AD's CNN 0.334 | 0.680 | 0.750 | met |"
    )
    assert results.number(float("nan")) == ""
    assert results.number(3029.0) == "3,029.0"


def test_the_page_keeps_what_was_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, docs = tmp_path / "results", tmp_path / "docs"
    monkeypatch.setattr("sys.argv", ["leaderboard", "--results", str(ours), "--page", str(docs / "leaderboard.md")])
    results.write("smd", [ROW], ours)
    docs.mkdir()
    leaderboard.main()
    (ours / "smd.csv").unlink()
    results.write("ucr", [change(ROW, data="UCR", command="make ucr")], ours)
    leaderboard.main()
    written = (docs / "leaderboard.md").read_text(encoding="utf-8")
    assert written == leaderboard.page(results.read("leaderboard", folder=docs))
    assert "leaderboard.md is written" in capsys.readouterr().out
    sections = written.split("\n## ")[1:]
    assert [each.splitlines()[0] for each in sections] == [ROW.data, "UCR"]
    assert sections[1].splitlines()[2] == "`make ucr`, n = 3, 3 seeds, 2026-11-30. Published figures are in italics."


def test_a_section_has_a_column_for_each_name_that_any_row_has() -> None:
    other = change(ROW, measure="F1", baselines={"kNN": 0.25}, published={}, must=None, aim=None, seeds=1, spread=None)
    made = "`make smd`, n = 3, 3 seeds, 2026-11-30."
    assert leaderboard.section([ROW, other]).splitlines() == [
        f"{made.replace('.', ';')} {made.replace('3 seeds', '1 seed')} Published figures are in italics.",
        "",
        "| measure | detector | ours | PCA, squared error | kNN | random | *TSB-AD's CNN* | must | aim |  |",
        "|---|---|---|---|---|---|---|---|---|---|",
        "| VUS-PR, averaged | auto | 0.700 ± 0.010 | 0.583 | 0.333 | 0.050 | 0.334 | 0.680 | 0.750 | met |",
        "| F1 | auto | 0.700 |  | 0.250 |  |  |  |  |  |",
    ]
    assert leaderboard.section([other]).count("must") == 0


def test_the_page_is_written_of_the_rows_beside_it() -> None:
    written = leaderboard.PAGE.read_text(encoding="utf-8")
    assert written == leaderboard.page(results.read("leaderboard", folder=leaderboard.PAGE.parent))


def test_bars_that_are_not_met_are_said_and_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    results.write("smd", [ROW])
    assert bars.main(["--no-run"]) == 0
    assert "every bar that must be met is met" in capsys.readouterr().out
    results.write("blame", [change(ROW, data="planted", ours=0.5, must=0.65)])
    assert bars.main(["--no-run"]) == 1
    said = capsys.readouterr().out
    assert "not met: planted, VUS-PR, averaged, auto: 0.500, must be 0.650" in said
    assert "| SMD, TSB-AD's rows" in said


def test_a_benchmark_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(leaderboard, "write", lambda _folder: None)
    monkeypatch.setitem(bars.RUNS, "blame", (("no_such_benchmark",),))
    assert bars.main(["--only", "blame"]) == 1


def test_every_benchmark_that_is_run_is_there() -> None:
    for module, *_ in (each for runs in bars.RUNS.values() for each in runs):
        assert importlib.util.find_spec(f"tests.benchmarks.{module}") is not None
