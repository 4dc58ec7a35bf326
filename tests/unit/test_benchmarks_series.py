"""The archives' benchmarks: what they count, by hand and against the daemon's own state machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.datafiles import SeriesTable
from monitor.detector.decision import Verdict
from monitor.detector.incidents import Incident, Policy, Status, step
from tests.benchmarks import results
from tests.benchmarks.series import nab, skab, smd
from tests.benchmarks.series.contest import SCORERS, contest, rows_of
from training import recipes
from training.metrics import events


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 8))
def test_openings_are_the_daemons(over: list[bool], close_after: int) -> None:
    policy, incident, opened = Policy(close_after=close_after, update_every=0), Incident(), []
    for verdict in over:
        status = step(incident, Verdict.ANOMALY if verdict else Verdict.NORMAL, 1.0, 0, 0, policy)
        opened.append(status == Status.FIRING)
        if status == Status.FIRING:
            incident.fingerprint = "x"
        if status == Status.RESOLVED:
            incident = Incident()
    assert nab.openings(np.array(over, dtype=np.bool_), close_after).tolist() == opened


def test_skabs_figures_pool_rows_over_runs() -> None:
    def run(truth: str, flagged: str, auroc: float | None) -> skab.Run:
        marks = [np.array([mark == "1" for mark in text]) for text in (truth, flagged)]
        return skab.Run(truth=marks[0], flagged=marks[1], auroc=auroc, events=events.report(*marks))

    f1, far, mar, auroc = skab.figures([run("0011", "0110", 0.75), run("0000", "0001", None)])
    assert (f1, far, mar, auroc) == pytest.approx((2 / (2 + 2 + 1), 2 / 6, 1 / 2, 0.75))


def test_nothing_is_learnt_from_tested_rows() -> None:
    """The threshold is the same whatever the tested rows are, and a jump in them is found by all three scorers."""
    rng = np.random.default_rng(0)
    calm = SeriesTable(samples=rng.normal(size=(900, 2)).astype(np.float32), channels=("a", "b"))
    samples = calm.samples.copy()
    samples[700:720] += 9.0
    recipe = recipes.override(recipes.load("plant"), epochs=3, normal_class="all")
    recipe = msgspec.structs.replace(recipe, model=msgspec.structs.replace(recipe.model, widths=(4,)))
    learnt = rows_of(calm, slice(0, 400))
    found = contest(recipe, learnt, SeriesTable(samples=samples, channels=("a", "b")), seed=0)
    before = contest(recipe, learnt, calm, seed=0)
    for name, scored in found.items():
        assert scored.threshold == before[name].threshold
        assert scored.flagged()[705:720].all()
        assert np.isnan(scored.causal().values[:9]).all()
        assert scored.rows == 900
    assert set(found) == {"detector", "pca", "pca_squared", "knn"}
    assert set(contest(recipe, learnt, calm, seed=0, with_baselines=False)) == {"detector"}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of results."""
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    return tmp_path


def test_smds_results_are_means_over_machines(kept: Path) -> None:
    machines: list[smd.Found] = [
        {"detector": [(0.1, 0.6, 0, 0), (0.1, 0.8, 0, 0)], "knn": [(0.2, 0.5, 0, 0)]},
        {"detector": [(0.3, 0.8, 0, 0), (0.5, 0.8, 0, 0)], "knn": [(0.2, 0.3, 0, 0)]},
    ]
    smd.keep("auto", "TSB-AD", machines)
    causal, averaged = results.read("smd")[:2]
    assert (causal.measure, causal.must, averaged.must, averaged.aim) == ("VUS-PR, causal", None, 0.68, 0.75)
    assert [averaged.ours, averaged.spread] == pytest.approx([0.75, 0.05])  # of 0.7 and 0.8
    assert averaged.baselines == {"knn": pytest.approx(0.4)}
    assert averaged.published["TSB-AD's PCA"] == pytest.approx((0.240 + 0.253 + 0.246) / 3)
    assert averaged.verdict == "aim met"


def test_skabs_results_are_of_all_runs(kept: Path) -> None:
    truth, half = np.array([True, False]), np.array([True, True])
    none = events.report(truth, truth)
    valve, other = (skab.Run(truth=truth, flagged=flagged, auroc=1.0, events=none) for flagged in (truth, half))
    skab.keep("plant", {"detector": [([valve], [other])], "pca": [([other], [other])]})
    f1, far, mar = results.read("skab")
    assert (f1.ours, far.ours, mar.ours) == pytest.approx((0.8, 0.5, 0.0))
    assert (f1.verdict, far.verdict, mar.verdict) == ("met", "NOT MET", "aim met")
    assert (far.baselines, far.series) == ({"pca": 1.0}, 2)


def test_nabs_results_are_of_the_frozen_thresholds(kept: Path) -> None:
    over = np.zeros(1_000)
    over[600] = 2.0
    nab.keep("metrics", [3, 100], [[dict.fromkeys(SCORERS, over)]], [np.array([[590, 620]])])
    made = results.read("nab")
    assert [each.measure[-3:] for each in made] == ["r 3", "100"]
    assert made[0].ours == made[1].ours > 80
    assert [each.verdict for each in made] == ["aim met", "aim met"]
