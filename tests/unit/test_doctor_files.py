"""`telltale doctor` of files: the command that it proposes reads what the file holds, as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.main import get_command

from monitor.datafiles import SeriesTable
from monitor.doctor import file_report, files, words
from monitor.doctor.files import FileDiagnosis
from tests.helpers import Written
from training import recipes
from training.commands import arguments
from training.commands.train import train
from training.datasets import sources
from training.datasets.options import Table

RANDOM = np.random.default_rng(7).normal(size=400).tolist()
ROWS = 120
Row = Callable[[int], list[object]]


def read(found: FileDiagnosis) -> list[Table]:
    """What training reads by the proposed command, word for word."""
    app = typer.Typer()
    app.command()(train)
    given: dict[str, Any] = get_command(app).make_context("train", shlex.split(found.command)[2:]).params
    names = ("channels", "drop", "label_column", "time_column", "series_column", "time_unit", "day_first")
    missing = arguments.missing_values(given["missing"], ())
    options = arguments.read_options(**{name: given[name] for name in names}, missing=missing)
    kind = recipes.load(given["recipe"]).window.kind
    return sources.read(given["data"], kind, options, lambda _: None, about_contents=False)[0]


def table(header: str, row: Row, separator: str = ",") -> str:
    return "\n".join([header, *(separator.join(map(str, row(at))) for at in range(ROWS))]) + "\n"


def numbers(at: int) -> list[object]:
    return [round(3 + RANDOM[at], 4), round(12 + RANDOM[-at], 4)]


def marked(at: int, marks: dict[int, object]) -> list[object]:
    """A row with its time, and with what stands in place of a number in some of 30 rows."""
    flow, pressure = numbers(at)
    return [f"2026-01-02T{clock(at)}", marks.get(at % 30, flow), pressure]


def clock(at: int) -> str:
    return f"{10 + at // 60:02d}:{at % 60:02d}:00"


# What is in the file, the columns of its times in the report, the options of the command, and the minutes between rows
FORMS: dict[str, tuple[str, str, str, float]] = {
    "a time": (table("ts,flow,pressure", lambda at: [f"2026-01-02T{clock(at)}", *numbers(at)]), "ts", "", 1),
    "another name": (table("wann,flow,pressure", lambda at: [f"2026-01-02 {clock(at)}", *numbers(at)]), "wann", "", 1),
    "date and time": (
        table("Date,Time,flow,pressure", lambda at: ["2026-01-02", clock(at), *numbers(at)]), "Date,Time", "", 1
    ),
    "time and date": (
        table("Uhrzeit;flow;Datum;pressure", lambda at: [clock(at), numbers(at)[0], "02.01.2026", numbers(at)[1]], ";"),
        "Datum,Uhrzeit", "", 1,
    ),
    "compact date": (
        table("Date,Time,flow,pressure", lambda at: ["20260102", clock(at), *numbers(at)]), "Date,Time", "", 1
    ),
    "two times": (
        table(
            "begin,end,flow,pressure",
            lambda at: [f"2026-01-02T{clock(at)}", f"2026-01-02T{clock(at + 1)}", *numbers(at)],
        ),
        "begin", "--time-column begin --channels flow,pressure", 1,
    ),
    "day first": (
        table("when,flow,pressure", lambda at: [f"{1 + at // 24:02d}/02/2026 {at % 24:02d}:00", *numbers(at)]),
        "when", "--day-first", 60,
    ),
    "month first": (
        table("when,flow,pressure", lambda at: [f"02/{1 + at // 24:02d}/2026 {at % 24:02d}:00", *numbers(at)]),
        "when", "--month-first", 60,
    ),
    "either first": (
        table("when,flow,pressure", lambda at: [f"03/04/2026 {clock(at)}", *numbers(at)]), "when", "--day-first", 1
    ),
    "time of a test bench": (
        table("time_s,rows,flow,pressure", lambda at: [0.5 * at, f"a{at % 7}b{at}", *numbers(at)]),
        "time_s", "--time-column time_s --channels flow,pressure", 0.5 / 60,
    ),
    "no time": (table("flow,pressure", numbers), "", "", 0),
    "a code": (
        table("ts,flow,pressure", lambda at: marked(at, {7: -9999})),
        "ts", "--missing=-9999", 1,
    ),
    "a word": (
        table("ts,flow,pressure", lambda at: marked(at, {27: "Bad"})),
        "ts", "--missing=Bad", 1,
    ),
    "a word at first": (
        table("ts,flow,pressure", lambda at: marked(at, {1: "Comm Fail"})),
        "ts", "'--missing=Comm Fail'", 1,
    ),
    "a code and a word": (
        table("ts,flow,pressure", lambda at: marked(at, {7: -9999, 19: "Offline"})),
        "ts", "--missing=Offline,-9999", 1,
    ),
    "a state": (
        table("ts,flow,pressure,Status", lambda at: [*marked(at, {}), "Fault" if at % 40 == 3 else "OK"]),
        "ts", "--channels flow,pressure", 1,
    ),
    "qualities": (
        table("ts,flow,flow_q,pressure", lambda at: [*marked(at, {})[:2], 192 if at % 9 else 0, numbers(at)[1]]),
        "ts", "--channels flow,pressure", 1,
    ),
    "halves of a day": (
        table("Date,Time,flow,pressure", lambda at: ["01/02/2026", f"{clock(at)} AM", *numbers(at)]),
        "Date,Time", "--month-first", 1,
    ),
    "a total": (
        table("ts,flow,pressure,energy_kwh", lambda at: [*marked(at, {}), 7000 + at + RANDOM[at] / 9]),
        "ts", "--channels flow,pressure", 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_command_reads_the_file_as_it_stands(form: str, written: Written) -> None:
    text, time, options, step_min = FORMS[form]
    found = files.examine(written(text))
    assert not found.problem
    assert found.time == time
    assert shlex.join(found.options) == options
    (made,) = read(found)
    assert isinstance(made, SeriesTable)
    assert made.channels == ("flow", "pressure")
    assert len(made.samples) == ROWS
    missing = 4 * form.startswith("a code") + 4 * ("word" in form)
    assert int(np.isnan(made.samples).sum()) == missing
    assert np.nanmax(np.abs(made.samples)) < 20
    if not step_min:
        assert made.time_us is None
    else:
        assert made.time_us is not None
        assert set(np.diff(made.time_us).tolist()) == {60_000_000 * step_min}


def test_numbers_hold_where_too_many_are_missing(written: Written) -> None:
    text = table("ts,flow,pressure", lambda at: [f"2026-01-02T{clock(at)}", numbers(at)[0] if at % 3 else "", at % 7])
    found = files.examine(written(text))
    assert "--max-hold-ms 300000" in found.command
    assert "only 0% of the windows of 10 samples would be whole" in " ".join(file_report.of_file(found).split())
    assert "--max-hold-ms" not in files.examine(written(FORMS["a code"][0])).command


@pytest.mark.parametrize(("rows", "window"), [(30, "--window 5"), (59, "--window 9"), (60, ""), (3000, "")])
def test_windows_are_shorter_where_rows_are_few(rows: int, window: str) -> None:
    said = words.recipe_for(rows, 2, 1e6)
    assert (window or "--window") in " ".join([*said, "" if window else "--window"])
    assert ("--window" in said) == bool(window)
    assert words.window_length(said) <= max(2, rows // 6)


def test_one_reading_a_row_is_said(written: Written) -> None:
    """Training would take all numbers for one channel."""
    rows = [f"2026-01-02T{clock(at)},d{d},{name},{numbers(at)[0]}" for at in range(60) for d in (1, 2) for name in "xy"]
    found = files.examine(written("\n".join(["ts,device,metric,value", *rows])))
    assert "column metric names what the number of each row is (x, y): one reading a row" in found.problem
    assert "telltale train" not in file_report.of_file(found)


def test_two_scales_are_said(written: Written) -> None:
    rows = [
        f"2026-01-02T{clock(at)},m{m},{20 + RANDOM[at] if m else 68 + 1.8 * RANDOM[at]}"
        for at in range(60)
        for m in range(3)
    ]
    found = files.examine(written("\n".join(["ts,machine,temp", *rows])))
    assert "they look like degrees C and F" in " ".join(file_report.of_file(found).split())


def test_what_days_and_months_can_not_tell_is_said(written: Written) -> None:
    found = files.examine(written(FORMS["either first"][0]))
    text = " ".join(file_report.of_file(found).split())
    assert "takes days to be first; if that is wrong, use --month-first" in text


def test_a_code_is_said_and_declared(written: Written) -> None:
    text = file_report.of_file(files.examine(written(FORMS["a code and a word"][0])))
    assert "flow: -9999 lies far from all other values" in " ".join(text.split())
    assert "'Offline' stands among numbers, so --missing below declares that it means missing" in " ".join(text.split())
    assert "missing     flow 6.67%" in text


def test_a_total_is_named_and_left_out_unless_nothing_else_is_there(written: Written) -> None:
    found = files.examine(written(FORMS["a total"][0]))
    assert "energy_kwh only rises or falls" in file_report.of_file(found)
    assert {line.path: line.role for line in found.fields}["energy_kwh"] == "running total"
    found = files.examine(written(table("energy_kwh", lambda at: [7000 + at + RANDOM[at] / 9])))
    assert found.channels == ("energy_kwh",)
    assert "energy_kwh only rises or falls" in file_report.of_file(found)


def test_a_file_of_one_series(written: Written) -> None:
    rows = "\n".join(f"2026-01-01T00:00:{at:02d},{at},{RANDOM[at]},{RANDOM[-at]},0" for at in range(60))
    found = files.examine(written(f"time,row,flow,pressure,changepoint\n{rows}\n"))
    assert (found.time, found.labels, found.channels) == ("time", "changepoint", ("flow", "pressure"))
    assert "--label-column changepoint --channels flow,pressure" in found.command
    assert not found.problem
    text = file_report.of_file(found)
    assert "changepoint  label" in text
    assert "a sample each 1 s" in text


def test_a_file_of_several_series(written: Written) -> None:
    rows = "\n".join(f"{unit},{cycle},{RANDOM[7 * unit + cycle]}" for unit in (1, 2, 3, 4) for cycle in range(1, 41))
    found = files.examine(written(f"unit,cycle,temp\n{rows}\n"))
    assert (found.series, found.channels, len(found.tables)) == ("unit", ("temp",), 4)
    assert "--series-column unit --channels temp" in found.command


def test_a_file_whose_rows_are_windows(written: Written) -> None:
    rows = "\n".join(" ".join(f"{value:.3f}" for value in RANDOM[at : at + 100]) for at in range(20))
    found = files.examine(written(rows + "\n"))
    assert found.are_windows
    assert "each a window of 100 samples" in file_report.of_file(found)


def test_a_file_that_can_not_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "junk.csv"
    path.write_bytes(b"\xff\xfe\xfa\xfb\x00")
    found = files.examine(path)
    assert found.problem
    assert "It can't be learnt from as it stands" in file_report.of_file(found)


@pytest.mark.parametrize("column", ["hour", "time"])
def test_days_of_a_date_that_hours_complete_name_no_series(written: Written, column: str) -> None:
    """Days or months first, nobody can see; the dates are times all the same."""
    text = table(f"date,{column},flow,pressure", lambda at: [f"0{1 + at // 24}/01/2026", at % 24, *numbers(at)])
    found = files.examine(written(text))
    assert (found.problem, found.series, found.day_first) == ("", "", True)
    (one,) = read(found)
    assert isinstance(one, SeriesTable)
    assert one.time_us is not None
    assert set(np.diff(one.time_us)) == {3_600_000_000}


def test_parts_beside_the_whole_time_are_neither_series_nor_channels(written: Written) -> None:
    text = table(
        "ts,year,month,day,hour,flow",
        lambda at: [f"2026-01-0{1 + at // 24}T{at % 24:02d}:00:00Z", 2026, 1, 1 + at // 24, at % 24, numbers(at)[0]],
    )
    found = files.examine(written(text))
    assert (found.problem, found.series, found.channels) == ("", "", ("flow",))
    assert [line.role for line in found.fields] == ["time", "clock", "clock", "clock", "clock", "channel"]


def test_what_another_channel_measures_is_not_declared_as_missing(written: Written) -> None:
    text = table("ts,flow,pressure", lambda at: [*marked(at, {3: 999, 9: -9999})[:2], 995 + at % 9])
    found = files.examine(written(text))
    assert (found.sentinels, found.missing_words) == ({"flow": [-9999.0]}, ["-9999"])
    assert any("flow: 999 lies far from all other values and may mean missing" in note for note in found.notes)
    dead = table("ts,flow,pressure", lambda at: [*marked(at, {3: -9999})[:2], -9999])
    assert files.examine(written(dead)).missing_words == ["-9999"]
