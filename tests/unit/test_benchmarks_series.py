"""The archives' benchmarks: what they count, by hand and against the daemon's own state machine."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.datafiles import SeriesTable
from monitor.detector.decision import Verdict
from monitor.detector.incidents import Incident, Policy, Status, step
from tests.benchmarks.series import nab, skab
from tests.benchmarks.series.contest import contest, rows_of
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
