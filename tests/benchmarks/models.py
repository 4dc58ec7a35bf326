"""The textbook's autoencoders side by side: each shipped recipe on data that shows what it is for.

Heartbeats: ECG5000's 4,000 beats that were not set aside, 80/20 by seed as in the tutorial, thresholds from training
data only. Images: the 8 x 8 handwritten digits that scikit-learn ships (1,797), or MNIST's IDX files where --mnist says
they are: fitted on 80 % of them, and uniform noise of the images' range beside the other 20 %.

    python -m tests.benchmarks.models --seeds 3 [--only beats-dense ...]
"""

from __future__ import annotations

import argparse
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from monitor.datafiles import WindowTable
from monitor.detector import architectures
from tests.benchmarks import beats
from training import datasets, pipeline, recipes
from training.datasets import ReadOptions
from training.recipes.schema import Recipe

BEATS = (
    "beats-linear",
    "beats-dense",
    "beats-overcomplete",
    "beats-sparse",
    "beats-denoising",
    "beats-contractive",
    "beats-convolutional",
    "beats-lstm",
    "beats-gru",
    "beats-variational",
    "beats-ensemble",
    "beats-prototypes",
)
IMAGES = ("images-dense", "images-convolutional", "images-variational")


class BeatsRow(msgspec.Struct, frozen=True, kw_only=True):
    """Mean and standard deviation over the seeds."""

    recipe: str
    accuracy: tuple[float, float]
    f1: tuple[float, float]
    auroc: tuple[float, float]
    pca_auroc: float
    knn_auroc: float
    seconds: float


class ImagesRow(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of unseen images: mean and worst; of noise images: mean and lowest."""

    recipe: str
    data: str
    mean: float
    worst: float
    noise: float
    lowest: float


def beats_row(recipe: Recipe, table: WindowTable, seeds: int) -> BeatsRow:
    """One recipe on heartbeats."""
    found, started = [], time.perf_counter()
    for seed in range(seeds):
        results = pipeline.train(recipe, [table], seed=seed, name=recipe.name).results
        made = results.detector
        assert made is not None
        baselines = [results.baselines[name].auroc for name in ("pca", "knn")]
        found.append((made.accuracy, made.anomaly.f1, made.auroc, *baselines))
    figures = np.array(found, dtype=np.float64)
    mean, spread = figures.mean(axis=0), figures.std(axis=0)
    pairs = [(float(mean[at]), float(spread[at])) for at in range(3)]
    return BeatsRow(
        recipe=recipe.name,
        accuracy=pairs[0],
        f1=pairs[1],
        auroc=pairs[2],
        pca_auroc=float(mean[3]),
        knn_auroc=float(mean[4]),
        seconds=(time.perf_counter() - started) / seeds,
    )


def images(mnist: Path | None) -> tuple[WindowTable, str]:
    """Images of digits, and what they are."""
    if mnist is not None:
        (table,) = datasets.read(str(mnist), kind="record", options=ReadOptions())
        assert isinstance(table, WindowTable)
        return table, f"MNIST, {len(table.windows)} images of 28 x 28"
    from sklearn.datasets import load_digits

    digits = load_digits()
    windows = digits.images.astype(np.float32).reshape(-1, 64, 1)
    return (
        WindowTable(windows=windows, channels=("grey",), labels=digits.target.astype(np.int64), image_shape=(8, 8)),
        f"scikit-learn's digits, {len(windows)} images of 8 x 8",
    )


def images_row(recipe: Recipe, table: WindowTable, title: str) -> ImagesRow:
    """One recipe on images, and noise."""
    trained = pipeline.train(recipe, [table], seed=0, name=recipe.name)
    scorer = trained.artifact.scorer()
    # the same split that the pipeline made: the first of the permutation are the test part
    tested = np.random.RandomState(0).permutation(len(table.windows))[: -(-len(table.windows) // 5)]
    unseen = scorer(table.windows[tested])
    shape = (1000, *table.windows.shape[1:])
    noise = np.random.default_rng(0).uniform(table.windows.min(), table.windows.max(), shape).astype(np.float32)
    scores = scorer(noise)
    return ImagesRow(
        recipe=recipe.name,
        data=title,
        mean=float(unseen.mean()),
        worst=float(unseen.max()),
        noise=float(scores.mean()),
        lowest=float(scores.min()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ecg5000"))
    parser.add_argument("--mnist", type=Path, help="train-images-idx3-ubyte, gzipped or not")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=(*BEATS, *IMAGES), default=[])
    options = parser.parse_args()
    chosen = [name for name in (*BEATS, *IMAGES) if not options.only or name in options.only]
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, n = {options.seeds} seeds for heartbeats, 1 for images")
    print(
        "| recipe | model | accuracy | anomaly F1 | AUROC | PCA / 5-NN AUROC | s a run |\n|---|---|---|---|---|---|---|"
    )
    if any(name in BEATS for name in chosen) and not options.data.is_dir():
        print(f"(heartbeats left out: {options.data} is not there)")
        chosen = [name for name in chosen if name in IMAGES]
    table = beats.part(beats.read(options.data), held_out=False) if any(name in BEATS for name in chosen) else None
    for name in chosen:
        if name in BEATS and table is not None:
            recipe = recipes.load(name)
            row = beats_row(recipe, table, options.seeds)
            cells = " | ".join(f"{mean:.3f} ± {spread:.3f}" for mean, spread in (row.accuracy, row.f1, row.auroc))
            baselines = f"{row.pca_auroc:.3f} / {row.knn_auroc:.3f}"
            print(f"| `{name}` | {_model(recipe)} | {cells} | {baselines} | {row.seconds:.0f} |", flush=True)
    digits, title = images(options.mnist)
    print(
        f"\n{title}\n\n| recipe | model | unseen images, mean | worst | noise, mean of 1,000 | lowest | over the mean |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in chosen:
        if name in IMAGES:
            recipe = recipes.load(name)
            found = images_row(recipe, digits, title)
            print(
                f"| `{name}` | {_model(recipe)} | {found.mean:.4g} | {found.worst:.4g} | {found.noise:.4g} | "
                f"{found.lowest:.4g} | {found.noise / found.mean:.1f} x, lowest {found.lowest / found.mean:.1f} x |",
                flush=True,
            )


def _model(recipe: Recipe) -> str:
    kind = type(architectures.single(recipe.model)).__name__.removesuffix("Spec").lower()
    return f"{kind}, {recipe.objective.loss}, scored by {recipe.score.kind}"


if __name__ == "__main__":
    main()
