"""Training on data that is not all normal: a share of the "normal" beats are anomalies, and trimming is on or off.

ECG5000's 4,000 beats that were not set aside, 80/20 by seed. Anomalies of the training part pass for normal, in fitting
and in calibration alike, until they are the given share of it; the test part keeps its true labels. Positive: anomaly.

    python -m tests.benchmarks.contamination --seeds 3
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from monitor.datafiles import WindowTable
from monitor.detector.decision import Verdict, decide
from tests.benchmarks import beats
from training import pipeline, recipes
from training.metrics.windows import Report, report
from training.recipes.schema import Recipe

SHARES = (0.0, 0.01, 0.05, 0.1)
TRIMS = (0.0, 0.05, 0.1)


def contaminated(table: WindowTable, share: float, seed: int) -> tuple[WindowTable, WindowTable]:
    """The training part, in which anomalies labelled normal are `share` of all labelled normal, and the test part."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table.windows))
    assert table.labels is not None
    test, fit = order[: len(order) // 5], order[len(order) // 5 :]
    normal, odd = fit[table.labels[fit] == 1], fit[table.labels[fit] != 1]
    hidden = odd[: round(len(normal) * share / (1 - share))]
    rows = rng.permutation(np.concatenate([normal, hidden]))
    learnt = replace(table, windows=table.windows[rows], labels=np.ones(len(rows), dtype=np.int64))
    return learnt, replace(table, windows=table.windows[test], labels=table.labels[test])


def figures(recipe: Recipe, table: WindowTable, share: float, trim: float, seed: int) -> Report:
    """Of one training on contaminated data."""
    fit = msgspec.structs.replace(recipe.fit, trim=trim)
    split = msgspec.structs.replace(recipe.split, test=0.0)
    learnt, tested = contaminated(table, share, seed)
    trained = pipeline.train(msgspec.structs.replace(recipe, fit=fit, split=split), [learnt], seed=seed, name="x")
    scores = trained.artifact.scorer()(tested.windows)
    flagged = decide(scores, trained.artifact.manifest.threshold.value) == Verdict.ANOMALY
    assert tested.labels is not None
    return report(tested.labels != 1, scores, flagged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ecg5000"))
    parser.add_argument("--recipe", default="beats-dense")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    table, recipe = beats.part(beats.read(options.data), held_out=False), recipes.load(options.recipe)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, `{recipe.name}`, n = {options.seeds} seeds, mean ± sd")
    print("| contaminated | trimmed | accuracy | anomaly F1 | AUROC |\n|---|---|---|---|---|")
    for share in SHARES:
        for trim in TRIMS:
            found = [figures(recipe, table, share, trim, seed) for seed in range(options.seeds)]
            numbers = np.array([(r.accuracy, r.anomaly.f1, r.auroc) for r in found], dtype=np.float64)
            cells = " | ".join(
                f"{mean:.3f} ± {sd:.3f}" for mean, sd in zip(numbers.mean(axis=0), numbers.std(axis=0), strict=True)
            )
            print(f"| {share:.0%} | {trim:.0%} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
