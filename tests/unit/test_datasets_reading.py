"""One way in: the content decides the format, channels are chosen by name, the long form gives a table per series."""

from __future__ import annotations

import gzip
import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.datafiles import SeriesTable, WindowTable
from monitor.errors import DataError
from training.datasets import ReadOptions, Table, read

Written = Callable[[str, str | bytes], str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def series(source: str, **options: Any) -> list[SeriesTable]:
    tables = read(source, kind="sliding", options=ReadOptions(**options))
    assert all(isinstance(table, SeriesTable) for table in tables)
    return tables  # type: ignore[return-value]


def windows(source: str, **options: Any) -> WindowTable:
    (table,) = read(source, kind="record", options=ReadOptions(**options))
    assert isinstance(table, WindowTable)
    return table


def listed(values: np.ndarray[Any, Any] | None) -> list[Any]:
    assert values is not None
    found: list[Any] = values.tolist()
    return found


LONG = "when,pump,flow,bad,heat\n2026-01-01,b,1,0,10\n2026-01-01,a,2,0,20\n2026-01-02,b,3,1,30\n2026-01-03,b,4,0,\n"


def test_one_series_is_called_by_its_file_and_knows_its_place(written: Written) -> None:
    source = written("machine-1-2.txt.gz", gzip.compress(b"1,2\n3,4\n"))
    (table,) = series(source)
    assert (table.series, table.source, table.channels) == ("machine-1-2", source, ("0", "1"))
    assert windows(source, label_column="none").series == "machine-1-2"


def test_the_long_form_gives_a_table_for_each_series(written: Written) -> None:
    b, a = series(
        written("pumps.csv", LONG),
        series_column="pump",
        time_column="when",
        label_column="bad",
        channels=("heat", "flow"),
    )
    assert (b.series, a.series) == ("b", "a")
    assert b.channels == a.channels == ("heat", "flow")
    np.testing.assert_array_equal(b.samples, np.array([[10, 1], [30, 3], [np.nan, 4]], np.float32))
    assert listed(a.samples) == [[20, 2]]
    assert (listed(b.labels), listed(a.labels)) == ([0, 1, 0], [0])
    day = 86_400_000_000
    assert [time - listed(b.time_us)[0] for time in listed(b.time_us)] == [0, day, 2 * day]


@pytest.mark.parametrize(
    ("index", "owners"), [("012345", "aaabbb"), ("012012", "aaabbb"), ("001122", "ababab"), ("010101", "aabbcc")]
)
def test_an_index_without_a_name_may_begin_again_with_each_series(written: Written, index: str, owners: str) -> None:
    text = ",pump,flow\n" + "".join(f"{','.join(row)}\n" for row in zip(index, owners, "123456", strict=True))
    found = series(written("pumps.csv", text), series_column="pump")
    assert [table.channels for table in found] == [("flow",)] * len(set(owners))
    with pytest.raises(DataError, match="does not count rows"):
        series(written("pumps.csv", text.replace("\n0,a", "\n7,a", 1)), series_column="pump")


def test_series_may_be_numbered_and_columns_nameless(written: Written) -> None:
    """The form of NASA's C-MAPSS: unit, cycle, sensors, and no header."""
    first, second = series(written("train.txt", "1 1 0.5\n1 2 0.6\n2 1 0.7\n"), series_column="0", channels=("2",))
    assert (first.series, second.series) == ("1", "2")
    np.testing.assert_array_equal(second.samples, np.array([[0.7]], np.float32))


def test_records_in_the_long_form_are_windows(written: Written) -> None:
    text = "beat,mV,class\nx,1,2\nx,2,2\ny,3,1\ny,4,1\n"
    table = windows(written("beats.csv", text), series_column="beat")
    assert listed(table.windows) == [[[1], [2]], [[3], [4]]]
    assert listed(table.labels) == [2, 1]
    with pytest.raises(DataError, match=r"record 'x' has 2 samples, 'y' has 1"):
        windows(written("beats.csv", text.removesuffix("y,4,1\n")), series_column="beat")
    with pytest.raises(DataError, match=r"record 'y' is labelled 1 and, at its row 2, 7"):
        windows(written("beats.csv", text.replace("y,4,1", "y,4,7")), series_column="beat")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"series_column": "pump", "channels": ("flow", "speed")}, r"no column 'speed'; there are: when, pump, flow"),
        ({"series_column": "tank"}, "no column 'tank'"),
        ({"series_column": "pump", "time_column": "then"}, "no column 'then'"),
        ({"series_column": "pump", "channels": ("pump",)}, "column pump holds text, not numbers"),
        (
            {"series_column": "pump", "time_column": "none"},
            r"column when holds text, not numbers \('2026-01-01' in line 2",
        ),
        ({"channels": ("flow",), "series_column": "pump", "label_column": "heat"}, "line 5, column heat: labels"),
    ],
)
def test_refusals_name_line_and_column(written: Written, options: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        series(written("pumps.csv", LONG), **options)


def test_a_row_without_a_series_is_refused(written: Written) -> None:
    with pytest.raises(DataError, match="line 3, column pump: no series is named"):
        series(written("pumps.csv", "pump,flow\na,1\n ,2\n"), series_column="pump")
    with pytest.raises(DataError, match="line 2, column 0: no series is named"):
        series(written("pumps.csv", "1,2\nnan,3\n"), series_column="0")


def test_options_that_can_not_be_meant() -> None:
    for options in ({"channels": ()}, {"channels": ("a", "a")}, {"image_shape": (0, 3)}, {"beat_margin_s": -1.0}):
        with pytest.raises(DataError):
            ReadOptions(**options)


def test_windows_that_are_images(written: Written) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    flat, square = io.BytesIO(), io.BytesIO()
    np.save(flat, values)
    np.save(square, values.reshape(4, 2, 3))
    for content in (flat.getvalue(), square.getvalue()):
        table = windows(written("images.npy", content), image_shape=(2, 3))
        assert (table.image_shape, table.channels) == ((2, 3), ("value",))
        np.testing.assert_array_equal(table.windows[:, :, 0], values)
    with pytest.raises(DataError, match="windows of 6 samples are no 2 x 2 images"):
        windows(written("images.npy", flat.getvalue()), image_shape=(2, 2))
    with pytest.raises(DataError, match="a series has no image shape"):
        series(written("images.npy", flat.getvalue()), image_shape=(2, 3))


@pytest.mark.parametrize("kind", ["record", "sliding"])
def test_nothing_is_there(tmp_path: Path, kind: str) -> None:
    for source in (tmp_path, tmp_path / "nothing.csv", Path("a\0b")):
        with pytest.raises(DataError, match="can't be read"):
            read(str(source), kind=kind)


@pytest.mark.data
def test_public_series(data_directory: Path) -> None:
    """Rows and channels as the data sets' own descriptions have them."""
    expected: list[tuple[str, dict[str, Any], int, tuple[int, int]]] = [
        ("cmapss/train_FD001.txt.gz", {"series_column": "0"}, 100, (192, 25)),
        ("smd/test/machine-1-2.txt.gz", {}, 1, (23_694, 38)),
        ("skab/anomaly-free/anomaly-free.csv", {}, 1, (9_405, 8)),
        ("smap_msl/train/P-1.npy", {}, 1, (2_872, 25)),
        ("ucr_anomaly/135_UCR_Anomaly_InternalBleeding16_1200_4187_4199.txt", {}, 1, (7_501, 1)),
    ]
    for name, options, count, shape in expected:
        tables: list[Table] = list(series(str(data_directory / name), **options))
        assert len(tables) == count
        assert isinstance(tables[0], SeriesTable)
        assert tables[0].samples.shape == shape


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (".", "a directory"),
        ("", "a directory"),
        ("/", "a directory"),
        ("a" * 300, "File name too long"),
        ("a\0b", "null"),
    ],
)
def test_names_that_are_no_file(name: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read(name, kind="sliding")


def test_a_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="a pipe or a device; write"):
        read(str(tmp_path / "pipe"), kind="sliding")


def test_images_whose_labels_can_not_have_a_name(written: Written) -> None:
    source = written("images".ljust(254, "x"), bytes([0, 0, 8, 2]) + struct.pack(">2I", 1, 2) + b"ab")
    assert windows(source).labels is None


def test_a_column_called_like_a_label_or_a_time_may_be_neither(written: Written) -> None:
    source = written("plant.csv", "date,target,flow\nweek 31,0.5,1\nweek 31,0.75,2\n")
    with pytest.raises(DataError, match=r"week 31.* is not a time"):
        series(source)
    (table,) = series(source, time_column="none", label_column="none", channels=("target", "flow"))
    assert (table.time_us, table.labels, table.samples.tolist()) == (None, None, [[0.5, 1], [0.75, 2]])
    plain = written("plain.csv", "target,flow\n0.5,1\n0.75,2\n")
    with pytest.raises(DataError, match="choose another with --label-column, or none"):
        series(plain, channels=("flow",))
    assert series(plain, label_column="none")[0].channels == ("target", "flow")
    assert series(plain, channels=("target",))[0].samples.tolist() == [[0.5], [0.75]]
    named = written("named.csv", "none,flow\n1,5\n")
    assert listed(series(named, label_column="none")[0].labels) == [1]


def test_elastics_time_column_is_no_tag_of_a_ts_file(written: Written) -> None:
    for mark in ("", '"'):
        (table,) = series(written("e.csv", f"{mark}@timestamp{mark},v\n2026-01-01T00:00:00Z,1\n"))
        assert (table.channels, listed(table.time_us)) == (("v",), [1_767_225_600_000_000])
