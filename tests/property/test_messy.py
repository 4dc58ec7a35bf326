"""A stream that comes as real ones do gives the alerts of the same samples in order, once each, one by one."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config.options import Config
from monitor.messages import alerts
from tests.helpers import make_artifact, make_columns, make_config, make_processor_at_zero, work
from tests.property.test_processor import ARTIFACTS, SCORERS, Life, Rows, Supervisor, lives

GRACE_MS, PERIOD_MS = 5_000, 1_000
START_MS = 100_000  # as far from the times of the records themselves as input.max_future_ms allows
GAPPED = make_artifact(
    length=6, hop=2, channels=("x", "y"), threshold=0.8, batch_rows=3, max_missing_ratio=0.34, max_gap_ms=3_500.0
)
ARTIFACTS["gaps"] = GAPPED
SCORERS["gaps"] = GAPPED.scorer()
# What an alert says, but for offsets and what is made of them
Said = tuple[str, str, str, str, float, float, str]


class Sample(NamedTuple):
    """One of a series `key` at `time_ms`, as a record's value."""

    time_ms: int
    key: bytes
    value: bytes


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    """Series that differ in when they begin and how they are anomalous, with missing numbers and gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found = []
    for number in range(draw(st.integers(1, 3))):
        time_ms = START_MS + int(rng.integers(3_000))
        for place in range(draw(st.integers(0, 30))):
            x, y = rng.normal(size=2) * (1.5 if (place // 10) % 2 else 0.1)
            numbers = f'"x": {x:.6f}, "y": ' + ("null" if rng.random() < 0.05 else f"{y:.6f}")
            found.append(Sample(time_ms, b"s%d" % number, b'{"ts": %d, %s}' % (time_ms, numbers.encode())))
            time_ms += PERIOD_MS * (9 if rng.random() < 0.05 else 1)
    return sorted(found)


def ended(stream: list[Sample], partitions: int) -> Rows:
    """Records in log order, each series in a partition of its own as far as there are; at last a later time in each."""
    late_ms = max((sample.time_ms for sample in stream), default=START_MS) + 2 * GRACE_MS
    last = [(number, b"end", b'{"ts": %d, "x": 0, "y": 0}' % late_ms) for number in range(partitions)]
    return [(sum(sample.key) % partitions, sample.key, sample.value) for sample in stream] + last


def shuffled(stream: list[Sample], seed: int) -> list[Sample]:
    """The same samples, each up to the grace late, some of them twice, and some again long after."""
    rng = np.random.default_rng(seed)
    coming = [(sample.time_ms + int(rng.integers(GRACE_MS)), sample) for sample in stream]
    again = [(at + int(rng.choice([0, 300, 60_000])), sample) for at, sample in coming if rng.random() < 0.2]
    return [sample for _, sample in sorted(coming + again, key=lambda each: each[0])]


def in_parts(stream: list[Sample]) -> list[Sample]:
    """A reading of each channel for each sample."""
    found = []
    for time_ms, key, value in stream:
        document = json.loads(value)
        for name in ("x", "y"):
            found.append(Sample(time_ms, key, json.dumps({"ts": time_ms, name: document[name]}).encode()))
    return found


def config_of(grace_ms: int, poll: int = 500, **more: int) -> Config:
    limits = {"max_poll_records": poll, "commit_interval_ms": 1, "idle_commit_interval_ms": 1}
    quality = {"no_data": False}  # how long a series is silent depends on when the records of others come
    return make_config(input={"start": "earliest", "grace_ms": grace_ms} | more, limits=limits, quality=quality)


def said(rows: Rows, config: Config, several: list[Life]) -> list[Said]:
    """What alerts say of a log, after lives that end as `several` have it."""
    supervisor = Supervisor(rows, config, "gaps")
    supervisor.live(several)
    return sorted(map(_brief, supervisor.told()))


def _brief(alert: alerts.Alert) -> Said:
    data = alert.data
    return (
        data.series, data.status, data.window.start, data.window.end, data.score.value, data.window.missing_ratio,
        data.episode.started_at,
    )  # fmt: skip


@settings(max_examples=60)
@given(
    samples(),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.lists(lives, max_size=3),
    st.integers(1, 12),
)
def test_messy_equals_clean(
    stream: list[Sample], seed: int, partitions: int, parts: bool, several: list[Life], poll: int
) -> None:
    clean = said(ended(stream, 1), config_of(0), [])
    messy = ended(shuffled(in_parts(stream) if parts else stream, seed), partitions)
    assert said(messy, config_of(GRACE_MS, poll, partial_records=parts), several) == clean


@settings(max_examples=30)
@given(samples(), st.lists(lives, max_size=3), st.integers(1, 12))
def test_readings_in_order_need_no_grace(stream: list[Sample], several: list[Life], poll: int) -> None:
    clean = said(ended(stream, 1), config_of(0), [])
    assert said(ended(in_parts(stream), 1), config_of(0, poll, partial_records=True), several) == clean


@settings(max_examples=60)
@given(samples(), st.integers(0, 2**32 - 1), st.integers(1, 3), st.lists(lives, max_size=3), st.integers(1, 12))
def test_what_waits_of_a_forgotten_series_is_not_decided(
    stream: list[Sample], seed: int, limit: int, several: list[Life], poll: int
) -> None:
    """However often it is forgotten, and whenever that is: the same alerts, to the byte."""
    rows, told = ended(shuffled(stream, seed), 1), []
    for undisturbed in (True, False):
        config = config_of(GRACE_MS, 100 if undisturbed else poll, max_series=limit)
        supervisor = Supervisor(rows, config, "gaps")
        supervisor.live([] if undisturbed else several)
        told.append(sorted(map(alerts.encode, supervisor.told())))
    assert told[0] == told[1]


def test_a_window_that_is_whole_after_its_series_was_forgotten_is_not_decided() -> None:
    """All in one poll: a is forgotten for b before the partition's time lets its samples out."""
    artifact = make_artifact(length=2, hop=1, threshold=1e-6)
    config = make_config(input={"start": "earliest", "grace_ms": GRACE_MS, "max_series": 1})
    processor = make_processor_at_zero(config, artifact)
    values: list[bytes | None] = [b'{"ts": %d, "value": 5}' % ts for ts in (1_000, 2_000, 3_000, 8_000)]
    assert work(processor, artifact.scorer(), make_columns(values, keys=[b"a", b"a", b"b", b"b"])) == []
    assert processor.counts.windows == 1
