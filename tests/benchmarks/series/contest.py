"""A detector and its baselines on one series: the same windows, the same scaling, a threshold each by the same rule.

Rules of this package: nothing is learnt from a tested row, but under TSB-AD's protocol for SMD, which scores the rows
that were fitted too. Recipes and what else there was to choose were chosen on the part of a data set that each
benchmark names; the rest was scored with the choice made. `tried.md` lists what was scored before. Anomaly is positive,
and nothing is point-adjusted. Baselines, and counts of events and alarms, are of the first seed.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import jax
import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable
from monitor.detector.arrays import BoolArray, Float32Array, Int64Array
from monitor.detector.decision import Verdict, decide
from training import pipeline
from training.evaluation.baselines import baselines
from training.metrics import series
from training.recipes.schema import Recipe
from training.windows import splits
from training.windows.subsets import divide, served

BATCH_ROWS = 1_024
SCORERS = ("detector", "pca", "knn")


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


def contest(
    recipe: Recipe, learnt: SeriesTable, tested: SeriesTable, *, seed: int, with_baselines: bool = True
) -> dict[str, Scored]:
    """Fits on `learnt`, all of it as the recipe divides it, and scores `tested` whole.

    Returns:
        The detector's scores and, `with_baselines`, those of `pca` (as many components as the code is wide) and `knn`
        (5 nearest of at most 5,000 windows).
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

    found = {"detector": scored(scorer(windows), manifest.threshold.value)}
    if not with_baselines:
        return found
    parts = divide(recipe, [learnt], seed=seed)
    for name, baseline in baselines(recipe, parts, manifest.scaling, [learnt], windows).items():
        found[name] = scored(baseline.scores, baseline.threshold)
    return found


@contextmanager
def compiled_once() -> Iterator[None]:
    """Within it nothing of one shape is compiled twice, though each fit compiles its own: for many short fits."""
    with tempfile.TemporaryDirectory() as directory:
        jax.config.update("jax_compilation_cache_dir", directory)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        try:
            yield
        finally:
            jax.config.update("jax_compilation_cache_dir", None)


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
