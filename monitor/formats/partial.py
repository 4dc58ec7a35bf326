"""Readings of single channels that one record holds for one series and time: together they are one sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from monitor.detector.arrays import Int64Array
from monitor.formats.parsed import Parsed, carried_of, select


def together(parsed: Parsed) -> Parsed:
    """`parsed`, whose samples may be partial, with one sample for all of a record, a series and a time.

    It stands where the first of them stood; of two readings of one channel the later counts.
    """
    known = carried_of(parsed)
    parsed = replace(parsed, carried=None if known.all() else known)
    if (parsed.rows[1:] > parsed.rows[:-1]).all():
        return parsed
    first = _first_alike(parsed)
    kept = first == np.arange(len(first))
    if kept.all():
        return parsed
    sample = np.cumsum(parsed.counts) - parsed.counts  # each entry's first
    target = np.repeat((np.cumsum(parsed.counts * kept) - parsed.counts)[first], parsed.counts)
    target += np.arange(len(parsed.values)) - np.repeat(sample, parsed.counts)
    found = select(parsed, kept)
    values, carried = np.full_like(found.values, np.nan), np.zeros(found.values.shape, dtype=np.bool_)
    at, channel = np.nonzero(known)
    values[target[at], channel], carried[target[at], channel] = parsed.values[at, channel], True
    return replace(found, values=values, carried=None if carried.all() else carried)


def _first_alike(parsed: Parsed) -> Int64Array:
    """For each entry (k,) the first of its record, series and time; chunks are alike with nothing."""
    names = parsed.series or [b""] * len(parsed.rows)
    numbers: dict[bytes, int] = {}
    series = np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int64, len(names))
    alone = np.where(parsed.counts == 1, 0, np.arange(1, len(names) + 1))
    keys = np.stack([parsed.rows, series, parsed.stamps_us, alone])
    order = np.lexsort(keys)
    ordered = keys[:, order]
    new = np.append(True, (ordered[:, 1:] != ordered[:, :-1]).any(axis=0))
    first = np.empty_like(order)
    first[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]
    return first
