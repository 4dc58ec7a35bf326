"""Data files: what is read, what is refused, and that nothing but `DataError` ever comes out."""

from __future__ import annotations

import contextlib
import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import datafiles
from monitor.errors import DataError
from tests.helpers import Written, npy, npz

# series


def test_a_series_with_header_time_and_label(written: Written) -> None:
    path = written("timestamp,a,b,anomaly\n2026-01-01 00:00:00,1,2,0\n2026-01-01T00:00:00.5Z,,nan,1\n")
    table = datafiles.read_series(path)
    assert table.channels == ("a", "b")
    np.testing.assert_array_equal(table.samples, np.array([[1, 2], [np.nan, np.nan]], np.float32))
    assert table.samples.dtype == np.float32
    assert table.time_us is not None
    assert table.time_us.tolist() == [1_767_225_600_000_000, 1_767_225_600_500_000]
    assert table.labels is not None
    assert table.labels.tolist() == [0, 1]


@pytest.mark.parametrize("separator", [",", ";", "\t", "  "])
def test_separators(written: Written, separator: str) -> None:
    table = datafiles.read_series(written(f"a{separator}b\n1{separator}2\n\n3{separator}4\n"))
    assert table.channels == ("a", "b")
    assert table.samples.tolist() == [[1, 2], [3, 4]]


def test_channels_are_chosen_in_the_order_asked_for_and_other_columns_may_hold_text(written: Written) -> None:
    table = datafiles.read_series(written("x,name,y,z\n1,pump,2,3\n4,fan,5,6\n"), channels=["z", "x"])
    assert table.channels == ("z", "x")
    assert table.samples.tolist() == [[3, 1], [6, 4]]


def test_columns_named_by_the_caller(written: Written) -> None:
    table = datafiles.read_series(written("when,v,bad\n10,1,0\n11,2,1\n"), time_column="when", label_column="bad")
    assert table.channels == ("v",)
    assert table.time_us is not None
    assert table.time_us.tolist() == [10_000_000, 11_000_000]


def test_a_column_asked_for_is_meant_exactly(written: Written) -> None:
    table = datafiles.read_series(written("Time,time,v\n5,2026-01-01,1\n6,2026-01-02,2\n"), time_column="time")
    assert table.time_us is not None
    assert table.time_us[0] == 1_767_225_600_000_000
    assert table.channels == ("Time", "v")


@pytest.mark.parametrize(
    ("number", "microseconds"),
    [
        ("1700000000", 1_700_000_000_000_000),
        ("1700000000.25", 1_700_000_000_250_000),
        ("1700000000123", 1_700_000_000_123_000),
        ("1700000000123456", 1_700_000_000_123_456),
        ("1700000000123456789", 1_700_000_000_123_456),
    ],
)
def test_numbers_are_times_in_the_unit_that_their_size_tells(written: Written, number: str, microseconds: int) -> None:
    table = datafiles.read_series(written(f"time,v\n{number},1\n"))
    assert table.time_us is not None
    assert abs(int(table.time_us[0]) - microseconds) <= 1


@pytest.mark.parametrize(
    ("numbers", "times"),
    [
        (["20260131", "20260201"], ["2026-01-31", "2026-02-01"]),
        (["20260131235959", "20260201000000"], ["2026-01-31T23:59:59", "2026-02-01"]),
        (["202601312359", "202602010000"], ["2026-01-31T23:59", "2026-02-01"]),
        (["20260131", "20260132"], None),
        (["20261301", "20260101"], None),
        (["20260131.5", "20260201"], None),
    ],
)
def test_dates_without_marks_are_dates(written: Written, numbers: list[str], times: list[str] | None) -> None:
    expected = [int(float(number) * 1e6) for number in numbers]
    if times is not None:
        expected = np.array(times, dtype="datetime64[us]").astype(np.int64).tolist()
    for table in (
        datafiles.read_series(written("time,v\n" + "".join(f"{number},1\n" for number in numbers))),
        datafiles.read_series(written(npz(time=np.array(numbers, dtype=np.float64), v=np.zeros(2)))),
    ):
        assert table.time_us is not None
        assert table.time_us.tolist() == expected


def test_without_a_header_columns_are_numbered(written: Written) -> None:
    assert datafiles.read_series(written("1,2\n3,4\n")).channels == ("0", "1")
    assert datafiles.read_series(written("  1\n  2.5e-3\n")).channels == ("value",)


def test_one_line_of_numbers_is_one_series(written: Written) -> None:
    assert datafiles.read_series(written(" 1.5 2.5  3.5\n")).samples.tolist() == [[1.5], [2.5], [3.5]]


def test_arrays(written: Written) -> None:
    values = np.arange(6, dtype=np.int16).reshape(3, 2)
    assert datafiles.read_series(written(npy(values))).samples.tolist() == values.tolist()
    assert datafiles.read_series(written(npy(np.asfortranarray(values)))).samples.tolist() == values.tolist()
    assert datafiles.read_series(written(gzip.compress(npy(values[:, 0])))).samples.shape == (3, 1)
    table = datafiles.read_series(written(npz(time=np.array([1, 2]), a=np.array([5.0, 6.0]), label=np.array([0, 1]))))
    assert table.channels == ("a",)
    assert table.labels is not None
    assert table.time_us is not None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no rows"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2\n3\n", "line 3: 1 cells, expected 2"),
        ("a,b\n1,2\n\n3,x\n", "line 4, column b: 'x' is not a number"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ("a,b\n1,1e39\n", "row 1|line 2, column b"),
        ("a,b\n1,inf\n", "not finite"),
        ("time,b\nyesterday,1\n", "line 2, column time: 'yesterday' is not a time"),
        ("time,b\n1,1\nnan,1\n", "is not a time"),
        ("time,b\n2026-01-01,1\n5,1\n", "line 3.*'5' is not a time"),
        ("time,label\n5,1\n", "nothing to read"),
        ("v,label\n5,0.5\n", "whole numbers"),
        (b"\xff\xfe\x00", "byte 0 is not UTF-8"),
        (b"\x1f\x8b\x08\x00", "gzip is damaged"),
        (npy(np.array([{}], dtype=object)), "not plain numbers|not a readable"),
        (npy(np.array(["text"])), "not plain numbers"),
        (npy(np.zeros((2, 2, 2))), r"shape \(2, 2, 2\)"),
        (npy(np.zeros(9))[:-1], "do not fit"),
        (b"PK\x03\x04", "not a readable .npz"),
        (npz(a=np.zeros(2), b=np.zeros(3)), "one array"),
    ],
)
def test_refusals_say_where_and_what(written: Written, content: str | bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        datafiles.read_series(written(content))


def test_unknown_columns_are_named_with_those_there_are(written: Written) -> None:
    with pytest.raises(DataError, match="no column 'c'; there are: a, b"):
        datafiles.read_series(written("a,b\n1,2\n"), channels=["c"])
    with pytest.raises(DataError, match="no column 'when'"):
        datafiles.read_series(written("a,b\n1,2\n"), time_column="when")
    with pytest.raises(DataError, match="no column 'when'"):
        datafiles.read_series(written("1,2\n"), time_column="when")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        datafiles.read_series(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="directory"):
        datafiles.read_series(tmp_path)


# windows


def test_the_ucr_form(written: Written) -> None:
    text = "   1.0000000e+00  -1.1252183e-01  2.5\n   5.0000000e+00  3.5  nan\n"
    table = datafiles.read_windows(written(gzip.compress(text.encode())))
    assert table.windows.shape == (2, 2, 1)
    assert table.channels == ("value",)
    assert table.labels is not None
    assert table.labels.tolist() == [1, 5]
    assert np.isnan(table.windows[1, 1, 0])


def test_tensorflows_form(written: Written) -> None:
    table = datafiles.read_windows(written("0.25,0.5,1.0\n1.25,2.5,0.0\n"))
    assert table.labels is not None
    assert table.labels.tolist() == [1, 0]
    assert table.windows[:, :, 0].tolist() == [[0.25, 0.5], [1.25, 2.5]]


def test_whole_numbers_on_both_sides_are_not_guessed_at(written: Written) -> None:
    path = written("1 2 3\n4 5 6\n")
    with pytest.raises(DataError, match="--label-column first, last or none"):
        datafiles.read_windows(path)
    for side, labels in (("first", [1, 4]), ("last", [3, 6])):
        found = datafiles.read_windows(path, label_column=side).labels
        assert found is not None
        assert found.tolist() == labels
    assert datafiles.read_windows(path, label_column="none").windows.shape == (2, 3, 1)


def test_windows_with_a_header(written: Written) -> None:
    table = datafiles.read_windows(written("t0,t1,label\n1,2,0\n"))
    assert table.windows.shape == (1, 2, 1)
    with pytest.raises(DataError, match="no column 'first'"):
        datafiles.read_windows(written("t0,t1\n1,2\n"), label_column="first")


def test_arrays_of_windows(written: Written) -> None:
    values = np.zeros((4, 3, 2))
    assert datafiles.read_windows(written(npy(values)), channels=["x", "y"]).channels == ("x", "y")
    assert datafiles.read_windows(written(npy(values[:, :, 0]))).windows.shape == (4, 3, 1)
    table = datafiles.read_windows(written(npz(windows=values, labels=np.arange(4))))
    assert table.labels is not None
    assert table.labels.tolist() == [0, 1, 2, 3]
    for bad in (npz(windows=values, labels=np.arange(3)), npz(a=values, b=values), npy(np.zeros((0, 3)))):
        with pytest.raises(DataError):
            datafiles.read_windows(written(bad))
    with pytest.raises(DataError, match="2 channels, but 1 names"):
        datafiles.read_windows(written(npy(values)), channels=["x"])
    with pytest.raises(DataError, match="not finite"):
        datafiles.read_windows(written(npy(np.full((2, 2), 1e300))))


# whatever the bytes are

_pieces = st.lists(
    st.sampled_from(
        [
            "1",
            "-2.5",
            "1e400",
            "nan",
            "",
            " ",
            ",",
            ";",
            "\t",
            "\n",
            "\r",
            '"',
            "time",
            "label",
            "a",
            "\x00",
            "\u2028",
            "_",
        ]
    ),
    max_size=30,
).map(lambda parts: "".join(parts).encode())
_arrays = st.builds(
    lambda content, at, byte: content[:at] + bytes([byte]) + content[at + 1 :],
    st.sampled_from([npy(np.zeros((2, 3))), npz(a=np.zeros(3), label=np.zeros(3)), gzip.compress(b"a,b\n1,2\n")]),
    st.integers(0, 500),
    st.integers(0, 255),
)


@given(content=st.one_of(st.binary(max_size=200), _pieces, _arrays), label=st.sampled_from([None, "first", "a"]))
def test_any_bytes_are_a_table_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, label: str | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    for read in (
        lambda: datafiles.read_series(path, label_column=label),
        lambda: datafiles.read_series(path, channels=["a"]),
        lambda: datafiles.read_windows(path, label_column=label),
    ):
        table = None
        with contextlib.suppress(DataError):
            table = read()
        if table is not None:
            values = table.samples if isinstance(table, datafiles.SeriesTable) else table.windows
            assert values.dtype == np.float32
            assert len(values)
            assert not np.isinf(values).any()
            assert values.shape[-1] == len(table.channels)


@pytest.mark.data
def test_ecg5000(data_directory: Path) -> None:
    table = datafiles.read_windows(data_directory / "ecg5000" / "ECG5000_TEST.txt.gz")
    assert table.windows.shape == (4500, 140, 1)
    assert table.labels is not None
    assert int((table.labels == 1).sum()) == 2627


def test_text_and_workbooks_that_begin_like_an_npz(written: Written) -> None:
    assert datafiles.read_series(written("PK_1,flow\n1,2\n")).channels == ("PK_1", "flow")
    workbook = io.BytesIO()
    with zipfile.ZipFile(workbook, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(DataError, match=r"a zip that holds 'xl/workbook.xml', not arrays; export each table"):
        datafiles.read_series(written(workbook.getvalue()))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a;b\n1,5;2.5\n", "write numbers with a point"),
        ('a,b\n"1,234.5",2\n', "thousands without a separator"),
        ("a,b,c\n2026-01-01 00:00:00,2026-01-01,1\n", "name the column of times with --time-column"),
        ("2026-01-01,2026-01-02,1\n2026-01-02,2026-01-03,1\n", "where the first line holds no names, put them there"),
        ("a\nBad\n", "leave missing cells empty, or declare what means that, --missing='Bad'"),
        ("a,b\n1_000,2\n", "line 2, column a: '1_000' is not a number; .*thousands without a separator"),
        ("1_000,2\n1,2\n", "line 1, column 1: '1_000' is not a number; .* names of columns with a letter"),
        ("a\r1_000\r2_000\n", "line 2, column a: '1_000' is not a number"),
        ("time,b\n1_000,2\n", "'1_000' is not a time"),
        ("date,b\n20260228,1\n20260229,2\n20260301,3\n", "line 3, column date: 20260229 is not a date"),
        ("date,b\n20260131,1\n20260132,2\n20260201,3\n", "line 3, column date: 20260132 is not a date"),
        ("date,b\n202601312300,1\n202601312400,2\n202602010100,3\n", "line 3, column date: 202601312400 is not a date"),
        ("a\n°".encode("latin1"), "save text as UTF-8"),
        ("a,b\n1,2\n".encode("utf-32"), "save text as UTF-8"),
    ],
)
def test_what_to_do_about_a_cell_is_said(written: Written, content: str | bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        datafiles.read_series(written(content))
