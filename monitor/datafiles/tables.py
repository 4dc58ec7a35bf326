"""The contents of a data source: one series, or windows that were cut elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.detector.arrays import Float32Array, Float64Array, Int64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesTable:
    """One series: `samples` (n, channels) with NaN where missing; `time_us` event time and `labels`, (n,) if known.

    `series` is its name, `source` where it was read, for messages; `units` and `sampling_rate_hz` are set if the source
    has them, as the header of a WFDB record does. Labels that are names in the source are indices into `classes`.
    `rows` (n,) are the samples' row numbers in a source that mixes several series; None: the source holds only these,
    in this order. `exact` is `samples` in float64, if float32 has too few digits (see `digits`) or on request. `notes`
    say what a person should know of how it was read.
    """

    samples: Float32Array
    channels: tuple[str, ...]
    time_us: Int64Array | None = None
    labels: Int64Array | None = None
    series: str = ""
    source: str = ""
    units: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    sampling_rate_hz: float | None = None
    rows: Int64Array | None = None
    exact: Float64Array | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTable:
    """Windows cut elsewhere: `windows` (n, length, channels) with NaN where missing; `labels` (n,), the file's own.

    `image_shape` (height, width) if each window is an image, read row by row; the rest as in `SeriesTable`.
    """

    windows: Float32Array
    channels: tuple[str, ...]
    labels: Int64Array | None = None
    series: str = ""
    source: str = ""
    classes: tuple[str, ...] = ()
    image_shape: tuple[int, int] | None = None
    exact: Float64Array | None = None


def by_series(table: SeriesTable, names: Sequence[str]) -> list[SeriesTable]:
    """`table` split by series; `names` (n,) are the rows' series."""
    numbers: dict[str, int] = {}
    owner = np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int64, len(names))
    order = np.argsort(owner, kind="stable")
    bounds = np.cumsum(np.bincount(owner, minlength=len(numbers)))[:-1]
    return [
        replace(
            table,
            series=name,
            samples=table.samples[rows],
            exact=None if table.exact is None else table.exact[rows],
            time_us=None if table.time_us is None else table.time_us[rows],
            labels=None if table.labels is None else table.labels[rows],
            rows=rows.astype(np.int64),
        )
        for name, rows in zip(numbers, np.split(order, bounds), strict=True)
    ]
