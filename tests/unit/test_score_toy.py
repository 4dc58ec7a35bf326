"""Another kind of score is a function and a row of `scores.KINDS`: nobody else asks which kind it is.

The toy: the largest error of any sample in the window.
"""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest

from monitor.detector import artifact as form
from monitor.detector import scores, spec
from monitor.detector.scores import Scaled, ScoreKind, Scores
from monitor.errors import ArtifactFormatError, DataError
from tests.helpers import SMALL_RECIPE, make_columns, make_config, make_processor_at_zero, work
from training import pipeline, recipes
from training.datasets import read

LENGTH = 4


def _largest(of: Scaled) -> Scores:
    expected = of.reconstructed()
    return jnp.max(jnp.abs(of.rows - expected), axis=1), expected


LARGEST = ScoreKind(rows=_largest, noun="largest error", sample_limit=lambda _errors, threshold: threshold)


@pytest.fixture(autouse=True, scope="module")
def _registered() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scores.KINDS, "largest", LARGEST)
        yield


@pytest.fixture(scope="module")
def trained(_registered: object, tmp_path_factory: pytest.TempPathFactory) -> pipeline.Trained:
    path = tmp_path_factory.mktemp("data") / "pump.csv"
    samples = np.random.default_rng(3).normal(size=(400, 2))
    np.savetxt(path, samples, delimiter=",", header="flow,pressure", comments="")
    recipe = recipes.parse(SMALL_RECIPE.format(window="sliding", score="largest"), "here")
    return pipeline.train(recipe, read(str(path), kind="sliding"), seed=0, name="toy", batch_rows=16, with_report=True)


def test_the_trainer_calibrates_by_it_and_its_artifact_is_written_and_read(
    trained: pipeline.Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = form.encode(trained.artifact)
    made = form.decode(files)
    assert made.manifest.score == spec.ScoreSpec(kind="largest")
    scorer = made.scorer()
    form.check_known_answers(made, scorer)
    windows = made.known_windows
    expected = np.abs(windows - scorer.reconstruct(windows)) / np.array(made.manifest.scaling.scale, np.float32)
    np.testing.assert_allclose(scorer(windows), expected.max(axis=(1, 2)), rtol=1e-4)
    monkeypatch.delitem(scores.KINDS, "largest")
    with pytest.raises(ArtifactFormatError, match=r"score\.kind is 'largest', must be one of mae, mse, whitened"):
        form.decode(files)


def test_the_report_calls_it_by_its_name(trained: pipeline.Trained) -> None:
    assert b"largest error" in trained.artifact.extras["MODEL_CARD.md"]


def test_an_alert_calls_it_by_its_name_and_names_the_samples_over_its_limit(trained: pipeline.Trained) -> None:
    artifact = trained.artifact
    processor = make_processor_at_zero(make_config(input={"start": "earliest"}), artifact)
    samples = [[0.0, 0.0], [0.0, 0.0], [500.0, 0.0], [0.0, 0.0]]
    values = [json.dumps({"flow": flow, "pressure": pressure}).encode() for flow, pressure in samples]
    (alert,) = work(processor, artifact.scorer(), make_columns(values))
    assert alert.data.score.kind == "largest"
    assert alert.data.summary.startswith("a: largest error ")
    worst = alert.data.contributors[0]
    assert (worst.channel, worst.first, worst.last, worst.observed) == ("flow", 2, 2, 500.0)


def test_a_kind_that_is_not_known_is_refused_in_a_recipe() -> None:
    with pytest.raises(DataError, match=r"score\.kind is 'worst', must be one of mae, mse, .*, largest"):
        recipes.parse(SMALL_RECIPE.format(window="sliding", score="worst"), "here")
