"""The stream's records and the truth about them."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest

from monitor.datafiles import read_series, read_windows
from monitor.demo import stream
from monitor.errors import DataError

NOW_US = 1_790_000_000_123_456


def make(path: Path, *, seed: int = 100, patients: int = 2, minutes: float = 6.0) -> stream.Scenario:
    path.mkdir(exist_ok=True)
    return stream.synthetic(path, seed=seed, patients=patients, minutes=minutes, now_us=NOW_US)


def test_the_same_seed_streams_the_same_records(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a"), make(tmp_path / "b")
    assert first.records == second.records
    assert first.planted == second.planted
    assert make(tmp_path / "c", seed=101).planted != first.planted


def test_each_series_is_whole_in_order_and_in_time(tmp_path: Path) -> None:
    scenario = make(tmp_path)
    assert [record.due_s for record in scenario.records] == sorted(record.due_s for record in scenario.records)
    for name in scenario.series:
        mine = [record for record in scenario.records if record.series == name]
        starts_us = [record.start_us for record in mine]
        assert starts_us == list(range(scenario.start_us, scenario.stop_us, 200_000))
        first = msgspec.json.decode(mine[0].value)
        assert first["ts"] * 1000 == scenario.start_us
        assert (first["rate_hz"], len(first["values"])) == (125, 25)
    assert scenario.samples == 2 * 180 * 125
    assert scenario.stop_us <= NOW_US
    assert scenario.speed == pytest.approx(180 / max(record.due_s for record in scenario.records), rel=0.01)


def test_the_training_recordings_are_others_than_the_stream(tmp_path: Path) -> None:
    scenario = make(tmp_path)
    for path, name in zip(scenario.training, scenario.series, strict=True):
        table = read_series(path)
        assert table.channels == ("ecg_mv",)
        assert len(table.samples) == stream.CLEAN_MINUTES * 60 / 2 * 125
        streamed = [msgspec.json.decode(r.value)["values"] for r in scenario.records if r.series == name]
        watched = np.array(list(itertools.chain(*streamed)))
        assert np.abs(watched - table.samples[: len(watched), 0]).max() > 0.5


def test_planted_intervals_lie_in_the_stream(tmp_path: Path) -> None:
    scenario = make(tmp_path, minutes=30.0)
    assert len(scenario.planted) == 12
    for interval in scenario.planted:
        assert scenario.start_us + 10_000_000 <= interval.start_us < interval.stop_us <= scenario.stop_us
        assert 500_000 < interval.stop_us - interval.start_us < 3_000_000


def test_too_short_a_stream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give each at least"):
        make(tmp_path, patients=8, minutes=1.0)


def write_beats(directory: Path, rows: int = 400) -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([1, 2], rows, p=[0.6, 0.4])
    beats = rng.normal(size=(rows, 140))
    lines = [
        " ".join([str(label), *(f"{x:.6f}" for x in beat)]) for label, beat in zip(labels.tolist(), beats, strict=True)
    ]
    half = rows // 2
    (directory / stream.ECG5000[0]).write_text("\n".join(lines[:half]))
    (directory / stream.ECG5000[1]).write_bytes(gzip.compress("\n".join(lines[half:]).encode()))


def test_real_heartbeats(tmp_path: Path) -> None:
    write_beats(tmp_path)
    scenario = stream.heartbeats(tmp_path, tmp_path, seed=3, patients=3, now_us=NOW_US)
    learnt = read_windows(scenario.training[0])
    assert learnt.windows.shape == (200, 140, 1)
    assert learnt.labels is not None
    streamed = {record.value for record in scenario.records}
    values = np.array([msgspec.json.decode(value)["values"] for value in streamed], dtype=np.float32)
    assert values.shape[1] == 140
    # no beat is both learnt and shown
    assert not {beat.tobytes() for beat in values} & {beat.tobytes() for beat in learnt.windows[:, :, 0]}
    assert 0.03 < len(scenario.planted) / len(scenario.records) < 0.06
    assert not scenario.planted_counts
    for name in scenario.series:
        starts_us = [record.start_us for record in scenario.records if record.series == name]
        assert set(np.diff(starts_us).tolist()) == {stream.BEAT_US}
    assert max(record.start_us for record in scenario.records) < NOW_US


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ECG5000_TRAIN\.txt and no ECG5000_TEST\.txt\.gz"):
        stream.heartbeats(tmp_path, tmp_path, seed=1, patients=1, now_us=NOW_US)
