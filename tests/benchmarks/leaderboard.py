"""Writes docs/leaderboard.md: what benchmarks found, beside baselines, published figures and the bars.

Rows of the folder of results join those of docs/leaderboard.csv, which is kept with the page: what was not run again
stays as it was.

    python -m tests.benchmarks.leaderboard
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import results
from tests.benchmarks.results import Result

PAGE = Path(__file__).resolve().parents[2] / "docs" / "leaderboard.md"
INTRODUCTION = """\
# What Telltale reaches on public data sets

Written by `python -m tests.benchmarks.leaderboard` from [leaderboard.csv](leaderboard.csv); do not edit. `make quality`
prints the bars, and what each row comes from stands below: command and date.

- *ours* is the mean over n series times seeds, ± the standard deviation between seeds. Baselines had the same windows,
  the same scaling and the same rows to learn from.
- *published* figures are others' own, read from the sources that [tests/benchmarks](../tests/benchmarks/README.md)
  names. Their protocols differ from ours where the data set's name does not say otherwise: a detector that sees the
  whole series, or an averaged score that knows what comes next, has an advantage over one that scores as rows come.
- *causal* scores are what the daemon knows at a row; *averaged* ones are known later, by a window's length.
- The last column says which bar is met, and which baselines are better by more than the spread.
"""


def page(rows: Sequence[Result]) -> str:
    """The whole page."""
    ran = sorted({(row.command, row.data, row.date) for row in rows})
    lines = ["| command | data | date |", "|---|---|---|", *(f"| `{each}` | {of} | {at} |" for each, of, at in ran)]
    return f"{INTRODUCTION}\n{results.table(rows)}\n\n## Where these come from\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=results.FOLDER, help="the folder of results")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    results.write(options.page.stem, results.read(folder=options.results), options.page.parent)
    options.page.write_text(page(results.read(options.page.stem, folder=options.page.parent)), encoding="utf-8")
    print(f"{options.page} is written")


if __name__ == "__main__":
    main()
