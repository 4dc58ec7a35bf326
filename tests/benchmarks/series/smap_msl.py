"""Telemetry of two spacecraft, SMAP and MSL (Hundman et al. 2018): how do scores rank the anomalous rows?

Each channel by itself: its value and the commands beside it, fitted on its training part and tested on its test part,
as the data set was made to be used. Four of its 82 channels are at hand; the whole set, in the same form:

    https://s3-us-west-2.amazonaws.com/telemanom/data.zip        (train/ and test/)
    https://raw.githubusercontent.com/khundman/telemanom/master/labeled_anomalies.csv
    python -m tests.benchmarks.series.smap_msl [--data FOLDER] [--only SMAP P-1 ...] [--seeds 1] [--recipe NAME]

Published: means over MSL's and SMAP's files in TSB-AD-M (14 and 25): test parts only, and their first quarter learnt
from, so not the same protocol. E-1 is its 165_SMAP_id_22. Half of M-1's rows are labelled anomalous.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from monitor.datafiles import SeriesTable
from monitor.detector.arrays import Int64Array
from monitor.errors import DataError
from tests.benchmarks import results
from tests.benchmarks.series import archive
from tests.benchmarks.series.archive import Entry, FileScore, Task
from tests.benchmarks.series.contest import compiled_once, heading
from training import datasets, recipes

LABELS = "labeled_anomalies.csv"
WHERE = """\
no channel of SMAP or MSL lies in {folder}: expected train/P-1.npy, test/P-1.npy and so on, and labeled_anomalies.csv
there or beside it. Download
    https://s3-us-west-2.amazonaws.com/telemanom/data.zip
    https://raw.githubusercontent.com/khundman/telemanom/master/labeled_anomalies.csv
and say where they are unpacked: --data FOLDER"""

Spans = list[tuple[int, int]]  # first and last row, of the test part


def labelled(folder: Path) -> dict[str, tuple[str, Spans]]:
    """Spacecraft and anomalies of each channel; a channel that is listed twice has both rows' anomalies."""
    path = next((each / LABELS for each in (folder, folder.parent) if (each / LABELS).exists()), None)
    if path is None:
        return {}
    found: dict[str, tuple[str, Spans]] = {}
    spans: defaultdict[str, Spans] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            spans[row["chan_id"]] += msgspec.json.decode(row["anomaly_sequences"], type=Spans)
            found[row["chan_id"]] = row["spacecraft"], spans[row["chan_id"]]
    return found


def entries(folder: Path) -> list[Entry]:
    """The labelled channels of which both parts are there."""
    return [
        Entry(name=f"{craft} {channel}", family=craft, load=partial(task, folder, channel, spans))
        for channel, (craft, spans) in sorted(labelled(folder).items())
        if all((folder / part / f"{channel}.npy").exists() for part in ("train", "test"))
    ]


def task(folder: Path, channel: str, spans: Spans) -> Task:
    """Fitted on one part, tested on the other."""
    learnt, tested = (_read(folder / part / f"{channel}.npy") for part in ("train", "test"))
    return archive.series_task(learnt, replace(tested, labels=_labels(channel, spans, len(tested.samples))), None)


def _read(path: Path) -> SeriesTable:
    (table,) = datasets.read(str(path), kind="sliding", note=lambda _: None)
    assert isinstance(table, SeriesTable)
    return table


def _labels(channel: str, spans: Spans, rows: int) -> Int64Array:
    made = np.zeros(rows, dtype=np.int64)
    for first, last in spans:
        if not 0 <= first <= last < rows:
            raise DataError(f"{LABELS}: {channel}: rows {first} to {last} of {rows}; is it of these files?")
        made[first : last + 1] = 1
    return made


def show(rows: Sequence[FileScore]) -> None:
    """Prints the tables, and keeps the results."""
    for measure in archive.RANKING:
        print(f"\n{archive.families_table(rows, measure, {})}")
    for craft in sorted({row.family for row in rows}):
        means = ", ".join(f"{name} {value:.3f}" for name, value in _published(craft).items())
        print(f"\npublished for {craft} in TSB-AD-M, VUS-PR: {means}")
        of_craft = [row for row in rows if row.family == craft]
        made = [
            archive.result(
                of_craft,
                f"{craft}, {len({row.file for row in of_craft})} channels",
                measure,
                {f"TSB-AD-M's {name}": value for name, value in _published(craft).items()},
                "make smap-msl",
            )
            for measure in archive.VUS_PR
        ]
        results.write("smap-msl", made)


def _published(craft: str) -> dict[str, float]:
    of_craft = {
        name: [value for file, value in each.items() if f"_{craft}_" in file]
        for name, each in archive.published("tsb_ad_m.csv").items()
    }
    return {name: float(np.mean(values)) for name, values in of_craft.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/smap_msl"), help="holds train/ and test/")
    parser.add_argument("--recipe", default="auto")
    parser.add_argument("--only", nargs="*", help="patterns of channels' names: MSL, P-1")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    found = archive.chosen(entries(options.data), options.only)
    if not found:
        parser.error(WHERE.format(folder=options.data))
    heading(f"`{options.recipe}`, SMAP and MSL", options.seeds)
    with compiled_once():
        show(archive.run(found, recipes.load(options.recipe), archive.log_of("smap-msl"), options.seeds))


if __name__ == "__main__":
    main()
