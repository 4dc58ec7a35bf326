"""Whatever the bytes are, a loader returns tables that hold what they promise, or raises `DataError`."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import feather

from monitor.datafiles import SeriesTable, WindowTable
from monitor.datafiles import text as separated
from monitor.errors import DataError
from training.datasets import ReadOptions, Table, read
from training.datasets.wfdb_annotations import parse as parse_annotations

DataFiles = dict[str, bytes]
COLUMNS = pa.table(
    {
        "time": pa.array([1, 2, 3], pa.timestamp("us")),
        "pump": pa.array(["a", "b", "a"]),
        "v": pa.array([1.5, None, 3.0]),
        "w": pa.array([1, 2, 3], pa.int16()),
        "label": pa.array([0, 1, 0]),
    }
)
LISTS = pa.table({"x": [[1.0, 2.0], [3.0, 4.0]], "label": [0, 1]})


def made(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def stream(table: pa.Table) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table)

    return made(write)


ARROW = [
    made(partial(pq.write_table, COLUMNS)),
    made(lambda buffer: pq.write_table(COLUMNS, buffer, compression="none", write_page_checksum=True)),
    made(lambda buffer: pq.write_table(LISTS, buffer, compression="none", use_dictionary=False)),
    made(lambda buffer: feather.write_feather(COLUMNS, buffer)),
    made(lambda buffer: feather.write_feather(COLUMNS, buffer, compression="uncompressed")),
    stream(COLUMNS),
    stream(LISTS),
]
TEXTS = [
    b"time,pump,v,w,label\n2026-01-01,a,1,2,0\n2026-01-02,b,,3,1\n",
    b"@relation r\n@attribute a numeric\n@attribute b real\n@attribute c {u,v}\n@data\n1,?,u\n2,3,'v'\n",
    b"@relation r\n@attribute x relational\n@attribute a numeric\n@end x\n@attribute c {1,2}\n@data\n'1,2\\n3,4',1\n",
    b"@timeStamps false\n@univariate false\n@classLabel true u v\n@data\n1,2:3,?:u\n4,5:6,7:v\n",
    bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 2, 3) + bytes(range(12)),
    bytes([0, 0, 13, 2]) + struct.pack(">2I", 2, 1) + struct.pack(">2f", 1.5, -2.0),
    b"r 2 360 4 0:0:1 1/1/1990\nd.dat 212 200(5)/mV 12 0 1 0 0 II\nd.dat 212\n",
]
OPTIONS = [
    ReadOptions(),
    ReadOptions(series_column="pump", time_column="time", label_column="label", channels=("w", "v")),
    ReadOptions(label_column="none", image_shape=(2, 3)),
    ReadOptions(channels=("x",)),
]


def mutated(originals: list[bytes]) -> st.SearchStrategy[bytes]:
    """A valid file with some bytes changed, cut out or put in twice."""

    def change(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        for at, width, put in edits:
            start = at % (len(content) + 1)
            content = content[:start] + put + content[start + width :]
        return content

    edit = st.tuples(st.integers(0, 5_000), st.integers(0, 8), st.binary(max_size=8))
    numbers = st.sampled_from(
        [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"9" * 20, b"1e400", b"-1", b"nan", b"\n", b","]
    )
    edit |= st.tuples(st.integers(0, 5_000), st.integers(0, 4), numbers)
    return st.builds(change, st.sampled_from(originals), st.lists(edit, min_size=1, max_size=4))


def sound(table: Table, kind: str) -> None:
    """What every table promises."""
    assert isinstance(table, WindowTable if kind == "record" else SeriesTable)
    values = table.windows if isinstance(table, WindowTable) else table.samples
    assert values.dtype == np.float32
    assert values.size
    assert values.ndim == (3 if kind == "record" else 2)
    assert values.shape[-1] == len(table.channels) == len(set(table.channels))
    assert not np.isinf(values).any()
    times = table.time_us if isinstance(table, SeriesTable) else None
    for each in (table.labels, times):
        assert each is None or (each.dtype == np.int64 and each.shape == (len(values),))
    if isinstance(table, WindowTable) and table.image_shape is not None:
        assert table.image_shape[0] * table.image_shape[1] == values.shape[1]


def loads(path: Path, kind: str, options: ReadOptions) -> None:
    try:
        tables = read(str(path), kind=kind, options=options, note=lambda _: None)
    except DataError:
        return
    assert tables
    for table in tables:
        sound(table, kind)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("datasets")


KINDS: st.SearchStrategy[str] = st.sampled_from(["record", "sliding"])
CHOICES = st.sampled_from(OPTIONS)


@given(
    content=st.binary(max_size=300) | mutated(TEXTS), kind=KINDS, options=CHOICES, name=st.sampled_from(["d", "r.hea"])
)
def test_any_bytes(folder: Path, content: bytes, kind: str, options: ReadOptions, name: str) -> None:
    (folder / "d.dat").write_bytes(bytes(range(12)))
    (folder / name).write_bytes(content)
    loads(folder / name, kind, options)


@given(content=mutated(ARROW), kind=KINDS, options=CHOICES)
def test_damaged_parquet_and_arrow(folder: Path, content: bytes, kind: str, options: ReadOptions) -> None:
    (folder / "a").write_bytes(content)
    loads(folder / "a", kind, options)


@given(magic=st.sampled_from([b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"FEA1"]), rest=st.binary(max_size=200))
def test_only_the_beginning_of_parquet_and_arrow(folder: Path, magic: bytes, rest: bytes) -> None:
    (folder / "m").write_bytes(magic + rest + magic)
    loads(folder / "m", "sliding", OPTIONS[0])


@given(content=mutated([gzip.compress(each) for each in TEXTS]), kind=KINDS)
def test_damaged_gzip(folder: Path, content: bytes, kind: str) -> None:
    (folder / "z.gz").write_bytes(content)
    loads(folder / "z.gz", kind, OPTIONS[0])


@given(dat=st.binary(max_size=40), atr=st.binary(max_size=60) | mutated([b"\x05\x04\x0a\x14\0\xec\0\0\x10\0\0\0"]))
def test_any_signals_and_annotations(folder: Path, dat: bytes, atr: bytes) -> None:
    for form in (16, 212):
        (folder / "s.hea").write_text(f"s 2 360\ns.dat {form}\ns.dat {form}\n")
        (folder / "s.dat").write_bytes(dat)
        (folder / "s.atr").write_bytes(atr)
        loads(folder / "s", "sliding", OPTIONS[0])
    try:
        found = parse_annotations(folder, atr, 360.0)
    except DataError:
        return
    assert len(found.samples) == len(found.symbols)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.sampled_from(["a", "d", "2026-01-01", "3"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "start", "end", "series", "d"]), inner, max_size=3)
    ),
    max_leaves=12,
)
_intervals = st.lists(
    st.lists(st.sampled_from(["0", "1", "a", "start", "end", "2026-01-01", "1e9", "", "-1", "nan"]), max_size=4).map(
        ",".join
    ),
    max_size=5,
).map(lambda lines: "\n".join(lines).encode())


@given(labels=_json.map(lambda each: json.dumps(each).encode()) | _intervals | st.binary(max_size=60), kind=KINDS)
def test_any_labels(folder: Path, labels: bytes, kind: str) -> None:
    (folder / "t").write_bytes(TEXTS[0])
    (folder / "labels").write_bytes(labels)
    options = ReadOptions(series_column="pump", time_column="time", channels=("v", "w"), labels=folder / "labels")
    loads(folder / "t", kind, options)
    (folder / "plain").write_bytes(b"1\n2\n3\n")
    loads(folder / "plain", "sliding", ReadOptions(labels=folder / "labels"))


_plain_cells = st.floats(width=32).map(repr)
_odd_cells = st.sampled_from(
    [
        "1_0",
        "0x1p3",
        "1e999",
        "1e-320",
        "+nan",
        "-Infinity",
        "1.",
        ".5",
        "1d3",
        "nan(1)",
        "\u0661",
        "#",
        "'",
        '"',
        '"1"',
    ]
    + ["\ufeff", "a", "", " ", "\t", "1\t2", "\0", "1\n", "\r"]
    + [f"{mark}1{mark}" for mark in "\v\f\x1c\x1f\x85\xa0\u2003\u2028"]
)
_rows = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(_plain_cells, min_size=width, max_size=width), min_size=1, max_size=6)
)


@example(rows=[["1", "2"], ["3", "4"]], odd=(1, 0, "\x1c3"), mark=",", header="", end="")
@given(
    rows=_rows,
    odd=st.none() | st.tuples(st.integers(0, 20), st.integers(0, 2), _odd_cells),
    mark=st.sampled_from([",", ";", "\t", " ", " , "]),
    header=st.sampled_from(["", "a{}b\n", "\ufeff", "\n"]),
    end=st.sampled_from(["", "\n", "\n\n", "\n ", ","]),
)
def test_numpys_reader_reads_as_ours_does(
    rows: list[list[str]], odd: tuple[int, int, str] | None, mark: str, header: str, end: str
) -> None:
    """The quick way gives the same numbers, lines and messages, whatever one cell holds."""
    if odd is not None:
        row = rows[odd[0] % len(rows)]
        row[odd[1] % len(row)] = odd[2]
    content = (header.format(mark) + "\n".join(map(mark.join, rows)) + end).encode()

    def found() -> object:
        try:
            columns = separated.text_columns(Path("t"), content)
        except DataError as error:
            return str(error)
        assert columns.lines is not None
        return columns.numbers.shape, columns.numbers.tobytes(), columns.lines.tolist(), columns.names, columns.texts

    with pytest.MonkeyPatch.context() as patch:
        quick = found()
        patch.setattr(separated, "_plain", lambda *_: None)
        assert quick == found()


_numbers = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), _numbers, _numbers), min_size=1, max_size=20),
    order=st.permutations(["v", "w"]),
)
def test_the_long_form_is_the_same_in_text_and_in_parquet(folder: Path, rows: list[Any], order: list[str]) -> None:
    """Every row is in one table, in order, whatever the format; channels as they were asked for."""
    text = "pump,v,w\n" + "".join(f"{pump},{v!r},{w!r}\n" for pump, v, w in rows)
    (folder / "long.csv").write_text(text)
    columns = {"pump": [row[0] for row in rows], "v": [row[1] for row in rows], "w": [row[2] for row in rows]}
    pq.write_table(pa.table(columns), folder / "long.parquet")
    options = ReadOptions(series_column="pump", channels=tuple(order))
    expected = {
        pump: np.array(
            [[dict(zip("vw", row[1:], strict=True))[name] for name in order] for row in rows if row[0] == pump]
        )
        for pump in dict.fromkeys(row[0] for row in rows)
    }
    for name in ("long.csv", "long.parquet"):
        tables = read(str(folder / name), kind="sliding", options=options)
        assert [table.series for table in tables] == list(expected)
        for table in tables:
            assert isinstance(table, SeriesTable)
            np.testing.assert_array_equal(table.samples, expected[table.series].astype(np.float32))
