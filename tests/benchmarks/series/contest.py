"""A detector and its baselines on one series: the same windows, the same scaling, a threshold each by the same rule.

Rules of this package: nothing is learnt from a tested row, but under TSB-AD's protocol for SMD, which scores the rows
that were fitted too. Recipes and what else there was to choose were chosen on the part of a data set that each
benchmark names; the rest was scored with the choice made. `tried.md` lists what was scored before. Anomaly is positive,
and nothing is point-adjusted. Baselines, and counts of events and alarms, are of the first seed.
"""

from __future__ import annotations

import math
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

import jax
import msgspec
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable
from monitor.detector import autoencoder
from monitor.detector.arrays import BoolArray, Float32Array, FloatArray, Int64Array
from monitor.detector.artifact import Artifact
from monitor.detector.decision import Verdict, decide
from monitor.detector.smoothing import smoothed
from monitor.detector.spec import SmoothingSpec, WindowSpec
from training import pipeline
from training.datasets import levels
from training.evaluation.baselines import NAMES, baselines
from training.evaluation.scored import calibrated_on, smoothing_of
from training.fitting import fit as fitting
from training.metrics import baseline_scores, series, vus
from training.recipes.schema import Recipe
from training.windows import splits
from training.windows.subsets import divide, served

BATCH_ROWS = 1_024
PERIODS, SHORTEST = 1, 16  # of a window for what repeats; the latter in rows
MOST_LEARNT = 50_000  # windows, of a series of an archive
PART_NUMBERS = 2**23  # of the windows that are scored at a time: 32 MiB
Score = Callable[[Float32Array], dict[str, NDArray[np.floating]]]  # of windows, by the scorer's name
SCORERS = ("detector", "pca", "pca_squared", "knn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One scorer's scores of a series' windows (m,), NaN where unscorable, and its threshold, from held-out normal
    windows.

    `first` and `last` (m,) are the rows of each window in a series of `rows`.
    """

    scores: Float32Array
    first: Int64Array
    last: Int64Array
    rows: int
    threshold: float

    def causal(self) -> series.PointScores:
        """What the daemon knows at each row."""
        return series.causal(self.scores, self.first, self.last, self.rows)

    def overlap_mean(self) -> series.PointScores:
        """The mean of all windows over a row: later known, by a window's length."""
        return series.overlap_mean(self.scores, self.first, self.last, self.rows)

    def flagged(self) -> BoolArray:
        """Rows (n,) whose newest window is over the threshold."""
        found: BoolArray = decide(self.causal().values.astype(np.float32), self.threshold) == Verdict.ANOMALY
        return found


class _Contender(NamedTuple):
    """What scores windows, and how its scores are smoothed, by name."""

    score: Score
    smoothing: dict[str, SmoothingSpec | None]


def contest(
    recipe: Recipe, learnt: SeriesTable, tested: SeriesTable, *, seed: int, with_baselines: bool = True
) -> dict[str, Scored]:
    """Fits on `learnt`, all of it as the recipe divides it, and scores `tested` whole.

    Returns:
        The detector's scores and, `with_baselines`, those of `pca` and `pca_squared` (as many components as the code is
        wide, mean absolute and squared error) and `knn` (5 nearest of at most 5,000 windows).
    """
    recipe = _without_test(recipe)
    artifact = pipeline.train(recipe, [learnt], seed=seed, name=recipe.name, batch_rows=BATCH_ROWS).artifact
    manifest, scorer = artifact.manifest, artifact.scorer()
    window = manifest.window
    cut = splits.cut(tested.samples, tested.time_us, slice(0, len(tested.samples)), window)
    windows = served(cut.values, window)

    def scored(scores: NDArray[np.floating], threshold: float) -> Scored:
        return Scored(
            scores=scores.astype(np.float32),
            first=cut.first,
            last=cut.last,
            rows=len(tested.samples),
            threshold=threshold,
        )

    own = smoothed(scorer(windows), None, manifest.score.smoothing)
    found = {"detector": scored(own, manifest.threshold.value)}
    if not with_baselines:
        return found
    # The recipe as it was chosen, so that PCA has as many components as the model's code is wide.
    recipe = msgspec.convert(manifest.training["recipe"], Recipe)
    parts = divide(recipe, [learnt], seed=seed)
    for name, baseline in baselines(recipe, parts, manifest.scaling, [learnt], windows).items():
        found[name] = scored(baseline.scores, baseline.threshold)
    return found


def ranked(
    recipe: Recipe, learnt: SeriesTable, tested: SeriesTable, *, seed: int, with_baselines: bool = True
) -> dict[str, Scored]:
    """As `contest`, without thresholds (NaN), for whole archives: memory does not grow with the rows tested.

    Learns from at most 50,000 windows, evenly spaced. Both series are without times.
    """
    recipe = _without_test(recipe)
    hop = max(recipe.window.hop or 1, math.ceil(len(learnt.samples) / MOST_LEARNT))
    sparing = msgspec.structs.replace(recipe, window=msgspec.structs.replace(recipe.window, hop=hop))
    artifact = pipeline.train(sparing, [learnt], seed=seed, name=recipe.name, batch_rows=BATCH_ROWS).artifact
    learnt, tested = (_levelled(table, artifact) for table in (learnt, tested))
    contenders = [_detector(artifact)]
    if with_baselines:
        contenders.append(_beside(artifact, learnt, seed))
    window = msgspec.structs.replace(artifact.manifest.window, hop=recipe.window.hop or 1)
    found = _by_parts([each.score for each in contenders], tested, window)
    smoothing = {name: spec for each in contenders for name, spec in each.smoothing.items()}
    return {
        name: replace(scored, scores=smoothed(scored.scores, None, smoothing.get(name)))
        for name, scored in found.items()
    }


def rhythm(samples: FloatArray) -> int:
    """The length of windows for what repeats, from the samples (n, channels) to learn from: a period of the first
    channel, as TSB-AD finds it; at most a tenth of them, at least 16 rows.
    """
    return max(min(PERIODS * vus.period(samples[:, 0]), len(samples) // 10), SHORTEST)


def _levelled(table: SeriesTable, artifact: Artifact) -> SeriesTable:
    """The numbers that the artifact scores: less its channels' levels."""
    taken = tuple(channel.level for channel in artifact.manifest.channels)
    levelled = levels.without(table, taken) if any(taken) else table
    assert isinstance(levelled, SeriesTable)
    return levelled


def _detector(artifact: Artifact) -> _Contender:
    scorer = artifact.scorer()
    return _Contender(lambda windows: {"detector": scorer(windows)}, {"detector": artifact.manifest.score.smoothing})


def _beside(artifact: Artifact, learnt: SeriesTable, seed: int) -> _Contender:
    """The baselines, of the detector's windows and scaling; PCA of large windows is absent."""
    manifest, recipe = artifact.manifest, msgspec.convert(artifact.manifest.training["recipe"], Recipe)
    subsets = divide(recipe, [learnt], seed=seed)
    shape = autoencoder.Shape((manifest.window.length, len(manifest.channels)), None)
    components = max(min(autoencoder.code_size(manifest.model, shape), math.prod(shape.window) // 2), 1)
    fitted = baseline_scores.fit(fitting.scale(subsets.fit, manifest.scaling), components=components, seed=0)

    def score(windows: Float32Array) -> dict[str, NDArray[np.floating]]:
        found = baseline_scores.scores(fitted, fitting.scale(windows, manifest.scaling))
        return {name: found[name] for name in NAMES if name in found}

    held = score(calibrated_on(recipe, subsets)) if recipe.score.smoothing > 1 else {}
    return _Contender(score, {name: smoothing_of(recipe, scores.astype(np.float32)) for name, scores in held.items()})


def _by_parts(scorers: Sequence[Score], tested: SeriesTable, window: WindowSpec) -> dict[str, Scored]:
    rows, channels = tested.samples.shape
    parts: list[dict[str, NDArray[np.floating]]] = []
    cuts: list[tuple[Int64Array, Int64Array]] = []
    for part in _parts(rows, channels, window):
        cut = splits.cut(tested.samples, None, part, window)
        windows = served(cut.values, window)
        parts.append({name: scores for scorer in scorers for name, scores in scorer(windows).items()})
        cuts.append((cut.first, cut.last))
    first, last = (np.concatenate(column) for column in zip(*cuts, strict=True))
    together = {name: np.concatenate([part[name] for part in parts]).astype(np.float32) for name in parts[0]}
    return {
        name: Scored(scores=scores, first=first, last=last, rows=rows, threshold=math.nan)
        for name, scores in together.items()
    }


def _parts(rows: int, channels: int, window: WindowSpec) -> Iterator[slice]:
    """A series in parts that hold each window once, in order."""
    many = max(PART_NUMBERS // (window.length * channels), 1)
    for first in range(0, max(rows - window.length + 1, 1), many * window.hop):
        yield slice(first, min(first + (many - 1) * window.hop + window.length, rows))


@contextmanager
def compiled_once() -> Iterator[None]:
    """Within it nothing of one shape is compiled twice, though each fit compiles its own: for many short fits."""
    with tempfile.TemporaryDirectory() as directory:
        jax.config.update("jax_compilation_cache_dir", directory)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        compilation_cache.reset_cache()  # JAX looks at these once
        try:
            yield
        finally:
            jax.config.update("jax_compilation_cache_dir", None)
            compilation_cache.reset_cache()


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    """Of several seeds; without a spread where there is one."""
    spread = f" ± {np.std(values):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def heading(what: str, seeds: int) -> None:
    """When, where and how often."""
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {what}, n = {seeds} seeds, mean ± sd\n", flush=True)


def rows_of(table: SeriesTable, part: slice) -> SeriesTable:
    """A series' rows `part`."""
    return replace(
        table,
        samples=table.samples[part],
        time_us=None if table.time_us is None else table.time_us[part],
        labels=None if table.labels is None else table.labels[part],
    )


def _without_test(recipe: Recipe) -> Recipe:
    return msgspec.structs.replace(recipe, split=msgspec.structs.replace(recipe.split, test=0.0))
