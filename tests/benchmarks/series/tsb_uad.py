"""Files of TSB-UAD (Paparrizos et al. 2022), values and labels of one channel: how do scores rank the anomalous rows?

One is at hand, MBA_ECG805: one lead of a half-hour electrocardiogram, every abnormal beat labelled. The others:

    https://www.thedatum.org/datasets/TSB-UAD-Public.zip
    python -m tests.benchmarks.series.tsb_uad [--data FOLDER] [--only ECG ...] [--seeds 1] [--recipe NAME]

Protocol: the first tenth of the rows is learnt from, as TSB-UAD's own examples do, with the anomalies that are in it;
all rows are scored. Windows are one period long, by autocorrelation of the learnt rows. For electrocardiograms windows
about beats are the better way (`make mitbih`); this is what windows of any series reach.

Published: AUC-PR of MBA_ECG805 in result/accuracy_table/mergedTable_AUC_PR.csv of github.com/TheDatumOrg/TSB-UAD at
313f0fd. But for OCSVM, AE, CNN and LSTM those detectors are fitted on all rows, and all centre a score on its window.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from monitor.datafiles import SeriesTable
from tests.benchmarks import results
from tests.benchmarks.series import archive
from tests.benchmarks.series.archive import Entry, FileScore, Task
from tests.benchmarks.series.contest import compiled_once, heading, rhythm, rows_of
from training import datasets, recipes
from training.datasets import ReadOptions

LEARNT = 0.1  # of a file's rows
AT_HAND = "MBA_ECG805_data.out"
PUBLISHED = {"NORMA": 0.775, "IForest": 0.720, "PCA": 0.702, "OCSVM": 0.288, "AE": 0.352, "CNN": 0.080, "LSTM": 0.095}
WHERE = """\
no file of TSB-UAD (*.out) lies in {folder}. Download and unpack
    https://www.thedatum.org/datasets/TSB-UAD-Public.zip
and say where: make tsb-uad DATA={folder}"""


def task(path: Path) -> Task:
    """What is learnt from a file and what is tested: the whole of it."""
    options = ReadOptions(channels=("0",), label_column="1", time_column="none")
    (table,) = datasets.read(str(path), kind="sliding", options=options, note=lambda _: None)
    assert isinstance(table, SeriesTable)
    learnt = rows_of(table, slice(0, int(LEARNT * len(table.samples))))
    return archive.series_task(learnt, table, rhythm(learnt.samples))


def entries(folder: Path) -> list[Entry]:
    """The files in `folder` or below it; the folder that holds a file is its data set."""
    return [Entry(name=path.name, family=path.parent.name, load=partial(task, path)) for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.out"))


def show(rows: Sequence[FileScore]) -> None:
    """Prints the tables; keeps the results of the file at hand, which has published figures beside it."""
    for measure in archive.RANKING:
        print(f"\n{archive.families_table(rows, measure, {})}")
    if {row.file for row in rows} == {AT_HAND}:
        print(f"\npublished, AUC-PR of {AT_HAND}: " + ", ".join(f"{name} {value}" for name, value in PUBLISHED.items()))
        made = [
            archive.result(
                rows, "TSB-UAD, MBA_ECG805", measure, PUBLISHED if measure in archive.AUC_PR else {}, "make tsb-uad"
            )
            for measure in archive.RANKING
        ]
        results.write("tsb-uad", made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/svdb_mba_ecg"), help="where the files are")
    parser.add_argument("--recipe", default="rhythm")
    parser.add_argument("--only", nargs="*", help="patterns of files' names: ECG, KPI")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    found = archive.chosen(entries(options.data), options.only)
    if not found:
        parser.error(WHERE.format(folder=options.data))
    heading(f"`{options.recipe}`, TSB-UAD", options.seeds)
    with compiled_once():
        show(archive.run(found, recipes.load(options.recipe), archive.log_of("tsb-uad"), options.seeds))


if __name__ == "__main__":
    main()
