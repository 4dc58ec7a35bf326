"""Artifacts that were exported once load for ever, and their scores stay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monitor.detector import artifact as form
from monitor.detector import levels, storage

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", [f"v{version}{form}" for version in range(1, 7) for form in ("", ".zip")])
def test_an_artifact_of_each_version_loads_and_scores(name: str) -> None:
    version = name.removesuffix(".zip")
    expected = json.loads((HERE / f"{version}-scores.json").read_text())
    loaded = storage.load(HERE / name)
    assert loaded.format_version == int(version[1:])
    assert loaded.digest == expected["digest"]
    assert loaded.manifest.name == "golden"
    assert loaded.manifest.window_shape == (8, 2)
    assert [channel.unit for channel in loaded.manifest.channels] == ["bar", "l/min"]
    assert set(loaded.extras) == {"metrics.json", "metrics.jsonl"}
    scorer = loaded.scorer()
    form.check_known_answers(loaded, scorer)
    scores = scorer(levels.take_off(np.array(expected["windows"]), levels.of(loaded.manifest.channels)))
    np.testing.assert_allclose(scores, expected["scores"], rtol=form.SELF_CHECK_RELATIVE)


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "v4", "v5", "v6"])
def test_what_is_loaded_is_written_again_byte_for_byte(version: str) -> None:
    loaded = storage.load(HERE / version)
    assert storage.pack(loaded) == (HERE / f"{version}.zip").read_bytes()
    assert form.encode(loaded) == {path.name: path.read_bytes() for path in (HERE / version).iterdir()}


def test_version_2_keeps_thresholds_and_quantiles_of_series() -> None:
    loaded = storage.load(HERE / "v2")
    calibration = loaded.manifest.calibration
    assert loaded.manifest.threshold.series.keys() == set(calibration.series) == {"pump-1", "pump-2"}
    assert loaded.calibration_table is not None
    assert loaded.calibration_table.shape == (2, len(calibration.quantiles))
    assert set(loaded.score_tensors) == {"mean", "whitener"}


def test_version_3_keeps_levels() -> None:
    loaded = storage.load(HERE / "v3")
    assert [channel.level for channel in loaded.manifest.channels] == [18_228_934.0, 0.0]


def test_version_4_keeps_what_is_known_of_channels() -> None:
    quality = storage.load(HERE / "v4").manifest.quality
    assert quality is not None
    assert quality.samples == 800
    pressure, flow = quality.channels
    assert (pressure.longest_missing, pressure.missing, flow.longest_missing, flow.missing) == (3, 0.005, 0, 0.0)
    assert 18_228_933 < pressure.lowest < pressure.highest < 18_228_935
    assert (round(flow.lowest, 6), round(flow.highest, 6), flow.longest_run) == (1.9, 4.1, 6)
    assert (flow.low, flow.high) == (2.0, 4.0)
    assert all(storage.load(HERE / older).manifest.quality is None for older in ("v1", "v2", "v3"))


def test_version_5_keeps_how_series_are_made_whole() -> None:
    window = storage.load(HERE / "v5").manifest.window
    assert (window.max_hold_ms, window.gap_fill, window.max_gap_ms, window.sampling_rate_hz) == (
        2500.0, "interpolate", 5000.0, 1.0,
    )  # fmt: skip
    assert storage.load(HERE / "v4").manifest.window.gap_fill == "none"


def test_version_6_keeps_what_errors_are_usual() -> None:
    assert storage.load(HERE / "v6").manifest.calibration.channel_errors == (0.0625, 0.15)
    assert storage.load(HERE / "v5").manifest.calibration.channel_errors == ()


def test_the_example_of_the_specification_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    root = HERE.parent.parent
    text = (root / "monitor" / "detector" / "FORMAT.md").read_text()
    monkeypatch.chdir(root)
    code = text.split("```python\n")[1].split("```")[0]
    exec(compile(code, "FORMAT.md", "exec"), {})
    assert json.loads((HERE / "v1-scores.json").read_text())["digest"] in text
