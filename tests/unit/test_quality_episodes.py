"""Episodes of marks: against counting element by element, however the sequences are cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.processing.quality.episodes import LAYOUT, Limits, Marks, follow

Said = list[tuple[int, int, str, int]]


def naive(marked: np.ndarray, limits: tuple[int, int, int]) -> Said:
    """As the module's docstring says it, of one sequence: element, since when, what."""
    enough, gap, well = limits
    found: Said = []
    marks = clear = since = 0
    wrong = False
    for at, mark in enumerate(marked.tolist()):
        if mark:
            if marks == 0 or clear >= gap:
                marks, since = 0, at
            marks, clear = marks + 1, 0
            if marks == enough:
                wrong = True
                found.append((0, at, "wrong", since))
        elif marks:
            clear += 1
            if clear == well:
                marks = clear = 0
                if wrong:
                    found.append((0, at, "over", 0))
                wrong = False
    return found


@given(st.data())
def test_it_is_what_counting_finds_however_it_is_cut(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sequences, count = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 80))
    share = data.draw(st.sampled_from([0.05, 0.3, 0.7, 1.0]))
    marked = (rng.random((sequences, count)) < share) & (rng.random((sequences, 1)) < 0.8)
    marked[:, count // 3 : count // 2] = False
    each = [data.draw(st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(0, 6))) for _ in range(sequences)]
    each = [(enough, gap, gap + more) for enough, gap, more in each]
    limits = Limits(*(np.array(column) for column in zip(*each, strict=True)))
    kept = np.zeros(sequences, LAYOUT)
    bounds = sorted({0, count, *data.draw(st.lists(st.integers(0, count), max_size=4))})
    found: Said = []
    for first, end in pairwise(bounds):
        if not kept["marks"].any() and not marked[:, first:end].any():
            continue
        of, element = np.nonzero(marked[:, first:end])
        shift = 1000 * np.arange(sequences)  # elements of sequences are numbered anew in each turn
        news = follow(Marks(element + shift[of], of, element + first, shift, shift + end - first), kept, limits)
        found += [
            (of, int(at) - 1000 * of + first, "wrong", since)
            for of, at, since in zip(news.wrong_of.tolist(), news.wrong, news.since_us.tolist(), strict=True)
        ]
        found += [
            (of, int(at) - 1000 * of + first, "over", 0)
            for of, at in zip(news.over_of.tolist(), news.over, strict=True)
        ]
    expected = [(of, *rest) for of in range(sequences) for _, *rest in naive(marked[of], each[of])]
    assert sorted(found) == sorted(expected)
