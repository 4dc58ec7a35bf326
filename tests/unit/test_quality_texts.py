"""What the rules of data quality say to people, one of each, with numbers as they come."""

from __future__ import annotations

from math import nan

import msgspec
import pytest

from monitor.detector.spec import ChannelQuality, Manifest, QualitySpec
from monitor.detector.times import duration
from monitor.processing.checks import Problem, QualityRules, checks_of
from monitor.processing.quality.wording import percent
from tests.helpers import make_artifact

SINCE_US = 1_764_600_000_000_000
CHANNELS = {
    "flow": ChannelQuality(lowest=1.9, highest=4.1, longest_run=1, low=2.05, high=3.95),
    "pressure": ChannelQuality(
        lowest=95_000.0, highest=102_400.0, longest_run=4, missing=0.00208, longest_missing=2, low=96_000.0, high=1.02e5
    ),
    "level": ChannelQuality(lowest=0.0, highest=0.82, longest_run=900, missing=0.4, longest_missing=90),
}


def problem(
    channel: str, value: float, threshold: float, usual: float = nan, seen: float = nan, note: str = ""
) -> Problem:
    return Problem(channel, value, threshold, usual, SINCE_US, SINCE_US + 1, seen, note)


TEXTS = [
    (
        "no_data",
        problem("", 10.2, 10.0, 1.0),
        "no record since 2025-12-01T14:40:00.000Z, for 10.2 s; usually one every 1 s (limit 10 s)",
    ),
    (
        "no_data",
        problem("", 5400.0, 3000.0, 60.0),
        (
            "no record since 2025-12-01T14:40:00.000Z, for 90 min; usually one every 60 s "
            "(limit 50 min, by its longest pauses)"
        ),
    ),
    (
        "no_data",
        problem("", 61.0, 60.0),
        "no record since 2025-12-01T14:40:00.000Z, for 61 s; reported after 60 s (quality.no_data_after_ms)",
    ),
    (
        "flatline",
        problem("flow", 31, 30, 1, 3.25),
        "has been 3.25 for 31 samples; usually no two in a row are equal",
    ),
    (
        "flatline",
        problem("level", 2701, 2700, 900, 0.0),
        "has been 0 for 2,701 samples; usually at most 900 in a row are equal",
    ),
    (
        "nan_ratio",
        problem("flow", 20, 19.5, 0.0),
        ("is missing in 20 samples, with at most 9 others between two; in its training data none of its numbers are"),
    ),
    (
        "nan_ratio",
        problem("pressure", 20, 19.5, 0.00208),
        ("is missing in 20 samples, with at most 9 others between two; in its training data 0.21 % of its numbers are"),
    ),
    (
        "nan_ratio",
        problem("level", 270, 269.5, 0.4),
        ("is missing in 270 samples, with at most 4 others between two; in its training data 40 % of its numbers are"),
    ),
    (
        "nan_ratio",
        problem("", 20, 19.5),
        "all 3 channels are missing in 20 samples, with at most 9 others between two",
    ),
    (
        "out_of_range",
        problem("flow", 2440, 10, 0, -9999.0),
        (
            "reads -9999, far from the 1.9 to 4.1 of its training data; it looks like a number that stands for a "
            "missing one (input.missing_values)"
        ),
    ),
    (
        "out_of_range",
        problem("pressure", 980, 10, 0, 101325000.0),
        (
            "reads 1.01325e+08, far from the 95000 to 102400 of its training data; it looks like another unit: "
            "divided by 1,000 it would be within"
        ),
    ),
    (
        "late_burst",
        problem("", 20, 19.5, 0.0),
        (
            "20 samples came too late and were dropped, with fewer than 10 in time between two; of its first 500 "
            "samples none did (input.grace_ms waits for late ones)"
        ),
    ),
    (
        "late_burst",
        problem("", 20, 19.5, 0.024),
        (
            "20 samples came too late and were dropped, with fewer than 10 in time between two; of its first 500 "
            "samples 2.4 % did (input.grace_ms waits for late ones)"
        ),
    ),
    (
        "schema_mismatch",
        problem("", 10, 9.5, note="wrong_type: flow is the text 'high', expected a number"),
        (
            "10 of its records were rejected, with fewer than 10 samples accepted between two; the last as "
            "wrong_type: flow is the text 'high', expected a number"
        ),
    ),
    (
        "drift",
        problem("", 7, 6.5, 0, 1),
        (
            "channel 'pressure' has differed from its training data for 7 days: it was mostly outside 96000 to "
            "102000, which held 90 % of that; retraining is advised"
        ),
    ),
]


def manifest() -> Manifest:
    known = QualitySpec(samples=10_000, channels=tuple(CHANNELS.values()))
    return msgspec.structs.replace(make_artifact(channels=[*CHANNELS]).manifest, quality=known)


@pytest.mark.parametrize(("rule", "found", "said"), TEXTS)
def test_a_rule_says(rule: str, found: Problem, said: str) -> None:
    assert checks_of(manifest(), QualityRules())[rule].describe(found) == said


def test_every_rule_is_here() -> None:
    assert {rule for rule, *_ in TEXTS} == set(checks_of(manifest(), QualityRules()))


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "none"),
        (1e-6, "less than 0.01 %"),
        (0.00208, "0.21 %"),
        (0.1, "10 %"),
        (0.999, "more than 99 %"),
        (1.0, "all"),
    ],
)
def test_shares(share: float, said: str) -> None:
    assert percent(share) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0366, "0.0366 s"), (12.34, "12.3 s"), (2_700, "45 min"), (12_000, "3 h 20 min"), (90_000, "25 h 0 min"),
        (2_592_000, "30 days"), (2_082_844_800, "66 years"),
    ],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
