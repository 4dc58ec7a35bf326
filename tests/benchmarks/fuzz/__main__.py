"""Arbitrary records over all decoders: named reasons only, exact dead letters, any chunking, bounded memory.

    python -m tests.benchmarks.fuzz --records 1000000 --seed 0

Lanes, one for each format and mapping with options drawn, are daemons on logs in memory that live as long as the run
and take turns. Exits with 1 where something did not hold, and says under which lane and seed. `records.py` says what
the records are, `lanes.py` what must hold; tests/property/test_fuzz.py is the same in seconds.
"""

from __future__ import annotations

import argparse
import logging
import random
import resource
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import structlog

from tests.benchmarks import report
from tests.benchmarks.fuzz.lanes import Lane, lanes, outputs

PACKAGES = ("numpy", "msgspec", "jax")
TURN = 500  # records that a lane takes before it is the next one's turn
COMPARED, EVERY = 400, 3  # records of every so manyth lane, which are also read in other pieces
MOST_GROWTH_MIB = 300  # from a tenth of the records to all of them


def rss_mib() -> float:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def take_turns(made: list[Lane], records: int, problems: list[str]) -> tuple[dict[int, float], float]:
    """Feeds the lanes in turn; memory by records read, and the seconds it took. A lane that raised is left alone."""
    alive, count, memory = [*made], 0, {}
    started = time.perf_counter()
    marks = [records * tenth // 10 for tenth in range(1, 11)]
    while count < records and alive:
        for lane in [*alive]:
            rows = lane.maker.rows(min(TURN, records - count))
            try:
                lane.take(rows)
            except Exception:
                lane.problems.append(traceback.format_exc(limit=-6))
            if lane.problems:
                problems += [f"lane {lane.name}\n{problem}" for problem in lane.problems[:3]]
                alive.remove(lane)
            count += len(rows)
            while marks and count >= marks[0]:
                memory[marks.pop(0)] = rss_mib()
    return memory, time.perf_counter() - started


def compare_chunkings(seed: int, per_base: int, problems: list[str]) -> int:
    """Reads the first records of each lane at once, and in pieces by daemons that die; how many records in all."""
    count = 0
    for number, lane in enumerate(lanes(seed, per_base)[0]):
        if number % EVERY:
            continue
        rows = lane.maker.rows(COMPARED)
        try:
            whole = outputs(lane.config, lane.artifact, rows, None)
            for way in range(2):
                pieces = outputs(lane.config, lane.artifact, rows, random.Random(f"{seed} {number} {way}"))
                if pieces != whole:
                    odd = (Counter(pieces) - Counter(whole)) + (Counter(whole) - Counter(pieces))
                    texts = "\n".join(each.decode("utf-8", "replace")[:600] for each in odd)
                    problems.append(f"lane {lane.name}, way {seed} {number} {way}: in pieces other outputs\n{texts}")
                count += len(rows)
        except Exception:
            problems.append(f"lane {lane.name}\n{traceback.format_exc(limit=-6)}")
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=28, help="of each format, and a seventh for each mapping")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(report.header("Arbitrary records over all decoders", PACKAGES), flush=True)
    made, left_out = lanes(asked.seed, asked.lanes)
    problems: list[str] = []
    memory, seconds = take_turns(made, asked.records, problems)
    rejected: Counter[str] = sum((lane.rejected for lane in made), Counter())
    accepted, ignored = sum(lane.accepted for lane in made), sum(lane.ignored for lane in made)
    print(f"seed {asked.seed}, {len(made)} lanes; left out: {left_out or 'nothing'}")
    print(f"{asked.records:,} records in {seconds:.0f} s: {accepted:,} accepted, {ignored:,} ignored by a rule")
    print(f"{rejected.total():,} dead letters: {', '.join(f'{n:,} {reason}' for reason, n in rejected.most_common())}")
    print(f"{sum(lane.alerts for lane in made):,} alerts")
    print(f"MiB held, by records: {', '.join(f'{mib:.0f} at {at:,}' for at, mib in memory.items())}")
    compared = compare_chunkings(asked.seed, asked.lanes, problems)
    print(f"{compared:,} records read in other pieces, with restores")
    first, last = memory.get(asked.records // 10, 0.0), memory.get(asked.records, 0.0)
    balanced = accepted + ignored + rejected.total() == asked.records
    print(report.bar("each record accepted, ignored or one dead letter", met=balanced))
    print(report.bar(f"at most {MOST_GROWTH_MIB} MiB more than at a tenth", met=0 < last <= first + MOST_GROWTH_MIB))
    print(report.bar(f"{len(problems)} problems", met=not problems))
    print("\n\n".join(problems[:20]), flush=True)
    sys.exit(1 if problems or not balanced or last > first + MOST_GROWTH_MIB else 0)


if __name__ == "__main__":
    main()
