"""`--recipe auto`: which kind of detector is kept, decided without a label and without a tested row.

A few kinds of detectors are fitted on the same windows. Each scores windows that none was fitted on: held-out normal
ones, and copies of them that were changed on purpose. The kind is kept whose order of these windows agrees most with
the others', nearest neighbours among them: kinds err in different ways, so what most agree on is rarely an error. How
well each kind finds the changed windows is reported, but does not decide: it favours whoever looks for what was made
up, and on server metrics, for one, it would choose badly.

Rules of this file: everything drawn comes from the seed; what changes a window is told in its channel's scale.

References:
    Goswami et al. 2023, "Unsupervised Model Selection for Time-series Anomaly Detection", ICLR, arXiv:2210.01078: by
    agreement between models (centrality), by injected anomalies, and by prediction error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import scipy.stats
from numpy.typing import NDArray

from monitor.detector.architectures import DenseSpec
from monitor.detector.arrays import Float32Array, Float64Array
from monitor.detector.scoring import Detector, Scorer
from monitor.detector.spec import ScalingSpec
from training.fitting import fit as fitting
from training.fitting.fit import Fitted
from training.metrics import baseline_scores
from training.recipes.schema import FitPart, ObjectivePart, Recipe, ScorePart
from training.windows.subsets import Subsets

HELD_OUT = 1_000  # normal windows that are ordered, evenly chosen
CHANGED = 150  # windows with each kind of change
LEAST, MOST = 0.3, 3.0  # of a change, in units of the scaling
CODE = 32  # numbers of a linear code at most, and at most a quarter of the window's
JUROR = "nearest neighbours"
BATCH_ROWS = 256


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of detector as it was tried.

    `agreement`: mean rank correlation (Spearman's) of its scores with those of the others. `found`: AUROC of the
    changed windows against the normal ones, mean over kinds of changes.
    """

    name: str
    agreement: float
    found: float
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What is kept, as a recipe of that kind, and what was tried, best agreement first."""

    recipe: Recipe
    detector: Detector
    fitted: Fitted
    tried: tuple[Candidate, ...]

    @property
    def note(self) -> str:
        """What a person should know of the choice."""
        told = "; ".join(f"{each.name} {each.agreement:.2f} ({each.found:.2f})" for each in self.tried)
        return (
            f"chosen: {self.tried[0].name}, whose order of held-out windows agrees most with the others'; mean rank "
            f"correlation (and AUROC of windows that were changed on purpose): {told}"
        )


def choose(
    recipe: Recipe, subsets: Subsets, scales: ScalingSpec, seed: int, fit: Callable[[Recipe], tuple[Detector, Fitted]]
) -> Chosen:
    """Fits every kind of `candidates` and keeps one; `subsets.calibration` are the windows that none is fitted on."""
    made = {name: (each, *fit(each)) for name, each in candidates(recipe, subsets)}
    held = fitting.scale(_evenly(subsets.calibration, HELD_OUT), scales)
    trials = {"normal": held, **changed(_evenly(held, CHANGED), seed)}
    scored = {name: _scores(detector, trials, scales) for name, (_, detector, _) in made.items()}
    remembered = _flat(_evenly(fitting.scale(subsets.fit, scales), recipe.score.memory))
    scored[JUROR] = {
        kind: baseline_scores.neighbour_distances(_flat(windows), remembered, 1) for kind, windows in trials.items()
    }
    agreements = agreement({name: np.concatenate(list(each.values())) for name, each in scored.items()})
    order = sorted(made, key=lambda name: -agreements[name])  # of equals the first of `candidates`
    tried = tuple(
        Candidate(name=name, agreement=agreements[name], found=separation(scored[name]), chosen=name == order[0])
        for name in order
    )
    kept, detector, fitted = made[order[0]]
    return Chosen(recipe=kept, detector=detector, fitted=fitted, tried=tried)


def candidates(recipe: Recipe, subsets: Subsets) -> Iterator[tuple[str, Recipe]]:
    """The kinds that are tried, each as a recipe; the worst channels where there are more than that."""
    change = msgspec.structs.replace
    width = max(min(CODE, subsets.window.length * len(subsets.channels) // 4), 1)
    linear = change(
        recipe,
        choose=False,
        model=DenseSpec(widths=(width,), hidden="linear", output="linear", code="linear"),
        fit=FitPart(method="exact"),
        objective=ObjectivePart(loss="mse"),
    )

    def scored(kind: str) -> Recipe:
        score: ScorePart = change(recipe.score, kind=kind)
        return change(linear, score=score)

    yield "linear, squared error", scored("mse")
    yield "linear, memory of codes", scored("memory")
    if len(subsets.channels) > recipe.score.worst:
        yield f"linear, worst {recipe.score.worst} channels", scored("worst_channels")
    model = recipe.model
    if isinstance(model, DenseSpec):
        model = change(model, widths=(*model.widths[:-1], min(model.widths[-1], width)))
    yield "dense, absolute error", change(recipe, choose=False, model=model)


def changed(windows: Float32Array, seed: int) -> dict[str, Float32Array]:
    """Scaled windows (n, length, channels), changed in one way each, from some sample on, in one, some or all channels.

    `shift`, `spike` (one sample) and `noise` add what is 0.3 to 3 times the scale in all, however many channels share
    it; `stretch` and `flip` multiply what a channel differs from its mean by; `other` takes the numbers of another
    window, and `mix` their mean.
    """
    rng = np.random.default_rng(seed)
    rows, length, channels = windows.shape
    mean = windows.mean(axis=(0, 1))
    made = {}
    for kind in ("shift", "spike", "noise", "stretch", "flip", "other", "mix"):
        extent: NDArray[np.int64] = rng.choice(np.array([1, max(channels // 2, 1), channels]), size=rows)
        among = rng.random((rows, channels)).argsort(axis=1).argsort(axis=1) < extent[:, None]
        begun = np.arange(length) >= rng.integers(0, length, size=(rows, 1))
        size = np.exp(rng.uniform(np.log(LEAST), np.log(MOST), rows))[:, None, None]
        shared = size / np.sqrt(extent)[:, None, None] * rng.choice([-1.0, 1.0], (rows, 1, channels))
        other = windows[rng.permutation(rows)]
        if kind == "spike":
            begun = np.arange(length) == begun.argmax(axis=1)[:, None]
        instead = {
            "shift": windows + shared,
            "spike": windows + shared,
            "noise": windows + shared * rng.normal(size=windows.shape),
            "stretch": mean + (windows - mean) * (1 + size),
            "flip": 2 * mean - windows,
            "other": other,
            "mix": (windows + other) / 2,
        }[kind]
        made[kind] = np.where(begun[:, :, None] & among[:, None, :], instead, windows).astype(np.float32)
    return made


def agreement(scores: Mapping[str, Float64Array]) -> dict[str, float]:
    """Of each scorer of the same windows (n,), at least two: its mean rank correlation with the others; 0 where it
    scores all alike."""
    ranks = np.stack([scipy.stats.rankdata(each) for each in scores.values()])
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1, keepdims=True)
    ranks /= np.where(lengths > 0, lengths, 1.0)
    correlations = ranks @ ranks.T
    np.fill_diagonal(correlations, 0.0)
    return dict(zip(scores, (correlations.sum(axis=1) / (len(ranks) - 1)).tolist(), strict=True))


def separation(scores: Mapping[str, Float64Array]) -> float:
    """Mean AUROC of each kind of changed windows against the `normal` ones."""
    normal = scores["normal"]
    found = []
    for kind, values in scores.items():
        if kind != "normal":
            above = scipy.stats.mannwhitneyu(values, normal, alternative="two-sided").statistic
            found.append(above / (len(values) * len(normal)))
    return float(np.mean(found))


def _scores(detector: Detector, trials: Mapping[str, Float32Array], scales: ScalingSpec) -> dict[str, Float64Array]:
    scorer = Scorer(detector, BATCH_ROWS)
    offset, scale = np.array(scales.offset, np.float32), np.array(scales.scale, np.float32)
    return {kind: scorer(windows * scale + offset).astype(np.float64) for kind, windows in trials.items()}


def _evenly(windows: Float32Array, most: int) -> Float32Array:
    return windows[np.unique(np.linspace(0, len(windows) - 1, most).astype(np.int64))]


def _flat(windows: Float32Array) -> Float32Array:
    return windows.reshape(len(windows), windows.shape[1] * windows.shape[2])
