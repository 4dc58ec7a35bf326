"""Beats found compared with beats annotated, by the rules of EC57."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics.beats import match, predictivity, sensitivity

CASES = {
    "the same": ([100, 200], [100, 200], [(0, 0), (1, 1)]),
    "at the tolerance": ([100], [110], [(0, 0)]),
    "over it": ([100], [111], []),
    "one of two is nearer": ([100], [92, 101], [(0, 1)]),
    "one is nearer to the next": ([100, 112], [109], [(1, 0)]),
    "missed at the end": ([100, 300], [99], [(0, 0)]),
    "found before the first": ([100], [20, 101], [(0, 1)]),
    "none annotated": ([], [5], []),
    "none found": ([5], [], []),
}


@pytest.mark.parametrize(("annotated", "found", "pairs"), CASES.values(), ids=CASES)
def test_beats_are_matched_with_the_nearest(
    annotated: list[int], found: list[int], pairs: list[tuple[int, int]]
) -> None:
    matched = match(np.array(annotated, dtype=np.int64), np.array(found, dtype=np.int64), 10)
    assert [tuple(pair) for pair in matched.pairs.tolist()] == pairs
    assert (matched.missed, matched.false) == (len(annotated) - len(pairs), len(found) - len(pairs))


def test_shares_are_over_all_records() -> None:
    first = match(np.array([100, 200, 300]), np.array([100, 205, 250]), 10)
    second = match(np.array([100]), np.array([100]), 10)
    assert sensitivity([first, second]) == 3 / 4
    assert predictivity([first, second]) == 3 / 4
