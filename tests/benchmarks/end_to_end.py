"""How many samples a second, from the broker to the committed alert, beside the raw client and three peers?

`python -m tests.benchmarks.end_to_end [--rounds N] [--records N] [--windows N] [--beside DIRECTORY] [--quick]`

One real broker on this machine, topics that are filled before the clock starts, each contender in a process of its
own, round after round in changing order. All ratios are of the same round; the table says what the medians are. With
`--beside` a checkout of another commit takes its turns too, on the same topics: `git worktree add DIRECTORY COMMIT`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from monitor.broker.cluster import LocalKafka
from tests.benchmarks import report
from tests.benchmarks.contenders import CONTENDERS, HOP, LENGTH, PARTITIONS, SERIES, Result, Workload
from tests.benchmarks.workload import BATCH_ROWS, WIDTHS, prepare

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kafka-python", "jax", "numpy", "msgspec", "quixstreams", "bytewax", "confluent-kafka")
LABELS = {
    "raw": "raw KafkaConsumer.poll, records dropped",
    "ours": "Telltale, exactly once",
    "naive": "naive loop: json.loads, deques, NumPy; at least once",
    "bytewax-keyed": "Bytewax, keyed state, recovery store; at least once",
    "bytewax-bare": "Bytewax, one callback a batch, nothing survives a restart",
    "quix-memory": "Quix Streams, windows in memory; at least once",
    "quix-exactly-once": "Quix Streams, its state store, exactly once",
    "beside": "Telltale, the other commit",
}
F32 = ("raw", "ours", "beside")
Rounds = dict[str, list[Result]]


def run(name: str, workload: Workload, bootstrap: str, group: str, other: Path = ROOT) -> Result:
    """One contender, once; `beside` is the daemon of the checkout `other`."""
    root, program = (other, "ours") if name == "beside" else (ROOT, name)
    command = [sys.executable, "-m", "tests.benchmarks.contenders", program]
    command += [msgspec.json.encode(workload).decode(), bootstrap, group]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed with {done.returncode}:\n{done.stderr[-3000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Result)


def compete(names: Sequence[str], workload: Workload, bootstrap: str, rounds: int, other: Path = ROOT) -> Rounds:
    """`rounds` rounds, each beginning with another contender; before them one that is not counted, for the broker."""
    run("raw", workload, bootstrap, f"{workload.topic}-warm")
    results: Rounds = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in [*names[shift:], *names[:shift]]:
            result = run(name, workload, bootstrap, f"{workload.topic}-{name}-{number}", other)
            results[name].append(result)
            print(f"  round {number + 1}: {name} {result.records / result.seconds:,.0f}/s", file=sys.stderr)
    return results


def ratios(results: Rounds, name: str, to: str = "raw") -> list[float]:
    """How fast `name` was compared with `to`, in each round."""
    pairs = zip(results[name], results[to], strict=True)
    return [(own.records / own.seconds) / (other.records / other.seconds) for own, other in pairs]


def scoring_share(results: Sequence[Result]) -> float:
    return statistics.median((result.scoring_s or 0.0) / result.seconds for result in results)


def tabulate(results: Rounds, unit: str) -> str:
    heads = ["", f"{unit}/s min", "median", "max", "of raw poll", "scoring", "CPU s", "peak MiB", "windows", "over"]
    rows = []
    for name, found in results.items():
        last = found[-1]
        rows.append(
            [
                LABELS[name],
                *report.spread([result.records / result.seconds for result in found]),
                f"{statistics.median(ratios(results, name)):.0%}",
                "" if last.scoring_s is None else f"{scoring_share(found):.1%}",
                f"{statistics.median(result.cpu_s for result in found):.2f}",
                f"{max(result.peak_mib for result in found):.0f}",
                "" if last.windows is None else f"{last.windows:,}",
                "" if last.over is None else f"{last.over:,}",
            ]
        )
    return report.table(heads, rows)


def agreement(results: Rounds, workload: Workload) -> tuple[bool, str]:
    """Whether every contender, in every round, found what was computed beforehand from the same data."""
    expected = (workload.records, workload.windows, workload.over)
    wrong = [
        f"{name} found {found}"
        for name, rounds in results.items()
        for result in rounds
        if (found := (result.records, result.windows or workload.windows, result.over or workload.over)) != expected
    ]
    told = f"{expected[1]:,} windows, {expected[2]:,} over the threshold ({workload.threshold:.4f})"
    alerts = results["ours"][-1].alerts if "ours" in results else None
    if alerts is not None:
        told += f"; Telltale told of them in {alerts:,} alerts (an incident is one, with its updates and its end)"
    return not wrong, f"{'agree' if not wrong else 'DISAGREE: ' + '; '.join(wrong)}: {told}"


def bars(json: Rounds, f32: Rounds) -> list[str]:
    lines = []
    if {"raw", "ours"} <= json.keys():
        ratio = statistics.median(ratios(json, "ours"))
        lines.append(report.bar(f"JSON: {ratio:.0%} of raw poll, at least 60 %", met=ratio >= 0.6))
    for peer in json.keys() - set(F32) if "ours" in json else ():
        ratio = statistics.median(ratios(json, "ours", peer))
        lines.append(report.bar(f"JSON: {ratio:.1f} times as fast as {LABELS[peer]}", met=ratio > 1))
    if {"raw", "ours"} <= f32.keys():
        ratio = statistics.median(ratios(f32, "ours"))
        rate = statistics.median(result.records / result.seconds for result in f32["ours"])
        text = f"f32: {rate:,.0f} windows/s and {ratio:.0%} of raw poll, at least 90,000 or 60 %, whichever is less"
        lines.append(report.bar(text, met=rate >= 90_000 or ratio >= 0.6))
    for kind, rounds in (("JSON", json), ("f32", f32)):
        if {"ours", "beside"} <= rounds.keys():
            ratio = statistics.median(ratios(rounds, "ours", "beside"))
            lines.append(
                report.bar(f"{kind}: {ratio:.2f} of the other commit's rate, at least 0.97", met=ratio >= 0.97)
            )
        if "ours" in rounds:
            share = scoring_share(rounds["ours"])
            lines.append(report.bar(f"{kind}: {share:.1%} of the time in scoring, at most 10 %", met=share <= 0.1))
    return sorted(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=600_000, help="JSON records of one sample")
    parser.add_argument("--windows", type=int, default=150_000, help="f32 records of one window")
    parser.add_argument("--contenders", default=",".join(CONTENDERS), help="any of %(default)s")
    parser.add_argument("--beside", type=Path, metavar="DIRECTORY", help="a checkout of another commit")
    parser.add_argument("--quick", action="store_true", help="one small round: does it run, not how fast")
    asked = parser.parse_args()
    names = [*asked.contenders.split(","), *(["beside"] if asked.beside else [])]
    other = (asked.beside or ROOT).resolve()
    rounds, records, windows = (1, 100_000, 30_000) if asked.quick else (asked.rounds, asked.records, asked.windows)
    with tempfile.TemporaryDirectory(prefix="telltale-bench-") as directory:
        place = Path(directory)
        with LocalKafka(place / "kafka", port=0) as kafka:
            bootstrap = kafka.bootstrap_servers
            json_load = prepare("json", records, bootstrap, place)
            json = compete(names, json_load, bootstrap, rounds, other)
            f32_load = prepare("f32", windows, bootstrap, place)
            f32 = compete([name for name in names if name in F32], f32_load, bootstrap, rounds, other)
    print(report.header("End to end: broker, decode, window, score, decide, publish, commit", PACKAGES))
    print(
        f"{SERIES} series, {PARTITIONS} partitions, one broker; windows of {LENGTH} samples, JSON with a hop of {HOP}; "
        f"dense {LENGTH}-{'-'.join(map(str, WIDTHS))}, batches of {BATCH_ROWS}; {rounds} rounds, medians\n"
    )
    print(f"JSON, one sample a record, {json_load.records:,} records\n{tabulate(json, 'samples')}")
    same_json, text = agreement(json, json_load)
    print(f"{text}\n\nf32, one window a record, {f32_load.records:,} records\n{tabulate(f32, 'windows')}")
    same_f32, text = agreement(f32, f32_load)
    print(f"{text}\n")
    print("\n".join(bars(json, f32)))
    sys.exit(0 if same_json and same_f32 else 1)


if __name__ == "__main__":
    main()
