"""Missing numbers: what is done with them is chosen, and what there are is counted.

Rules of this file: pure; no number is made up here. `refuse` takes none. `drop` leaves out the windows that hold one,
`fill` only those where more is missing than the artifact allows, and fills the others along time, linearly: both when
windows are cut, by the artifact's `max_missing_ratio` (0 for `drop`), as the daemon does it
(`monitor/detector/windows.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from monitor.datafiles import WindowTable
from monitor.detector.arrays import Float32Array
from monitor.errors import DataError
from training.datasets.options import Table

Policy = Literal["refuse", "drop", "fill"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Of `numbers` numbers in all tables `missing` are missing; `rows` (samples, or windows) hold at least one of them.

    `by_channel` counts them for the channels that lack any.
    """

    numbers: int
    missing: int
    rows: int
    by_channel: dict[str, int]


def check(tables: Sequence[Table], policy: Policy) -> Missing:
    """Counts what is missing, and refuses what `policy` does not take.

    Raises:
        DataError: a channel that has no number in a table, whatever the policy; with "refuse" the first number missing.
            Names source, row from 1, and channel.
    """
    numbers = missing = rows = 0
    by_channel: dict[str, int] = {}
    for table in tables:
        values = _values(table)
        lacks = np.isnan(values)
        numbers += values.size
        if not lacks.any():
            continue
        per_channel = lacks.reshape(-1, values.shape[-1]).sum(axis=0)
        _refuse_empty(table, per_channel, values.size // values.shape[-1])
        if policy == "refuse":
            _refuse_first(table, lacks)
        missing += int(per_channel.sum())
        rows += int(lacks.any(axis=tuple(range(1, lacks.ndim))).sum())
        for name, count in zip(table.channels, per_channel.tolist(), strict=True):
            if count:
                by_channel[name] = by_channel.get(name, 0) + count
    return Missing(numbers=numbers, missing=missing, rows=rows, by_channel=by_channel)


def _values(table: Table) -> Float32Array:
    return table.windows if isinstance(table, WindowTable) else table.samples


def _refuse_empty(table: Table, per_channel: np.ndarray[tuple[int, ...], np.dtype[np.int64]], rows: int) -> None:
    empty = [name for name, count in zip(table.channels, per_channel.tolist(), strict=True) if count == rows]
    if empty:
        raise DataError(
            f"{_called(table)}: channel {', '.join(empty[:8])} has no number at all; leave it out with --channels"
        )


def _refuse_first(table: Table, lacks: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    first = np.argwhere(lacks)[0]
    where = f"window {first[0] + 1}, sample {first[1] + 1}" if lacks.ndim == 3 else f"row {first[0] + 1}"
    raise DataError(
        f"{_called(table)}, {where}, channel {table.channels[int(first[-1])]}: a number is missing, and the policy is "
        'to refuse that; fix the data, or choose "drop" or "fill"'
    )


def _called(table: Table) -> str:
    source = table.source or "the data"
    return f"{source}, series {table.series}" if table.series else source
