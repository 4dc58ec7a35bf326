"""What training says of channels that may be none, and of numbers that may mean that one is missing; and what a
constant channel's later movement scores. Tables of kinds, from public reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from monitor import datafiles
from monitor.datafiles import SeriesTable, WindowTable, digits
from monitor.datafiles.cells import Markers
from monitor.datafiles.plausibility import markers, notes
from monitor.detector import storage, thresholds
from monitor.replay import FileSource, overridden, replayed
from training import pipeline, recipes
from training.commands import commands
from training.datasets import timestamps
from training.datasets.reading import without_markers

ROWS = 1_000
AT = np.arange(ROWS, dtype=np.float64)
RNG = np.random.default_rng(3)
NOISE = RNG.normal(size=ROWS)
FLOW = 3 + np.sin(AT / 8) + 0.05 * NOISE


def table(**channels: np.ndarray) -> SeriesTable:
    samples = np.stack(list(channels.values()), axis=1)
    return SeriesTable(
        samples=samples.astype(np.float32), channels=tuple(channels), exact=digits.exact(samples), source="plant.csv"
    )


SUSPECTS: dict[str, tuple[np.ndarray, str]] = {
    "SeqNo": (AT + 17, "count or tell the time"),
    "row_id": (AT * 1.0, "count or tell the time"),
    "index backwards": (5_000 - AT, "count or tell the time"),
    "sequence, 8 bits": (AT % 256, "count or tell the time"),
    "lines with some left out": (np.cumsum(1 + (RNG.random(ROWS) < 0.05)), "count or tell the time"),
    "elapsed s": (AT * 0.1, "count or tell the time"),
    "uptime ms": (1_234_567 + 1000 * AT, "count or tell the time"),
    "day with a fraction": (45_992 + AT / 86_400, "count or tell the time"),
    "cycle": (AT % 100 + 1, "count or tell the time"),
    "year": (1900 + AT, "count or tell the time"),
    "t": (1_764_600_000 + AT, "hold times"),
    "timestamp_ms": (1_764_600_000_000 + 1000 * AT, "hold times"),
    "ingest_time": (1_764_600_000_000 + 1000 * AT + RNG.integers(0, 30, ROWS), "hold times"),
    "day": (20_251_201 + AT // 240, "hold times"),
    "energy": (np.cumsum(RNG.uniform(0, 3, ROWS)), "only rise or only fall"),
    "rain total": (np.cumsum(RNG.random(ROWS) < 0.1), "only rise or only fall"),
    "battery": (100 - np.cumsum(RNG.uniform(0, 0.01, ROWS)), "only rise or only fall"),
}
SIGNALS: dict[str, np.ndarray] = {
    "a wave": FLOW,
    "a ramp": 20 + 0.1 * AT + NOISE,
    "a constant": np.full(ROWS, 7.0),
    "a switch": (AT > 500) * 1.0,
    "a square wave": AT // 50 % 2,
    "a saw": AT % 50 / 50 + 0.01 * NOISE,
    "a state": RNG.integers(0, 4, ROWS) * 1.0,
    "a level": 18_228_934 + 0.3 * np.sin(AT / 8),
    "heavy tails": RNG.standard_cauchy(ROWS),
    "percent": np.clip(95 + 2 * NOISE, 0, 99),
    "up to 999": np.clip(900 + 40 * NOISE, 0, 999),
    "a spike": np.where(AT == 500, 50.0, NOISE),
    "counts": RNG.poisson(3, ROWS) * 1.0,
}


@pytest.mark.parametrize("name", SUSPECTS)
def test_a_clock_or_counter_is_named(name: str) -> None:
    column, what = SUSPECTS[name]
    (said,) = notes([table(flow=FLOW, **{name: column})])
    assert said.startswith(f"channels that {what}: {name}; ")
    assert said.endswith(f"--drop={name}" if name.isidentifier() else f"--drop='{name}'")


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_is_not_named(name: str) -> None:
    assert list(notes([table(flow=FLOW, **{name: SIGNALS[name]})])) == []


def test_channels_of_a_kind_are_in_one_note() -> None:
    many = table(flow=FLOW, **{f"counter_{at}": AT + at for at in range(10)})
    (said,) = notes([many])
    assert "counter_0,counter_1,counter_2" in said
    assert "counter_7 and 2 more; " in said


def test_a_channel_is_named_where_most_series_show_it() -> None:
    short = table(x=AT[:20])
    assert list(notes([table(x=FLOW), table(x=AT), table(x=FLOW), short, short, short])) == []
    assert len(list(notes([table(x=AT), table(x=AT), table(x=FLOW), short]))) == 1


def marked(value: float, share: float = 0.02, base: np.ndarray = FLOW) -> np.ndarray:
    return np.where(RNG.random(ROWS) < share, value, base)


MARKED = [
    -9999, -999, -99, 9999, 99999, 999.9, -999.9, 9999.99, 1e30, -1e31, 1e20, 9.96921e36, 3.4028235e38, -3.4028235e38,
    32767, -32768, 65535, 2147483647, -2147483648, 3276.7, 6553.5, -127,
]  # fmt: skip


@pytest.mark.parametrize("value", MARKED)
@pytest.mark.parametrize("precise", [True, False])
def test_numbers_known_to_mean_missing_are_told(value: float, precise: bool) -> None:
    column = marked(value)
    found = SeriesTable(
        samples=column.astype(np.float32)[:, None],
        channels=("flow",),
        exact=column[:, None] if precise else None,
    )
    (said,) = markers([found])
    count = int((column == value).sum())
    assert said.startswith(f"channel flow: {count} of {ROWS} numbers are ")
    declared = said.rsplit("--missing=", 1)[1]
    assert float(declared) == pytest.approx(value, rel=1e-7)
    assert len(declared) <= 15
    left = without_markers(found, Markers.of([declared]))
    assert isinstance(left, SeriesTable)
    assert int(np.isnan(left.samples).sum()) == count, "the advice works"
    assert list(markers([left])) == []


@pytest.mark.parametrize(("value", "base"), [(0.0, 50 + NOISE), (85.0, 20 + 0.5 * NOISE), (-1.0, 20 + 0.5 * NOISE)])
def test_any_number_that_comes_again_far_from_the_rest_is_told(value: float, base: np.ndarray) -> None:
    (said,) = markers([table(v=marked(value, base=base))])
    assert f"--missing={value:g}" in said
    once = np.where(AT == 10, value, base)
    assert list(markers([table(v=once)])) == [], "once it may be what is looked for"


def test_both_ends_may_mean_missing_and_windows_too() -> None:
    column = marked(9999, base=marked(-9999))
    assert [said.rsplit("=", 1)[1] for said in markers([table(v=column)])] == ["-9999", "9999"]
    windows = WindowTable(windows=column.reshape(-1, 50, 1).astype(np.float32), channels=("v",))
    assert len(list(notes([windows]))) == 2


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=0, max_size=60), st.sampled_from([np.nan, 0.0, -9999.0, 1e30]))
def test_any_numbers_are_looked_at(numbers: list[float], also: float) -> None:
    """Whatever they are, nothing is raised, and what is said names a number that is there."""
    column = np.array([*numbers, also, also])
    for said in notes([table(v=column)]):
        if "--missing=" in said:
            assert np.float32(said.rsplit("=", 1)[1]) in column.astype(np.float32)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (45_992 + AT / 86_400, "is that Excel's count of days since 1900?"),
        (739_952 + AT / 86_400, "is that MATLAB's count of days since the year 0?"),
        (2_461_011 + AT / 86_400, "is that a Julian date?"),
        (1_764_600_000 + 2_208_988_800 + AT, "do they count from 1900 or 1904, as NTP and LabVIEW do?"),
        (1_764_600_000 + 2_082_844_800 + AT, "do they count from 1900 or 1904, as NTP and LabVIEW do?"),
    ],
)
def test_days_and_seconds_that_count_from_elsewhere_are_noted(numbers: np.ndarray, said: str) -> None:
    times = np.rint(numbers * 1e6).astype(np.int64)
    (note,) = timestamps.notes([SeriesTable(samples=FLOW.astype(np.float32)[:, None], channels=("v",), time_us=times)])
    assert said in note


@pytest.mark.parametrize(
    "numbers",
    [
        (1_764_600_000 + 11_644_473_600 + AT) * 1e7,  # Windows
        (1_764_600_000 + 62_135_596_800 + AT) * 1e7,  # .NET
        1_764_600_000 - 978_307_200 + AT,  # Apple
        1e9 * AT + 1e6,
    ],
    ids=["FILETIME", "ticks", "Apple", "random"],
)
def test_implausible_years_of_a_file_are_told(tmp_path: Path, numbers: np.ndarray) -> None:
    (tmp_path / "x.csv").write_text("time,v\n" + "".join(f"{number:.0f},1\n" for number in numbers))
    found = datafiles.read_series(tmp_path / "x.csv")
    assert any("is that right?" in said for said in timestamps.notes([found]))


def run(*arguments: str) -> str:
    """What a command prints."""
    app = typer.Typer()
    commands(app)
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_a_column_of_minus_9999_as_a_user_meets_it(tmp_path: Path) -> None:
    """Told, then declared: the scale is the signal's, and `replay` and `evaluate` know it from the artifact."""
    column = np.where(np.isin(AT, RNG.choice(ROWS, 16, replace=False)), -9999, FLOW)
    text = "timestamp,SeqNo,flow\n" + "".join(f"{1_764_600_000 + at},{at},{v:.4f}\n" for at, v in enumerate(column))
    (tmp_path / "plant.csv").write_text(text)
    command = ["train", str(tmp_path / "plant.csv"), "--epochs", "1", "--window", "16", "--hop", "8", "--no-report"]
    told = run(*command, "--out", str(tmp_path / "first"))
    assert "note: channel flow: 16 of 1000 numbers are -9999, far from the others" in told
    assert "note: channels that count or tell the time: SeqNo; " in told
    done = run(*command, "--out", str(tmp_path / "then"), "--missing=-9999", "--drop", "SeqNo")
    assert "-9999" not in done
    made = storage.load(tmp_path / "then").manifest
    assert [channel.name for channel in made.channels] == ["flow"]
    assert made.scaling.scale[0] == pytest.approx(np.std(FLOW[:600]), rel=0.05)
    evaluated = run("evaluate", str(tmp_path / "then"), str(tmp_path / "plant.csv"))
    assert "unscorable" in evaluated
    config = overridden(None, service=None, topic=None, threshold=None)
    _, counts, _ = replayed(tmp_path / "then", FileSource(path=tmp_path / "plant.csv"), config)
    _, told_otherwise, _ = replayed(tmp_path / "then", FileSource(path=tmp_path / "plant.csv", missing=""), config)
    assert (counts.samples_missing, told_otherwise.samples_missing) == (16, 0)


@pytest.mark.parametrize(("stands", "moves", "seen"), [(0.002, 0.012, True), (50_000.0, 50_000.5, False)])
def test_a_constant_channel_that_moves(stands: float, moves: float, seen: bool) -> None:
    """Beside two channels that vary: six times its size is seen, a hundred thousandth of it is not."""
    pressure = 10 + 2 * np.cos(AT / 8) + 0.1 * NOISE
    learnt = table(flow=FLOW, pressure=pressure, level=np.full(ROWS, stands))
    recipe = recipes.override(recipes.load("sliding"), epochs=20, length=16, hop=8)
    trained = pipeline.train(recipe, [learnt], seed=0, name="plant", sources=[], with_report=False).artifact
    windows = np.stack([FLOW, pressure, np.full(ROWS, moves)], axis=1).astype(np.float32)[:992].reshape(-1, 16, 3)
    over = trained.scorer()(windows) > thresholds.of(trained.manifest).value
    assert over.all() if seen else over.mean() < 0.1
