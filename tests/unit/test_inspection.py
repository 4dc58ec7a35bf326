"""`telltale inspect`: what it says, and that it says nothing of what was not verified."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from monitor.detector import artifact as form
from monitor.detector import storage
from monitor.detector.spec import ChannelQuality, QualitySpec
from monitor.errors import ArtifactError, ArtifactFormatError
from monitor.inspection import describe
from tests.helpers import make_artifact

ARTIFACT = make_artifact(length=10, hop=5, channels=("flow", "pressure"), threshold=0.25, sampling_rate_hz=250.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    storage.save(ARTIFACT, tmp_path / "a")
    return tmp_path / "a"


def test_in_words(path: Path) -> None:
    lines = dict(line.split(maxsplit=1) for line in describe(path).splitlines())
    assert lines["name"] == "tiny 1, made 2026-11-21T00:00:00Z"
    assert lines["window"] == "sliding, 10 samples every 5, 0.04 s"
    assert lines["channels"] == "flow, pressure"
    # 20*4+4 + 4*2+2 + 2*4+4 + 4*20+20
    assert lines["model"] == "dense 20-4-2 and back, 206 numbers"
    assert lines["threshold"] == "0.25 (given)"
    assert lines["quantiles"] == "0: 0.1, 0.5: 0.4, 1: 2"
    assert "4 known answers; sha256 " + storage.load(path).digest in lines["verified"]


def test_what_is_known_of_channels(tmp_path: Path) -> None:
    flow = ChannelQuality(lowest=-1.5, highest=2.0, longest_run=3, longest_missing=2, missing=0.0125)
    pressure = ChannelQuality(lowest=0.0, highest=1e6, longest_run=1)
    quality = QualitySpec(samples=1600, channels=(flow, pressure))
    manifest = msgspec.structs.replace(ARTIFACT.manifest, quality=quality)
    storage.save(replace(ARTIFACT, manifest=manifest, format_version=4), tmp_path)
    assert (
        "normal data 1,600 samples; flow: -1.5 to 2, up to 3 equal in a row, 0.0125 missing, up to 2 in a row; "
        "pressure: 0 to 1e+06"
    ) in describe(tmp_path).splitlines()


def test_lines_of_series_are_counted_and_their_range_is_told(tmp_path: Path) -> None:
    threshold = msgspec.structs.replace(ARTIFACT.manifest.threshold, series={"a": 0.5, "b": 0.125, "c": 0.2})
    storage.save(replace(ARTIFACT, manifest=msgspec.structs.replace(ARTIFACT.manifest, threshold=threshold)), tmp_path)
    assert "threshold   0.25 (given); 3 series have their own, 0.125 to 0.5" in describe(tmp_path).splitlines()


def test_as_json(path: Path) -> None:
    document = json.loads(describe(path, as_json=True))
    assert document["digest"] == storage.load(path).digest
    assert document["threshold"]["value"] == 0.25
    assert [channel["name"] for channel in document["channels"]] == ["flow", "pressure"]


def test_a_zip(path: Path) -> None:
    storage.save(ARTIFACT, path.parent / "a.zip")
    assert describe(path.parent / "a.zip") == describe(path)


@pytest.mark.parametrize("name", [form.MANIFEST, form.PARAMS])
def test_a_flipped_byte_is_refused_with_its_place(path: Path, name: str) -> None:
    raw = bytearray((path / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (path / name).write_bytes(raw)
    with pytest.raises(ArtifactError, match=f"artifact {path}: {name}"):
        describe(path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactFormatError, match="nothing is there"):
        describe(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"manifest\.json is not there"):
        describe(tmp_path / "empty")
