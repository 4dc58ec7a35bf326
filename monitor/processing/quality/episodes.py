"""Whether something happens often: what is marked in many sequences at once, each going on from what is remembered.

Marks are an episode while fewer than `gap` elements without one lie between them. It is said that something is wrong
with the mark number `enough` of an episode, and that it is over after `well` elements in a row without one.

    enough 3, gap 2, well 4        . x . x x . x . . x . . . . .
                                       1   2 3   4     1       |
                                             wrong           over
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, Int64Array

# What is remembered of a sequence: marks in the episode, since when, elements since the last, if something is wrong.
LAYOUT = [("marks", "<u4"), ("clear", "<u4"), ("wrong", "?"), ("since_us", "<i8")]
NEVER = np.iinfo(np.int64).min  # before all elements


@dataclass(frozen=True, slots=True)
class Limits:
    """By which episodes are judged, for each sequence (g,)."""

    enough: Int64Array
    gap: Int64Array
    well: Int64Array


@dataclass(frozen=True, slots=True)
class Marks:
    """The marked elements (k,) of g sequences, those of a sequence together and in order, each at its time.

    `firsts` and `ends` (g,) are each sequence's first element and the one after its last.
    """

    element: Int64Array
    sequence: Int64Array
    time_us: Int64Array
    firsts: Int64Array
    ends: Int64Array


@dataclass(frozen=True, slots=True)
class News:
    """Which elements of which sequences make something wrong, since when, and which say that it is over."""

    wrong: Int64Array
    wrong_of: Int64Array
    since_us: Int64Array
    over: Int64Array
    over_of: Int64Array


def follow(marks: Marks, kept: NDArray[np.void], limits: Limits) -> News:
    """What marks mean; `kept` (g,), of `LAYOUT`, is what is remembered of each sequence, updated in place."""
    element, of, begun = marks.element, marks.sequence, kept["marks"] > 0
    index, first = np.arange(len(element)), np.diff(marks.sequence, prepend=-1) != 0
    remembered = marks.firsts - 1 - kept["clear"].astype(np.int64)  # the last mark before these elements
    before = np.where(first, remembered[of], np.roll(element, 1))
    follows_gap = element - before > limits.gap[of]
    begins = follows_gap | (first & ~begun[of])
    origin = np.maximum.accumulate(np.where(begins | first, index, 0))
    number = index - origin + 1 + np.where(begins[origin], 0, kept["marks"][of])
    since_us = np.where(begins[origin], marks.time_us[origin], kept["since_us"][of])
    wrong = number == limits.enough[of]

    last = np.flatnonzero(np.append(first[1:], True)[: len(first)])  # of each sequence that has marks
    newest, known = remembered.copy(), begun.copy()
    newest[of[last]], known[of[last]] = element[last], True
    over, over_of = _over(
        np.concatenate([before, newest]),
        np.concatenate([element, marks.ends]),
        np.concatenate([of, np.arange(len(newest))]),
        np.concatenate([~first | begun[of], known]),
        marks.firsts,
        limits.well,
    )
    wrong_at, wrong_of = element[wrong], of[wrong]
    counts = _follows_wrong(over, over_of, wrong_at, wrong_of, kept["wrong"])
    over, over_of = over[counts], over_of[counts]
    kept["wrong"] = _latest(wrong_at, wrong_of, np.where(kept["wrong"], marks.firsts - 1, NEVER)) > _latest(
        over, over_of, np.full(len(newest), NEVER)
    )
    kept["marks"][of[last]], kept["since_us"][of[last]] = number[last], since_us[last]
    clear = np.where(known, marks.ends - 1 - newest, 0)
    kept["marks"][clear >= limits.well] = 0
    kept["clear"] = np.where(clear >= limits.well, 0, clear)
    return News(wrong_at, wrong_of, since_us[wrong], over, over_of)


def _over(
    mark: Int64Array, then: Int64Array, of: Int64Array, known: BoolArray, firsts: Int64Array, well: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Elements that are the last of enough in a row without a mark: after a `known` `mark` (k,), and before `then`."""
    element = mark + well[of]
    is_over = known & (element < then) & (element >= firsts[of])
    return element[is_over], of[is_over]


def _follows_wrong(
    over: Int64Array, over_of: Int64Array, wrong: Int64Array, wrong_of: Int64Array, was_wrong: BoolArray
) -> BoolArray:
    """Which elements that say it is over have something wrong before them, and nothing that said so since."""
    elements, of = np.concatenate([wrong, over]), np.concatenate([wrong_of, over_of])
    order = np.lexsort((elements, of))
    is_wrong, of = order < len(wrong), of[order]
    before = np.where(np.diff(of, prepend=-1) != 0, was_wrong[of], np.roll(is_wrong, 1))
    found = np.empty(len(order), dtype=np.bool_)
    found[order] = before
    return found[len(wrong) :]


def _latest(element: Int64Array, of: Int64Array, before: Int64Array) -> Int64Array:
    """For each sequence (g,) the latest of its elements, or what was `before`."""
    latest = before.copy()
    np.maximum.at(latest, of, element)
    return latest
