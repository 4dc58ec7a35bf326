"""A fault is not over because its sensor is frozen or missing: such windows don't close the score's incident."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from monitor import extensions
from monitor.detector.artifact import Artifact
from monitor.detector.spec import ChannelQuality, QualitySpec
from monitor.processing.processor import Processor
from tests.helpers import make_artifact, make_columns, make_config, make_processor_at_zero, work

BARE = make_artifact(length=6, hop=1, threshold=1.0)
NOISE = np.random.default_rng(3).normal(0, 0.05, 60)
FAULT, FROZEN = [9.0, -9.0] * 6, [0.0] * 30


def knowing(artifact: Artifact, longest_run: int) -> Artifact:
    """`artifact`, with what training saw of its channel."""
    channel = ChannelQuality(lowest=-10.0, highest=10.0, longest_run=longest_run)
    quality = QualitySpec(samples=1000, channels=(channel,))
    return replace(artifact, manifest=msgspec.structs.replace(artifact.manifest, quality=quality))


def statuses(artifact: Artifact, values: list[float], **quality: bool) -> list[str]:
    processor: Processor = make_processor_at_zero(make_config(input={"start": "earliest"}, quality=quality), artifact)
    raw = [json.dumps({"value": value}).encode() for value in values]
    return [alert.data.status for alert in work(processor, processor.model.scorer, make_columns(raw))]


@pytest.mark.parametrize("rules", [{}, dict.fromkeys(extensions.CHECKS, False)], ids=["with checks", "without"])
def test_a_sensor_that_freezes_is_not_back_to_normal(rules: dict[str, bool]) -> None:
    moving = NOISE.tolist()
    for longest_run, after_freezing in ((2, False), (10, True)):
        artifact = knowing(BARE, longest_run)
        assert "resolved" in statuses(artifact, FAULT + moving, **rules)
        assert ("resolved" in statuses(artifact, FAULT + FROZEN, **rules)) is after_freezing
    frozen_then_well = statuses(knowing(BARE, 2), FAULT + FROZEN + moving, **rules)
    assert frozen_then_well.count("resolved") == 1
