"""A level that is large beside its movement keeps its digits: a tank at 18,228,934 +- 0.3 is watched as one at 0 is."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.backends.abstract import Restored, StateRecord
from monitor.datafiles import SeriesTable, WindowTable
from monitor.datafiles.digits import digits, exact
from monitor.detector import artifact as form
from monitor.detector import levels, storage
from monitor.detector.arrays import Float64Array
from monitor.detector.artifact import Artifact
from monitor.detector.scoring import Scorer
from monitor.detector.spec import Channel, WindowSpec
from monitor.errors import ArtifactFormatError
from monitor.formats.decoder import Decoder, InputRules
from monitor.replay import FileSource, overridden, read_rows, replayed
from tests.helpers import INPUT, make_artifact, make_columns, make_config, make_processor, make_processor_at_zero, work
from training import pipeline, recipes
from training.commands import arguments as reading
from training.commands.codes import decode, encode
from training.datasets import levels as choosing
from training.datasets import read
from training.datasets.options import ReadOptions
from training.windows.subsets import all_windows

HIGH = 18_228_934.0
NOW_MS = 1_764_600_000_000


def movement(count: int, *, seed: int, fault: slice | None = None) -> Float64Array:
    """0.3 sin, period 50, with a little noise; in `fault` 0.66, three times as fast, comes on top: 2.2 amplitudes."""
    time = np.arange(count)
    values: Float64Array = 0.3 * np.sin(2 * np.pi * time / 50) + np.random.default_rng(seed).normal(0, 0.01, count)
    if fault is not None:
        values[fault] += 0.66 * np.sin(6 * np.pi * time[fault] / 50)
    return np.round(values, 6)


def column(path: Path, values: Float64Array) -> Path:
    path.write_text("level\n" + "\n".join(f"{value:.6f}" for value in values) + "\n")
    return path


@dataclass(frozen=True)
class Case:
    """A detector trained on a level, and a file with a fault about the same."""

    level: float
    artifact: Artifact
    scorer: Scorer
    place: Path
    faulty: Path
    notes: tuple[str, ...]


@pytest.fixture(scope="module", params=[0.0, HIGH])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(request.param, tmp_path_factory.mktemp("level"))


@pytest.fixture(scope="module")
def zero(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(0.0, tmp_path_factory.mktemp("zero"))


def made(level: float, directory: Path) -> Case:
    tables = read(str(column(directory / "good.csv", level + movement(3_000, seed=1))), kind="sliding")
    recipe = recipes.override(recipes.load("sliding"), epochs=8, length=32, hop=4)
    trained = pipeline.train(recipe, tables, seed=0, name="tank", batch_rows=64)
    storage.save(trained.artifact, directory / "artifact")
    artifact = storage.load(directory / "artifact")
    faulty = column(directory / "bad.csv", level + movement(600, seed=2, fault=slice(300, 340)))
    return Case(level, artifact, artifact.scorer(), directory / "artifact", faulty, trained.results.notes)


def scores_of(case: Case) -> NDArray[np.float32]:
    options = reading.artifact_options(
        case.artifact.manifest, label_column=None, time_column=None, series_column=None, config=None
    )
    found = all_windows(read(str(case.faulty), kind="sliding", options=options), case.artifact.manifest.window, 0)
    return case.scorer(found.windows)


def test_the_trainer_finds_what_it_finds_at_0(case: Case, zero: Case) -> None:
    manifest = case.artifact.manifest
    assert manifest.channels == (Channel(name="level", level=case.level),)
    assert case.artifact.format_version == 4, "who does not know levels, or what is known of channels, must refuse"
    assert manifest.threshold.value == pytest.approx(zero.artifact.manifest.threshold.value, rel=1e-3)
    assert any("steps of 2 at 18228934" in note for note in case.notes) == bool(case.level)
    form.check_known_answers(case.artifact, case.scorer)
    scores = scores_of(case)
    over = scores > np.float32(manifest.threshold.value)
    np.testing.assert_array_equal(over, scores_of(zero) > np.float32(zero.artifact.manifest.threshold.value))
    assert over.sum() >= 10
    np.testing.assert_allclose(scores, scores_of(zero), rtol=1e-3)


def test_replay_and_the_daemons_processor_score_what_the_trainer_scores(case: Case) -> None:
    """Bit for bit: the same numbers are narrowed by the same function."""
    config = overridden(None, service=None, topic=None, threshold=None)
    told, counts, _ = replayed(case.place, FileSource(path=case.faulty, series="tank"), config)
    expected = scores_of(case)
    threshold = np.float32(case.artifact.manifest.threshold.value)
    assert (counts.windows, counts.windows_anomalous) == (len(expected), int((expected > threshold).sum()))
    alert = json.loads(told[0])["data"]
    assert np.float32(alert["score"]["value"]) in expected

    rows = read_rows(FileSource(path=case.faulty, series="tank"), case.artifact.manifest)
    columns = make_columns(rows.values, keys=rows.keys, timestamps_ms=rows.timestamps_ms)
    processor = make_processor_at_zero(config, case.artifact)
    assert [each.data.score.value for each in work(processor, case.scorer, columns)] == [
        json.loads(each)["data"]["score"]["value"] for each in told
    ]


def test_alerts_are_in_the_users_unit(case: Case) -> None:
    config = make_config(alerting={"include_window": "full"})
    values = case.level + movement(600, seed=2, fault=slice(300, 340))
    columns = make_columns([json.dumps({"level": value}).encode() for value in values])
    (first, *_) = work(make_processor_at_zero(config, case.artifact), case.scorer, columns)
    (worst, *_) = first.data.contributors
    last = first.data.kafka.last_offset
    window = values[last - 31 : last + 1]
    assert worst.observed == pytest.approx(window[worst.first : worst.last + 1].mean(), abs=1e-6)
    assert abs(worst.expected - case.level) < 1
    assert first.data.window.values is not None
    np.testing.assert_allclose(np.ravel(first.data.window.values), window, atol=1e-7, rtol=0)
    assert f"{worst.observed:.2f}"[:-1] in first.data.summary


def test_codes_are_decoded_to_the_users_unit(case: Case, tmp_path: Path) -> None:
    codes, windows = tmp_path / "codes.npz", tmp_path / "windows.npy"
    encode(case.place, [str(case.faulty)], codes)
    decode(case.place, codes, windows)
    assert np.load(windows).mean() == pytest.approx(case.level, abs=0.1)


def test_records_of_every_form_lose_their_level() -> None:
    layout = _Layout(WindowSpec(kind="sliding", length=4, hop=4), (Channel(name="a", level=HIGH), Channel(name="b")))
    records = [
        b'{"a": 18228934.25, "b": 0.1}',
        b'{"values": [[18228934.25, 0.1], [null, 2]]}',
        b"[[18228934.25, 0.1]]",
        b'{"a": 1e39, "b": 1}',
    ]
    decoded = Decoder(layout, InputRules()).decode(make_columns(records, timestamps_ms=range(NOW_MS, NOW_MS + 4)))
    assert decoded.values.dtype == np.float32
    first = [0.25, np.float32(0.1)]
    np.testing.assert_array_equal(decoded.values, [first, first, [np.nan, 2], first])
    assert [each.reason.value for each in decoded.rejected] == ["not_finite"]
    raw = np.array([[HIGH + 0.25, 0.1]], "<f4").tobytes()
    (sample,) = Decoder(layout, InputRules(format="f32")).decode(make_columns([raw], timestamps_ms=[NOW_MS])).values
    np.testing.assert_array_equal(sample, [0.0, np.float32(0.1)], "0.25 was lost before it was sent")


def test_a_trainers_decoder_keeps_all_digits_and_refuses_as_the_daemons() -> None:
    layout = _Layout(WindowSpec(kind="sliding", length=4, hop=4), (Channel(name="a"),))
    columns = make_columns([b'{"a": 18228934.25}', b'{"a": 1e39}'], timestamps_ms=[NOW_MS, NOW_MS + 1])
    decoded = Decoder(layout, InputRules(), exact=True).decode(columns)
    assert decoded.values.tolist() == [[18228934.25]]
    assert decoded.rejected == Decoder(layout, InputRules()).decode(columns).rejected


@dataclass(frozen=True)
class _Layout:
    window: WindowSpec
    channels: tuple[Channel, ...]


@pytest.mark.parametrize(
    ("values", "is_lost"),
    [
        (HIGH + movement(2_000, seed=0), True),
        (np.append(HIGH + movement(2_000, seed=0), [0.0, np.nan]), True),  # a fault, a missing number
        (-HIGH + movement(2_000, seed=0), True),
        (101_325 + 100 * movement(2_000, seed=0), False),  # steps of 0.008 against 30
        (293.15 + movement(2_000, seed=0), False),
        (np.full(100, HIGH + 0.3), False),  # constant
        (HIGH + 2 * np.round(movement(2_000, seed=0) * 10), False),  # float32 holds every one of them
        ((HIGH + movement(2_000, seed=0)).astype(np.float32), False),  # lost before
        (np.full(5, np.nan), False),
        (np.arange(5), False),
    ],
)
def test_where_float32_has_too_few_digits(values: NDArray[np.generic], is_lost: bool) -> None:
    beside = np.stack([values, np.ones_like(values)], axis=1)
    assert digits(beside).lost.tolist() == [is_lost, False]
    found = exact(beside)
    assert (found is not None) == is_lost
    assert exact(beside, [1]) is None


def test_a_table_that_needs_no_level_stays_what_it_was(tmp_path: Path) -> None:
    (table,) = read(str(column(tmp_path / "a.csv", 293.15 + movement(500, seed=0))), kind="sliding")
    assert table.exact is None
    assert not choosing.choose([table]).needed
    assert levels.of([Channel(name="a"), Channel(name="b")]) is None


def test_digits_that_no_level_brings_back_are_reported() -> None:
    narrow = (HIGH + 20 * movement(2_000, seed=0)).astype(np.float32)[:, None]
    found = choosing.choose([SeriesTable(samples=narrow, channels=("level",))])
    assert not found.needed
    assert "was lost before it was read" in found.notes[0]
    tables = []
    for level in (HIGH, 2 * HIGH, 3 * HIGH):
        values = (level + movement(2_000, seed=0))[:, None]
        tables.append(SeriesTable(samples=values.astype(np.float32), exact=values, channels=("level",)))
    found = choosing.choose(tables)
    assert found.values == (2 * HIGH,)
    assert "too different levels" in found.notes[-1]


def test_windows_have_levels_too(tmp_path: Path) -> None:
    np.save(tmp_path / "beats.npy", HIGH + movement(3_200, seed=0).reshape(100, 32))
    (table,) = read(str(tmp_path / "beats.npy"), kind="record")
    assert isinstance(table, WindowTable)
    assert choosing.choose([table]).values == (HIGH,)
    (taken,) = read(str(tmp_path / "beats.npy"), kind="record", options=ReadOptions(levels=(HIGH,)))
    assert isinstance(taken, WindowTable)
    np.testing.assert_allclose(taken.windows.ravel(), movement(3_200, seed=0), atol=1e-7)


def test_a_checkpoint_of_another_level_is_not_gone_on_from(case: Case) -> None:
    """Its samples would be another artifact's: windows begin empty, which is said."""
    config = make_config()
    processor = make_processor_at_zero(config, case.artifact)
    processor.receive(make_columns([b'{"level": %r}' % (case.level + 0.1)] * 20))
    assert processor.next_batch() is None
    outputs = processor.take_outputs([INPUT])
    kept = tuple(StateRecord(key, value) for key, value in outputs.checkpoints[INPUT])
    restored = Restored(outputs.positions[INPUT], kept, beginning=0, end=20)
    other = msgspec.structs.replace(case.artifact.manifest.channels[0], level=case.level + 1)
    manifest = msgspec.structs.replace(case.artifact.manifest, channels=(other,))
    assert not make_processor(config, case.artifact).assign(INPUT, restored, 0).state_lost
    assert make_processor(config, replace(case.artifact, manifest=manifest)).assign(INPUT, restored, 0).state_lost


def test_a_version_without_levels_refuses_them() -> None:
    plain = make_artifact()
    (channel,) = plain.manifest.channels
    leveled = msgspec.structs.replace(plain.manifest, channels=(msgspec.structs.replace(channel, level=HIGH),))
    for version in (1, 2):
        with pytest.raises(ArtifactFormatError, match=f"version {version} has no channels.level; .* as version 3"):
            form.encode(replace(plain, manifest=leveled, format_version=version))
    assert form.decode(form.encode(replace(plain, manifest=leveled, format_version=3))).manifest == leveled
    endless = msgspec.structs.replace(leveled, channels=(msgspec.structs.replace(channel, level=float("inf")),))
    with pytest.raises(ArtifactFormatError, match="levels must be finite"):
        form.encode(replace(plain, manifest=endless, format_version=3))


def test_a_signalling_nan_is_a_nan() -> None:
    """MessagePack and Avro can hold one: it says nothing of its own, and warns of nothing."""
    signalling = np.array([[0x7FF0000000000001]], dtype=np.uint64).view(np.float64)
    assert np.isnan(levels.take_off(signalling, None)).all()
    assert np.isnan(levels.take_off(signalling, np.array([5.0]))).all()
