"""What a format makes of the values of one poll: columns for the good records, a reason for each bad one.

A record holds one entry or several: each with its own series, time, rate and samples. It is read whole, or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
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
    """What is still known of k records that are refused, entry by entry: how many samples each held, one at least, and
    the rest as in `Parsed`; an empty series where a record names none.

    `records` (None: one entry each) says which of the k records an entry is of, in order; each has one at least.
    """

    counts: Int64Array
    stamps_us: Int64Array
    rates_hz: Float64Array
    series: list[bytes] | None = None
    records: Int64Array | None = None
    carried: BoolArray | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """What is left out because it is of no channel: readings, and the rows of records that hold no others, in order.

    `example` says of one such record what it holds instead.
    """

    readings: int = 0
    rows: list[int] = field(default_factory=list)
    example: str = ""

    def followed_by(self, other: Ignored) -> Ignored:
        """Both together, by row."""
        rows = sorted(self.rows + other.rows)
        return Ignored(self.readings + other.readings, rows, other.example or self.example)


NOTHING_IGNORED = Ignored()


@dataclass(frozen=True, slots=True)
class Parsed:
    """The readable records of one poll: k entries, holding n samples in all.

    `rows` (k,) are their records' rows in the poll, never falling; `counts` (k,) the samples of each; `values`
    (n, channels) in order. `stamps_us` (k,) is the time that the record itself states (`NO_TIME`: none), `rates_hz`
    (k,) its sampling rate (NaN: none). `series` holds the series that it names, where the format was asked for it.
    `carried` (n, channels; None: all) marks the channels that a partial sample speaks of. `labels` holds k texts for
    each label that the format was asked for, None where a record does not say it.
    """

    rows: Int64Array
    counts: Int64Array
    values: Float32Array
    stamps_us: Int64Array
    rates_hz: Float64Array
    rejected: list[Rejected]
    series: list[bytes] | None = None
    carried: BoolArray | None = None
    labels: list[list[str | None]] | None = None
    ignored: Ignored = NOTHING_IGNORED


def refused(parsed: Parsed, bad: BoolArray, problem: Callable[[int], tuple[Reason, str]]) -> Parsed:
    """`parsed` without the records that have a `bad` (k,) entry; the first such says why each is rejected."""
    if not bad.any():
        return parsed
    at = np.flatnonzero(bad)
    rows, first = np.unique(parsed.rows[at], return_index=True)
    rejected = [Rejected(row, *problem(entry)) for row, entry in zip(rows.tolist(), at[first].tolist(), strict=True)]
    return replace(select(parsed, ~np.isin(parsed.rows, rows)), rejected=parsed.rejected + rejected)


def drop_infinite(parsed: Parsed) -> Parsed:
    """Rejects the records that hold a number which is not finite in float32; NaN stays: it is a missing sample."""
    with np.errstate(over="ignore"):
        infinite = np.isinf(parsed.values.astype(np.float32, copy=False)).any(axis=1)
    if not infinite.any():
        return parsed
    bad = np.zeros(len(parsed.rows), dtype=np.bool_)
    bad[np.repeat(np.arange(len(parsed.rows)), parsed.counts)[infinite]] = True
    detail = "a number is infinite, or too large for float32 (3.4e38)"
    return refused(parsed, bad, lambda _: (Reason.NOT_FINITE, detail))


def select(parsed: Parsed, good: BoolArray) -> Parsed:
    """The entries where `good` (k,) is true, with their samples."""
    samples = np.repeat(good, parsed.counts)
    return replace(
        parsed,
        rows=parsed.rows[good],
        counts=parsed.counts[good],
        values=parsed.values[samples],
        stamps_us=parsed.stamps_us[good],
        rates_hz=parsed.rates_hz[good],
        series=None if parsed.series is None else list(compress(parsed.series, good)),
        carried=None if parsed.carried is None else parsed.carried[samples],
        labels=None if parsed.labels is None else [list(compress(texts, good)) for texts in parsed.labels],
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
    """The records of both, which have none in common, in the order of the poll."""
    rejected, ignored = one.rejected + other.rejected, one.ignored.followed_by(other.ignored)
    if not len(other.rows):
        return replace(one, rejected=rejected, ignored=ignored)
    rows, counts = np.concatenate([one.rows, other.rows]), np.concatenate([one.counts, other.counts])
    order = np.argsort(rows, kind="stable")
    samples = np.argsort(np.repeat(rows, counts), kind="stable")
    series = labels = carried = None
    if one.series is not None and other.series is not None:
        series = _ordered(one.series + other.series, order)
    if one.labels is not None and other.labels is not None:
        labels = [_ordered(a + b, order) for a, b in zip(one.labels, other.labels, strict=True)]
    if one.carried is not None or other.carried is not None:
        carried = np.concatenate([carried_of(one), carried_of(other)])[samples]
    return Parsed(
        rows=rows[order],
        counts=counts[order],
        values=np.concatenate([one.values, other.values])[samples],
        stamps_us=np.concatenate([one.stamps_us, other.stamps_us])[order],
        rates_hz=np.concatenate([one.rates_hz, other.rates_hz])[order],
        rejected=rejected,
        series=series,
        carried=carried,
        labels=labels,
        ignored=ignored,
    )


def carried_of(parsed: Parsed) -> BoolArray:
    """Which channels each sample carries, (n, channels)."""
    return np.ones(parsed.values.shape, dtype=np.bool_) if parsed.carried is None else parsed.carried


def _ordered(items: list[Item], order: Int64Array) -> list[Item]:
    return [items[index] for index in order.tolist()]
