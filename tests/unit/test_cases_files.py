"""Files as exporters write them: each is read, or named with what to do. Tables of kinds, from public reports.

The same table stands behind every form: `SAMPLES` by name, a second apart from `FIRST`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from monitor import datafiles
from monitor.datafiles.clocks import Reading
from monitor.errors import DataError
from tests.helpers import Written
from training import datasets
from training.datasets.options import ReadOptions, Table

ROWS = 40
FLOW = [3 + 0.1 * (at % 7) + 0.0125 * at for at in range(ROWS)]
PRESSURE = [10 - 0.5 * (at % 5) for at in range(ROWS)]
SAMPLES = np.array([FLOW, PRESSURE], dtype=np.float32).T
FIRST = np.datetime64("2025-12-01T14:00:00")
TIMES_US = FIRST.astype("datetime64[us]").astype(np.int64) + 1_000_000 * np.arange(ROWS)
EPOCH = TIMES_US // 1_000_000
Row = Callable[[int], list[str]]


def iso(at: int) -> str:
    return str(FIRST + np.timedelta64(at, "s"))


def clock(at: int) -> str:
    return iso(at)[11:]


def numbers(at: int) -> list[str]:
    return [f"{FLOW[at]:.4f}", f"{PRESSURE[at]:.1f}"]


def commas(at: int) -> list[str]:
    return [text.replace(".", ",") for text in numbers(at)]


def table(header: str, row: Row, separator: str = ",", *, before: str = "", after: str = "", end: str = "\n") -> str:
    """A file: `before`, the header if there is one, the rows, `after`."""
    lines = [*([header] if header else ()), *(separator.join(row(at)) for at in range(ROWS))]
    return before + "".join(line + end for line in lines) + after


def read(path: str, **options: object) -> tuple[list[Table], list[str]]:
    notes: list[str] = []
    return datasets.read(path, kind="sliding", options=ReadOptions(**options), note=notes.append), notes  # type: ignore[arg-type]


def same(written: Written, content: str | bytes, *, times: bool = True, **options: object) -> list[str]:
    """Asserts that the file is the table; its notes."""
    (found,), notes = read(str(written(content)), **options)
    assert isinstance(found, datafiles.SeriesTable)
    assert found.channels == ("flow", "pressure")
    np.testing.assert_allclose(found.samples, SAMPLES, rtol=1e-6)
    if times:
        assert found.time_us is not None
        np.testing.assert_array_equal(found.time_us, TIMES_US)
    return notes


PLAIN = table("time,flow,pressure", lambda at: [iso(at) + "Z", *numbers(at)])
INFLUX = (
    "#group,false,false,true,true,false,false,true,true,true\n"
    "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string,string\n"
    "#default,_result,,,,,,,,\n"
)
FLUX_HEADER = ",result,table,_start,_stop,_time,_value,_field,_measurement,host\n"


def flux(annotations: str = INFLUX, end: str = "\n") -> str:
    rows = ""
    for number, (name, at_name) in enumerate((("flow", 0), ("pressure", 1))):
        rows += "".join(
            f",,{number},2025-12-01T00:00:00Z,2025-12-02T00:00:00Z,{iso(at)}Z,{numbers(at)[at_name]},{name},pump,h1\n"
            for at in range(ROWS)
        )
    return (annotations + FLUX_HEADER + rows).replace("\n", end)


PIVOTED = (
    "#group,false,false,true,true,false,true,false,false\n"
    "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,string,double,double\n"
    "#default,_result,,,,,,,\n,result,table,_start,_stop,_time,host,flow,pressure\n"
) + "".join(
    f",,0,2025-12-01T00:00:00Z,2025-12-02T00:00:00Z,{iso(at)}Z,h1,{','.join(numbers(at))}\n" for at in range(ROWS)
)
TOA5 = (
    '"TOA5","Station","CR1000","1234","CR1000.Std.27","CPU:prog.CR1","5","Sec"\n"TIMESTAMP","flow","pressure"\n'
    '"TS","m3/s","kPa"\n"","Avg","Smp"\n'
) + "".join(f'"{iso(at).replace("T", " ")}",{",".join(numbers(at))}\n' for at in range(ROWS))

FORMS: dict[str, str | bytes] = {
    "InfluxDB, annotated": flux(),
    "InfluxDB, annotated, CRLF": flux(end="\r\n"),
    "InfluxDB, without annotations": flux(""),
    "InfluxDB, a table twice": flux() + "\r\n" + flux(),
    "InfluxDB, pivoted": PIVOTED,
    "InfluxDB, pivoted, without annotations": PIVOTED.split("\n", 3)[3],
    "TOA5": TOA5,
    "TOA5, CRLF": TOA5.replace("\n", "\r\n"),
    "sep=;": "sep=;\n" + PLAIN.replace(",", ";"),
    "sep=, in quotes": '"sep=,"\r\n' + PLAIN.replace("\n", "\r\n"),
    "sep=; and decimal commas": table("time;flow;pressure", lambda at: [iso(at), *commas(at)], ";", before="sep=;\n"),
    "comments": "# exported by X\n# site: A, B\n\n" + PLAIN,
    "comments between rows": PLAIN.replace("2025-12-01T14:00:05", "# restarted, see log\n2025-12-01T14:00:05")
    + "# end\n",
    "header in a comment": table(
        "", lambda at: [iso(at), *numbers(at)], before="# exported by X\n# time,flow,pressure\n"
    ),
    "header in a comment without a space": table(
        "", lambda at: [iso(at), *numbers(at)], before="#time,flow,pressure\n"
    ),
    "units": PLAIN.replace("\n", "\n,m3/s,kPa\n", 1),
    "units in brackets": PLAIN.replace("\n", "\n(UTC),(m3/s),(kPa)\n", 1),
    "units and what they are": PLAIN.replace("\n", "\nTS,m3/s,kPa\n,Avg,Smp\n", 1),
    "units, one of them 1": PLAIN.replace("\n", "\ns,m3/s,1\n", 1),
    "units, most of them none": PLAIN.replace("\n", "\n-,10^3 m3,-\n", 1),
    "TOACI1": '"TOACI1","CR1000","Table"\n"time","flow","pressure"\n' + PLAIN.split("\n", 1)[1],
    "a title": "Pump station 7\n" + PLAIN,
    "titles and a blank line": "Pump station 7\nExported by operator, 2025\n\n" + PLAIN,
    "quoted": table('"time","flow","pressure"', lambda at: [f'"{text}"' for text in (iso(at), *numbers(at))]),
    "spaces after commas": table("time, flow, pressure", lambda at: [iso(at), *(f" {text}" for text in numbers(at))]),
    "quoted after a space": table('time, "flow", "pressure"', lambda at: [iso(at), *(f' "{x}"' for x in numbers(at))]),
    "bars": PLAIN.replace(",", "|"),
    "BOM": b"\xef\xbb\xbf" + PLAIN.encode(),
    "UTF-16 of Excel": PLAIN.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
    "UTF-16, big-endian": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "UTF-16 without its mark": PLAIN.encode("utf-16-le"),
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "CR": PLAIN.replace("\n", "\r"),
    "separators at the end of all lines": PLAIN.replace("\n", ",\n"),
    "separators at the end of rows": table("time,flow,pressure", lambda at: [iso(at), *numbers(at), ""]),
    "a separator at the end of the header": PLAIN.replace("\n", ",\n", 1),
    "lower-case t and z": PLAIN.replace("T", "t").replace("Z", "z"),
    "Date,Time": table("Date,Time,flow,pressure", lambda at: [iso(at)[:10], clock(at), *numbers(at)]),
    "Time,Date": table("Time,Date,flow,pressure", lambda at: [clock(at), iso(at)[:10], *numbers(at)]),
    "DATE,TIME of a logger": table("DATE,TIME,flow,pressure", lambda at: ["01.12.2025", clock(at), *numbers(at)]),
    "date 20251201 and time": table("date,time,flow,pressure", lambda at: ["20251201", clock(at), *numbers(at)]),
    "Datum;Uhrzeit": table("Datum;Uhrzeit;flow;pressure", lambda at: ["01.12.2025", clock(at), *commas(at)], ";"),
    "DD.MM.YYYY": table("Datum,flow,pressure", lambda at: [f"01.12.2025 {clock(at)}", *numbers(at)]),
    "D.M.YY": table("zeit,flow,pressure", lambda at: [f"1.12.25 {clock(at)}", *numbers(at)]),
    "YYYY/MM/DD": table("t,flow,pressure", lambda at: [f"2025/12/01 {clock(at)}", *numbers(at)]),
    "AM and PM": table("when,flow,pressure", lambda at: [f"2025/12/01 2{clock(at)[2:]} PM", *numbers(at)]),
    "dates and times as numbers": table(
        "DATE,TIME,flow,pressure", lambda at: ["20251201", f"1400{at:02d}", *numbers(at)]
    ),
    "times as numbers, then dates": table(
        "Time,Date,flow,pressure", lambda at: [f"1400{at:02d}", "2025-12-01", *numbers(at)]
    ),
    "a date, hours, minutes and seconds": table(
        "date,hour,minute,second,flow,pressure", lambda at: ["2025-12-01", "14", "0", str(at), *numbers(at)]
    ),
    "a column for each part": table(
        "year,month,day,hour,minute,second,flow,pressure",
        lambda at: ["2025", "12", "1", "14", "0", str(at), *numbers(at)],
    ),
    "parts in two digits": table(
        "#YY  MM DD hh mm ss flow pressure", lambda at: ["25", "12", "01", "14", "00", f"{at:02d}", *numbers(at)], " "
    ),
    "parts, and a time of day as text": table(
        "Year,Month,Day,Time,flow,pressure", lambda at: ["2025", "12", "1", clock(at), *numbers(at)]
    ),
    "parts, and a time of day as a number": table(
        "Year,Month,Day,Time,flow,pressure", lambda at: ["2025", "12", "1", f"1400{at:02d}", *numbers(at)]
    ),
    "dates as numbers that are not called so, and hours": table(
        "YYYYMMDD,HH,mm,ss,flow,pressure", lambda at: ["20251201", "14", "0", str(at), *numbers(at)]
    ),
    "01-Dec-2025": table("Time,flow,pressure", lambda at: [f"01-Dec-2025 {clock(at)}", *numbers(at)]),
    "01-Dec-25 of a historian": table("Time,flow,pressure", lambda at: [f"01-Dec-25 {clock(at)}", *numbers(at)]),
    "a date that another column says better": table(
        "date,epoch,flow,pressure", lambda at: ["2025-12-01", str(EPOCH[at]), *numbers(at)]
    ),
    "files that were joined with their headers": "".join(
        PLAIN.split("\n", 1)[0] + "\n" + part for part in PLAIN.split("\n", 1)[1].split("@")
    ).replace("2025-12-01T14:00:20Z", "time,flow,pressure\n2025-12-01T14:00:20Z"),
    "rows that a spreadsheet did not fill": PLAIN.replace("\n", "\n,,\n", 1) + ",,\n,,\n",
    "typographic minus and Fortran's exponents": PLAIN.replace(",3.0000,", ",3.0D+00,").replace(",10.0", ",1.0d1"),
    "hours without a leading zero": table(
        "DATE,TIME,flow,pressure", lambda at: ["2025-12-01", f"2:{clock(at)[3:]} PM", *numbers(at)]
    ),
    "dotted": table(",flow,pressure", lambda at: [f"2025.12.01.{clock(at).replace(':', '.')}", *numbers(at)]),
    "quoted commas of decimals": table("time,flow,pressure", lambda at: [iso(at), *(f'"{x}"' for x in commas(at))]),
    "semicolons and decimal commas": table("time;flow;pressure", lambda at: [iso(at), *commas(at)], ";"),
    "tabs and decimal commas": table("time\tflow\tpressure", lambda at: [iso(at), *commas(at)], "\t"),
    "R, whose header lacks the rows' numbers": table(
        '"time" "flow" "pressure"', lambda at: [f'"{at + 1}"', f'"{iso(at)}"', *numbers(at)], " "
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_read(written: Written, form: str) -> None:
    same(written, FORMS[form])


def test_a_file_without_a_header_may_begin_with_its_times(written: Written) -> None:
    (found,), _ = read(str(written(table("", lambda at: [iso(at), *numbers(at)]))))
    assert isinstance(found, datafiles.SeriesTable)
    assert found.channels == ("1", "2")
    assert found.time_us is not None
    np.testing.assert_array_equal(found.time_us, TIMES_US)


def test_units_of_a_file_are_the_channels(written: Written) -> None:
    for form in ("TOA5", "units", "units in brackets"):
        assert datafiles.read_series(written(FORMS[form])).units == ("m3/s", "kPa")
    assert datafiles.read_series(written(PLAIN)).units == ()


def test_fields_of_several_hosts_are_series_by_their_tag(written: Written) -> None:
    other = flux().replace(",h1", ",h2")
    path = str(written(flux() + "\n" + other))
    tables, _ = read(path, series_column="host")
    assert [table.series for table in tables] == ["h1", "h2"]
    for found in tables:
        assert isinstance(found, datafiles.SeriesTable)
        np.testing.assert_allclose(found.samples, SAMPLES, rtol=1e-6)
    with pytest.raises(DataError, match="column host holds text"):
        read(path)
    assert len(read(path, channels=("pressure",), series_column="host")[0]) == 2


def test_a_row_of_text_that_comes_again_is_no_row_of_units(written: Written) -> None:
    """A series whose first numbers are missing."""
    text = "pump,flow\nA,\n" + "A,1\n" * 3
    (found,), _ = read(str(written(text)), series_column="pump")
    assert isinstance(found, datafiles.SeriesTable)
    np.testing.assert_array_equal(found.samples, np.array([[np.nan], [1], [1], [1]], np.float32))


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "day or month": (
        table("time,flow,pressure", lambda at: [f"01/12/2025 {clock(at)}", *numbers(at)]),
        "column time: 01/12/2025 may have its day or its month first: say --day-first or --month-first",
    ),
    "day or month, in two columns": (
        table("Date,Time,flow", lambda at: ["12/01/2025", clock(at), *numbers(at)[:1]]),
        "say --day-first or --month-first",
    ),
    "both orders": (
        table("time,flow", lambda at: ["13/01/2025" if at % 2 else "01/13/2025", *numbers(at)[:1]]),
        "may have its day or its month first",
    ),
    "times of day alone": (
        table("time,flow", lambda at: [clock(at), *numbers(at)[:1]]),
        "line 2, column time: '14:00:00' is not a time with its date; name the dates' column too, --time-column DATE,",
    ),
    "a decimal comma without a header": (
        "2,9305\n2,0412\n3,1177\n",
        "line 1: 2,9305 is one number with a decimal comma; write numbers with a point, or separate columns by semi",
    ),
    "two decimal commas without a header": ("2,9305,1,05\n2,0412,1,11\n", "2,9305 is one number with a decimal comma"),
    "decimal commas between commas": (
        table("time,flow,pressure", lambda at: [iso(at), *commas(at)]),
        "line 2: 5 cells, expected 3 as in the first line; where commas are decimal, separate cells by semicolons",
    ),
    "a comma and a point": ("a;b\n1,5;2.5\n", "write numbers with a point"),
    "thousands or thousandths": (
        "a\tb\n1,234\t1\n2,345\t2\n",
        "line 2, column a: '1,234' is not a number; write numbers",
    ),
    "a text of no meaning": (
        "time,flow\n2025-12-01,Bad\n",
        "numbers .'Bad' in line 2.; leave missing cells empty, or declare what means that, --missing='Bad'",
    ),
    "a column of states": (
        table("time,flow,state", lambda at: [iso(at), numbers(at)[0], "OK"]),
        "column state holds text, not numbers .'OK' in line 2.; .* choose columns with --channels",
    ),
    "a footer": (
        PLAIN + "(40 rows)\n",
        "line 42: 1 cells, expected 3 as in the first line; remove lines that are no rows",
    ),
    "thousands after a space": (
        table("time;flow", lambda at: [iso(at), f"1 {at:03d},5"], ";"),
        "'1 000,5' in line 2.; write numbers with a point, thousands without a separator",
    ),
    "thousands after an apostrophe": (
        table("time,flow", lambda at: [iso(at), f"1'{at:03d}.5"]),
        "in line 2.; write numbers with a point, thousands without a separator",
    ),
    "beyond a limit": (
        table("time,flow", lambda at: [iso(at), "<0.5" if at == 3 else numbers(at)[0]]),
        "line 5, column flow: '<0.5' is not a number; a number beyond a limit: write the limit itself",
    ),
    "a binary logger": ('"TOB1","Station","CR1000"\n', "a binary table of a Campbell logger; convert it to TOA5"),
    "a first row whose time is a text": (
        table("time,flow", lambda at: ["restart" if not at else iso(at), numbers(at)[0]]),
        "'restart' is not a time",
    ),
    "parts that are no date": (
        table("year,month,day,flow", lambda at: ["2025", "2", "30", numbers(at)[0]]),
        "line 2, column year: there is no such date",
    ),
    "parts of which one lacks": (
        table("year,month,day,hour,flow", lambda at: ["2025", "2", "3", "" if at == 2 else "4", numbers(at)[0]]),
        "line 4, column hour: there is no such time of day",
    ),
    "hours with AM and PM alone": (
        table("date,hour,flow", lambda at: ["2025-12-01", f"{1 + at % 12} PM", numbers(at)[0]]),
        "column hour holds text.*; write times of day with minutes, 02:00 PM",
    ),
    "a column of true and false": (
        table("time,on,flow", lambda at: [iso(at), "TRUE", numbers(at)[0]]),
        "column on holds text.*; write states as 1 and 0, or leave the column out with --drop",
    ),
    "a page": ("<!DOCTYPE html>\n<html>login</html>\n", "a page or a document, not rows"),
    "numbers with units": (
        table("time,flow", lambda at: [iso(at), numbers(at)[0] + " m3/s"]),
        "'3.0000 m3/s' in line 2.; write numbers without their units",
    ),
    "the long form": (
        table("sensor;time;value", lambda at: ["flow", iso(at), numbers(at)[0]], ";"),
        "column sensor holds text.*; where it names series, use --series-column",
    ),
    "JSON lines": ('{"time": 1, "flow": 2}\n' * 3, "JSON, not rows of cells; write it as CSV or Parquet"),
    "Latin-1": ("time,flow °C\n1,2\n".encode("latin-1"), "save text as UTF-8"),
    "UTF-32": (PLAIN.encode("utf-32"), "save text as UTF-8"),
    "an annotated file of strings": (flux().replace(",3.0", ",high"), "column flow: 'high000' is not a number"),
    "two columns of times": (
        table("start,stop,flow", lambda at: [iso(at), iso(at), numbers(at)[0]]),
        "column start holds text, not numbers .* name the column of times with --time-column",
    ),
}


@pytest.mark.parametrize("form", REFUSED)
def test_a_form_is_refused_with_what_to_do(written: Written, form: str) -> None:
    content, told = REFUSED[form]
    with pytest.raises(DataError, match=told):
        read(str(written(content)))


def test_parts_of_a_time_are_read_where_channels_are_chosen_too(written: Written) -> None:
    text = FORMS["a column for each part"]
    notes = same(written, text, channels=("flow", "pressure"))
    assert any("columns year, month, day, hour, minute, second are taken as the time" in note for note in notes)
    (found,), _ = read(str(written(text)), time_column="none")
    assert isinstance(found, datafiles.SeriesTable)
    assert found.channels[:3] == ("year", "month", "day")


def test_a_signal_that_is_called_like_a_part_stays_a_channel(written: Written) -> None:
    """Dates that come once say the time; hours that are no hours are none; years alone are no date."""
    text = table("date,time,flow", lambda at: [f"2025-12-{1 + at % 28:02d}" if at < 28 else f"2026-01-{at - 27:02d}",
                                               str(100 + at % 7), numbers(at)[0]])  # fmt: skip
    (found,), _ = read(str(written(text)))
    assert isinstance(found, datafiles.SeriesTable)
    assert found.channels == ("time", "flow")
    for header, row in (("hour,flow", "25.5"), ("year,day,flow", "2025,3")):
        (found,), _ = read(str(written(table(header, lambda at, row=row: [row, numbers(at)[0]]))))  # type: ignore[misc]
        assert isinstance(found, datafiles.SeriesTable)
        assert found.channels == tuple(header.split(","))


def test_of_several_series_those_that_are_newest_first_are_turned(written: Written) -> None:
    rows = [f"{EPOCH[0] + sign * at},{name},{at}.5\n" for at in range(ROWS) for name, sign in (("a", -1), ("b", 1))]
    (one, other), notes = read(str(written("ts,pump,flow\n" + "".join(rows))), series_column="pump")
    assert isinstance(one, datafiles.SeriesTable)
    assert isinstance(other, datafiles.SeriesTable)
    assert (one.samples[0, 0], other.samples[0, 0]) == (ROWS - 0.5, 0.5)
    assert any("rows of 1 of 2 series are newest first" in note for note in notes)


HOURLY: dict[str, tuple[str, Callable[[int], str], int]] = {
    "hours": ("date,time", lambda hour: f"{hour}", 0),
    "hours that end": ("date,time", lambda hour: f"{hour + 1}", 1),
    "HHMM": ("date,time", lambda hour: f"{hour:02d}00", 0),
    "HHMM to 2400": ("date,time", lambda hour: f"{hour + 1:02d}00", 1),
    "the lowest beside the highest of an hour": ("date,hour,min,max", lambda hour: f"{hour},{hour % 7},50", 0),
    "rain in mm": ("date,hour,mm", lambda hour: f"{hour},{hour % 5}", 0),
    "minutes that lack": ("date,hour,sec", lambda hour: f"{hour},{hour % 5}", 0),
}  # fmt: skip


@pytest.mark.parametrize("form", HOURLY)
def test_hours_of_several_days(written: Written, form: str) -> None:
    header, said, later = HOURLY[form]
    rows = [f"2025-12-{1 + at // 24:02d},{said(at % 24)},{at % 11}.5\n" for at in range(72)]
    (found,), _ = read(str(written(f"{header},flow\n" + "".join(rows))))
    assert isinstance(found, datafiles.SeriesTable)
    assert found.time_us is not None
    assert found.channels == (*header.split(",")[2:], "flow")
    first_us = TIMES_US[0] - (14 - later) * 3_600_000_000
    np.testing.assert_array_equal(found.time_us, first_us + np.arange(72) * 3_600_000_000)


@pytest.mark.parametrize("name", ["time", "MESS_DATUM"])
def test_dates_to_the_hour_are_no_seconds(written: Written, name: str) -> None:
    """As weather services write them; seconds since 1970 are as large from 2030 on, and look like dates by chance."""
    rows = [f"2025-12-{1 + at // 24:02d}{at % 24:02d},{at % 11}.5\n".replace("-", "") for at in range(72)]
    (found,), _ = read(str(written(f"{name},flow\n" + "".join(rows))))
    assert isinstance(found, datafiles.SeriesTable)
    assert found.time_us is not None
    np.testing.assert_array_equal(found.time_us, TIMES_US[0] + (np.arange(72) - 14) * 3_600_000_000)
    seconds = [f"{1_912_010_100 + at},{at % 11}.5\n" for at in range(72)]
    (found,), _ = read(str(written(f"{name},flow\n" + "".join(seconds))))
    assert isinstance(found, datafiles.SeriesTable)
    assert found.time_us is not None
    assert set(np.diff(found.time_us)) == {1_000_000}


def test_milliseconds_are_part_of_a_time(written: Written) -> None:
    text = "".join(f"2025,12,1,14,0,{at // 4},{at % 4 * 250},{at % 11}.5\n" for at in range(72))
    (found,), _ = read(str(written("year,month,day,hour,minute,second,ms,flow\n" + text)))
    assert isinstance(found, datafiles.SeriesTable)
    assert found.time_us is not None
    np.testing.assert_array_equal(found.time_us, TIMES_US[0] + np.arange(72) * 250_000)


def test_times_of_day_that_may_be_seconds_or_minutes_are_none(written: Written) -> None:
    text = "".join(f"2025-12-{1 + at // 40:02d},{at % 40},{at % 11}.5\n" for at in range(120))
    (found,), _ = read(str(written("date,time,flow\n" + text)))
    assert isinstance(found, datafiles.SeriesTable)
    assert found.channels == ("time", "flow")


@pytest.mark.parametrize("series", [None, "pump"])
def test_rows_that_are_newest_first_are_turned(written: Written, series: str | None) -> None:
    """As many portals export them; labels and series stay with their rows."""
    header, *rows = table(
        "time,pump,flow,pressure,label", lambda at: [iso(at), "AB"[at % 2], *numbers(at), str(int(at < 3))]
    ).splitlines()
    path = str(written("\n".join([header, *rows[::-1]])))
    options: dict[str, object] = {"series_column": series} if series else {"channels": ("flow", "pressure")}
    found, notes = read(path, **options)
    assert f"{path}: rows are newest first; they are read from the last one on" in notes
    for number, one in enumerate(sorted(found, key=lambda each: each.series)):
        mine = slice(number, None, 2) if series else slice(None)
        assert isinstance(one, datafiles.SeriesTable)
        assert one.time_us is not None
        assert one.labels is not None
        np.testing.assert_allclose(one.samples, SAMPLES[mine], rtol=1e-6)
        np.testing.assert_array_equal(one.time_us, TIMES_US[mine])
        np.testing.assert_array_equal(one.labels, (np.arange(ROWS) < 3)[mine])
        places = None if one.rows is None else one.rows.tolist()
        assert places == (None if series is None else [*range(ROWS)][mine])


def test_decimal_commas_between_tabs_need_no_header(written: Written) -> None:
    (found,), _ = read(str(written(table("", commas, "\t"))))
    assert isinstance(found, datafiles.SeriesTable)
    np.testing.assert_allclose(found.samples, SAMPLES, rtol=1e-6)


@pytest.mark.parametrize("day_first", [True, False])
def test_the_order_of_day_and_month_can_be_said(written: Written, day_first: bool) -> None:
    date = "01/12/2025" if day_first else "12/01/2025"
    text = table("Date,Time,flow,pressure", lambda at: [date, clock(at), *numbers(at)])
    path = str(written(text))
    (found,), _ = read(path, times=Reading(day_first=day_first))
    assert isinstance(found, datafiles.SeriesTable)
    assert found.time_us is not None
    np.testing.assert_array_equal(found.time_us, TIMES_US)


def test_the_order_of_day_and_month_shows_in_the_column(written: Written) -> None:
    """By a day over 12; by even steps of hours, which is said; of days and months both orders may be even."""
    hours = [np.datetime64("2025-12-01T00:00") + np.timedelta64(at, "h") for at in range(24 * 6)]
    texts = [f"{str(hour)[8:10]}/{str(hour)[5:7]}/2025 {str(hour)[11:]}" for hour in hours]
    (found,), notes = read(str(written("time,v\n" + "".join(f"{text},1\n" for text in texts))))
    assert isinstance(found, datafiles.SeriesTable)
    assert found.time_us is not None
    np.testing.assert_array_equal(found.time_us, np.array(hours, dtype="datetime64[us]").astype(np.int64))
    assert [("01/12/2025 is read day first" in note) and ("--month-first" in note) for note in notes] == [True]
    days = "".join(f"{day:02d}/12/2025,1\n" for day in range(1, 13))
    with pytest.raises(DataError, match="say --day-first or --month-first"):
        read(str(written("time,v\n" + days)))
    (found,), notes = read(str(written("time,v\n" + days + "13/12/2025,1\n")))
    assert isinstance(found, datafiles.SeriesTable)
    assert found.time_us is not None
    assert (notes, set(np.diff(found.time_us).tolist())) == ([], {86_400_000_000})


# missing numbers

WORDS = [
    "null", "NULL", "-", "--", "---", "N/A", "NA", "n/a", "#N/A", "None", "none", "NaN", "nan", "-nan", "1.#QNAN",
    "-1.#IND", "NaN(0)", "<NA>", "NaT", "nil", "?", ".", "\\N", "undefined", "missing", "#DIV/0!", "#NULL!", "#VALUE!",
    "...", "<null>", "(null)", "[NULL]", "---.-", "----",
    "#REF!", "#NUM!", "", " ", "No Data", "NO DATA", "NoData", "no value", '""', '"N/A"',
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_words_of_missing_numbers(written: Written, word: str) -> None:
    """In any row, the first too, and whichever the format of the cell."""
    places = [0, 7, ROWS - 1]
    text = table("time,flow,pressure", lambda at: [iso(at), word if at in places else numbers(at)[0], "1"])
    (found,), _ = read(str(written(text)))
    assert isinstance(found, datafiles.SeriesTable)
    assert found.channels == ("flow", "pressure")
    assert np.flatnonzero(np.isnan(found.samples[:, 0])).tolist() == places
    assert not np.isnan(found.samples[:, 1]).any()
    rows = "".join(f"{word},{at}\n" if at % 3 else f"{at},1\n" for at in range(9))
    assert int(np.isnan(datafiles.read_series(written(rows)).samples).sum()) == 6


@pytest.mark.parametrize("marker", ["-9999", "-9999.0", "1e30", "32767", "999.9", "Bad", "I/O Timeout", "*", "1e300"])
def test_declared_markers_are_missing_numbers(written: Written, marker: str) -> None:
    text = table("time,flow,pressure", lambda at: [iso(at), marker if at % 8 == 3 else numbers(at)[0], numbers(at)[1]])
    (found,), _ = read(str(written(text)), missing=(marker, "and another"))
    assert isinstance(found, datafiles.SeriesTable)
    assert np.flatnonzero(np.isnan(found.samples[:, 0])).tolist() == [3, 11, 19, 27, 35]
    assert np.array_equal(datafiles.read_series(written(text), missing=[marker]).samples, found.samples, equal_nan=True)


# clocks

CLOCKS: dict[str, tuple[str, list[str]]] = {
    "_time in s": ("_time", [str(time) for time in EPOCH]),
    "_time as text": ("_time", [iso(at) + "Z" for at in range(ROWS)]),
    "timestamp_ms": ("timestamp_ms", [str(time * 1000) for time in EPOCH]),
    "epoch": ("epoch", [str(time) for time in EPOCH]),
    "fractions": ("unix_time", [f"{time}.000" for time in EPOCH]),
    "us": ("ts_us", [str(time * 1_000_000) for time in EPOCH]),
    "ns": ("t_ns", [str(time * 1_000_000_000) for time in EPOCH]),
    "no name that says so": ("x", [str(time) for time in EPOCH]),
    "UTC": ("UTC", [iso(at) for at in range(ROWS)]),
    "event time": ("Event Time", [iso(at).replace("T", " ") for at in range(ROWS)]),
    "s and ms by turns, as the daemon reads each": ("time", [str(time * (1000 if time % 2 else 1)) for time in EPOCH]),
}


@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize("place", [0, 2])
def test_a_column_that_holds_nothing_but_times_is_the_time(written: Written, name: str, place: int) -> None:
    called, cells = CLOCKS[name]
    names = ["flow", "pressure"]
    names.insert(place, called)

    def row(at: int) -> list[str]:
        made = numbers(at)
        made.insert(place, cells[at])
        return made

    text = table(",".join(names), row)
    notes = same(written, text)
    assert all(called in note and "--time-column none" in note for note in notes)
    assert bool(notes) == (name not in CLOCKS or not {"_time", "time", "UTC", "Event Time"} & {called})
    (chosen,), _ = read(str(written(text)), channels=("pressure", "flow"))  # as with an artifact
    assert isinstance(chosen, datafiles.SeriesTable)
    assert chosen.time_us is not None
    np.testing.assert_array_equal(chosen.time_us, TIMES_US)
    numeric = cells[0].replace(".", "").isdigit()
    if numeric:
        (kept,), _ = read(str(written(text)), time_column="none")
        assert kept.channels == tuple(names)


@pytest.mark.parametrize(
    "column",
    [
        [1.3e9 + 7.0 * at + (at % 3) for at in range(ROWS)],  # a meter that happens to be as large
        [20 + 0.1 * at for at in range(ROWS)],  # a ramp
        [float(at) for at in range(ROWS)],
        [1.7e9] * ROWS,
        [1.7e9 - at for at in range(ROWS)],
        [5e9 + at for at in range(ROWS)],  # the year 2128
    ],
    ids=["meter", "ramp", "counter", "constant", "falls", "far future"],
)
def test_what_may_be_a_signal_is_a_channel(written: Written, column: list[float]) -> None:
    found = datafiles.read_series(written(table("flow,level", lambda at: [numbers(at)[0], f"{column[at]:.3f}"])))
    assert (found.channels, found.time_us) == (("flow", "level"), None)


def test_of_two_columns_of_times_none_is_guessed(written: Written) -> None:
    text = table("a,b,flow", lambda at: [str(EPOCH[at]), str(EPOCH[at] * 1000 + 17), numbers(at)[0]])
    assert datafiles.read_series(written(text)).channels == ("a", "b", "flow")
    named = table("time,ingested,flow", lambda at: [str(EPOCH[at]), str(EPOCH[at] * 1000 + 17), numbers(at)[0]])
    found = datafiles.read_series(written(named))
    assert found.channels == ("ingested", "flow")
    assert found.time_us is not None


@pytest.mark.parametrize(("unit", "factor"), [("s", 1_000_000), ("ms", 1_000), ("us", 1)])
def test_the_unit_of_times_can_be_said(written: Written, unit: str, factor: int) -> None:
    """As `input.timestamp_unit` does for records: files may count from 0."""
    text = table("time,flow", lambda at: [str(10 * at), numbers(at)[0]])
    (found,), _ = read(str(written(text)), times=Reading(unit=unit))  # type: ignore[arg-type]
    assert isinstance(found, datafiles.SeriesTable)
    assert found.time_us is not None
    assert found.time_us.tolist() == [10 * at * factor for at in range(ROWS)]


@pytest.mark.parametrize(
    ("name", "step_us", "unit"),
    [
        ("Time (s)", 100_000, 1e6),
        ("Time[ms]", 10_000, 1e3),
        ("time_us", 50, 1.0),
        ("Elapsed Time (sec)", 1_000_000, 1e6),
        ("t [µs]", 7, 1.0),
        ("elapsed_seconds", 2_000_000, 1e6),
        ("Test Time/s", 500_000, 1e6),
    ],
)
def test_time_counted_from_0_has_the_unit_of_its_name(written: Written, name: str, step_us: int, unit: float) -> None:
    text = table(f"{name},flow", lambda at: [f"{at * step_us / unit:.6f}", numbers(at)[0]])
    found = datafiles.read_series(written(text))
    assert found.channels == ("flow",)
    assert found.time_us is not None
    assert found.time_us.tolist() == [at * step_us for at in range(ROWS)]
    assert [name in note for note in found.notes] == [True]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("Time (s)", [f"{at * 1e-9:.12f}" for at in range(ROWS)]),  # finer than times are kept
        ("Time (s)", [f"{at - 5}" for at in range(ROWS)]),  # before 1970
        ("Time (s)", [f"{at % 7}" for at in range(ROWS)]),
        ("settling time", [f"{at}" for at in range(ROWS)]),
        ("Time (GMT)", [f"{at}" for at in range(ROWS)]),
    ],
)
def test_time_that_can_not_be_kept_stays_a_channel(written: Written, name: str, cells: list[str]) -> None:
    found = datafiles.read_series(written(table(f"{name},flow", lambda at: [cells[at], numbers(at)[0]])))
    assert found.channels == (name, "flow")
    assert found.time_us is None
