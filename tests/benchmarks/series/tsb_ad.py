"""TSB-AD: 350 series of one channel (TSB-AD-U) and 180 of several (TSB-AD-M), ranked as its leaderboard ranks them.

The archive is downloaded by whoever runs this, and unpacked in one folder:

    https://www.thedatum.org/datasets/TSB-AD-U.zip      https://www.thedatum.org/datasets/TSB-AD-M.zip
    python -m tests.benchmarks.series.tsb_ad --data FOLDER [--only NAB SMD 0?? ...] [--seeds 1] [--recipe NAME]

Without `--data` the fourteen files are scored that can be made of NAB's, SMD's and SMAP's own (at_hand.py).

Protocol: the files of the evaluation lists; a file's name says how many of its first rows are learnt from, and all its
rows are scored, those too. Labels are not looked at: in 34 files of -U and 20 of -M the first anomaly lies among the
learnt rows. Rows with a missing number are dropped, as TSB-AD drops them. Windows of -U are one period long, by
autocorrelation of the learnt rows; those of -M are the recipe's.

Where ours differs from TSB-AD's own detectors: hyperparameters were not searched on its tuning list, and causal scores
look at no row after the one that is scored. Sub-PCA, PCA, KShapeAD, KMeansAD, Sub-KNN, KNN and MatrixProfile are fitted
on all rows there, tested ones too, and centre a score on its window. VUS-PR is TSB-AD's own, to rounding
(tests/unit/test_metrics_vus.py): its widest buffer is the period of the whole first channel; rows without a score, of
which it has none, rank last.

The lists, and what others reach on each file, are tsb_ad_u.csv and tsb_ad_m.csv: VUS-PR to three digits, from
benchmark_eval_results of github.com/TheDatumOrg/TSB-AD at 8763009 (Apache-2.0).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np

from monitor.datafiles import SeriesTable
from tests.benchmarks import results
from tests.benchmarks.series import archive, at_hand
from tests.benchmarks.series.archive import Entry, FileScore, Task
from tests.benchmarks.series.contest import compiled_once, heading, rhythm, rows_of
from training import datasets, recipes
from training.datasets import ReadOptions

COMMAND = "make tsb-ad"
AT_HAND = Path("../shared/data")
NAME = re.compile(r"\d{3}_(?P<family>[^_]+)_id_\d+_[^_]+_tr_(?P<learnt>\d+)_1st_\d+\.csv")
WHERE = """\
no file of TSB-AD's evaluation lists lies in {folder}. Download one archive or both, and unpack them there:
    https://www.thedatum.org/datasets/TSB-AD-U.zip
    https://www.thedatum.org/datasets/TSB-AD-M.zip
then say where: make tsb-ad DATA={folder}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of the two archives; `repeats`: windows are one period long. `newer` figures are means over all its files.

    `published` has methods, then files.
    """

    name: str
    recipe: str
    repeats: bool
    newer: Mapping[str, float]
    published: Mapping[str, Mapping[str, float]]

    @property
    def files(self) -> tuple[str, ...]:
        """Those of the evaluation list."""
        return tuple(next(iter(self.published.values())))


# VUS-PR. PaAno and KAN-AD as in the tables of github.com/jinnnju/PaAno (authors' own), MMPAD as in the README of
# github.com/mcyeh/mmpad_tsb (authors' own).
PARTS = (
    Part(
        name="TSB-AD-U",
        recipe="rhythm",
        repeats=True,
        newer={"PaAno": 0.52, "MMPAD": 0.440, "KAN-AD": 0.43},
        published=archive.published("tsb_ad_u.csv"),
    ),
    Part(
        name="TSB-AD-M",
        recipe="auto",
        repeats=False,
        newer={"PaAno": 0.43, "KAN-AD": 0.41, "MMPAD": 0.354},
        published=archive.published("tsb_ad_m.csv"),
    ),
)


def read(path: Path) -> SeriesTable:
    """A file's series and labels, without the rows that miss a number. Raises `DataError`."""
    options = ReadOptions(label_column="Label", time_column="none")
    (table,) = datasets.read(str(path), kind="sliding", options=options, note=lambda _: None)
    assert isinstance(table, SeriesTable)
    assert table.labels is not None
    whole = np.isfinite(table.samples).all(axis=1)
    exact = None if table.exact is None else table.exact[whole]
    return replace(table, samples=table.samples[whole], labels=table.labels[whole], exact=exact)


def task(name: str, reader: Callable[[], SeriesTable], repeats: bool) -> Task:
    """What is learnt from a file and what is tested: the whole of it."""
    match = NAME.fullmatch(name)
    assert match is not None
    tested = reader()
    learnt = rows_of(tested, slice(0, int(match["learnt"])))
    return archive.series_task(learnt, tested, rhythm(learnt.samples) if repeats else None)


def readers(folder: Path) -> dict[str, Callable[[], SeriesTable]]:
    """What reads the files in `folder` or below it."""
    return {path.name: partial(read, path) for path in sorted(folder.rglob("*.csv"))}


def entries(there: Mapping[str, Callable[[], SeriesTable]], part: Part) -> list[Entry]:
    """The files of the list that are there, in the list's order."""
    return [
        Entry(name=name, family=name.split("_")[1], load=partial(task, name, there[name], part.repeats))
        for name in part.files
        if name in there
    ]


def show(part: Part, rows: Sequence[FileScore]) -> None:
    """Prints the tables; keeps the results where all files of the list were scored, or all at hand."""
    files = {row.file for row in rows}
    count, of = len(files), len(part.files)
    print(f"\n{part.name}, {count} of {of} files; published figures are of the same files\n")
    for measure in archive.RANKING:
        print(archive.families_table(rows, measure, part.published if measure in archive.VUS_PR else {}), end="\n\n")
    newer = ", ".join(f"{name} {value:.2f}" for name, value in part.newer.items())
    print(f"published later, VUS-PR of all {of} files: {newer}")
    if count < of:
        print(f"{of - count} files are left; what is done is not done again")
    if files in ({*part.files}, {*part.files} & {*at_hand.NAB, *at_hand.SMD, *at_hand.SMAP}):
        name = part.name if count == of else f"{part.name}, the {count} at hand"
        results.write(part.name.lower(), [_result(part, name, rows, measure) for measure in archive.RANKING])


def _result(part: Part, name: str, rows: Sequence[FileScore], measure: str) -> results.Result:
    files = {row.file for row in rows}
    published = {}
    if measure in archive.VUS_PR:
        published = {method: fmean(each[file] for file in files) for method, each in part.published.items()}
        published |= part.newer if len(files) == len(part.files) else {}
    return archive.result(rows, name, measure, published, COMMAND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="where the files are, or below; default: those made of data at hand")
    parser.add_argument("--only", nargs="*", help="patterns of files' names: NAB, 00?_")
    parser.add_argument("--recipe", help="of both archives; default: " + ", ".join(part.recipe for part in PARTS))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    there = readers(options.data) if options.data else at_hand.readers(AT_HAND)
    found = {part.name: archive.chosen(entries(there, part), options.only) for part in PARTS}
    if not any(found.values()):
        parser.error(WHERE.format(folder=options.data or AT_HAND))
    with compiled_once():
        for part in PARTS:
            if found[part.name]:
                recipe = recipes.load(options.recipe or part.recipe)
                heading(f"`{recipe.name}`, {part.name}", options.seeds)
                show(part, archive.run(found[part.name], recipe, archive.log_of(part.name.lower()), options.seeds))


if __name__ == "__main__":
    main()
