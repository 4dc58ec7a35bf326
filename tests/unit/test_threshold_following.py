"""Whether a threshold follows, what it costs then, and who may say otherwise."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from monitor.detector import thresholds
from monitor.detector.spec import FollowSpec, ThresholdSpec
from monitor.detector.thresholds import Follow
from monitor.processing.followers import FollowOptions, followers_of
from tests.helpers import make_artifact
from training.thresholds.calibration import CalibrationScores
from training.thresholds.choose import choose
from training.thresholds.recalibrate import recalibrated
from training.thresholds.rules import ThresholdPart

QUANTILE = ThresholdPart(method="quantile", quantile=0.9)


def calibration(hours: int, shifted: int = 0) -> CalibrationScores:
    """A window a minute of one series, scores around 1, five times that in its last `shifted` hours."""
    scores = np.random.default_rng(0).lognormal(0, 0.2, hours * 60)
    scores[(hours - shifted) * 60 :] *= 5
    return CalibrationScores(scores=scores.astype(np.float32), windows_per_day=1440.0, goes_on=True)


def test_it_follows_where_a_day_of_a_series_or_more_drifts() -> None:
    assert choose(calibration(24, shifted=4), QUANTILE).threshold.follows == FollowSpec()
    assert choose(calibration(23, shifted=4), QUANTILE).threshold.follows is None, "less than a day"
    assert choose(calibration(24), QUANTILE).threshold.follows is None, (
        "a slow fault would raise it, and drift does not"
    )


@pytest.mark.parametrize(
    "without",
    [{"goes_on": False}, {"policy": None}, {"held_out": False}, {"windows_per_day": None}],
    ids=["heartbeats", "a random split", "in sample", "no time"],
)
def test_elsewhere_it_stays(without: dict[str, object]) -> None:
    assert choose(replace(calibration(48, shifted=9), **without), QUANTILE).threshold.follows is None  # type: ignore[arg-type]


def test_series_that_have_a_day_only_together_do_not_show_one() -> None:
    two = replace(calibration(24, shifted=4), series=np.repeat([0, 1], 720), names=("a", "b"))
    assert choose(two, QUANTILE).threshold.follows is None


@pytest.mark.parametrize(("follow", "expected"), [("on", FollowSpec()), ("off", None)])
def test_the_recipe_may_say(follow: Follow, expected: FollowSpec | None) -> None:
    rule = msgspec.structs.replace(QUANTILE, follow=follow)
    assert choose(calibration(12), rule).threshold.follows == expected
    assert choose(calibration(48), rule).threshold.follows == expected


def test_what_it_costs_is_said_with_and_without() -> None:
    chosen = choose(calibration(96, shifted=9), QUANTILE)
    assert chosen.expected_static is not None
    assert chosen.expected_static.share_over > 0.09
    assert chosen.expected.share_over < 0.04, "its first hour or two remain"
    assert choose(calibration(12), QUANTILE).expected_static is None


def test_series_are_followed_each_by_itself() -> None:
    """In any order of their windows: the same cost as of both apart."""
    one, other = calibration(48, shifted=9), calibration(48)
    mixed = replace(
        one,
        scores=np.stack([one.scores, other.scores], axis=1).ravel(),
        series=np.tile([0, 1], len(one.scores)),
        names=("a", "b"),
    )
    rule = msgspec.structs.replace(QUANTILE, quantile=0.8)
    found = choose(mixed, rule)
    follows = replace(one, names=("a",)), replace(other, names=("b",))
    from training.thresholds.false_alarms import expected

    made = thresholds.Thresholds(found.threshold)
    assert found.expected.over == sum(expected(each, made).over for each in follows)
    assert [found.series_expected[name].over for name in "ab"] == [expected(each, made).over for each in follows]


def test_another_threshold_follows_as_the_one_before_unless_it_is_asked_for() -> None:
    made = make_artifact()
    threshold = ThresholdSpec(value=1.0, method="given", follows=FollowSpec(quantile=0.9))
    follows = replace(made, manifest=msgspec.structs.replace(made.manifest, threshold=threshold))
    assert recalibrated(follows, 2.0)[0].manifest.threshold.follows == FollowSpec(quantile=0.9)
    auto = recalibrated(follows, QUANTILE, calibration(12))[0]
    assert auto.manifest.threshold.follows == FollowSpec(quantile=0.9), "half a day is no reason to, nor against it"
    off = msgspec.structs.replace(QUANTILE, follow="off", quantile=0.5)
    assert recalibrated(follows, off)[0].manifest.threshold.follows is None
    on = msgspec.structs.replace(off, follow="on")
    assert recalibrated(made, on)[0].manifest.threshold.follows == FollowSpec()
    assert recalibrated(made, on)[0].format_version == 6


def test_the_operator_has_the_last_word_and_their_own_threshold_follows_too() -> None:
    made = make_artifact().manifest
    follows = msgspec.structs.replace(made, threshold=ThresholdSpec(value=1.0, method="given", follows=FollowSpec()))
    asked = {name: [len(followers_of(each, FollowOptions(follow=name))) for each in (made, follows)] for name in FOLLOW}
    assert asked == {"auto": [0, 1], "on": [1, 1], "off": [0, 0]}
    assert len(followers_of(made, FollowOptions(follow="off", relearn_after_ms=1))) == 1
    assert thresholds.of(follows, override=2.0).chosen.follows == FollowSpec()


FOLLOW: tuple[Follow, ...] = ("auto", "on", "off")
