"""The UCR anomaly archive: is the row with the highest score near the one anomaly?

Each series by itself: fitted on its training part, in windows of one period (by autocorrelation of that part, as
TSB-AD finds it; at most a tenth of that part); the rows after it are ranked. Right is within 100 rows, or the anomaly's
length where that is more.

The recipe `rhythm` was chosen on series 001 to 123 of the 16 at hand; the nine others were scored with it once.
Published figures are of all 250 series: 16 tell one detector from another only roughly (one series is 6 points). The
whole archive, once downloaded, is scored by `--data FOLDER`; a run goes on where the last one ended:

    https://www.cs.ucr.edu/~eamonn/time_series_data_2018/UCR_TimeSeriesAnomalyDatasets2021.zip
    python -m tests.benchmarks.series.ucr --seeds 3 [--data FOLDER] [--only 1?? ECG ...] [--recipe NAME]
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from monitor.datafiles import SeriesTable
from tests.benchmarks import results
from tests.benchmarks.series import archive
from tests.benchmarks.series.archive import Entry, Figures, FileScore, Task
from tests.benchmarks.series.contest import Scored, compiled_once, heading, rhythm, rows_of
from training import datasets, recipes
from training.metrics import bootstrap, ucr

CHOSEN_ON = ("001", "104", "109", "112", "119", "120", "123")
AT_HAND = (*CHOSEN_ON, "135", "152", "156", "163", "173", "192", "195", "203", "227")
ALL = 250
# of all 250 series, as listed in arXiv:2311.12550; "MP" is the matrix profile, which sees the whole series
PUBLISHED = {"TimeVQVAE-AD": 0.708, "MP (STUMPY)": 0.512, "RCF": 0.387, "Conv-AE": 0.352, "LSTM-VAE": 0.198}
RIGHT = ("top-1, causal", "top-1, averaged")
BARS: dict[str, tuple[float | None, float | None]] = {
    RIGHT[0]: (0.62, None),
    RIGHT[1]: (0.70, 0.75),
}  # of the 16: must, aim
NAME = re.compile(r"(\d{3})_UCR_Anomaly_(.+)_(\d+)_(\d+)_(\d+)\.txt")
WHERE = """\
no series of the UCR anomaly archive lies in {folder}. Download and unpack it:
    https://www.cs.ucr.edu/~eamonn/time_series_data_2018/UCR_TimeSeriesAnomalyDatasets2021.zip
then say where its .txt files are: make ucr DATA={folder}"""


def read(path: Path) -> tuple[SeriesTable, int, int, int]:
    """A series, the rows of its training part, and first and last row of its anomaly, from 0."""
    (table,) = datasets.read(str(path), kind="sliding")
    match = NAME.fullmatch(path.name)
    assert isinstance(table, SeriesTable)
    assert match is not None
    learnt, first, last = map(int, match.groups()[2:])
    return table, learnt, first - 1, last - 1


def task(path: Path) -> Task:
    """Where is the anomaly?"""
    table, rows, first, last = read(path)
    learnt = rows_of(table, slice(0, rows))

    def located(values: np.typing.NDArray[np.float64]) -> ucr.Location:
        return ucr.locate(values, first, last, tested_from=rows)

    def figures(scored: Scored) -> Figures:
        ways = scored.causal(), scored.overlap_mean()
        return {name: float(located(each.values).correct) for name, each in zip(RIGHT, ways, strict=True)}

    def chance() -> Figures:
        return dict.fromkeys(RIGHT, located(np.zeros(len(table.samples))).by_chance or 0.0)

    return Task(learnt=learnt, tested=table, length=rhythm(learnt.samples), figures=figures, chance=chance)


def entries(folder: Path) -> list[Entry]:
    """The series in `folder` or below it."""
    found = {path.name: path for path in folder.rglob("*.txt") if NAME.fullmatch(path.name)}
    return [Entry(name=name, family=_part(name), load=partial(task, path)) for name, path in sorted(found.items())]


def _part(name: str) -> str:
    return "chosen on" if name[:3] in CHOSEN_ON else "the others"


def show(rows: Sequence[FileScore]) -> None:
    """Prints shares of series that are right, and keeps them for the leaderboard."""
    for measure in RIGHT:
        print(f"\n{archive.families_table(rows, measure, {})}")
        drawn = bootstrap.over_series(_by_file(rows, measure), seed=0)
        if drawn is not None:
            print(f"the detector's, all, series drawn again: {drawn.low:.2f} to {drawn.high:.2f} (95 %)")
    print(f"\npublished, all {ALL}: " + ", ".join(f"{name} {value:.2f}" for name, value in PUBLISHED.items()))
    numbers = sorted({row.file[:3] for row in rows})
    if len(numbers) == ALL or tuple(numbers) == AT_HAND:
        data = f"UCR, {len(numbers)} series"
        bars = {} if len(numbers) == ALL else BARS
        made = [
            archive.result(rows, data, measure, PUBLISHED, "make ucr", bars.get(measure, (None, None)))
            for measure in RIGHT
        ]
        results.write("ucr", made)


def _by_file(rows: Sequence[FileScore], measure: str) -> list[float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.scorer == "detector":
            found.setdefault(row.file, []).append(row.figures.get(measure, 0.0))
    return [float(np.mean(values)) for values in found.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ucr_anomaly"), help="where the files are")
    parser.add_argument("--recipe", default="rhythm")
    parser.add_argument("--only", nargs="*", help="patterns of files' names: 001_, ECG")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    found = archive.chosen(entries(options.data), options.only)
    if not found:
        parser.error(WHERE.format(folder=options.data))
    heading(f"`{options.recipe}`, UCR", options.seeds)
    print("right is 1, of each series and seed: causal / averaged over windows; baselines of one seed\n")
    with compiled_once():
        show(archive.run(found, recipes.load(options.recipe), archive.log_of("ucr", RIGHT), options.seeds))


if __name__ == "__main__":
    main()
