"""NAB, 49 of its 58 series: its own score, with a threshold chosen before and with one chosen on the corpus.

Each series by itself: fitted and its threshold chosen on the rows that NAB gives for learning (the first 15 %, at most
750), which are not scored. What is scored are alerts, as the daemon publishes them: the row at which an incident opens.
An incident closes after so many windows under the threshold (`alerting.close_after`), and a value for NAB's windows,
which are hours to days long, is far above the daemon's default of 3.

`frozen`: each series' own threshold, as it was chosen. `oracle`: one factor for all thresholds, the best on the series
scored, as in NAB's table. Published figures are of 58 series, rows rather than incidents.

`--close-after` was chosen on the series outside realKnownCause and realAWSCloudwatch, and the recipe `metrics`
of before 2026-12-01; that of today on all of them, by what tried.md lists.

    python -m tests.benchmarks.series.nab --seeds 3
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable
from monitor.detector.arrays import BoolArray
from monitor.detector.incidents import Policy, Status, steps
from tests.benchmarks import results
from tests.benchmarks.series.contest import SCORERS, compiled_once, contest, heading, mean_sd, rows_of
from training import datasets, recipes
from training.datasets import ReadOptions
from training.metrics import events, nab
from training.recipes.schema import Recipe

SET_ASIDE = ("realKnownCause", "realAWSCloudwatch")
# numenta/NAB's README, standard profile, 58 series, rows and an oracle's threshold
PUBLISHED = {"ARTime": 74.9, "HTM": 70.5, "RCF": 51.7, "Windowed Gaussian": 39.6, "random": 11.0}
BARS = {3: (20.0, 50.0), 100: (44.0, 55.0)}  # of all series, frozen, by when incidents close: must, aim
FACTORS = np.append(np.geomspace(0.5, 100, 60), 1.0)  # of the thresholds, among which the oracle chooses


def read(directory: Path, name: str) -> SeriesTable:
    """A series with its labelled windows; its rows are taken as they follow each other, whatever their times."""
    options = ReadOptions(labels=directory / "labels" / "combined_windows.json")
    (table,) = datasets.read(str(directory / "data" / name), kind="sliding", options=options, note=lambda _: None)
    assert isinstance(table, SeriesTable)
    return replace(table, time_us=None)


def openings(over: BoolArray, close_after: int) -> NDArray[np.float64]:
    """The rows (n,) at which an incident opens, as 1."""
    opened = np.zeros(len(over))
    opened[steps(over.astype(np.int8), Policy(close_after=close_after))[Status.FIRING]] = 1
    return opened


def ratios(recipe: Recipe, table: SeriesTable, seed: int) -> dict[str, NDArray[np.float64]]:
    """Each scorer's causal scores (n,) over its threshold; baselines with the first seed only."""
    learnt = rows_of(table, slice(0, nab.probation(len(table.samples))))
    found = contest(recipe, learnt, table, seed=seed, with_baselines=not seed)
    return {name: scored.causal().values / scored.threshold for name, scored in found.items()}


def scores(
    found: Sequence[NDArray[np.float64]], windows: Sequence[NDArray[np.int64]], close_after: int
) -> tuple[nab.NabScore, nab.NabScore]:
    """NAB's score of the thresholds as they were chosen, and with the best common factor."""

    def at(factor: float) -> nab.NabScore:
        files = [
            nab.File(scores=openings(ratio > factor, close_after), windows=each)
            for ratio, each in zip(found, windows, strict=True)
        ]
        return nab.frozen(files, [0.5] * len(files))

    return at(1.0), max(map(at, FACTORS), key=lambda score: score.raw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/nab"))
    parser.add_argument("--recipe", default="metrics")
    parser.add_argument("--close-after", type=int, nargs="*", default=[3, 100])
    parser.add_argument("--only", nargs="*", help="folders, such as realTweets; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    recipe = recipes.override(recipes.load(options.recipe), normal_class="all")
    names = sorted(json.loads((options.data / "labels" / "combined_windows.json").read_bytes()))
    names = [name for name in names if not options.only or name.split("/")[0] in options.only]
    windows, found = {}, dict[str, list[dict[str, NDArray[np.float64]]]]()
    with compiled_once():
        for name in names:
            table = read(options.data, name)
            assert table.labels is not None
            windows[name] = events.intervals(table.labels == 1)
            found[name] = [ratios(recipe, table, seed) for seed in range(options.seeds)]
    parts = {
        "chosen on": [name for name in names if not name.startswith(SET_ASIDE)],
        "set aside": [name for name in names if name.startswith(SET_ASIDE)],
        "all": names,
    }
    heading(f"`{options.recipe}`, NAB, {len(names)} series", options.seeds)
    print("| series | scorer | closes after | frozen thresholds | found | false | oracle's factor | found | false |")
    print("|---|---|---|---|---|---|---|---|---|")
    for part, chosen in parts.items():
        for close_after in options.close_after if chosen else ():
            for scorer in SCORERS:
                print(_row(part, scorer, close_after, [found[name] for name in chosen], [windows[n] for n in chosen]))
    if not options.only:
        keep(recipe.name, options.close_after, list(found.values()), list(windows.values()))
    for name, score in PUBLISHED.items():
        print(f"| NAB's table, 58 | {name} | rows | | | | {score} | | |")


def keep(
    detector: str,
    policies: Sequence[int],
    found: Sequence[list[dict[str, NDArray[np.float64]]]],
    windows: Sequence[NDArray[np.int64]],
) -> None:
    """Keeps the score of the thresholds as they were chosen, by policy."""
    made = [
        results.of_seeds(
            {
                scorer: [ways[0].score or 0.0 for ways in by_seed(scorer, close_after, found, windows)]
                for scorer in SCORERS
            },
            data="NAB",
            measure=f"NAB's score, frozen, closes after {close_after}",
            detector=detector,
            series=len(found),
            published={f"{name} (oracle, 58)": score for name, score in PUBLISHED.items()},
            bars=BARS.get(close_after, (None, None)),
            command="make nab",
        )
        for close_after in policies
    ]
    results.write("nab", made)


def by_seed(
    scorer: str,
    close_after: int,
    found: Sequence[list[dict[str, NDArray[np.float64]]]],
    windows: Sequence[NDArray[np.int64]],
) -> list[tuple[nab.NabScore, nab.NabScore]]:
    """`scores` of each seed that the scorer has."""
    return [
        scores([seeds[seed][scorer] for seeds in found], windows, close_after)
        for seed in range(len(found[0]))
        if scorer in found[0][seed]
    ]


def _row(
    part: str,
    scorer: str,
    close_after: int,
    found: Sequence[list[dict[str, NDArray[np.float64]]]],
    windows: Sequence[NDArray[np.int64]],
) -> str:
    cells = [
        f"{mean_sd([score.score or 0.0 for score in ways], 1)} | {ways[0].found} of {ways[0].windows} "
        f"| {ways[0].false_alarm_rows}"
        for ways in zip(*by_seed(scorer, close_after, found, windows), strict=True)
    ]
    return f"| {part}, {len(found)} | {scorer} | {close_after} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
