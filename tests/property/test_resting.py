"""Errors at rest against a naive reading, however windows are handed over; and through the daemon, with crashes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config.options import Config
from monitor.detector import resting
from monitor.detector.attribution import MOST_CONTRIBUTIONS
from monitor.detector.resting import LEAST_EVERY, NEWEST, ErrorsAtRest
from monitor.messages import alerts
from tests.helpers import make_config
from tests.property.test_processor import (
    ARTIFACTS,
    SCORERS,
    Life,
    Rows,
    Supervisor,
    brief,
    filled,
    lives,
    oracle,
    streams,
    windows_of,
)

SERIES, CHANNELS = 4, 3


def naive(rows: list[int], resting: list[bool], errors: np.ndarray, every: int) -> Iterator[np.ndarray]:
    """The mean before each window."""
    means: dict[int, np.ndarray] = {}
    seen = dict.fromkeys(range(SERIES), 0)
    for row, rests, found in zip(rows, resting, errors, strict=True):
        yield means.get(row, np.full(CHANNELS, np.nan, np.float32)).copy()
        if rests:
            if seen[row] % every == 0:
                mean = means.get(row)
                means[row] = found.copy() if mean is None else mean + (found - mean) * NEWEST
            seen[row] += 1


@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.sampled_from([0.5, 1.0, 9.5, 30.0]), st.data())
def test_means_are_those_of_a_naive_reading_in_whatever_pieces(
    seed: int, count: int, overlap: float, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    rows, resting = rng.integers(0, SERIES, count), rng.random(count) < 0.8
    found = rng.random((count, CHANNELS)).astype(np.float32)
    rest = ErrorsAtRest(CHANNELS, overlap)
    assert rest.every == max(LEAST_EVERY, int(np.ceil(overlap)))
    errors, until = np.full((SERIES, CHANNELS), np.nan, np.float32), np.zeros(SERIES, np.int32)
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=6)))
    before = np.empty_like(found)
    for first, end in zip([0, *cuts], [*cuts, count], strict=True):
        row = rows[first:end]
        measured = rest.measured(row, resting[first:end], until)
        assert resting[first:end][measured].all()
        asked = np.arange(len(row))
        before[first:end] = rest.take(row, measured, found[first:end][measured], asked, errors)
    expected = np.array(list(naive(rows.tolist(), resting.tolist(), found, rest.every)))
    assert before.tobytes() == expected.astype(np.float32).tobytes()


def test_nothing_is_measured_while_an_incident_lasts() -> None:
    rest = ErrorsAtRest(1, 1)
    errors, until = np.full((1, 1), np.nan, np.float32), np.zeros(1, np.int32)
    row = np.zeros(100, np.int64)
    for rests, level in ((True, 1.0), (False, 50.0)):
        measured = rest.measured(row, np.full(100, rests), until)
        assert len(measured) == (13 if rests else 0)
        found = np.full((len(measured), 1), level, np.float32)
        rest.take(row, measured, found, np.empty(0, np.int64), errors)
    assert errors.tolist() == [[1.0]]


USUAL = (0.5, 0.25)
CONFIG = make_config(alerting={"close_after": 2, "update_every": 3}, input={"start": "earliest"})


@contextmanager
def knowing(name: str) -> Iterator[None]:
    """With an artifact that says what errors are usual, and every third window at rest measured."""
    artifact = ARTIFACTS[name]
    calibration = msgspec.structs.replace(artifact.manifest.calibration, channel_errors=USUAL)
    manifest = msgspec.structs.replace(artifact.manifest, calibration=calibration)
    made = replace(artifact, manifest=manifest, format_version=manifest.format_version)
    with mock.patch.dict(ARTIFACTS, {name: made}), mock.patch.object(resting, "LEAST_EVERY", 2):
        yield


def expected_before(rows: Rows, name: str) -> dict[tuple[str, int], np.ndarray]:
    """The errors before the window that closes with the record at an offset of a series' partition."""
    artifact, scorer = ARTIFACTS[name], SCORERS[name]
    offsets = [sum(1 for p, _, _ in rows[:i] if p == partition) for i, (partition, _, _) in enumerate(rows)]
    found: dict[tuple[str, int], np.ndarray] = {}
    rest = ErrorsAtRest(len(USUAL), artifact.manifest.window.length / artifact.manifest.window.hop)
    for key in sorted({key for _, key, _ in rows}):
        mine = [(offsets[i], value) for i, (_, k, value) in enumerate(rows) if k == key]
        closed = windows_of(mine, artifact)
        if not closed:
            continue
        values = np.stack([filled(window, artifact.manifest.window.max_missing_ratio) for _, window in closed])
        resting = scorer(values) <= np.float32(artifact.manifest.threshold.value)
        means = naive([0] * len(values), resting.tolist(), scorer.errors(values), rest.every)
        found |= {(key.decode(), offset): mean for (offset, _), mean in zip(closed, means, strict=True)}
    return found


def limited(poll: int) -> Config:
    limits = {"max_poll_records": poll, "commit_interval_ms": 1, "idle_commit_interval_ms": 0}
    return CONFIG.model_copy(update={"limits": CONFIG.limits.model_copy(update=limits)})


NAME = "two channels, filled"


@settings(max_examples=25)
@given(streams(NAME), st.lists(lives, max_size=5), st.integers(1, 12))
def test_crashes_and_stops_change_no_blame(rows: Rows, several: list[Life], poll: int) -> None:
    """Also while windows between the checkpoint and the committed position are scored again."""
    with knowing(NAME):
        supervisor, undisturbed = Supervisor(rows, limited(poll), NAME), Supervisor(rows, limited(7), NAME)
        supervisor.live(several)
        undisturbed.life(None, crash=False, fails=[], checkpoint_every=100)
        told, before = supervisor.told(), expected_before(rows, NAME)
        assert brief(told) == oracle(rows, limited(poll), NAME)
    assert sorted(map(alerts.encode, told)) == sorted(map(alerts.encode, undisturbed.told()))
    names = [channel.name for channel in ARTIFACTS[NAME].manifest.channels]
    for data in (alert.data for alert in told if alert.data.channels):
        known = before[data.series, data.kafka.last_offset]
        known = np.array(USUAL) if np.isnan(known).any() else known
        assert {each.channel: each.before for each in data.channels} == pytest.approx(
            dict(zip(names, known.tolist(), strict=True)), rel=1e-3
        )
        blamed = [each.channel for each in data.channels[:MOST_CONTRIBUTIONS]]
        assert blamed[: len(data.contributors)] == [each.channel for each in data.contributors]
