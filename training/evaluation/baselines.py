"""PCA and nearest neighbours: fitted on the model's windows, each with a threshold by the model's rule.

Rules of this file: a baseline gets what the model got, no more and no less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector import autoencoder, scaling
from monitor.detector.decision import Verdict, decide
from monitor.detector.incidents import Policy
from monitor.detector.smoothing import smoothed
from monitor.detector.spec import ScalingSpec
from training.evaluation.scored import FlaggedScores, calibrated_on, calibration_of, smoothing_of
from training.fitting import fit as fitting
from training.metrics import baseline_scores
from training.recipes.schema import Recipe
from training.thresholds.alert_policy import DEFAULTS
from training.thresholds.choose import LabelledScores, choose
from training.windows.subsets import Subsets, Table, cross_fitted

NAMES = ("pca", "pca_squared", "knn")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredBaseline:
    """Scores (n,) of windows, NaN = unscorable, and the threshold that was chosen for them."""

    scores: NDArray[np.float32]
    threshold: float

    @property
    def judged(self) -> FlaggedScores:
        """The scores, and which of them are over the threshold."""
        return FlaggedScores(scores=self.scores, flagged=decide(self.scores, self.threshold) == Verdict.ANOMALY)


def baselines(
    recipe: Recipe,
    subsets: Subsets,
    scales: ScalingSpec,
    tables: Sequence[Table],
    windows: NDArray[np.float32],
    *,
    series: NDArray[Any] | None = None,
    policy: Policy = DEFAULTS.policy,
    learnt: NDArray[np.bool_] | None = None,
    anomalous: NDArray[np.bool_] | None = None,
) -> dict[str, ScoredBaseline]:
    """Principal components, as many as the code is wide (half the window's size at most), by mean absolute and by mean
    squared error, and nearest neighbours.

    Args:
        parts: what `recipe` made of `tables`: baselines are fitted and calibrated on the same windows as the model.
        windows: (n, length, channels) in the data's own unit, to be scored.
        series: (n,) whose they are, in order of time within each; None: all of one.
        policy: opens the incidents by which a threshold may be chosen.
        learnt: which of `subsets.fit` the model learnt from; None: all of them.
        anomalous: (n,) the truth, for the method "oracle".
    """
    shape = autoencoder.Shape((subsets.window.length, len(subsets.channels)), subsets.window.image_shape)
    size = shape.window[0] * shape.window[1]
    components = max(min(autoencoder.code_size(recipe.model, shape), size // 2), 1)
    fitted = subsets.fit if learnt is None else subsets.fit[learnt]
    baseline = baseline_scores.fit(fitting.scale(fitted, scales), components=components, seed=0)
    held: Mapping[str, NDArray[np.floating]]
    if recipe.split.cross_fit:
        held = _cross_fitted(recipe, subsets, tables, components, scales.kind)
    else:
        held = baseline_scores.scores(baseline, fitting.scale(calibrated_on(recipe, subsets), scales))
    found = baseline_scores.scores(baseline, fitting.scale(windows, scales))
    rule = msgspec.structs.replace(recipe.threshold, per="artifact")
    made = {}
    for name in NAMES:
        if name in found:
            own = held[name].astype(np.float32)
            scores = smoothed(found[name].astype(np.float32), series, smoothing_of(recipe, own))
            calibration = calibration_of(recipe, subsets, tables, own, policy)
            labelled = None if anomalous is None else LabelledScores(scores=scores, anomalous=anomalous)
            chosen = choose(calibration, rule, oracle=labelled).threshold
            made[name] = ScoredBaseline(scores=scores, threshold=chosen.value)
    return made


def _cross_fitted(
    recipe: Recipe, subsets: Subsets, tables: Sequence[Table], components: int, kind: scaling.Kind
) -> Mapping[str, NDArray[np.floating]]:
    """The scores of the calibration windows, each by baselines that were fitted without its block."""
    names: list[str] = []

    def scored(block: Subsets) -> NDArray[np.float32]:
        own = scaling.fit(block.scaled_on, kind)
        baseline = baseline_scores.fit(fitting.scale(block.fit, own), components=components, seed=0)
        found = baseline_scores.scores(baseline, fitting.scale(block.calibration, own))
        names[:] = found
        return np.stack([found[name] for name in names], axis=1).astype(np.float32)

    held = cross_fitted(recipe, tables, subsets, scored, seed=0)
    return dict(zip(names, held.T, strict=True))
