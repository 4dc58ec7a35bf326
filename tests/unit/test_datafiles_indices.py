"""Columns without names, as pandas writes its index: left out where they only count rows, and never guessed at."""

from __future__ import annotations

import numpy as np
import pytest

from monitor import datafiles
from monitor.errors import DataError
from tests.helpers import Written


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
@pytest.mark.parametrize(
    "rows", ["0,1.5\n1,2.5\n2,0.5\n", "0,1.5\n1,2.5\n2,0\n0,3.5\n1,0.5\n"], ids=["one", "two joined"]
)
def test_an_index_without_a_name_is_no_channel(written: Written, name: str, rows: str) -> None:
    """As pandas writes it with `to_csv()`."""
    called = name or "column 1"
    assert datafiles.read_series(written(f"{name},v\n{rows}")).channels == ("v",)
    assert datafiles.read_series(written(f"{name},v\n{rows}"), channels=[called, "v"]).samples.shape[1] == 2


@pytest.mark.parametrize(
    "index", ["7 9 12", "0 1 3", "1 2 3", "-1 0 1", "0.5 1 2", "20260131 20260201", "0 0 0", "0 1 0", "0 inf inf"]
)
def test_what_has_no_name_and_counts_no_rows_is_not_guessed_at(written: Written, index: str) -> None:
    """An index that skips rows, dates, a meter: each would be another thing to do."""
    text = ",v\n" + "".join(f"{cell},1\n" for cell in index.split())
    with pytest.raises(DataError, match=r"column 'column 1' has no name .* --time-column"):
        datafiles.read_series(written(text))
    assert datafiles.read_series(written(text), channels=["v"]).channels == ("v",)
    if not set("-i") & set(index):
        assert datafiles.read_series(written(text.replace(",v", "column 1,v", 1))).channels == ("column 1", "v")
        assert datafiles.read_series(written(text), time_column="column 1").time_us is not None


def test_an_index_of_windows_may_skip_and_be_mixed(written: Written) -> None:
    """As of rows that were filtered or drawn; what does not tell rows apart may be their labels."""
    for index in ("012", "792", "210"):
        rows = "".join(f"{at},{row}\n" for at, row in zip(index, ("0.5,1,1", "2,3,0", "4,5,1"), strict=True))
        for name in ("", "Unnamed: 0"):
            windows = datafiles.read_windows(written(f"{name},a,b,label\n{rows}"))
            assert windows.windows[:, :, 0].tolist() == [[0.5, 1], [2, 3], [4, 5]]
            assert windows.labels is not None
            assert windows.labels.tolist() == [1, 0, 1]
    for cells in ("111", "010", ("0.5", "1", "2"), ("inf", "0", "1")):
        text = ",a,b\n" + "".join(f"{at},1,2\n" for at in cells)
        with pytest.raises(DataError, match=r"'column 1' has no name .* or give it a name"):
            datafiles.read_windows(written(text))
    assert datafiles.read_windows(written(",a,b\n1,1,2\n1,3,4\n"), label_column="column 1").windows.shape == (2, 2, 1)


@pytest.mark.parametrize("name", ["", '""', "Unnamed: 0"])
@pytest.mark.parametrize("index", ["01", "79", "10"])
@pytest.mark.parametrize("numbers", ["0,1,2", "1,2,7", "139,140,141"])
def test_columns_that_pandas_numbers_are_no_row(written: Written, name: str, index: str, numbers: str) -> None:
    """`to_csv()` of a table without names. Labels are where they are without a header."""
    rows = ("1.5,2.5,1", "4.5,5.5,1")
    text = f"{name},{numbers}\n" + "".join(f"{at},{row}\n" for at, row in zip(index, rows, strict=True))
    first, _, last = numbers.split(",")
    for side in (None, "last", last):
        windows = datafiles.read_windows(written(text), label_column=side)
        assert windows.labels is not None
        assert windows.labels.tolist() == [1, 1]
        assert windows.windows[:, :, 0].tolist() == [[1.5, 2.5], [4.5, 5.5]]
    one = datafiles.read_series(written(text), channels=[first])
    assert (one.channels, one.samples.tolist()) == ((first,), [[1.5], [4.5]])
    if index == "01":
        assert datafiles.read_series(written(text)).channels == tuple(numbers.split(","))
    else:
        with pytest.raises(DataError, match="does not count rows"):
            datafiles.read_series(written(text))


def test_columns_that_pandas_numbers_may_have_times(written: Written) -> None:
    """As NASA's bearing files, whose times are no ISO 8601."""
    found = datafiles.read_series(written(",0,1\n2026-01-01,1,2\n2026-01-02,3,4\n"), time_column="column 1")
    assert (found.channels, found.samples.tolist()) == (("0", "1"), [[1, 2], [3, 4]])
    assert found.time_us is not None
    bearing = written(",0,1\n2004.02.12.10.32.39,1,2\n2004.02.12.10.42.39,3,4\n")
    assert datafiles.read_series(bearing, channels=["0", "1"]).samples.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(DataError, match=r"line 3, column 1: .* not finite"):
        datafiles.read_series(written(",0,1\n0,1,1\n1,1,1e39\n"))


@pytest.mark.parametrize(
    "text",
    [
        ",0\n0.5,0\n0.25,1\n",
        ",0\n1,0\n5,1\n",
        ",0\n0,0\n3,1\n",
        ",1,1\n0,0,0\n1,1,1\n",
        ",2,1\n5,6,7\n",
        f",1{'0' * 30},2\n7,8,9\n",
    ],
)
def test_a_first_number_that_is_missing_makes_no_header(written: Written, text: str) -> None:
    samples = datafiles.read_series(written(text)).samples
    assert np.isnan(samples[0, 0])
    assert len(samples) == text.count("\n")


def test_a_series_in_one_line_may_begin_with_a_missing_number(written: Written) -> None:
    assert np.isnan(datafiles.read_series(written(",0,1,2\n")).samples[:, 0]).tolist() == [True, False, False, False]


def test_a_number_of_any_length_is_told_from_a_columns(written: Written) -> None:
    with pytest.raises(DataError, match="not finite in float32"):
        datafiles.read_series(written(f",1{'0' * 5_000},2\n7,8,9\n"))
