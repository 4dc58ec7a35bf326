"""Heartbeats of continuous electrocardiograms, from the recipe to the alert."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from monitor.backends.abstract import Position, Restored, StateRecord
from monitor.datafiles import SeriesTable
from monitor.demo import ecg
from monitor.detector import artifact as form
from monitor.detector import scores, storage, windowing
from monitor.detector.beats import score as beats
from monitor.errors import ArtifactFormatError, DataError
from monitor.messages.alerts import Alert
from monitor.processing.processor import Processor
from tests.helpers import INPUT, make_columns, make_config, make_model, make_processor, make_processor_at_zero, of_score
from training import pipeline, recipes
from training.commands import codes
from training.evaluation.labelled import evaluate_artifact
from training.recipes.schema import Recipe
from training.windows import splits, subsets

RATE_HZ, LEARNT = 100.0, 9
FIRST_US = 1_000_000


def recording(seed: int, *, seconds: float = 60.0, ectopics: int = 0) -> ecg.Recording:
    return ecg.synthesise(
        seed=seed, duration_s=seconds, heart_rate_bpm=70.0, ectopic_count=ectopics, first_ectopic_s=20.0,
        sampling_rate_hz=RATE_HZ,
    )  # fmt: skip


def table(made: ecg.Recording, name: str) -> SeriesTable:
    labels = np.zeros(len(made.signal_mv), np.int64)
    for ectopic in made.ectopics:
        labels[ectopic.start : ectopic.stop] = 1
    return SeriesTable(
        samples=made.signal_mv[:, None], channels=("mv",), labels=labels, series=name, sampling_rate_hz=RATE_HZ,
        time_us=FIRST_US + np.arange(len(labels)) * round(1e6 / RATE_HZ),
    )  # fmt: skip


def small() -> Recipe:
    recipe = recipes.load("ecg")
    change = msgspec.structs.replace
    return change(
        recipe,
        window=change(recipe.window, template_beats=LEARNT),
        model=change(recipe.model, widths=(3,)),
        fit=change(recipe.fit, epochs=20),
        threshold=change(recipe.threshold, quantile=0.99),
    )


@pytest.fixture(scope="module")
def artifact() -> form.Artifact:
    tables = [table(recording(seed), f"patient-{seed}") for seed in range(4)]
    made = pipeline.train(small(), tables, seed=0, name="ecg", batch_rows=8, with_report=True).artifact
    return form.decode(form.encode(made))


def chunks(made: ecg.Recording, size: int = 50) -> list[bytes]:
    signal = made.signal_mv.astype(float).round(6).tolist()
    return [
        json.dumps({
            "ts": (FIRST_US + first * round(1e6 / RATE_HZ)) // 1000, "rate_hz": RATE_HZ,
            "values": [[number] for number in signal[first : first + size]],
        }).encode()
        for first in range(0, len(signal) - size + 1, size)
    ]  # fmt: skip


def decided(processor: Processor, made: form.Artifact, records: list[bytes], first: int = 0) -> list[Alert]:
    """The alerts that come of some records, a poll each seven."""
    scorer, found = make_model(made).scorer, list[Alert]()
    for at in range(0, len(records), 7):
        keys = [b"patient"] * len(records[at : at + 7])
        processor.receive(make_columns(records[at : at + 7], keys=keys, first_offset=first + at))
        while (batch := processor.next_batch()) is not None:
            processor.receive_scores(batch, scorer(batch.values), scorer.reconstruct)
        found += of_score(processor.take_outputs())
    return found


def test_the_artifact_says_what_windows_hold(artifact: form.Artifact) -> None:
    window = artifact.manifest.window
    assert (window.length, window.before, window.rows) == (70, 25, 142)
    assert artifact.manifest.format_version == 6
    assert artifact.known_windows.shape[1:] == (142, 1)
    again = form.decode(form.encode(artifact))
    assert again.manifest == artifact.manifest
    assert windowing.described(window) == "beats, 70 samples, 25 before each, after 9 that are learnt from"
    assert {"report.html", "MODEL_CARD.md"} <= artifact.extras.keys()


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("window", {"sampling_rate_hz": None}, r"sampling_rate_hz is None: to find beats it must be known"),
        ("window", {"before": 0}, r"window\.before is 0, must be 1 or more"),
        ("window", {"before": 70}, r"window\.before is 70, must be 0 or more, and less than window\.length"),
        ("window", {"template_beats": 10}, r"template_beats is 10, must be 0 or the square of an odd number"),
        ("window", {"template_beats": 0}, r'score\.kind "beat" needs windows that hold their series'),
        ("score", {"kind": "mae"}, r'score\.kind "mae" has no use for a template'),
        ("scaling", {"kind": "minmax"}, r'scaling\.kind must be "none", not "minmax"'),
    ],
)
def test_what_can_not_be_served_is_refused(
    artifact: form.Artifact, section: str, changes: dict[str, object], said: str
) -> None:
    manifest = artifact.manifest
    changed = msgspec.structs.replace(getattr(manifest, section), **changes)
    with pytest.raises(ArtifactFormatError, match=said):
        form.encode(replace(artifact, manifest=msgspec.structs.replace(manifest, **{section: changed})))


def test_the_trainer_says_that_a_rate_is_needed() -> None:
    unknown = replace(table(recording(0), "patient"), sampling_rate_hz=None)
    with pytest.raises(DataError, match="sampling_rate_hz is None: to find beats it must be known"):
        subsets.window_spec(small().window, [unknown])


def test_trainer_and_daemon_cut_the_same_windows(artifact: form.Artifact) -> None:
    made = recording(7, ectopics=3)
    signal = np.round(made.signal_mv.astype(np.float64), 6).astype(np.float32)
    count = len(signal) // 50 * 50
    times = FIRST_US + np.arange(count) * round(1e6 / RATE_HZ)
    expected = splits.cut(signal[:count, None], times, slice(0, count), artifact.manifest.window)
    assert len(expected.values) > 40
    processor = make_processor_at_zero(make_config(), artifact)
    processor.receive(make_columns(chunks(made), keys=[b"patient"] * len(chunks(made))))
    found = []
    while (batch := processor.next_batch()) is not None:
        found.append(batch.values)
        processor.receive_scores(batch, np.zeros(len(batch.values), np.float32), np.copy)
    np.testing.assert_array_equal(np.concatenate(found), expected.values)


def test_a_premature_beat_is_an_alert_that_says_so(artifact: form.Artifact) -> None:
    made = recording(8, seconds=90, ectopics=4)
    threshold = 2 * artifact.manifest.threshold.value  # it was chosen on less than a minute of one patient
    config = make_config(alerting={"include_window": "full"}, model={"threshold": threshold})
    processor = make_processor_at_zero(config, artifact)
    found = decided(processor, artifact, chunks(made))
    fired = [alert.data for alert in found if alert.data.status == "firing"]
    assert len(fired) == 4
    for data in fired:
        assert "early" in data.summary
        assert data.window.reason in data.summary
        assert data.window.values is not None
        assert data.window.reconstruction is not None
        assert len(data.window.values) == len(data.window.reconstruction) == 70
    starts = [np.datetime64(data.window.start.removesuffix("Z")).astype("M8[us]").astype(np.int64) for data in fired]
    at = np.round((np.array(starts) - FIRST_US) / 1e6 * RATE_HZ) + 25
    np.testing.assert_allclose(at, [ectopic.peak for ectopic in made.ectopics], atol=8)


def test_a_successor_goes_on_with_what_was_learnt(artifact: form.Artifact) -> None:
    """From a checkpoint in the middle of learning, and from one after it."""
    made = recording(9, seconds=90, ectopics=4)
    records = chunks(made)
    whole = decided(make_processor_at_zero(make_config(), artifact), artifact, records)
    assert whole
    for snapshot, live in ((7, 35), (70, 105)):
        first = make_processor_at_zero(make_config(), artifact)
        before = decided(first, artifact, records[:snapshot])
        state = tuple(StateRecord(*record) for record in first.take_outputs([INPUT]).checkpoints[INPUT])
        before += decided(first, artifact, records[snapshot:live], snapshot)
        incidents = tuple(StateRecord(*record) for record in first.take_outputs([INPUT]).checkpoints[INPUT])
        second = make_processor(make_config(), artifact)
        kept = state + tuple(each for each in incidents if b"incident" in each.key)
        position = Position(live, snapshot, 0)
        resumed = second.assign(INPUT, Restored(position, kept, beginning=0, end=len(records)), 0)
        assert (resumed.begin, resumed.state_lost) == (snapshot, "")
        assert before + decided(second, artifact, records[snapshot:], snapshot) == whole


def test_codes_of_such_windows_are_refused(artifact: form.Artifact, tmp_path: Path) -> None:
    storage.save(artifact, tmp_path / "ecg")
    with pytest.raises(DataError, match="its model sees beats less their own series' template"):
        codes.sample(tmp_path / "ecg", tmp_path / "out.npy")


def test_evaluation_takes_such_windows(artifact: form.Artifact) -> None:
    tables = [table(recording(11, seconds=90, ectopics=5), "patient-11")]
    found = evaluate_artifact(artifact, artifact.scorer(), tables, normal_class=None)
    assert found.detector is not None
    assert found.detector.auroc is not None
    assert found.detector.auroc > 0.9


def score_in_float64(window: np.ndarray, expected: np.ndarray, scales: np.ndarray) -> float:
    length = len(window) // 2 - 1
    window = window.astype(np.float64)
    beat, template = window[:length], window[length : 2 * length]
    whole = np.sqrt((template**2).mean(axis=0))
    relative = (beat - beat.mean(axis=0) - template) / np.sqrt(whole * np.maximum(window[-2], 0.01 * whole))
    sizes = [np.sqrt((each**2).mean()) for each in (relative, relative - expected)]
    return float(np.sqrt(((np.array([*sizes, max(window[-1, 0], 0)]) / scales) ** 2).sum()))


def test_the_score_is_what_its_docstring_says(artifact: form.Artifact) -> None:
    rng, scorer = np.random.default_rng(0), artifact.scorer()
    windows = np.concatenate([artifact.known_windows, artifact.known_windows + rng.normal(size=(8, 142, 1)) * 0.1])
    windows = windows.astype(np.float32)
    kernels = [artifact.parameters[f"layers.{at}.kernel"].astype(np.float64) for at in range(2)]
    biases = [artifact.parameters[f"layers.{at}.bias"].astype(np.float64) for at in range(2)]
    expected = []
    for window in windows:
        relative = beats.relative(window[None])[0].astype(np.float64).reshape(-1)
        made = (relative @ kernels[0] + biases[0]) @ kernels[1] + biases[1]
        expected.append(score_in_float64(window, made.reshape(70, 1), artifact.score_tensors["scales"]))
    np.testing.assert_allclose(scorer(windows), expected, rtol=1e-4)
    template = windows[:, 70:140] + windows[:, :70].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(scorer.reconstruct(windows)[:, :70], template, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", [0.0, 1e-38, 1e15, 3e38, -3e38])
def test_any_finite_window_has_a_finite_score(artifact: form.Artifact, number: float) -> None:
    scorer = artifact.scorer()
    for first, end in ((0, 70), (70, 140), (140, 141), (141, 142), (0, 1), (70, 71), (0, 142)):
        window = artifact.known_windows[:1].copy()
        window[:, first:end] = number
        assert np.isfinite(scorer(window)[0])
    window[0, 5] = np.nan
    assert np.isnan(scorer(window)[0])


def test_what_is_named_of_a_beat() -> None:
    def said(shape: float, early: float) -> str:
        template = np.sin(np.arange(70.0))[:, None]
        template -= template.mean()
        beat = template * (1 + shape)
        window = np.concatenate([beat + 3, template, [[np.sqrt((template**2).mean())], [early]]]).astype(np.float32)
        return scores.KINDS["beat"].reason(window, {"scales": np.array([0.1, 0.1, 0.1], np.float32)})

    assert said(0.0, 0.38) == "it came 38 % early"
    assert said(0.5, -0.2) == "the beat's shape is not the usual one"
    assert said(0.4, 0.4) == "it came 40 % early and its shape is not the usual one"
