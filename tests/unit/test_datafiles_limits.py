"""What files may take of memory: refused before it is taken, and said with the limit."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from monitor import datafiles
from monitor.datafiles.text import text_columns
from monitor.errors import DataError
from tests.helpers import Written, npy, npz


def test_a_header_of_an_array_is_not_believed_beyond_its_bytes(written: Written) -> None:
    content = npy(np.zeros(100))
    huge = content.replace(b"(100,)", b"(10**9,)"[:6]).replace(b"(100,", b"(999,")
    with pytest.raises(DataError, match=r"do not fit|not a readable"):
        datafiles.read_series(written(huge))


def test_unpacked_size_is_bounded(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.datafiles.content.MAX_BYTES", 100)
    with pytest.raises(DataError, match="more than 100 bytes"):
        datafiles.read_series(written(gzip.compress(b"1\n" * 1000)))
    with pytest.raises(DataError, match="more than 100 bytes"):
        datafiles.read_series(written(b"1\n" * 1000))


@pytest.mark.parametrize(
    "content",
    ["1," * 200_000, "1 " * 200_000, "a,b\n" + '"\n",' * 200_000],
    ids=["commas", "spaces", "one row over many lines"],
)
def test_a_row_is_refused_before_its_cells_are_made(written: Written, content: str) -> None:
    with pytest.raises(DataError, match="over 100001 columns"):
        datafiles.read_series(written(content))


@pytest.mark.parametrize("index", ["", "Unnamed: 0"])
def test_names_are_looked_at_once(written: Written, index: str) -> None:
    """Once for each column would be hours."""
    columns = 60_000
    text = ",".join([index, *map(str, range(columns))]) + "\n" + "".join(f"{at}{',0.5' * columns}\n" for at in range(3))
    assert datafiles.read_windows(written(text)).windows.shape == (3, columns, 1)
    assert datafiles.read_series(written(text)).samples.shape == (3, columns)


def test_more_rows_than_fit_are_refused(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.datafiles.text.MAX_BYTES", 1000)
    assert len(datafiles.read_series(written("1\n" * 120)).samples) == 120
    with pytest.raises(DataError, match="over 126 rows of 1 columns"):
        datafiles.read_series(written("1\n" * 130))


def test_numbers_are_read_line_by_line() -> None:
    content = b"0.123456789012,0.5\n" * 50_000
    tracemalloc.start()
    text_columns(Path("t"), content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(content)  # the text, the numbers, and what NumPy's array grows by


def test_narrow_numbers_are_weighed_as_what_they_become(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.datafiles.content.MAX_BYTES", 700)
    with pytest.raises(DataError, match="200 numbers are over 700 bytes as float32"):
        datafiles.read_series(written(npy(np.zeros(200, np.int8))))
    with pytest.raises(DataError, match="over 700 bytes as float64"):
        datafiles.read_series(written(npz(a=np.zeros(50, np.int8), b=np.zeros(50, np.int8))))
