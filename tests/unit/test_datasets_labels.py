"""Labels beside the data: intervals, windows by file, one number a row."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.datafiles import SeriesTable, WindowTable
from monitor.errors import DataError
from training.datasets import ReadOptions, read
from training.datasets.intervals import LabelledInterval, by_interval

Written = Callable[[str, str | bytes], Path]
HOURS = "timestamp,value\n" + "".join(f"2026-01-01 {hour:02}:00:00,{hour}\n" for hour in range(6))
PUMPS = "ts,pump,v\n" + "".join(f"2026-01-0{day},{pump},1\n" for day in (1, 2, 3) for pump in "ab")


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def marks(data: Path, labels: Path, **options: Any) -> Any:
    """The labels of the only series, or of all by name; nothing may have been noted."""
    notes: list[str] = []
    tables = read(str(data), kind="sliding", options=ReadOptions(labels=labels, **options), note=notes.append)
    assert not notes
    found = {}
    for table in tables:
        assert isinstance(table, SeriesTable)
        assert table.labels is not None
        found[table.series] = table.labels.tolist()
    return found if options else next(iter(found.values()))


@pytest.mark.parametrize(
    "labels",
    [
        "start,end\n1,2\n5,5\n",
        "end;start\n2;1\n5;5\n",
        "1 2\n5 5\n",
        "begin,to\n2026-01-01T01:00:00Z,2026-01-01 02:59:00\n2026-01-01 05:00:00,2026-01-02\n",
        "2026-01-01 01:00:00,2026-01-01 02:00:00\n2026-01-01 04:30:00,2026-01-01 05:00:00\n",
        "start,end\n1767229200,1767232800\n1767243600,1767243600\n",
        "[[1, 2], [5, 5]]",
        '[["2026-01-01 01:00:00", "2026-01-01T02:00:00Z"], {"start": 5, "end": 5}]',
        '{"hours": [[1, 2], [5, 5]], "days": []}',
        '{"somewhere/hours.csv": [], "data/hours.csv": [[1, 2], [5, 5]], "hours.csv": [[0, 0]]}',
        "0\n1\n1\n0\n0\n1\n",
        "label\n0\n1\n1\n0\n0\n1\n",
        gzip.compress(b"0\n1\n1\n0\n0\n1\n", mtime=0),  # the same name in every worker
        bytes([0, 0, 8, 1]) + struct.pack(">I", 6) + bytes([0, 1, 1, 0, 0, 1]),
    ],
)
def test_forms_of_labels(written: Written, labels: str | bytes) -> None:
    assert marks(written("data/hours.csv", HOURS), written("labels", labels)) == [0, 1, 1, 0, 0, 1]


def test_arrays_of_labels_keep_their_numbers(written: Written) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([3, 0, 0, 1, 0, 2]))
    assert marks(written("hours.csv", HOURS), written("labels.npy", buffer.getvalue())) == [3, 0, 0, 1, 0, 2]


@pytest.mark.parametrize(
    "labels",
    [
        "series,start,end\na,1,2\nb,0,0\n",
        "a,2026-01-02,2026-01-03\nb,2026-01-01,2026-01-01\n",
        "a,20260102,20260103\nb,0,0\n",
        "a,202601020000,202601031200\nb,20260101000000,20260101000000\n",
        '{"a": [[1, 2]], "b": [[0, 0]]}',
        '[{"series": "b", "start": 0, "end": 0}, {"series": "a", "start": 1, "end": 2}]',
    ],
)
def test_labels_of_several_series(written: Written, labels: str) -> None:
    found = marks(written("pumps.csv", PUMPS), written("labels", labels), series_column="pump")
    assert found == {"a": [0, 1, 1], "b": [1, 0, 0]}


def test_labels_of_windows(written: Written) -> None:
    data = written("beats.csv", "0.5,1.5\n2.5,3.5\n4.5,5.5\n")
    for labels in ("0\n1\n0\n", "start,end\n1,1\n"):
        (table,) = read(str(data), kind="record", options=ReadOptions(labels=written("labels", labels)))
        assert isinstance(table, WindowTable)
        assert table.labels is not None
        assert table.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ("", "no labels"),
        ("start,end\n3,2\n", "line 2: the interval 3 to 2 ends before it starts"),
        ("start,end\n1,2026-01-02\n", "line 2: the interval 1 to 2026-01-02 has a time and a row"),
        ("start,end\n1,6\n", "line 2: ends at row 6, but series 'hours' of .* has rows 0 to 5"),
        ("start,end\n20260101,20260231\n", "line 2: ends at row 20260231, but series 'hours'"),
        ("start,end\n1\n", "line 2: 1 cells, expected 2"),
        ("start,end\n-1,2\n", "line 2: '-1' is neither a time nor a row"),
        ("start,end\n0.5,2\n", "line 2: '0.5' is neither"),
        ("start,end\nsoon,2\n", "line 2: 'soon' is neither"),
        ("a,b,c,d\n1,2,3,4\n", "columns a, b, c, d; expected START,END"),
        ("0\n1\n", "2 labels for 6 rows of"),
        ("0\n0.5\n0\n0\n0\n0\n", "row 2, column label: labels must be whole numbers"),
        ("0\nx\n", "line 2: label 'x'"),
        ("[", "not readable JSON"),
        ("[[1]]", r"entry 1: expected \[start, end\]"),
        ("[[true, false]]", "entry 1: 'True' is neither"),
        ("[[1e999, 2]]", "entry 1: 'inf' is neither"),
        ('{"days": []}', r"no entry for series 'hours' of .*; give it \[\].*there are days"),
        ('{"hours": 3}', "hours: expected a list of intervals, found int"),
        ('[{"series": 3, "start": 0, "end": 1}]', "entry 1: series '3'"),
    ],
)
def test_refusals(written: Written, labels: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        marks(written("hours.csv", HOURS), written("labels", labels))


def test_what_does_not_go_together(written: Written) -> None:
    plain, pumps = written("plain.csv", "1\n2\n"), written("pumps.csv", PUMPS)
    with pytest.raises(DataError, match=r"a time, but series 'plain' of .* has none"):
        marks(plain, written("labels", "2026-01-01,2026-01-02\n"))
    with pytest.raises(DataError, match="2 series, and no column that says whose"):
        marks(pumps, written("labels", "1,2\n"), series_column="pump")
    with pytest.raises(DataError, match="one number a row, for 2 series"):
        marks(pumps, written("labels", "0\n0\n0\n"), series_column="pump")
    with pytest.raises(DataError, match="say one of them"):
        marks(plain, written("labels", "0\n0\n"), label_column="x")


def test_what_matches_nothing_is_told(written: Written) -> None:
    notes: list[str] = []
    options = ReadOptions(series_column="pump", labels=written("labels", "a,2031-01-01,2031-01-02\nc,1,2\n"))
    read(str(written("pumps.csv", PUMPS)), kind="sliding", options=options, note=notes.append)
    assert len(notes) == 2
    assert "1 series with intervals are not in" in notes[0]
    assert notes[0].endswith(": c")
    assert "no sample of series 'a'" in notes[1]


@pytest.mark.data
def test_nab_windows(data_directory: Path) -> None:
    """The share of points inside windows over all 49 files, and their rows, as the data's own description has them."""
    root = data_directory / "nab"
    labels = root / "labels" / "combined_windows.json"
    rows = inside = 0
    windows = json.loads(labels.read_text("utf-8"))
    for name in windows:
        found = marks(root / "data" / name, labels)
        assert (sum(found) > 0) == bool(windows[name])
        rows, inside = rows + len(found), inside + sum(found)
    assert rows == 305_513
    assert round(inside / rows, 4) == 0.0910


@pytest.mark.data
@pytest.mark.parametrize(("machine", "share"), [("1-2", 0.0229), ("1-6", 0.1565), ("2-1", 0.0494), ("3-4", 0.0412)])
def test_smd_labels(data_directory: Path, machine: str, share: float) -> None:
    smd = data_directory / "smd"
    found = marks(smd / "test" / f"machine-{machine}.txt.gz", smd / "test_label" / f"machine-{machine}.txt")
    assert round(sum(found) / len(found), 4) == share


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=12),
    st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.integers(0, 4)), max_size=6),
)
def test_both_ends_are_inside_whatever_the_order_of_times(times: list[int], spans: list[tuple[bool, int, int]]) -> None:
    """Against a comparison of every row with every interval; times may repeat and step back, intervals overlap."""
    begin = 1_700_000_000_000_000
    time_us = np.array(times, dtype=np.int64) + begin
    table = SeriesTable(samples=np.zeros((len(times), 1), np.float32), channels=("v",), time_us=time_us)
    found, expected = [], np.zeros(len(times), dtype=bool)
    for is_time, start, width in spans:
        end = start + width
        if is_time:
            found.append(LabelledInterval(None, begin + start, begin + end, True, "here"))
            expected |= (time_us >= begin + start) & (time_us <= begin + end)
        elif end < len(times):
            found.append(LabelledInterval(None, start, end, False, "here"))
            expected[start : end + 1] = True
    (marked,) = by_interval([table], found, lambda _: None)
    assert marked.labels is not None
    assert marked.labels.tolist() == expected.astype(int).tolist()


def test_nab_windows_from_inside_the_directory(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    data = written("data/hours.csv", HOURS)
    labels = written("labels.json", '{"data/hours.csv": [[1, 2]]}')
    monkeypatch.chdir(data.parent)
    assert marks(Path("hours.csv"), labels) == [0, 1, 1, 0, 0, 0]


def test_intervals_with_other_names_and_too_much_json_are_refused(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="columns start_time, end_time; expected START,END"):
        marks(written("hours.csv", HOURS), written("labels", "start_time,end_time\n1,2\n"))
    monkeypatch.setattr("training.datasets.intervals._MAX_JSON", 5)
    with pytest.raises(DataError, match="8 characters of JSON, at most 5"):
        marks(written("hours.csv", HOURS), written("labels", "[[1, 2]]"))
