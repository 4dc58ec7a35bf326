"""One dead channel of fifty, through the processor: it is named in time, nothing is said of the others, and windows go
on being scored."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from monitor.detector.artifact import Artifact
from monitor.messages import quality
from monitor.messages.alerts import Alert, rfc3339
from monitor.processing.processor import Processor
from tests.helpers import make_artifact, make_columns, make_config, make_processor_at_zero, score_all
from training.windows import channel_quality

CHANNELS, SAMPLES, DIES, HEALS, DEAD = 50, 500, 200, 350, 17
NAMES = [f"c{at}" for at in range(CHANNELS)]
NOW_US = 1_764_600_000_000_000


def normal(seed: int, samples: int) -> np.ndarray:
    """Fifty channels of noise, each around a level of its own, as sensors write them: with three digits."""
    noise = np.random.default_rng(seed).normal(size=(samples, CHANNELS))
    return np.round(np.arange(CHANNELS) / 10 + noise, 3)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    """Its threshold is over what normal numbers score, and under what one does that is none."""
    made = make_artifact(length=8, hop=4, channels=NAMES, threshold=10.0)
    known = channel_quality.measure([normal(0, 2_000).astype(np.float32)], NAMES, ())
    return replace(made, manifest=msgspec.structs.replace(made.manifest, quality=known), format_version=4)


def run(artifact: Artifact, values: list[list[float | str | None]]) -> tuple[Processor, list[quality.Event]]:
    """The processor that read the records, of which a channel that is "absent" is left out, and its alerts."""
    records = [{name: each for name, each in zip(NAMES, row, strict=True) if each != "absent"} for row in values]
    raw = [json.dumps(record).encode() for record in records]
    processor = make_processor_at_zero(make_config(input={"start": "earliest", "partial_records": True}), artifact)
    alerts: list[quality.Event] = []
    for first in range(0, len(raw), 70):
        times = range(1_000 * first, 1_000 * (first + 70), 1_000)
        part = raw[first : first + 70]
        processor.receive(make_columns(part, timestamps_ms=times[: len(part)], first_offset=first), NOW_US)
        score_all(processor)
        alerts += processor.take_outputs().alerts
    return processor, alerts


@pytest.mark.parametrize(
    ("reads", "rule", "after"),
    [
        (None, "nan_ratio", 20),
        ("absent", "nan_ratio", 20),
        ("last", "flatline", 31),
        ("mean", "flatline", 31),
        (-9999.0, "out_of_range", 5),
    ],
)
def test_a_dead_channel_of_fifty_is_named_and_no_other(
    artifact: Artifact, reads: float | str | None, rule: str, after: int
) -> None:
    values: list[list[float | str | None]] = normal(1, SAMPLES).tolist()
    stays = {"last": values[DIES - 1][DEAD], "mean": 1.7}.get(str(reads), reads)
    for at in range(DIES, HEALS):
        values[at][DEAD] = stays
    processor, alerts = run(artifact, values)
    found = [each.data for each in alerts if isinstance(each, quality.QualityAlert)]
    named = [(each.rule, each.status, each.channel, each.kafka.offset) for each in found]
    first = DIES + after - 1 - (reads == "last")  # which stays since the sample before
    assert named[0] == (rule, "firing", f"c{DEAD}", first)
    assert {channel for _, _, channel, _ in named} == {f"c{DEAD}"}
    rules = {each[0] for each in named}
    assert rules == ({rule, "flatline"} if reads == -9999.0 else {rule})  # it stays there, too
    assert [each[1] for each in named].count("resolved") == len(rules), "it is well again"
    assert processor.counts.windows == (SAMPLES - 8) // 4 + 1
    assert processor.counts.windows_unscorable == 0, "the other 49 are scored"
    scored = [each for each in alerts if isinstance(each, Alert)]
    assert bool(scored) == (reads == -9999.0)
    blamed = {each.channel for alert in scored for each in alert.data.contributors if alert.data.status != "resolved"}
    assert blamed <= {f"c{DEAD}"}


@pytest.mark.parametrize("every", [1, 9])
def test_the_score_of_a_broken_channel_says_what_it_read_and_who_reports_it(artifact: Artifact, every: int) -> None:
    """What a model answers to -9999 means nothing; so it is asked what would be expected there without them."""
    values: list[list[float | str | None]] = normal(1, SAMPLES).tolist()
    for at in range(DIES, HEALS, every):
        values[at][DEAD] = -9999.0
    _, alerts = run(artifact, values)
    scored = [each.data for each in alerts if isinstance(each, Alert)]
    assert [each.status for each in scored[:2]] == ["firing", "update"]
    for data in scored:
        assert all(c.observed == -9999.0 and abs(c.expected) < 100 for c in data.contributors)
    assert scored[0].quality == [], "no check had seen enough"
    (reported,) = (each for each in scored[1].quality if each.rule == "out_of_range")
    assert (reported.channel, reported.since) == (f"c{DEAD}", rfc3339(1_000_000 * DIES))
    assert f"channel 'c{DEAD}' is also reported by " in scored[1].summary
