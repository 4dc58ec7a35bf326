"""What the trainer knows of channels in normal data, for the checks, against a count one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.datafiles import SeriesTable
from monitor.detector import artifact as form
from monitor.detector.spec import ChannelQuality, QualitySpec
from monitor.errors import ArtifactFormatError, DataError
from tests.helpers import SMALL_RECIPE, make_artifact
from training import recipes
from training.windows import channel_quality, subsets

KNOWN = QualitySpec(samples=9, channels=(ChannelQuality(lowest=-1.0, highest=2.0, longest_run=3),))
VALUES = st.lists(st.sampled_from([0.0, 1.0, 2.0, float("nan")]), min_size=1, max_size=12)


def naive(intervals: list[list[float]]) -> tuple[float, float, int, int, float]:
    """Lowest, highest, longest run of equal values, longest of missing ones, share of missing ones."""
    run = gap = longest = longest_gap = 0
    there: list[float] = []
    for values in intervals:
        last = None
        gap = run = 0
        for value in values:
            if math.isnan(value):
                gap += 1
                longest_gap = max(gap, longest_gap)
                continue
            gap, run = 0, run + 1 if value == last else 1
            last, longest = value, max(run, longest)
            there.append(value)
    count = sum(map(len, intervals))
    return min(there), max(there), longest, longest_gap, 1 - len(there) / count


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_it_is_what_counting_finds(intervals: list[list[float]]) -> None:
    arrays = [np.array(values, dtype=np.float32)[:, None] for values in intervals]
    if all(np.isnan(each).all() for each in arrays):
        with pytest.raises(DataError, match="channel a is missing throughout"):
            channel_quality.measure(arrays, ["a"], ())
        return
    (found,) = channel_quality.measure(arrays, ["a"], (10.0,)).channels
    lowest, highest, run, gap, share = naive(intervals)
    assert (found.lowest, found.highest) == (lowest + 10, highest + 10)
    assert (found.longest_run, found.longest_missing) == (run, gap)
    assert found.missing == pytest.approx(share)
    there = [value for values in intervals for value in values if not math.isnan(value)]
    assert found.low is not None
    assert found.high is not None
    assert lowest + 10 <= found.low <= found.high <= highest + 10
    assert sum(value + 10 < found.low for value in there) <= 0.05 * len(there)
    assert sum(value + 10 > found.high for value in there) <= 0.05 * len(there)


def test_anomalous_rows_and_the_test_split_are_not_learnt_from() -> None:
    recipe = recipes.parse(SMALL_RECIPE.format(window="sliding", score="mae"), "here")
    values = np.arange(100, dtype=np.float32)[:, None]
    labels = np.zeros(100, dtype=np.int64)
    labels[40:50] = 1
    table = SeriesTable(samples=values, channels=("value",), labels=labels, series="a")
    found = channel_quality.measure(subsets.divide(recipe, [table], seed=0).normal, ["value"], ())
    # 69 steps from the lowest of 70 numbers to the highest: 5 % are 3.45 of them
    known = ChannelQuality(lowest=0.0, highest=79.0, longest_run=1, low=3.0, high=76.0)
    assert found == QualitySpec(samples=70, channels=(known,))


def test_versions_before_4_have_none_of_it() -> None:
    made = make_artifact()
    knowing = replace(made, manifest=msgspec.structs.replace(made.manifest, quality=KNOWN))
    assert knowing.manifest.format_version == 4
    for version in (1, 2, 3):
        with pytest.raises(
            ArtifactFormatError, match=f"version {version} has no quality; export it again, as version 4"
        ):
            form.encode(replace(knowing, format_version=version))
    assert form.decode(form.encode(replace(knowing, format_version=4))).manifest == knowing.manifest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": 0}, "quality.samples is 0"),
        ({"samples": 2}, "longest_run must be 1 to quality.samples"),
        ({"channels": ()}, "quality.channels are 0, must be one for each of 1"),
        ({"lowest": 3.0}, "lowest and highest must be finite"),
        ({"highest": float("inf")}, "lowest and highest must be finite"),
        ({"longest_run": 0}, "longest_run must be 1 to"),
        ({"longest_missing": -1}, "longest_missing 0 to it"),
        ({"missing": 1.0}, "missing must be in"),
        ({"low": -2.0}, "low and high must be in order"),
        ({"low": 1.0, "high": 0.5}, "low and high must be in order"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, float], said: str) -> None:
    known = msgspec.structs.replace(KNOWN, **{k: v for k, v in changes.items() if hasattr(KNOWN, k)})
    inner = {name: value for name, value in changes.items() if not hasattr(KNOWN, name)}
    if inner:
        known = msgspec.structs.replace(known, channels=(msgspec.structs.replace(KNOWN.channels[0], **inner),))
    made = make_artifact()
    with pytest.raises(ArtifactFormatError, match=said):
        form.encode(replace(made, manifest=msgspec.structs.replace(made.manifest, quality=known), format_version=4))
