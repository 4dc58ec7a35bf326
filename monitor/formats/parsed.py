"""What a format makes of the values of one poll: columns for the good records, a reason for each bad one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from monitor.detector.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from monitor.errors import Reason

Item = TypeVar("Item")
# What a format makes of numbers (..., channels): float32, less the channels' levels.
Narrow = Callable[[Float64Array], Float32Array]


class Rejected(NamedTuple):
    """One record that can't be read: its row in the poll's columns, and why."""

    row: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Outlines:
    """What is still known of k records that are refused: how many samples each held, one at least, and the rest as
    in `Parsed`; an empty series where a record names none.
    """

    counts: Int64Array
    stamps_us: Int64Array
    rates_hz: Float64Array
    series: list[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """The readable records of one poll, k of them, holding n samples in all.

    `rows` (k,) are their rows in the poll, increasing; `counts` (k,) the samples of each; `values` (n, channels) in
    order. `stamps_us` (k,) is the time that the record itself states (`NO_TIME`: none), `rates_hz` (k,) its sampling
    rate (NaN: none). `series` holds the series that the record names, where the format was asked for it.
    """

    rows: Int64Array
    counts: Int64Array
    values: Float32Array
    stamps_us: Int64Array
    rates_hz: Float64Array
    rejected: list[Rejected]
    series: list[bytes] | None = None


def drop_infinite(parsed: Parsed) -> Parsed:
    """Rejects the records that hold a number which is not finite in float32; NaN stays: it is a missing sample."""
    with np.errstate(over="ignore"):
        infinite = np.isinf(parsed.values.astype(np.float32, copy=False)).any(axis=1)
    if not infinite.any():
        return parsed
    owner = np.repeat(np.arange(len(parsed.rows)), parsed.counts)
    bad = np.zeros(len(parsed.rows), dtype=np.bool_)
    bad[owner[infinite]] = True
    rejected = [
        Rejected(int(row), Reason.NOT_FINITE, "a number is infinite, or too large for float32 (3.4e38)")
        for row in parsed.rows[bad]
    ]
    return replace(select(parsed, ~bad), rejected=parsed.rejected + rejected)


def select(parsed: Parsed, good: BoolArray) -> Parsed:
    """The records where `good` (k,) is true, with their samples."""
    return Parsed(
        rows=parsed.rows[good],
        counts=parsed.counts[good],
        values=parsed.values[np.repeat(good, parsed.counts)],
        stamps_us=parsed.stamps_us[good],
        rates_hz=parsed.rates_hz[good],
        rejected=parsed.rejected,
        series=None if parsed.series is None else [s for s, keep in zip(parsed.series, good, strict=True) if keep],
    )


def without(items: list[Item], indices: Sequence[int]) -> list[Item]:
    """`items` but those at `indices`, which increase: by slices, as there are few."""
    kept: list[Item] = []
    first = 0
    for index in indices:
        kept += items[first:index]
        first = index + 1
    return kept + items[first:]


def merged(one: Parsed, other: Parsed) -> Parsed:
    """The records of both, in the order of the poll."""
    if not len(other.rows):
        return replace(one, rejected=one.rejected + other.rejected)
    rows, counts = np.concatenate([one.rows, other.rows]), np.concatenate([one.counts, other.counts])
    order = np.argsort(rows, kind="stable")
    samples = np.argsort(np.repeat(rows, counts), kind="stable")
    series = None
    if one.series is not None and other.series is not None:
        both = one.series + other.series
        series = [both[index] for index in order.tolist()]
    return Parsed(
        rows=rows[order],
        counts=counts[order],
        values=np.concatenate([one.values, other.values])[samples],
        stamps_us=np.concatenate([one.stamps_us, other.stamps_us])[order],
        rates_hz=np.concatenate([one.rates_hz, other.rates_hz])[order],
        rejected=one.rejected + other.rejected,
        series=series,
    )
