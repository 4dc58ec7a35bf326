"""Parquet, Arrow and Feather files, checked against the arrays that pyarrow wrote."""

from __future__ import annotations

import datetime
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from monitor.datafiles import SeriesTable, WindowTable
from monitor.errors import DataError
from training.datasets import ReadOptions, read

Writer = Callable[[pa.Table, Path], None]


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def write_zipped(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)
    path.write_bytes(gzip.compress(path.read_bytes()))


WRITERS: dict[str, Writer] = {
    "parquet": lambda table, path: pq.write_table(table, path, compression="zstd", row_group_size=2),
    "parquet, gzipped": write_zipped,
    "feather": lambda table, path: feather.write_feather(table, str(path)),
    "feather, uncompressed": lambda table, path: feather.write_feather(table, str(path), compression="uncompressed"),
    "stream": write_stream,
}


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    def written(columns: dict[str, Any]) -> str:
        path = tmp_path / "data.bin"  # the name says nothing
        WRITERS[request.param](pa.table(columns), path)
        return str(path)

    return written


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[[Any], str]:
    def written(columns: Any) -> str:
        path = tmp_path / "data.parquet"
        pq.write_table(pa.table(columns), path)
        return str(path)

    return written


def only(source: str, kind: str = "sliding", **options: Any) -> Any:
    (table,) = read(source, kind=kind, options=ReadOptions(**options))
    return table


def test_the_index_that_pandas_stores_is_no_channel(write: Callable[[dict[str, Any]], str]) -> None:
    index = "__index_level_0__"
    assert only(write({"v": [1.5, 2.5, 0.5, 1.0], index: [0, 1, 2, 0]})).channels == ("v",)
    for other in ([0, 4, 5], [1769731200, 1769731201, 1769731202], [0.5, 0.75, 1.0]):
        with pytest.raises(DataError, match=f"column '{index}' has no name of its own, and does not count rows"):
            only(write({"v": [1.5, 2.5, 0.5], index: other}))
    timed = only(write({"v": [1.5, 2.5], index: [1769731200, 1769731201]}), time_column=index)
    assert timed.channels == ("v",)
    assert timed.time_us.tolist() == [1769731200_000_000, 1769731201_000_000]


def test_wide_columns_by_name(write: Callable[[dict[str, Any]], str]) -> None:
    stamps = pa.array([0, 1_500_000, 3_000_000], pa.timestamp("us", "Europe/Berlin"))
    source = write(
        {
            "note": ["x", None, "z"],
            "flow": pa.array([1, None, 3], pa.int32()),
            "time": stamps,
            "heat": pa.array([0.5, float("nan"), 2.5], pa.float64()),
            "label": pa.array([False, True, False]),
        }
    )
    table = only(source, channels=("heat", "flow"))
    assert isinstance(table, SeriesTable)
    assert table.channels == ("heat", "flow")
    np.testing.assert_array_equal(table.samples, np.array([[0.5, 1], [np.nan, np.nan], [2.5, 3]], np.float32))
    assert table.time_us is not None
    assert table.time_us.tolist() == [0, 1_500_000, 3_000_000]
    assert table.labels is not None
    assert table.labels.tolist() == [0, 1, 0]


def test_the_long_form(write: Callable[[dict[str, Any]], str]) -> None:
    names = pa.array(["b", "a", "b"]).dictionary_encode()
    source = write({"pump": names, "flow": [1.0, 2.0, 3.0], "ts": ["2026-01-01", "2026-01-01", "2026-01-02T00:00:01Z"]})
    b, a = read(source, kind="sliding", options=ReadOptions(series_column="pump"))
    assert isinstance(b, SeriesTable)
    assert isinstance(a, SeriesTable)
    assert (b.series, b.samples.tolist(), a.series, a.samples.tolist()) == ("b", [[1], [3]], "a", [[2]])
    assert b.time_us is not None
    assert np.diff(b.time_us).tolist() == [86_401_000_000]


def test_lists_are_windows(write: Callable[[dict[str, Any]], str]) -> None:
    values = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    lists = {name: pa.array(list(values[:, :, at]), pa.list_(pa.float32())) for at, name in enumerate(("x", "y"))}
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(values[:, :, 0].ravel()), 5)
    source = write({"label": [1, 0, 1, 1], **lists, "z": fixed})
    table = only(source, "record", channels=("y", "x"))
    assert isinstance(table, WindowTable)
    np.testing.assert_array_equal(table.windows, values[:, :, ::-1])
    assert table.labels is not None
    assert table.labels.tolist() == [1, 0, 1, 1]
    assert only(source, "record").channels == ("x", "y", "z")
    assert only(source, "record", label_column="none").labels is None
    with pytest.raises(DataError, match="rows are windows"):
        only(source)


def test_wide_rows_are_windows_as_in_text(parquet: Callable[[Any], str]) -> None:
    source = parquet({"t0": [1.5, 2.5], "t1": [3.5, 4.5], "class": [1, 2]})
    table = only(source, "record")
    assert table.windows[:, :, 0].tolist() == [[1.5, 3.5], [2.5, 4.5]]
    assert table.labels.tolist() == [1, 2]


def test_kinds_of_time(parquet: Callable[[Any], str]) -> None:
    day = datetime.date(2026, 1, 2)
    for column in (
        pa.array([day], pa.date32()),
        pa.array([datetime.datetime(2026, 1, 2)], pa.timestamp("ns")),
        pa.array([datetime.datetime(2026, 1, 2)], pa.timestamp("s")),
        pa.array([1_767_312_000]),
        pa.array(["2026-01-02T00:00:00Z"]),
    ):
        assert only(parquet({"date": column, "v": [1.0]})).time_us.tolist() == [1_767_312_000_000_000]
    early = only(parquet({"date": pa.array([7], pa.timestamp("us")), "v": [1.0]}))
    assert early.time_us.tolist() == [7], "a time is no number whose unit has to be guessed"


def test_dates_and_times_of_day_durations_and_numbers_as_text(parquet: Callable[[Any], str]) -> None:
    """What others write apart, or as text, is what it says; states and names stay text."""
    day, clock = datetime.date(2026, 1, 2), datetime.time(0, 0, 1)
    halves = only(parquet({"date": [day], "time": [clock], "v": [1.0]}))
    assert halves.time_us.tolist() == [1_767_312_001_000_000]
    spans = pa.array([0, 1_500], pa.duration("ms"))
    assert only(parquet({"time": spans, "v": [1.0, 2.0]})).time_us.tolist() == [0, 1_500_000]
    written = only(parquet({"a": ["3.5", None, "N/A", "-9999", "2"], "b": [1.0] * 5}), missing=("-9999",))
    np.testing.assert_array_equal(written.samples[:, 0], np.array([3.5, np.nan, np.nan, np.nan, 2.0], np.float32))
    named = read(
        parquet({"pump": ["1", "2"], "v": [1.0, 2.0]}), kind="sliding", options=ReadOptions(series_column="pump")
    )
    assert [table.series for table in named] == ["1", "2"]
    with pytest.raises(DataError, match="column state holds text, not numbers"):
        only(parquet({"state": ["1", "off"], "v": [1.0, 2.0]}))


@pytest.mark.parametrize(
    ("columns", "options", "told"),
    [
        ({"a": ["x"]}, {}, "column a holds text, not numbers"),
        ({"a": [{"b": 1}]}, {}, "column a holds struct.*not numbers"),
        ({"a": [1.0]}, {"channels": ("b",)}, "no column 'b'; there are: a"),
        ({"a": pa.array([], pa.float64())}, {}, "no rows"),
        ({"a": [1e300]}, {}, "row 1, column a: 1e.300 is not finite in float32"),
        ({"a": [1.0, 2.0], "time": pa.array([5, None], pa.timestamp("us"))}, {}, "row 2, column time: no time"),
        ({"a": [1.0, 2.0], "pump": ["x", None]}, {"series_column": "pump"}, "row 2, column pump: no series"),
        ({"a": [1.0], "label": [0.5]}, {}, "row 1, column label: labels must be whole numbers"),
        ({"a": [1.0], "label": ["bad"]}, {}, "column label: labels must be whole"),
    ],
)
def test_refusals(parquet: Callable[[Any], str], columns: dict[str, Any], options: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        only(parquet(columns), **options)


def test_refusals_of_lists(parquet: Callable[[Any], str]) -> None:
    for columns, told in (
        ({"x": [[1.0, 2.0], [3.0]]}, "row 2, column x: 1 samples, expected 2"),
        ({"x": [[1.0], None]}, "row 2, column x: 0 samples, expected 1"),
        ({"x": [["a"], ["b"]]}, "lists of string, not of numbers"),
        ({"x": [[1.0]], "label": ["a"]}, "column label"),
    ):
        with pytest.raises(DataError, match=told):
            only(parquet(columns), "record")
    with pytest.raises(DataError, match="column 'a' holds no lists"):
        only(parquet({"x": [[1.0]], "a": [1.0]}), "record", channels=("a",))


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "twice.arrow"
    write_stream(pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["a", "a"]), path)
    with pytest.raises(DataError, match="two columns are called 'a'"):
        only(str(path))


def test_sizes_are_checked_before_they_are_believed(
    parquet: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = parquet({"a": np.zeros(10_000)})  # packed to a few bytes
    monkeypatch.setattr("training.datasets.arrow.MAX_BYTES", 50_000)
    with pytest.raises(DataError, match=r"over 50000 bytes|at most 50000"):
        only(source)


def test_rows_without_end_in_a_few_bytes(tmp_path: Path) -> None:
    """A column of nulls has no buffers: any number of rows costs nothing to write."""
    path = tmp_path / "nulls.arrow"
    write_stream(pa.table({"a": pa.Array.from_buffers(pa.null(), 2**31 - 1, [None])}), path)
    with pytest.raises(DataError, match="over 2147483648 bytes"):
        only(str(path))


def test_what_is_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"PAR1", b"PAR1" + bytes(50) + b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff" + bytes(40), b"FEA1"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not a readable Parquet|Feather version 1|no rows"):
            only(str(path))


def test_a_long_text_in_every_row_is_kept_once(tmp_path: Path) -> None:
    long, rows = "x" * 100_000, 5_000
    names = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [long])
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"pump": names, "v": np.zeros(rows)}), path, store_schema=False)
    assert path.stat().st_size < 1_000_000
    before = pa.default_memory_pool().max_memory()
    (table,) = read(str(path), kind="sliding", options=ReadOptions(series_column="pump"))
    assert table.series == long
    assert pa.default_memory_pool().max_memory() - before < 100_000_000


def test_series_named_by_large_whole_numbers_stay_apart(write: Callable[[dict[str, Any]], str]) -> None:
    names = [2**60 + 1, 2**60, 2**60 + 1]
    found = read(write({"id": names, "v": [1.0, 2.0, 3.0]}), kind="sliding", options=ReadOptions(series_column="id"))
    assert [(table.series, table.samples.ravel().tolist()) for table in found if isinstance(table, SeriesTable)] == [
        (str(2**60 + 1), [1, 3]),
        (str(2**60), [2]),
    ]


def test_series_that_can_not_be_told_apart_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[2**60 + 1, 1], [2**60, 2]]))
    with pytest.raises(DataError, match=r"row 1, column 0: series are distinct up to 2\*\*53"):
        read(str(tmp_path / "a.npy"), kind="sliding", options=ReadOptions(series_column="0"))


@pytest.mark.parametrize(
    "times",
    [pa.array([2**62], pa.timestamp("s")), pa.array([2**61], pa.timestamp("ms")), pa.array([2**31 - 1], pa.date32())],
)
def test_times_too_far_for_microseconds_are_refused(tmp_path: Path, times: Any) -> None:
    feather.write_feather(pa.table({"time": times, "v": [1.0]}), tmp_path / "far")
    with pytest.raises(DataError, match="not a readable"):
        only(str(tmp_path / "far"))


def test_no_column_need_be_a_label(write: Callable[[dict[str, Any]], str]) -> None:
    source = write({"target": [0.5, 0.75], "v": [1.0, 2.0]})
    assert only(source, label_column="none").channels == ("target", "v")
    assert only(source, channels=("target",)).labels is None


def test_what_no_reader_takes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A long value in every row is short in the file: 200 kB, 50 times, in under 4 kB."""
    pq.write_table(pa.table({"b": pa.array([b"x" * 200_000] * 50, pa.binary()), "v": [1.0] * 50}), tmp_path / "b")
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match="column b holds binary, not numbers"):
        only(str(tmp_path / "b"))
    pq.write_table(pa.table({"s": [{"x": 1}]}), tmp_path / "s")
    with pytest.raises(DataError, match=r"holds struct<.*>, not numbers"):
        only(str(tmp_path / "s"))
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_compressed_batches_are_counted_as_they_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"v": np.zeros(100_000)})
    feather.write_feather(table, tmp_path / "f", compression="zstd", chunksize=1000)
    assert (tmp_path / "f").stat().st_size < 100_000
    monkeypatch.setattr("training.datasets.arrow.MAX_BYTES", 100_000)
    with pytest.raises(DataError, match="more than 100000 bytes unpacked"):
        only(str(tmp_path / "f"))


@pytest.mark.parametrize("write_stream", [True, False])
def test_batches_make_one_table(tmp_path: Path, write_stream: bool) -> None:
    opened = pa.ipc.new_stream if write_stream else pa.ipc.new_file
    table = pa.table({"v": np.arange(10.0), "p": pa.array(list("abababcabc")).dictionary_encode()})
    with opened(str(tmp_path / "f"), table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    found = read(str(tmp_path / "f"), kind="sliding", options=ReadOptions(series_column="p"))
    assert [each.series for each in found] == ["a", "b", "c"]
    assert isinstance(found[0], SeriesTable)
    assert found[0].samples.ravel().tolist() == [0, 2, 4, 7]
