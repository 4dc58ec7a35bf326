"""16 series of the UCR anomaly archive: is the row with the highest score near the one anomaly?

Each series by itself: fitted on its training part, in windows of two periods (by autocorrelation of that part, as
TSB-AD finds it; at most a tenth of that part); the rows after it are ranked. Right is within 100 rows, or the anomaly's
length where that is more.

The recipe `rhythm` was chosen on series 001 to 123; 135 to 227 were scored with it once. Published figures are of all
250 series: 16 tell one detector from another only roughly (one series is 6 points).

    python -m tests.benchmarks.series.ucr --seeds 3
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np

from monitor.datafiles import SeriesTable
from tests.benchmarks.series.contest import SCORERS, compiled_once, contest, heading, mean_sd, rows_of
from training import datasets, recipes
from training.metrics import bootstrap, ucr, vus

CHOSEN_ON = ("001", "104", "109", "112", "119", "120", "123")
# of all 250 series, as listed in arXiv:2311.12550; "MP" is the matrix profile, which sees the whole series
PUBLISHED = {"TimeVQVAE-AD": 0.708, "MP (STUMPY)": 0.512, "RCF": 0.387, "Conv-AE": 0.352, "LSTM-VAE": 0.198}
PERIODS, SHORTEST = 2, 16  # of a window; the latter in rows
NAME = re.compile(r"(\d{3})_UCR_Anomaly_(.+)_(\d+)_(\d+)_(\d+)\.txt")


def read(path: Path) -> tuple[SeriesTable, int, int, int]:
    """A series, the rows of its training part, and first and last row of its anomaly, from 0."""
    (table,) = datasets.read(str(path), kind="sliding")
    match = NAME.fullmatch(path.name)
    assert isinstance(table, SeriesTable)
    assert match is not None
    learnt, first, last = map(int, match.groups()[2:])
    return table, learnt, first - 1, last - 1


def locate(name: str, path: Path, seed: int) -> tuple[int, dict[tuple[str, str], ucr.Location]]:
    """The window's length, and where each (scorer, way) sees the anomaly; baselines with the first seed only."""
    table, learnt, first, last = read(path)
    length = max(min(PERIODS * vus.period(table.samples[:learnt, 0]), learnt // 10), SHORTEST)
    recipe = recipes.override(recipes.load(name), length=length, normal_class="all")
    found = contest(recipe, rows_of(table, slice(0, learnt)), table, seed=seed, with_baselines=not seed)
    return length, {
        (scorer, points.way): ucr.locate(points.values, first, last, tested_from=learnt)
        for scorer, scored in found.items()
        for points in (scored.causal(), scored.overlap_mean())
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ucr_anomaly"))
    parser.add_argument("--recipe", default="rhythm")
    parser.add_argument("--series", nargs="*", help="numbers, such as 001; default: all there are")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    files = sorted(path for path in options.data.iterdir() if NAME.fullmatch(path.name))
    chosen = [path for path in files if not options.series or path.name[:3] in options.series]
    heading(f"`{options.recipe}`, UCR", options.seeds)
    print("right of n seeds, causal / averaged over windows; baselines of one seed\n")
    print(f"| series | window | {' | '.join(SCORERS)} | by chance |\n|---|---|{'---|' * len(SCORERS)}---|")
    found: dict[str, list[dict[tuple[str, str], ucr.Location]]] = {}
    with compiled_once():
        for path in chosen:
            for seed in range(options.seeds):
                length, locations = locate(options.recipe, path, seed)
                found.setdefault(path.name[:3], []).append(locations)
            print(_row(path, length, found[path.name[:3]]), flush=True)
    print("\n| series | scorer | way | accuracy | 95 %, series drawn again | by chance |\n|---|---|---|---|---|---|")
    parts = {"chosen on": [name for name in found if name in CHOSEN_ON]}
    parts |= {"the others": [name for name in found if name not in CHOSEN_ON], "all": list(found)}
    for part, names in parts.items():
        for scorer in SCORERS if names else ():
            for way in ("causal", "overlap_mean"):
                print(_accuracy(part, scorer, way, [found[name] for name in names]))
    for name, accuracy in PUBLISHED.items():
        print(f"| published, all 250 | {name} | | {accuracy:.2f} | | |")


def _row(path: Path, length: int, seeds: list[dict[tuple[str, str], ucr.Location]]) -> str:
    cells = []
    for scorer in SCORERS:
        told = [each for each in seeds if (scorer, "causal") in each]
        right = [sum(each[scorer, way].correct for each in told) for way in ("causal", "overlap_mean")]
        cells.append(f"{right[0]} / {right[1]} of {len(told)}")
    by_chance = seeds[0]["detector", "causal"].by_chance or 0.0
    name = path.name.split("_UCR_Anomaly_")
    return f"| {name[0]} {name[1].rsplit('_', 3)[0]} | {length} | {' | '.join(cells)} | {by_chance:.3f} |"


def _accuracy(part: str, scorer: str, way: str, series: list[list[dict[tuple[str, str], ucr.Location]]]) -> str:
    told = [[each[scorer, way] for each in seeds if (scorer, way) in each] for seeds in series]
    by_seed = [ucr.accuracy(locations) for locations in zip(*told, strict=True)]
    drawn = bootstrap.over_series([float(np.mean([each.correct for each in seeds])) for seeds in told], seed=0)
    between = "" if drawn is None else f"{drawn.low:.2f} to {drawn.high:.2f}"
    accuracies = mean_sd([each.accuracy or 0.0 for each in by_seed], 2)
    return f"| {part}, {len(told)} | {scorer} | {way} | {accuracies} | {between} | {by_seed[0].by_chance or 0.0:.3f} |"


if __name__ == "__main__":
    main()
