"""The one way that an artifact gets into use."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from monitor.detector import storage
from monitor.detector.served import load_verified
from monitor.detector.spec import ThresholdSpec
from monitor.errors import ArtifactFormatError, ArtifactSelfCheckError
from monitor.serving.assembly import load_model
from tests.helpers import make_artifact, make_config

OWN = ThresholdSpec(value=0.5, method="given", series={"a": 0.25})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = make_artifact(channels=("flow", "pressure"))
    storage.save(replace(made, manifest=msgspec.structs.replace(made.manifest, threshold=OWN)), tmp_path / "a")
    return tmp_path / "a"


def test_everything_is_of_the_artifact_that_was_loaded(path: Path) -> None:
    model = load_verified(path)
    assert model.artifact.digest == storage.load(path).digest
    np.testing.assert_allclose(model.scorer(model.artifact.known_windows), model.artifact.known_scores, rtol=1e-5)
    assert [model.thresholds.of_series(name) for name in ("a", "b")] == [0.25, 0.5]
    assert model.quantiles.share_under(0.4) == 0.5
    assert model.score_noun == "reconstruction error"
    zeros = np.zeros((8, 2), np.float32)
    assert [each.channel for each in model.attribution(zeros, np.add(zeros, [0, 1]), 0.5)] == ["pressure"]


def test_the_configurations_threshold_goes_into_service_with_it(path: Path) -> None:
    assert load_model(make_config(), path).thresholds.chosen == OWN
    model = load_model(make_config(model={"threshold": 3.0}), path)
    assert [model.thresholds.of_series(name) for name in ("a", "b")] == [3.0, 3.0]
    compiled = model.scorer.compilations
    windows = np.zeros((1, 8, 2), np.float32)
    model.scorer(windows), model.scorer.reconstruct(windows)
    assert model.scorer.compilations == compiled, "the first window that is published does not wait for a compiler"


def test_one_thread_scores_unless_the_operator_says_otherwise(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PJRT_NPROC", raising=False)
    load_model(make_config(), path)
    assert os.environ["PJRT_NPROC"] == "1"
    monkeypatch.setenv("PJRT_NPROC", "4")
    load_model(make_config(), path)
    assert os.environ["PJRT_NPROC"] == "4"


def test_what_scores_otherwise_here_is_refused_by_its_path(path: Path) -> None:
    made = storage.load(path)
    storage.save(replace(made, known_scores=made.known_scores * np.float32(1.01)), path)
    with pytest.raises(ArtifactSelfCheckError, match=rf"artifact {path}: known window"):
        load_verified(path)


def test_tensors_that_do_not_fit_are_refused_by_the_path(path: Path) -> None:
    made = storage.load(path)
    storage.save(replace(made, score_tensors={"centres": np.zeros((1, 16), np.float32)}), path)
    with pytest.raises(ArtifactFormatError, match=rf"artifact {path}: score tensor 'centres' is not one of mae's"):
        load_verified(path)
