"""Which channels an alert blames: those whose errors have grown, not those that are always large."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detector import artifact as form
from monitor.detector import scores, spec
from monitor.detector.arrays import Float32Array
from monitor.detector.artifact import Artifact
from monitor.detector.attribution import MOST_CHANNELS, Attribution, ChannelChange
from monitor.errors import ArtifactFormatError
from tests.helpers import make_artifact
from training.evaluation.scored import channel_errors
from training.thresholds.recalibrate import recalibrated

LENGTH = 4
TINY = make_artifact(length=LENGTH, hop=1, channels=("flow", "pressure", "motor"), threshold=0.5).manifest


def attribution(usual: tuple[float, ...] = (1.0, 1.0, 1.0), **changes: Any) -> Attribution:
    calibration = msgspec.structs.replace(TINY.calibration, channel_errors=usual)
    manifest = msgspec.structs.replace(TINY, calibration=calibration, **changes)
    return Attribution(manifest, scores.KINDS[manifest.score.kind].sample_limit)


def windows(*errors: float) -> tuple[Float32Array, Float32Array]:
    """A window whose channels are so far from what is expected, throughout."""
    return np.tile(np.array(errors, dtype=np.float32), (LENGTH, 1)), np.zeros((LENGTH, len(errors)), np.float32)


def before(*errors: float) -> Float32Array:
    return np.array(errors, dtype=np.float32)


def test_a_channel_that_was_as_wrong_before_is_not_the_one_to_blame() -> None:
    """A drift of the flow, say, shows as an error of the pressure at all times."""
    values = windows(1.5, 4.0, 0.1)
    assert [each.channel for each in attribution()(*values, 0.5, before(0.5, 4.0, 0.1))] == ["flow"]
    assert [each.channel for each in attribution()(*values, 0.5)] == ["pressure", "flow"]


def test_channels_are_in_order_of_growth_by_the_root_of_the_usual_error() -> None:
    """By hand: growths of 1, 1.5 and 0.5 over the roots 2, 1 and 0.2 are 0.5, 1.5 and 2.5."""
    made = attribution((4.0, 1.0, 0.04))
    changes = made.changes(*windows(2.0, 2.5, 1.5), before(1.0, 1.0, 1.0))
    assert changes == [
        ChannelChange("motor", 0.25, 0.5, 1.0),
        ChannelChange("pressure", 2.5 / 6, 1.5, 1.0),
        ChannelChange("flow", 2 / 6, 1.0, 1.0),
    ]
    assert [each.channel for each in made(*windows(2.0, 2.5, 1.5), 0.5, before(1, 1, 1))] == [
        "motor",
        "pressure",
        "flow",
    ]


def test_changes_are_in_the_datas_unit() -> None:
    scaled = spec.ScalingSpec(kind="standard", offset=(0, 0, 0), scale=(2.0, 0.5, 1.0))
    flow, motor, pressure = attribution(scaling=scaled).changes(*windows(6.0, 0.5, 1.0), before(1.0, 1.0, 0.5))
    assert flow == ChannelChange("flow", 3 / 5, 4.0, 2.0)  # errors of 3, 1 and 1 in units of the scale
    assert motor == ChannelChange("motor", 1 / 5, 0.5, 0.5)
    assert pressure == ChannelChange("pressure", 1 / 5, 0.0, 0.5)


def test_what_nothing_is_known_of_before_is_taken_for_usual() -> None:
    made = attribution((0.5, 2.0, 1.0))
    assert made.changes(*windows(1, 2, 3)) == made.changes(*windows(1, 2, 3), before(0.5, 2.0, 1.0))


def test_contributors_are_the_worst_samples_of_each_channel() -> None:
    values, expected = windows(0.0, 0.0, 0.6)
    values[:, 0] = [2.0, 0.0, 1.5, 1.5]
    flow, motor = attribution()(values, expected, 0.5, before(0.1, 0.1, 0.1))
    assert (flow.channel, flow.first, flow.last, flow.observed) == ("flow", 2, 3, 1.5)
    assert flow.share == pytest.approx(3.0 / 7.4)
    assert (motor.channel, motor.first, motor.last) == ("motor", 0, 3)


def test_a_channel_without_samples_over_the_limit_is_shown_whole() -> None:
    (flow, pressure) = attribution((1.0, 1e-4, 1.0))(*windows(2.0, 0.25, 1.0), 0.5, before(0, 0, 2))[::-1]
    assert (pressure.channel, pressure.first, pressure.last, pressure.observed) == ("pressure", 0, 3, 0.25)
    assert (flow.channel, flow.first, flow.last) == ("flow", 0, 3)


def test_there_is_one_to_blame_where_no_error_has_grown() -> None:
    assert [each.channel for each in attribution()(*windows(1, 2, 3), 0.5, before(2, 2.5, 9))] == ["pressure"]


def test_a_channel_that_was_reproduced_exactly_is_not_blamed_for_a_trifle() -> None:
    made = attribution((1.0, 0.0, 1.0))
    assert made.changes(*windows(2.0, 0.05, 1.0), before(1, 0, 1))[0].channel == "flow"
    assert made.changes(*windows(2.0, 1.0, 1.0), before(1, 0, 1))[0].channel == "pressure"


@pytest.mark.parametrize("usual", [(), (0.5,)])
def test_artifacts_that_do_not_know_blame_as_they_did(usual: tuple[float, ...]) -> None:
    manifest = TINY if not usual else make_artifact(length=LENGTH, hop=1, threshold=0.5).manifest
    calibration = msgspec.structs.replace(manifest.calibration, channel_errors=usual)
    manifest = msgspec.structs.replace(manifest, calibration=calibration)
    made = Attribution(manifest, scores.KINDS["mae"].sample_limit)
    values = windows(*[1.5, 4.0, 0.1][: len(manifest.channels)])
    assert made.changes(*values) == []
    assert [each.channel for each in made(*values, 0.5)] == (["value"] if usual else ["pressure", "flow"])


def test_of_a_thousand_channels_those_that_changed_most_are_listed() -> None:
    names = [f"c{at}" for at in range(1000)]
    manifest = msgspec.structs.replace(
        TINY,
        channels=tuple(spec.Channel(name=name) for name in names),
        scaling=spec.ScalingSpec(kind="none", offset=(0.0,) * 1000, scale=(1.0,) * 1000),
        calibration=msgspec.structs.replace(TINY.calibration, channel_errors=(1.0,) * 1000),
    )
    errors = np.random.default_rng(0).permutation(1000) / 100
    found = Attribution(manifest, scores.KINDS["mae"].sample_limit).changes(*windows(*errors.tolist()))
    assert [each.channel for each in found] == [f"c{at}" for at in np.argsort(-errors)[:MOST_CHANNELS]]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["none", "window"]))
def test_changes_are_what_a_naive_reading_says(seed: int, kind: Any) -> None:
    rng = np.random.default_rng(seed)
    values, expected = rng.normal(size=(2, LENGTH, 3)).astype(np.float32)
    usual, was, scale = rng.uniform(0.1, 2, (3, 3))
    scaling = spec.ScalingSpec(kind=kind, offset=(0.0,) * 3, scale=tuple(scale.tolist()))
    found = attribution(tuple(usual.tolist()), scaling=scaling).changes(values, expected, was.astype(np.float32))
    order = []
    for each in found:
        at = [channel.name for channel in TINY.channels].index(each.channel)
        unit = scale[at] if kind == "none" else max(scale[at], float(values[:, at].astype(np.float64).std()))
        error = float(np.sqrt(np.mean((values[:, at].astype(np.float64) - expected[:, at]) ** 2)))
        assert each.before == pytest.approx(was[at] * unit)
        assert each.before + each.change == pytest.approx(error)
        order.append((error / unit - was[at]) / np.sqrt(usual[at]))
    assert order == sorted(order, reverse=True)
    assert sum(each.share for each in found) == pytest.approx(1)


def knowing(*errors: float) -> Artifact:
    artifact = make_artifact(length=LENGTH, hop=1, channels=("flow", "pressure"), threshold=0.5)
    calibration = msgspec.structs.replace(artifact.manifest.calibration, channel_errors=errors)
    manifest = msgspec.structs.replace(artifact.manifest, calibration=calibration)
    return replace(artifact, manifest=manifest, format_version=manifest.format_version)


def test_version_6_says_what_errors_are_usual_and_older_ones_can_not() -> None:
    artifact = knowing(0.5, 0.0)
    assert artifact.format_version == 6
    assert form.decode(form.encode(artifact)).manifest == artifact.manifest
    for version in (1, 2, 3, 4, 5):
        with pytest.raises(ArtifactFormatError, match=f"version {version} has no calibration.channel_errors; "):
            form.encode(replace(artifact, format_version=version))
    for wrong in ((0.5,), (0.5, -1.0), (0.5, math.inf)):
        with pytest.raises(ArtifactFormatError, match=f"channel_errors are {len(wrong)} numbers, must be one for each"):
            form.encode(knowing(*wrong))


def test_another_threshold_keeps_what_errors_are_usual() -> None:
    made, _ = recalibrated(knowing(0.5, 0.25), 0.75)
    assert made.manifest.calibration.channel_errors == (0.5, 0.25)


def test_what_errors_are_usual_is_measured_on_complete_windows() -> None:
    artifact = knowing()
    scorer, drawn = artifact.scorer(), np.random.default_rng(0).normal(size=(70, LENGTH, 2)).astype(np.float32)
    apart = (drawn.astype(np.float64) - scorer.reconstruct(drawn))[1:]
    drawn[0, 0, 0] = np.nan
    assert channel_errors(scorer, drawn) == pytest.approx(np.sqrt(np.square(apart).mean(axis=(0, 1))), rel=1e-5)
    assert channel_errors(scorer, drawn[:1]) == ()
    single = make_artifact(length=LENGTH, hop=1)
    assert channel_errors(single.scorer(), drawn[1:, :, :1]) == ()
