"""Words, numbers, the card and what is picked out, of the report."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.report_contents import images, labelled, unlabelled
from tests.report_page import Page
from training.report import selection, words
from training.report.card import model_card, plain
from training.report.content import Estimate, Rate, ReportContent
from training.report.content import Tested as Judged  # pytest takes names in Test for its own
from training.report.page import render


def test_the_card() -> None:
    card = model_card(labelled()).decode()
    for told in ("# ecg-beats\n", "**Finds 253 of 270 anomalies, with 17 false alarms among 630 normal windows.**",
                 "## Intended use", "It is no medical device", "| baseline: PCA | 0.951 (0.942 to 0.958) |",
                 "Expected false alarms: 2.7 a day per series", "```toml\n[window]"):  # fmt: skip
        assert told in card, told
    hostile = model_card(unlabelled()).decode()
    outside = re.sub(r"^(```+).*?^\1$", "", hostile, flags=re.DOTALL | re.MULTILINE)
    assert re.search(r"(?<!\\)<", outside) is None
    rows = [line for line in outside.splitlines() if line.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) in (3, 4) for row in rows), "no name breaks out of its cell"


@given(st.text())
def test_markdown_of_any_text_is_one_line_without_markup(text: str) -> None:
    made = plain(text)
    assert "\n" not in made
    assert re.search(r"(?<!\\)(?:\\\\)*[<`*|\[]", made) is None


@given(
    arrays.arrays(np.float64, st.integers(0, 400), elements=st.floats(-1e6, 1e6) | st.just(float("nan"))),
    st.integers(4, 90),
)
def test_an_outline_keeps_the_extremes(values: Any, points: int) -> None:
    kept = selection.envelope(values, points)
    assert (np.diff(kept) > 0).all()
    assert len(kept) <= max(points, 0) + 2 or len(values) <= points
    finite = values[~np.isnan(values)]
    if len(finite):
        assert np.nanmin(values[kept]) == finite.min()
        assert np.nanmax(values[kept]) == finite.max()


@given(
    arrays.arrays(np.float64, st.integers(0, 80), elements=st.floats(0, 10) | st.just(float("nan"))),
    st.integers(0, 2**32 - 1),
)
def test_pictures_are_of_the_worst_mistakes(scores: Any, seed: int) -> None:
    truth = np.random.default_rng(seed).uniform(size=len(scores)) < 0.4
    tested = Judged(scores=scores, flagged=scores > 5, truth=truth)
    chosen = selection.select(tested)
    alarms, misses = np.sort(scores[(scores > 5) & ~truth])[::-1], np.sort(scores[(scores <= 5) & truth])
    np.testing.assert_array_equal(scores[chosen.false_alarms], alarms[: selection.EXAMPLES])
    np.testing.assert_array_equal(scores[chosen.misses], misses[: selection.EXAMPLES])
    everything = np.concatenate([chosen.quiet, chosen.loud, chosen.false_alarms, chosen.misses])
    assert len(np.unique(everything)) == len(everything)
    assert not np.isnan(scores[everything]).any()
    np.testing.assert_array_equal(selection.shown(tested), np.sort(everything))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.032136, "0.03214"),
        (12_400.0, "12,400"),
        (3.2e-7, "3.20e-07"),
        (0.0, "0"),
        (float("nan"), "-"),
        (1.25, "1.250"),
    ],
)
def test_numbers(value: float, told: str) -> None:
    assert words.number(value) == told


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [
        (0, 5, "0%"),
        (5, 5, "100%"),
        (1, 10_000, "under 0.1%"),
        (9_999, 10_000, "over 99.9%"),
        (1, 8, "12.5%"),
        (0, 0, "-"),
    ],
)
def test_shares(part: float, whole: float, told: str) -> None:
    assert words.percent(part, whole) == told


def test_sentences_count_and_list() -> None:
    content: ReportContent = labelled()
    assert words.listed(("a", "b", "c")) == "a, b and c"
    assert words.listed(tuple("abcdefg")) == "a, b, c and 4 more"
    assert words.counted(1, "anomaly", "anomalies") == "1 anomaly"
    assert words.shape(content) == "140 samples"
    assert words.shape(images()) == "8 x 8 pixels"
    assert words.shape(unlabelled()) == "64 samples x 8 channels"


def test_a_baseline_that_does_better_is_told_first() -> None:
    full = labelled()
    table = full.tables[0]
    names = [row.name for row in table.rows]
    assert "PCA" in names
    assert not any("A baseline does better" in told for told in words.warnings(full))
    at, column = names.index("PCA"), table.columns.index("F1")
    cells = list(table.rows[at].cells)
    cells[column] = Estimate(value=0.991)
    rows = list(table.rows)
    rows[at] = replace(rows[at], cells=tuple(cells))
    beaten = replace(full, tables=(replace(table, rows=tuple(rows)),))
    told = "A baseline does better, PCA: F1 0.991 against 0.939."
    assert told in Page(render(beaten)).text
    assert told in model_card(beaten).decode()


def test_a_rate_that_is_hardly_known_is_told() -> None:
    full = labelled()
    for low, high, vague in ((1.5, 4.0, False), (0.5, 119.0, True), (0.0, 3.0, True)):
        threshold = replace(full.threshold, expected=Rate(value=2.0, low=low, high=high))
        found = words.warnings(replace(full, threshold=threshold))
        assert any("hardly known" in told for told in found) is vague


def test_a_rate_that_rises_with_the_threshold_is_explained() -> None:
    full = labelled()
    assert full.alarms is not None
    said = "Windows in a row are one alarm"
    assert said not in Page(render(full)).text
    rates = full.alarms.expected.copy()
    rates[0] = rates[1] / 2
    assert said in Page(render(replace(full, alarms=replace(full.alarms, expected=rates)))).text
