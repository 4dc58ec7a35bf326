"""What a series costs: 100 of them, and 100,000, of one channel each, in windows of 64.

Each count runs in a process of its own: so many records, in polls of 10,000, one sample each, all series in turn, from
JSON to decided windows. Of each it prints the largest resident set, and the time per sample once all series are known
and have windows. The bars: 1.5 GiB, and 1.3 times the time of 100 series.

    python -m tests.benchmarks.many_series
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from monitor.backends.abstract import RecordColumns
from tests.helpers import INPUT, make_artifact, make_config, make_processor_at_zero, score_all

LENGTH, HOP, POLL = 64, 8, 10_000
MOST_BYTES, MOST_TIMES = 1.5 * 2**30, 1.3


def run(count: int, samples: int) -> tuple[float, float]:
    """Microseconds per sample of `count` series, and the process' largest resident set in bytes."""
    artifact = make_artifact(length=LENGTH, hop=HOP, threshold=1e6, batch_rows=1024)
    config = make_config(input={"start": "earliest", "max_series": max(count, 1000)})
    processor = make_processor_at_zero(config, artifact)
    processor.model.scorer.warm_up()
    rng = np.random.default_rng(1)
    values: list[bytes | None] = [b'{"value": %.6f}' % number for number in rng.normal(size=2 * POLL)]
    keys = [b"device-%06d" % number for number in range(count)]
    warm, done, took_s = count * LENGTH, 0, 0.0
    while done < warm + samples:
        numbers = np.arange(done, done + POLL)
        owners: list[bytes | None] = [keys[number] for number in (numbers % count).tolist()]
        first = int(rng.integers(POLL))  # else 100,000 series would each send one number for ever
        read = values[first : first + POLL]
        columns = RecordColumns(INPUT, numbers, numbers // count * 1000, owners, read, done + POLL)
        started = time.perf_counter()
        processor.receive(columns)
        score_all(processor)
        processor.take_outputs()
        if done >= warm:
            took_s += time.perf_counter() - started
        done += POLL
    assert processor.counts.windows > 0
    assert processor.series_count() == count
    return 1e6 * took_s / samples, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2_000_000, help="measured, of each count")
    parser.add_argument("--series", type=int, help="measure so many alone, in this process")
    options = parser.parse_args()
    if options.series:
        print(*run(options.series, options.samples))
        return
    found = []
    for count in (100, 100_000):
        command = [sys.executable, "-m", "tests.benchmarks.many_series", "--series", str(count)]
        output = subprocess.run(
            [*command, "--samples", str(options.samples)], check=True, capture_output=True, text=True
        )
        us, size = map(float, output.stdout.split())
        found.append(us)
        print(f"{count:>7} series: {us:.3f} us per sample, {size / 2**30:.2f} GiB (at most {MOST_BYTES / 2**30})")
    print(f"{found[1] / found[0]:.2f} times the time per sample (at most {MOST_TIMES})")


if __name__ == "__main__":
    main()
