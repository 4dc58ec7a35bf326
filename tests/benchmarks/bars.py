"""Every benchmark of quality, one after the other, and one table of what they found: ours, baselines, published, bars.

Each runs as a process of its own, with its seeds, and leaves its rows in the folder of results; docs/leaderboard.md is
written of them. Exits with 1 where a bar that must be met is not, or a benchmark failed.

    make quality                  # all: an hour or more
    make quality ONLY="smd blame" # some
    python -m tests.benchmarks.bars --no-run   # what was found before
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from tests.benchmarks import leaderboard, results
from tests.benchmarks.results import Result

RUNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "smd": (("series.smd", "--seeds", "3"), ("series.smd", "--seeds", "3", "--recipe", "auto")),
    "skab": (("series.skab", "--seeds", "3"),),
    "ucr": (("series.ucr", "--seeds", "3"),),
    "smap-msl": (("series.smap_msl",),),
    "nab": (("series.nab", "--seeds", "3"),),
    "ecg5000": (("ecg5000", "--seeds", "10"),),
    "mitbih": (("mitbih",),),
    "blame": (("series.blame", "--seeds", "3"),),
}


def run(names: Sequence[str]) -> list[str]:
    """Runs benchmarks; returns those that failed, as they were called."""
    failed = []
    for module, *arguments in (each for name in names for each in RUNS[name]):
        command = ["-m", f"tests.benchmarks.{module}", *arguments]
        print(f"\n# {' '.join(command)}\n", flush=True)
        if subprocess.run([sys.executable, *command], check=False).returncode:
            failed.append(" ".join(command))
    return failed


def missed(rows: Sequence[Result]) -> list[str]:
    """The bars that must be met and are not, in words."""
    return [
        f"{row.data}, {row.measure}, {row.detector}: {results.number(row.ours)}, must be {results.number(row.must)}"
        for row in rows
        if row.reaches(row.must) is False
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(RUNS), choices=RUNS, metavar="NAME", help=", ".join(RUNS))
    parser.add_argument("--no-run", action="store_true", help="only print what was found before")
    options = parser.parse_args(arguments)
    failed = [] if options.no_run else run(options.only or list(RUNS))
    if not options.no_run:
        leaderboard.write(results.FOLDER)
    rows = results.read()
    print(f"\n{results.table(rows)}\n")
    said = [*(f"failed: {each}" for each in failed), *(f"not met: {each}" for each in missed(rows))]
    print("\n".join(said) or "every bar that must be met is met")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
