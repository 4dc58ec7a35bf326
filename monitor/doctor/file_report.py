"""What `telltale doctor` prints about a file.

Rules of this file: words only.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from monitor.datafiles import SeriesTable, WindowTable
from monitor.doctor.files import FileDiagnosis
from monitor.doctor.words import declared, fact, fields, gaps, missing_share, moment, notes, order, rate, safe


def of_file(found: FileDiagnosis) -> str:
    """The whole report."""
    count = f"{found.rows:,} rows" if found.rows else "rows that can't be counted"
    parts = [f"{found.path}: {count}\n", *_facts(found)]
    if found.fields:
        parts += ["", *fields(found.fields)]
    parts += notes([*(declared(*each, "--missing") for each in found.sentinels.items()), *found.notes])
    if found.problem:
        return "\n".join([*parts, "", "It can't be learnt from as it stands:", f"  {found.problem}"])
    return "\n".join([*parts, "", "The command to use:", "", f"  {found.command}"])


def _facts(found: FileDiagnosis) -> Iterable[str]:
    windows = [table for table in found.tables if isinstance(table, WindowTable)]
    if windows:
        shape = windows[0].windows.shape
        yield fact(
            "rows",
            f"each a window: {shape[1]} samples of {shape[2]} channels"
            if shape[2] > 1
            else f"each a window of {shape[1]} samples",
        )
        labels = windows[0].labels
        if labels is not None:
            values, counts = np.unique(labels, return_counts=True)
            yield fact("labels", ", ".join(f"{value} ({count:,})" for value, count in zip(values, counts, strict=True)))
        return
    series = [table for table in found.tables if isinstance(table, SeriesTable)]
    if not series:
        return
    yield fact("series", _series(found, series))
    orders = [*found.orders.values()]
    if orders:
        first, last = min(each.first_us for each in orders), max(each.last_us for each in orders)
        yield fact("time", f"{found.time or 'known'}; {moment(first)} to {moment(last)} UTC")
        yield fact("rate", rate(orders))
        yield fact("order", order(orders))
        yield fact("gaps", gaps(orders))
    else:
        yield fact("time", "none: samples are taken to be evenly spaced")
    yield fact("missing", missing_share(found.missing))


def _series(found: FileDiagnosis, series: list[SeriesTable]) -> str:
    if not found.series:
        return f"one, called {safe(series[0].series, 60)} after the file"
    lengths = sorted(len(table.samples) for table in series)
    names = ", ".join(safe(table.series, 30) for table in series[:4]) + (", ..." if len(series) > 4 else "")
    return f"{len(series)}, named by column {found.series}: {names}; of {lengths[0]:,} to {lengths[-1]:,} rows"
