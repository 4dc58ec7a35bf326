"""SMD, four of its 28 server machines, 38 channels: how scores rank the anomalous rows, and what a threshold finds.

Two protocols. `own half`: fitted on a machine's first half, which has no labels, and tested on the second, as the data
set was made to be used. `TSB-AD`: fitted on the rows of the second half before the first anomaly, as many as TSB-AD's
file names say, and the whole second half is scored, those rows too; then VUS-PR is of the very series of TSB-AD-M's
tables. machine-1-6, anomalous from row 246 on, is not among TSB-AD's.

The recipe `servers` was chosen on machine-1-6; the others were scored with it once.

    python -m tests.benchmarks.series.smd --seeds 3
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal

from monitor.datafiles import SeriesTable
from monitor.detector.incidents import Policy
from tests.benchmarks import results
from tests.benchmarks.series.contest import SCORERS, Scored, compiled_once, contest, heading, mean_sd, rows_of
from training import datasets, recipes
from training.datasets import ReadOptions
from training.metrics import baseline_scores, events, series, vus
from training.recipes.schema import Recipe

Protocol = Literal["own half", "TSB-AD"]
CHOSEN_ON = "machine-1-6"
# How many rows TSB-AD fits on, and VUS-PR of the file in its table multi_mergedTable_VUS-PR.csv, PCA, AutoEncoder,
# KMeansAD and CNN: 057_SMD_id_1, 063_SMD_id_7 and 066_SMD_id_10, known by their length, events and first anomaly.
TSB_AD = {
    "machine-1-2": (4529, {"PCA": 0.240, "AutoEncoder": 0.259, "KMeansAD": 0.270, "CNN": 0.414}),
    "machine-2-1": (5923, {"PCA": 0.253, "AutoEncoder": 0.350, "KMeansAD": 0.452, "CNN": 0.335}),
    "machine-3-4": (2634, {"PCA": 0.246, "AutoEncoder": 0.428, "KMeansAD": 0.371, "CNN": 0.254}),
}
MACHINES = (CHOSEN_ON, *TSB_AD)
MEASURES = ("VUS-PR, causal", "VUS-PR, averaged", "average precision", "F1, oracle")
# Of the averaged VUS-PR, by recipe and protocol: must, aim.
BARS: dict[tuple[str, str], tuple[float | None, float | None]] = {
    ("auto", "TSB-AD"): (0.68, 0.75),
    ("auto", "own half"): (0.63, 0.70),
    ("servers", "TSB-AD"): (0.47, 0.60),
    ("servers", "own half"): (0.50, 0.60),
}
Found = dict[str, list[tuple[float, ...]]]  # by scorer, a machine's figures of each seed


def read(directory: Path, machine: str) -> tuple[SeriesTable, SeriesTable]:
    """A machine's first half, and its second with labels. Raises `DataError` where a file can't be read."""
    labels = ReadOptions(labels=directory / "test_label" / f"{machine}.txt")
    (first,) = datasets.read(str(directory / "train" / f"{machine}.txt.gz"), kind="sliding")
    (second,) = datasets.read(str(directory / "test" / f"{machine}.txt.gz"), kind="sliding", options=labels)
    assert isinstance(first, SeriesTable)
    assert isinstance(second, SeriesTable)
    return first, second


def score(
    recipe: Recipe, directory: Path, machine: str, protocol: Protocol, seed: int
) -> tuple[SeriesTable, dict[str, Scored]]:
    """The second half, and each scorer's scores of it; baselines with the first seed only."""
    first, second = read(directory, machine)
    learnt = first if protocol == "own half" else rows_of(second, slice(0, TSB_AD[machine][0]))
    return second, contest(recipe, learnt, second, seed=seed, with_baselines=not seed)


def figures(table: SeriesTable, scored: Scored) -> tuple[float, float, float, float]:
    """VUS-PR of causal scores and of overlap-averaged ones, average precision, and the oracle's F1, both causal."""
    assert table.labels is not None
    truth, window = table.labels == 1, vus.period(table.samples[:, 0])
    causal = series.point_metrics(truth, scored.causal(), window=window)
    averaged = vus.volume(truth, scored.overlap_mean().values, window)
    assert causal.volume is not None
    assert averaged is not None
    assert causal.average_precision is not None
    assert causal.oracle is not None
    return causal.volume.vus_pr, averaged.vus_pr, causal.average_precision, causal.oracle.f1


def found_events(table: SeriesTable, scored: Scored) -> events.Events:
    """Of the threshold that was frozen before; incidents as the daemon would tell of them."""
    assert table.labels is not None
    return events.report(table.labels == 1, scored.flagged(), merge_gap=Policy().close_after)


def wrongly_flagged(table: SeriesTable, scored: Scored) -> float:
    """The share of normal rows that are flagged: one alert over everything finds every event."""
    assert table.labels is not None
    return float(scored.flagged()[table.labels != 1].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/smd"))
    parser.add_argument("--recipe", default="servers")
    parser.add_argument("--machines", nargs="*", default=list(MACHINES), choices=MACHINES)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    recipe = recipes.override(recipes.load(options.recipe), normal_class="all")
    heading(f"`{options.recipe}`, SMD", options.seeds)
    print("| protocol | machine | scorer | VUS-PR, causal | VUS-PR, averaged | average precision | F1, oracle |")
    print("|---|---|---|---|---|---|---|")
    lines = []
    with compiled_once():
        protocols: tuple[Protocol, ...] = ("own half", "TSB-AD")
        for protocol in protocols:
            machines = [each for each in options.machines if protocol == "own half" or each in TSB_AD]
            found = []
            for machine in machines:
                told, figures = report(recipe, options.data, machine, protocol, options.seeds)
                lines += told
                found.append(figures)
            if len(machines) == len(MACHINES if protocol == "own half" else TSB_AD):
                keep(recipe.name, protocol, found)
    print(
        "\n| protocol | machine | scorer | events found | alerts | false | normal rows flagged | delay, median rows |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(lines))


def keep(detector: str, protocol: Protocol, machines: Sequence[Found]) -> None:
    """Keeps the mean over machines of each measure."""
    published = {}
    if protocol == "TSB-AD":
        names = next(iter(TSB_AD.values()))[1]
        published = {f"TSB-AD's {name}": fmean(each[name] for _, each in TSB_AD.values()) for name in names}
    made = []
    for at, measure in enumerate(MEASURES):
        values = {
            name: [fmean(seeds[at] for seeds in each) for each in zip(*(one[name] for one in machines), strict=True)]
            for name in machines[0]
        }
        made.append(
            results.of_seeds(
                values,
                data=f"SMD, {protocol}, {len(machines)} machines",
                measure=measure,
                detector=detector,
                series=len(machines),
                published=published if measure.startswith("VUS-PR") else {},
                bars=BARS.get((detector, protocol), (None, None)) if measure == "VUS-PR, averaged" else (None, None),
                command="make smd",
            )
        )
    results.write("smd", made)


def report(recipe: Recipe, directory: Path, machine: str, protocol: Protocol, seeds: int) -> tuple[list[str], Found]:
    """Prints a machine's rows of the first table; returns those of the second, and the figures."""
    found: Found = {}
    lines = []
    for seed in range(seeds):
        table, scored = score(recipe, directory, machine, protocol, seed)
        for name, each in scored.items():
            found.setdefault(name, []).append(figures(table, each))
        if not seed:
            told = {name: found_events(table, each) for name, each in scored.items()}
            wrongly = {name: wrongly_flagged(table, each) for name, each in scored.items()}
    for name in SCORERS:
        cells = " | ".join(mean_sd(column) for column in zip(*found[name], strict=True))
        print(f"| {protocol} | {machine} | {name} | {cells} |", flush=True)
        events = told[name]
        lines.append(
            f"| {protocol} | {machine} | {name} | {events.found} of {events.events} | {events.alerts} "
            f"| {events.false_alarms} | {wrongly[name]:.1%} "
            f"| {'over half missed' if events.delay.median is None else events.delay.median} |"
        )
    assert table.labels is not None
    truth = table.labels == 1
    random = vus.random_volume(truth, vus.period(table.samples[:, 0]), seed=0)
    share = float(truth.mean())
    average = baseline_scores.random_average_precision(len(truth), int(truth.sum()))
    assert random is not None
    assert average is not None
    print(
        f"| {protocol} | {machine} | random scores | {random.vus_pr:.3f} | {random.vus_pr:.3f} | {average:.3f} "
        f"| {2 * share / (1 + share):.3f} |"
    )
    if protocol == "TSB-AD":
        for name, anchor in TSB_AD[machine][1].items():
            print(f"| {protocol} | {machine} | TSB-AD's {name} | | {anchor:.3f} | | |", flush=True)
    return lines, found


if __name__ == "__main__":
    main()
