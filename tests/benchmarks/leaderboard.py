"""Writes docs/leaderboard.md: what benchmarks found, beside baselines, published figures and the bars.

Rows of the folder of results join those of docs/leaderboard.csv, which is kept with the page: what was not run again
stays as it was.

    python -m tests.benchmarks.leaderboard
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from tests.benchmarks import results
from tests.benchmarks.results import Result

PAGE = Path(__file__).resolve().parents[2] / "docs" / "leaderboard.md"
INTRODUCTION = """\
# What Telltale reaches on public data sets

Written by `python -m tests.benchmarks.leaderboard` from [leaderboard.csv](leaderboard.csv), which holds the rows that
benchmarks have left; do not edit. What each benchmark does, and where published figures are from, is said in its own
text; [tests/benchmarks](../tests/benchmarks/README.md) lists them.

- *ours* is the mean over all series and seeds, ± the standard deviation between seeds. *Baselines* had the same
  windows, the same scaling and the same rows to learn from.
- *Published* figures are others' own. Where a protocol is not the same, the benchmark says so: a detector that is
  fitted on all rows, or centres a score on its window, has an advantage over one that scores rows as they come.
- *Causal* scores are what the daemon knows at a row; *averaged* ones are known later, by a window's length.
- *Must* and *aim* are this project's bars. The last column says which is met, and which baselines are better by more
  than the spread.
"""


def page(rows: Sequence[Result]) -> str:
    """The whole page, a section for each data set."""
    parts: dict[str, list[Result]] = {}
    for row in rows:
        parts.setdefault(row.data, []).append(row)
    return INTRODUCTION + "".join(f"\n## {data}\n\n{section(each)}\n" for data, each in parts.items())


def section(rows: Sequence[Result]) -> str:
    """A data set's measures, with a column for each baseline and each published figure that any of them has."""
    beside, others = (list(dict.fromkeys(chain.from_iterable(each))) for each in _named(rows))
    barred = any(row.must is not None or row.aim is not None for row in rows)
    heads = ["measure", "detector", "ours", *beside, *(f"*{name}*" for name in others)]
    heads += ["must", "aim", ""] if barred else [""]
    lines = [_cells(heads), "|---" * len(heads) + "|"]
    for row in rows:
        figures = [results.number(row.baselines.get(name)) for name in beside]
        figures += [results.number(row.published.get(name)) for name in others]
        bars = [results.number(row.must), results.number(row.aim)] if barred else []
        lines.append(_cells([row.measure, row.detector, row.text, *figures, *bars, row.verdict]))
    return f"{_made(rows)}\n\n" + "\n".join(lines)


def _named(rows: Sequence[Result]) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    return [row.baselines for row in rows], [row.published for row in rows]


def _made(rows: Sequence[Result]) -> str:
    """How and when, once for rows that agree."""
    said = dict.fromkeys(f"`{row.command}`, n = {row.series}, {_seeds(row.seeds)}, {row.date}" for row in rows)
    return "; ".join(said) + ". Published figures are in italics."


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _cells(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def write(folder: Path, to: Path = PAGE) -> None:
    """Puts the rows of a folder of results into the table beside the page, and writes the page."""
    results.write(to.stem, results.read(folder=folder), to.parent)
    to.write_text(page(results.read(to.stem, folder=to.parent)), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=results.FOLDER, help="the folder of results")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    write(options.results, options.page)
    print(f"{options.page} is written")


if __name__ == "__main__":
    main()
