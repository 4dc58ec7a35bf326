"""Parquet, Arrow and Feather files: columns by name, wide or in the long form, or lists that are windows.

Rules of this file: pyarrow reads, and what it raises on bytes that are no such file leaves as `DataError`. What a file
says of its size is checked before it is believed, and its buffers before they are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from monitor.datafiles import LABEL_NAMES, TIME_NAMES, parts
from monitor.datafiles.cells import Cells, Markers
from monitor.datafiles.columns import Columns, choose, find, find_unless_none, float32, labels
from monitor.datafiles.content import MAX_BYTES
from monitor.datafiles.reading import window_table
from monitor.detector.arrays import Int64Array
from monitor.errors import DataError
from training.datasets.formats import ARROW_FILE, FEATHER_1, PARQUET
from training.datasets.grouping import tables_of
from training.datasets.options import Kind, ReadOptions, Table

_NONE = Markers()


def read(path: Path, content: bytes, kind: Kind, options: ReadOptions) -> list[Table]:
    """The tables of a file.

    Raises:
        DataError: not such a file, too large, or a column is missing or not what it should be.
    """
    with _readable(path):
        table = _table(path, content, kind, options)
        lists = _lists(table.schema)
        if not lists:
            return tables_of(path, _columns(path, table, options.series_column, options.markers), kind, options)
        return [_windows(path, table, lists, kind, options)]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: not a readable Parquet or Arrow file: {said}; write it again") from None


def _table(path: Path, content: bytes, kind: Kind, options: ReadOptions) -> Any:
    """The columns that are asked for."""
    if content.startswith(FEATHER_1):
        raise DataError(f"{path}: Feather version 1 is not read; write version 2, or Parquet")
    buffer = pa.BufferReader(content)
    if content.startswith(PARQUET):
        schema = pq.read_schema(buffer)
        wanted = _wanted(path, schema, kind, options)
        _check_kinds(path, schema, wanted)
        # As dictionaries, since one long text in every row is short in the file and must not be long in memory.
        texts = [name for name in wanted if _is_text(schema.field(name).type)]
        with pq.ParquetFile(buffer, read_dictionary=texts, page_checksum_verification=True) as file:
            _check_parquet(path, file, wanted)
            table = file.read(columns=wanted, use_threads=False)
    else:
        opened = pa.ipc.open_file if content.startswith(ARROW_FILE) else pa.ipc.open_stream
        with opened(buffer) as reader:
            wanted = _wanted(path, reader.schema, kind, options)
            _check_kinds(path, reader.schema, wanted)
            table = pa.Table.from_batches(list(_batches(path, reader)), reader.schema).select(wanted)
    _check_size(path, table.num_rows, len(wanted))
    table.validate(full=True)  # what is in a file need not be what its format promises
    return table


def _batches(path: Path, reader: Any) -> Iterator[Any]:
    """A file's or stream's batches; compressed ones may be far larger than the file."""
    held, places = 0, getattr(reader, "num_record_batches", None)
    for batch in reader if places is None else map(reader.get_batch, range(places)):
        held += batch.get_total_buffer_size()
        if held > MAX_BYTES:
            raise DataError(f"{path}: more than {MAX_BYTES} bytes unpacked; split the file")
        yield batch


def _check_kinds(path: Path, schema: Any, wanted: Sequence[str]) -> None:
    """Refuses what no reader here takes before it is read: a long value in every row is short in the file."""
    lists = frozenset(_lists(schema))
    for name in wanted:
        kind = schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        elif name in lists:
            kind = kind.value_type
            if not _is_number(kind):
                raise DataError(f"{path}: column {name} holds lists of {kind}, not of numbers")
        if not (_is_text(kind) or _is_number(kind) or _is_time(kind)):
            raise DataError(f"{path}: column {name} holds {kind}, not numbers; choose columns with --channels")


def _check_parquet(path: Path, file: Any, wanted: Sequence[str]) -> None:
    """Refuses what would be too large in memory: rows, pages, and, of lists, numbers."""
    _check_size(path, file.metadata.num_rows, len(wanted))
    groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
    sizes = [group.total_byte_size for group in groups]
    if _lists(file.schema_arrow):
        # pyarrow 26 ends the process when a chunk's own metadata is damaged, unless reading has found that before.
        file.scan_contents()
        sizes += [8 * group.column(at).num_values for group in groups for at in range(group.num_columns)]
    if min(sizes, default=0) < 0 or sum(sizes) > MAX_BYTES:
        raise DataError(f"{path}: {sum(sizes)} bytes unpacked, at most {MAX_BYTES}; split the file")


def _check_size(path: Path, rows: int, columns: int) -> None:
    if rows <= 0:
        raise DataError(f"{path}: no rows")
    if rows * max(columns, 1) * 8 > MAX_BYTES:
        raise DataError(f"{path}: {rows} rows of {columns} columns are over {MAX_BYTES} bytes; split the file")


def _wanted(path: Path, schema: Any, kind: Kind, options: ReadOptions) -> list[str]:
    """The columns to read: all, or the chosen channels with time, label and series.

    Of rows that are windows, sample by sample, all are read: there `channels` only says what the one channel is called.
    """
    names = schema.names
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: two columns are called {twice[0][:40]!r}; names must differ")
    lists = _lists(schema)
    if options.channels is None or (kind == "windows" and options.series_column is None and not lists):
        return list(names)
    strangers = [name for name in options.channels if name in names and name not in lists]
    if kind == "windows" and lists and strangers:
        raise DataError(f"{path}: column {strangers[0]!r} holds no lists, as {', '.join(lists[:8])} do")
    places = [
        *choose(path, names, options.channels, ()),
        find_unless_none(path, names, options.time_column, TIME_NAMES),
        find_unless_none(path, names, options.label_column, LABEL_NAMES),
        None if options.series_column is None else find(path, names, options.series_column, ()),
        *(at for at, name in enumerate(names) if parts.is_called(name)),
    ]
    return [names[at] for at in dict.fromkeys(places) if at is not None]


def _lists(schema: Any) -> list[str]:
    """The columns that hold lists."""
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return [field.name for field in schema if any(test(field.type) for test in tests)]


def _columns(path: Path, table: Any, series_column: str | None = None, markers: Markers = _NONE) -> Columns:
    kept, has_times = {series_column, *TIME_NAMES}, any(pa.types.is_time(column.type) for column in table.columns)
    numbers = np.full((table.num_rows, table.num_columns), np.nan, dtype=np.float64)
    texts: dict[int, list[str]] = {}
    times_us: dict[int, Int64Array] = {}
    for at, (name, stored) in enumerate(zip(table.column_names, table.columns, strict=True)):
        is_dictionary = pa.types.is_dictionary(stored.type)
        if _is_text(stored.type.value_type if is_dictionary else stored.type):
            texts[at] = _texts(stored)
            if name not in kept and (read := _numbers_of(texts[at], markers)) is not None:
                numbers[:, at] = read
                del texts[at]
            continue
        column = stored.cast(stored.type.value_type) if is_dictionary else stored
        kind = column.type
        if name == series_column and pa.types.is_integer(kind):  # as float64 those over 2**53 become one another
            texts[at] = _texts(column.cast(pa.string()))
            continue
        if pa.types.is_time(kind) or (pa.types.is_date(kind) and has_times):
            texts[at] = _texts(column.cast(pa.string()))
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            times_us[at] = _times_us(path, name, column)
        elif pa.types.is_duration(kind):
            numbers[:, at] = _float64(column.cast(pa.duration("ns"), safe=False).cast(pa.int64())) / 1e9
        else:
            numbers[:, at] = _float64(column)
    return Columns(numbers=numbers, names=tuple(table.column_names), texts=texts, times_us=times_us)


def _numbers_of(texts: Sequence[str], markers: Markers) -> NDArray[np.float64] | None:
    """A column of texts as numbers, NaN where one is missing; None unless all are, and one is there."""
    cells = Cells(markers)
    if (first := next((text for text in texts if not markers.mark(text)), None)) is None or cells.is_text(first):
        return None
    found = [cells.number(text) for text in texts]
    return None if None in found else np.array(found, dtype=np.float64)


def _is_time(kind: Any) -> bool:
    tests = (pa.types.is_timestamp, pa.types.is_date, pa.types.is_time, pa.types.is_duration)
    return any(test(kind) for test in tests)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _texts(column: Any) -> list[str]:
    """A column of text, "" where it is null; equal texts of a dictionary are one object."""
    if not pa.types.is_dictionary(column.type):
        return ["" if text is None else text for text in column.to_pylist()]
    found: list[str] = []
    for chunk in column.chunks:
        texts = [*("" if text is None else text for text in chunk.dictionary.to_pylist()), ""]
        found += [texts[place] for place in chunk.indices.fill_null(len(texts) - 1).to_pylist()]
    return found


def _is_number(kind: Any) -> bool:
    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
    return any(test(kind) for test in tests)


def _float64(column: Any) -> NDArray[np.float64]:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) if len(column) else np.empty(0)
    return np.asarray(values, dtype=np.float64)


def _times_us(path: Path, name: str, column: Any) -> Int64Array:
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise DataError(f"{path}, row {row + 1}, column {name}: no time; fix it or drop the row")
    unit = pa.timestamp("us", getattr(column.type, "tz", None))
    if getattr(column.type, "unit", "") == "ns":  # rounds, which is no overflow
        return np.asarray(column.cast(pa.int64()).to_numpy(), dtype=np.int64) // 1000
    return np.asarray(column.cast(unit).cast(pa.int64()).to_numpy(), dtype=np.int64)


def _windows(path: Path, table: Any, lists: Sequence[str], kind: Kind, options: ReadOptions) -> Table:
    """Each list column is a channel, each row a window."""
    if kind != "windows":
        raise DataError(f"{path}: columns {', '.join(lists[:8])} hold lists, so rows are windows; choose such a recipe")
    names = table.column_names
    found = None
    label_at = find_unless_none(path, names, options.label_column, LABEL_NAMES)
    if label_at is not None:
        label = _columns(path, table.select([names[label_at]]))
        float32(path, label, [0])  # refuses text
        found = labels(path, label, 0)
    chosen = list(options.channels or lists)
    length, windows = 0, list[NDArray[np.float64]]()
    for name in chosen:
        column = table.column(name).combine_chunks()
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        length = length or int(lengths[0])
        if (odd := lengths != length).any() or not length:
            row = int(np.argmax(odd))
            raise DataError(
                f"{path}, row {row + 1}, column {name}: {lengths[row]} samples, expected {length or 'some'}; windows "
                "need one length"
            )
        _check_size(path, len(column) * length, len(chosen))
        windows.append(_float64(pc.list_flatten(column)).reshape(len(column), length))
    exact = options.keeps_digits
    return window_table(path, np.stack(windows, axis=2), found, channels=tuple(chosen), exact=exact)
