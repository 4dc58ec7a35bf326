"""Reads one series, or windows, from a file of text or in NumPy's formats. The content decides which it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from monitor.datafiles import digits
from monitor.datafiles.arrays import NPY, NPZ, npy, npz, npz_columns
from monitor.datafiles.cells import Markers
from monitor.datafiles.clocks import AS_FOUND, TIME_NAMES, Reading, clock_us, find_clock
from monitor.datafiles.columns import (
    LABEL_NAMES,
    Array,
    Columns,
    choose,
    counts,
    find,
    find_unless_none,
    float32,
    labels,
    row_numbers,
    tells_apart,
    whole,
    without_declared,
)
from monitor.datafiles.content import content as read_content
from monitor.datafiles.head import Wanted
from monitor.datafiles.tables import SeriesTable, WindowTable
from monitor.datafiles.text import text_columns
from monitor.detector.arrays import Int64Array
from monitor.errors import DataError

_NONE = Markers()


def read_series(
    path: Path,
    *,
    channels: Sequence[str] | None = None,
    time_column: str | None = None,
    label_column: str | None = None,
    missing: Sequence[str] = (),
) -> SeriesTable:
    """Reads one series, a row per sample.

    Args:
        path: text, .npy (n,) or (n, channels), or .npz with an array per channel.
        channels: which columns, in this order; by default all but time, label and `row_numbers`. Columns without names
            are called "0", "1", ..., or "value" if there is only one.
        time_column: default: a column whose name is in `TIME_NAMES`, or the only one that holds nothing but times. UTC
            without a zone, or a number; "DATE,TIME" names two columns.
        label_column: default: a column whose name is in `LABEL_NAMES` and that is no channel. Integers. For both,
            "none" means no column, unless one has that name.
        missing: what means a missing number, besides the usual words: texts, and numbers such as -9999.

    Raises:
        DataError: names file, line and column, what was expected, what to do.
    """
    markers = Markers.of(missing)
    columns = series_columns(
        path, channels=channels, time_column=time_column, label_column=label_column, markers=markers
    )
    return series_table(
        path, columns, channels=channels, time_column=time_column, label_column=label_column, markers=markers
    )


def series_columns(
    path: Path,
    *,
    channels: Sequence[str] | None = None,
    time_column: str | None = None,
    label_column: str | None = None,
    series_column: str | None = None,
    markers: Markers = _NONE,
) -> Columns:
    """The columns of a file whose rows are samples; `series_column` stays text. Raises as `read_series` does."""
    content = read_content(path)
    if content.startswith(NPY):
        values = npy(path, content)
        if values.ndim not in {1, 2}:
            raise DataError(f"{path}: an array of shape {values.shape}; a series is (samples,) or (samples, channels)")
        return Columns(numbers=values if values.ndim == 2 else values[:, None])
    if content.startswith(NPZ):
        return npz_columns(path, npz(path, content))
    wanted = LABEL_NAMES if label_column is None else (label_column,)
    select = None if channels is None else frozenset([*channels, *wanted])
    keep = [TIME_NAMES if time_column is None else (time_column,)]
    if series_column is not None:
        keep.append((series_column,))
    named = [name for name in (time_column, label_column) if name != "none"]
    required = [*(channels or ()), *named, series_column]
    columns = text_columns(path, content, Wanted(keep, select, required, markers))
    if columns.names is None and len(columns.numbers) == 1:
        return Columns(numbers=columns.numbers.T)  # a series in one line, as some in the UCR archive
    return columns


def series_table(
    path: Path,
    columns: Columns,
    *,
    channels: Sequence[str] | None = None,
    time_column: str | None = None,
    label_column: str | None = None,
    series_column: str | None = None,
    dropped: Sequence[str] = (),
    markers: Markers = _NONE,
    reading: Reading = AS_FOUND,
    exact: bool = False,
) -> SeriesTable:
    """The rows of `columns` as one series; see `read_series`, and `read_windows` for `exact`.

    `series_column` is no channel, nor are those `dropped`. `reading` says how times are read.
    """
    names = columns.called
    label_at = find_unless_none(path, names, label_column, LABEL_NAMES)
    if label_column is None and label_at is not None and names[label_at] in (channels or ()):
        label_at = None
    series_at = None if series_column is None else find(path, names, series_column, ())
    owners = None if series_at is None else columns.texts.get(series_at)
    others = [label_at, series_at, *(find(path, names, name, ()) for name in dropped)]
    clock = find_clock(path, columns, time_column, others, channels or ())
    taken = [*clock.columns, *clock.beside, *others]
    if channels is None:
        advice = "name it with --time-column if it holds times, or choose with --channels"
        taken += row_numbers(path, columns, taken, lambda column: counts(column, owners), advice)
    chosen = choose(path, names, channels, taken)
    if not chosen or not len(columns.numbers):
        raise DataError(f"{path}: nothing to read: {len(columns.numbers)} rows, {len(chosen)} of {len(names)} columns")
    columns = replace(columns, numbers=without_declared(columns.numbers, markers))
    samples = float32(path, columns, chosen)
    time_us, note = clock_us(path, columns, clock, reading)
    return SeriesTable(
        samples=samples,
        channels=tuple(names[at] for at in chosen),
        time_us=time_us,
        labels=None if label_at is None else labels(path, columns, label_at),
        source=str(path),
        units=tuple(columns.units[at] for at in chosen) if columns.units else (),
        exact=digits.exact(columns.numbers, chosen, always=exact),
        notes=tuple(filter(None, (*columns.notes, note and f"{path}: {note}"))),
    )


def read_text_column(path: Path, name: str) -> list[str]:
    """One column of a text file with a header line, as text, such as each row's series. Raises `DataError`."""
    columns = text_columns(path, read_content(path), Wanted([(name,)], frozenset()))
    if name not in columns.called or columns.called.index(name) not in columns.texts:
        raise DataError(f"{path}: no column {name!r}; the columns are {', '.join(columns.called)}")
    return list(columns.texts[columns.called.index(name)])


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an .npz by name, of any shape. Raises `DataError`."""
    content = read_content(path)
    if not content.startswith(NPZ):
        raise DataError(f"{path}: not an .npz; expected arrays by name, as numpy.savez writes them")
    return npz(path, content)


def read_windows(
    path: Path,
    *,
    channels: Sequence[str] | None = None,
    label_column: str | None = None,
    missing: Sequence[str] = (),
    exact: bool = False,
) -> WindowTable:
    """Reads windows, a row each. Raises `DataError` as `read_series` does.

    Args:
        path: text (one channel: cells are samples), .npy (n, length) or (n, length, channels), or .npz with `windows`
            and optionally `labels`.
        channels: names for the channels; by default "value" if there is one, else "0", "1", ...
        label_column: text only: "first" (the UCR archive's form), "last" (TensorFlow's ecg.csv), "none", or a header's
            name. By default the first or last column, if it holds integers only.
        missing: as in `read_series`.
        exact: whether to keep all numbers in float64 too, not only those of which float32 loses digits.
    """
    content, markers = read_content(path), Markers.of(missing)
    if content.startswith(NPY):
        values = without_declared(npy(path, content), markers)
        return window_table(path, values, None, channels=channels, exact=exact)
    if content.startswith(NPZ):
        arrays = npz(path, content)
        named = [name for name in arrays if name.lower() in LABEL_NAMES]
        rest = [name for name in arrays if name not in named]
        if len(rest) != 1 or len(named) > 1 or any(arrays[name].ndim != 1 for name in named):
            raise DataError(f"{path}: holds {sorted(arrays)}; expected one array of windows and at most one of labels")
        found = labels(path, Columns(numbers=arrays[named[0]][:, None], names=(named[0],)), 0) if named else None
        values = without_declared(arrays[rest[0]], markers)
        return window_table(path, values, found, channels=channels, exact=exact)
    columns = text_columns(path, content, Wanted(markers=markers))
    return windows_of_rows(path, columns, channels=channels, label_column=label_column, markers=markers, exact=exact)


def windows_of_rows(
    path: Path,
    columns: Columns,
    *,
    channels: Sequence[str] | None = None,
    label_column: str | None = None,
    markers: Markers = _NONE,
    exact: bool = False,
) -> WindowTable:
    """The rows of `columns` as windows of one channel; see `read_windows`."""
    columns = replace(columns, numbers=without_declared(columns.numbers, markers))
    label_at = _label_side(path, columns, label_column)
    taken = (label_at, *row_numbers(path, columns, (label_at,), tells_apart, "or give it a name"))
    rest = [at for at in range(columns.numbers.shape[1]) if at not in taken]
    found = None if label_at is None else labels(path, columns, label_at)
    table = window_table(path, float32(path, columns, rest), found, channels=channels)
    kept = digits.exact(columns.numbers[:, :, None], always=exact)
    return replace(table, exact=None if kept is None else kept[:, rest])


def window_table(
    path: Path,
    windows: Array,
    found: Int64Array | None,
    *,
    channels: Sequence[str] | None = None,
    exact: bool = False,
) -> WindowTable:
    """An array (n, length) or (n, length, channels) as windows, checked; `found` are their labels."""
    if windows.ndim == 2:
        windows = windows[:, :, None]
    if windows.ndim != 3 or not windows.size:
        raise DataError(f"{path}: an array of shape {windows.shape}; windows are (n, length) or (n, length, channels)")
    if found is not None and len(found) != len(windows):
        raise DataError(f"{path}: {len(windows)} windows but {len(found)} labels; give one label per window")
    flat = Columns(numbers=windows.reshape(-1, windows.shape[2]), names=tuple(channels) if channels else None)
    if len(flat.called) != windows.shape[2]:
        raise DataError(f"{path}: {windows.shape[2]} channels, but {len(flat.called)} names for them")
    narrow = float32(path, flat, range(windows.shape[2])).reshape(windows.shape)
    kept = digits.exact(windows, always=exact)
    return WindowTable(windows=narrow, channels=flat.called, labels=found, source=str(path), exact=kept)


def _label_side(path: Path, columns: Columns, wanted: str | None) -> int | None:
    """The index of the column with the labels of windows."""
    if wanted == "none":
        return None
    if columns.names is not None and (not columns.are_numbered or wanted in columns.names):
        return find(path, columns.names, wanted, LABEL_NAMES)
    indices = columns.indices
    own = [at for at in range(columns.numbers.shape[1]) if at not in indices]
    if not own:
        return None
    if wanted is not None:
        if wanted not in {"first", "last"}:
            raise DataError(f"{path}: no header, so no column {wanted!r}; use --label-column first, last or none")
        return own[0 if wanted == "first" else -1]
    sides = [at for at in (own[0], own[-1]) if len(own) > 1 and whole(columns.numbers[:, at]).all()]
    if len(sides) == 2:
        raise DataError(f"{path}: first and last column may both be labels; use --label-column first, last or none")
    return sides[0] if sides else None
