"""`--recipe auto`: the kind that agrees most with the others is kept, and what was tried is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats

from monitor.datafiles import SeriesTable
from monitor.errors import DataError
from training import choosing, pipeline, recipes
from training.metrics.windows import auroc
from training.recipes.schema import Recipe
from training.windows import subsets as subsets_of

RNG = np.random.default_rng(0)
WINDOWS = RNG.normal(size=(60, 8, 3)).astype(np.float32)
KINDS = ("shift", "spike", "noise", "stretch", "flip", "other", "mix")


def test_agreement_is_the_mean_rank_correlation_with_the_others() -> None:
    one = RNG.normal(size=200)
    scores = {"a": one, "b": one + RNG.normal(size=200), "c": np.exp(one), "none": np.zeros(200)}
    found = choosing.agreement(scores)
    pairs = [scipy.stats.spearmanr(scores["b"], scores[name]).statistic for name in "ac"]
    assert found["b"] == pytest.approx(sum(pairs) / 3)
    assert found["a"] == pytest.approx(found["c"])
    assert found["a"] > found["b"] > found["none"] == 0


def test_separation_is_the_mean_auroc() -> None:
    scores = {"normal": RNG.normal(size=50), "shift": RNG.normal(size=30) + 1, "flip": RNG.normal(size=40).round()}
    expected = [
        auroc(np.r_[np.zeros(50), np.ones(len(scores[kind]))] == 1, np.r_[scores["normal"], scores[kind]])
        for kind in ("shift", "flip")
    ]
    assert choosing.separation(scores) == pytest.approx(np.mean([each for each in expected if each is not None]))


def test_windows_are_changed_from_some_sample_on_in_some_channels() -> None:
    made = choosing.changed(WINDOWS, seed=1)
    assert tuple(made) == KINDS
    for kind, windows in made.items():
        differs = windows != WINDOWS
        assert differs.any(axis=(1, 2)).mean() > 0.9, kind
        channels = differs.any(axis=1).sum(axis=1)
        assert set(np.unique(channels)) - {0} == {1, 3}, kind
        if kind == "spike":
            assert (differs.any(axis=2).sum(axis=1) <= 1).all()
        else:
            first = differs.any(axis=2).argmax(axis=1)
            late = np.arange(8) >= first[:, None]
            assert not (differs.any(axis=2) & ~late).any()
        np.testing.assert_array_equal(windows, choosing.changed(WINDOWS, seed=1)[kind])
    size = np.linalg.norm((made["spike"] - WINDOWS).reshape(60, -1), axis=1)
    assert ((size > 0.29) & (size < 3.01)).all(), "however many channels share it"


def plant(rows: int = 600, channels: int = 6) -> SeriesTable:
    phase = np.arange(rows)[:, None] / 9 + np.arange(channels)
    samples = np.sin(phase) * 0.4 + 0.02 * RNG.normal(size=(rows, channels))
    names = tuple(f"c{number}" for number in range(channels))
    return SeriesTable(channels=names, samples=samples.astype(np.float32), series="plant")


def quick() -> Recipe:
    return recipes.override(recipes.load("auto"), epochs=2)


@pytest.mark.parametrize(("channels", "count"), [(6, 4), (1, 3)])
def test_one_kind_is_kept_and_all_are_told(channels: int, count: int) -> None:
    table = plant(channels=channels)
    trained, again = (
        pipeline.train(quick(), [table], seed=3, name="plant", batch_rows=64, with_report=True) for _ in range(2)
    )
    tried = trained.results.tried
    assert len(tried) == count
    assert [each.chosen for each in tried] == [True] + [False] * (count - 1)
    assert [each.agreement for each in tried] == sorted((each.agreement for each in tried), reverse=True)
    assert tried == again.results.tried
    recorded = json.loads(trained.artifact.extras["metrics.json"])["tried"]
    assert [each["name"] for each in recorded] == [each.name for each in tried]
    note = f"chosen: {tried[0].name}, whose order"
    assert any(each.startswith(note) for each in trained.results.notes)
    assert note.encode() in trained.artifact.extras["MODEL_CARD.md"]
    assert f"{tried[-1].name} {tried[-1].agreement:.2f}".encode() in trained.artifact.extras["report.html"]
    kept = trained.artifact.manifest
    assert kept.training["recipe"]["score"]["kind"] == kept.score.kind
    assert not kept.training["recipe"]["choose"], "what is recorded trains this kind again, not another"


def test_candidates_fit_the_windows() -> None:
    for channels, code in ((1, 2), (6, 15)):
        subsets = subsets_of.divide(quick(), [plant(channels=channels)], seed=0)
        for name, each in choosing.candidates(quick(), subsets):
            assert recipes.parse(recipes.text(each), name) == each
            assert each.model.widths[-1] == code  # type: ignore[union-attr]


def test_a_choice_needs_windows_that_were_held_out() -> None:
    with pytest.raises(DataError, match=r"choose needs split\.calibration over 0"):
        recipes.parse(recipes.text(quick()).replace("calibration = 0.2", "calibration = 0.0"), "here")
