"""How long does a training take, beside Keras on TensorFlow? `python -m tests.benchmarks.training_speed [--rounds N]`

The tutorial recipe on ECG5000 as whole cold processes: interpreter, imports, reading the text files, compiling,
fitting 20 epochs, choosing the threshold, writing the result. Both take the same parts of the same files. Each
process gets an empty directory as its home, so that nothing compiled before is found; the programs' own files are
warm for both. `make training-speed` gives each of these an environment with what it needs and nothing else, as people
have it: JAX reads what every installed distribution says of itself. They take turns, round by round in the other
order. Beside it, each in processes of their own: the fit alone, an epoch once everything is compiled, and the time
until the AUROC on the test part is over 0.98.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.tutorial import FILES, TUTORIAL, data_directory, read

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "ecg5000-tutorial"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
WITHOUT = ("no-report", "no-comparison")  # what Keras's process does not do either
OURS, COMPLETE, KERAS = "Telltale", "Telltale, all it does", "Keras on TensorFlow"
MOST_RATIO = 1 / 3
# One split's accuracy: whoever is farther from the tutorial's has done something else.
FARTHEST = 2 * TUTORIAL["accuracy"][1]
# Of the long fit: epochs in all, how often the AUROC is looked at, and epochs after which nothing compiles any more.
TUTORIAL_EPOCHS = 20
EPOCHS, EACH, SETTLED, ENOUGH = 300, 10, 50, 0.98
# What would bring in something compiled before, or make one side run otherwise than it does by itself
FOREIGN = ("JAX_", "XLA_", "TF_", "KERAS_", "OMP_", "PYTHON")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One process: seconds by the clock and of CPU, and the most memory it held."""

    wall_s: float
    cpu_s: float
    peak_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Long:
    """One long fit from windows in memory: the tutorial's 20 epochs, one epoch at its steady state, and AUROC 0.98.

    `enough_epochs` and `enough_s` are None where 0.98 was not reached.
    """

    fit_s: float
    epoch_ms: float
    enough_epochs: int | None
    enough_s: float | None


@dataclass(slots=True)
class Contender:
    """A command line that does the whole job into a directory, how it says its accuracy, and what was measured."""

    command: Callable[[Path], list[str]]
    accuracy: Callable[[Path, str], float]
    costs: list[Cost] = field(default_factory=list)
    accuracies: set[float] = field(default_factory=set)


def run(command: Sequence[str], home: Path) -> tuple[Cost, str]:
    """Runs a process to its end; its cost and what it wrote to stdout.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=complained, cwd=ROOT, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        complained.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command[:4]} ended with {process.returncode}: {complained.read()[-2000:].decode()}")
        cost = Cost(wall_s=wall_s, cpu_s=used.ru_utime + used.ru_stime, peak_mib=used.ru_maxrss / 1024)
        return cost, said.read().decode()


def last_json(text: str) -> Any:
    return json.loads(text.strip().splitlines()[-1])


def contenders(ours: Path, keras: Path, files: Sequence[str], without: Sequence[str]) -> dict[str, Contender]:
    """Who takes part, by their interpreters: `without` leaves out of our process what Keras's does not do."""

    def train(options: Sequence[str]) -> Contender:
        def command(out: Path) -> list[str]:
            return [str(ours), "-m", "monitor", "train", *files, "--recipe", RECIPE, "--out", str(out), *options]

        return Contender(
            command, lambda out, _: float(json.loads((out / "metrics.json").read_bytes())["detector"]["accuracy"])
        )

    found = {OURS: train(without)}
    if without:
        found[COMPLETE] = train(())
    script = str(Path(__file__).with_name("keras_tutorial.py"))
    found[KERAS] = Contender(
        lambda out: [str(keras), script, *files, "--out", str(out)], lambda _, said: float(last_json(said)["accuracy"])
    )
    return found


def race(found: dict[str, Contender], rounds: int) -> None:
    """Fills in costs, round by round; a round before the first warms the programs' own files and is not counted.

    Raises:
        RuntimeError: a process failed, or did not do the tutorial's job.
    """
    for number in range(-1, rounds):
        for name in sorted(found, reverse=bool(number % 2)):
            contender = found[name]
            with tempfile.TemporaryDirectory(prefix="telltale-training-") as directory:
                home, out = Path(directory) / "home", Path(directory) / "out"
                home.mkdir()
                cost, said = run(contender.command(out), home)
                accuracy = contender.accuracy(out, said)
            if abs(accuracy - TUTORIAL["accuracy"][0]) > FARTHEST:
                raise RuntimeError(f"{name}: accuracy {accuracy:.3f}, the tutorial says {TUTORIAL['accuracy'][0]}")
            contender.accuracies.add(round(accuracy, 4))
            if number >= 0:
                contender.costs.append(cost)


def ratios(found: dict[str, Contender], name: str) -> list[float]:
    """Wall time of `name` over that of Keras in the same round."""
    return [a.wall_s / b.wall_s for a, b in zip(found[name].costs, found[KERAS].costs, strict=True)]


def long(fit_s: float, ends: Sequence[float], reached: int | None) -> Long:
    """From the tutorial's fit, and the seconds at which each epoch of the long one ended."""
    steady = [after - before for before, after in zip(ends[SETTLED:], ends[SETTLED + 1 :], strict=False)]
    return Long(
        fit_s=fit_s,
        epoch_ms=statistics.median(steady) * 1e3,
        enough_epochs=reached,
        enough_s=None if reached is None else ends[reached - 1],
    )


def long_ours(seed: int, epochs: int) -> dict[str, Any]:
    """In a process of its own: what `keras_tutorial` says of its long fit, of ours.

    The AUROC after n epochs is that of a fit of n epochs: the same seed takes the same steps but for rounding, so
    looking costs the long fit nothing.
    """
    from training import pipeline, recipes

    tables, recipe = read(data_directory()), recipes.load(RECIPE)
    ends: list[float] = []

    def fit(epochs: int, on_epoch: Callable[[Any], None] | None = None) -> float:
        chosen = recipes.override(recipe, epochs=epochs)
        trained = pipeline.train(chosen, tables, seed=seed, name="speed", batch_rows=1024, on_epoch=on_epoch)
        detector = trained.results.detector
        assert detector is not None
        assert detector.auroc is not None
        return detector.auroc

    began = time.perf_counter()
    fit(epochs, lambda _: ends.append(time.perf_counter() - began))
    reached = None
    if epochs == EPOCHS:
        reached = next((epochs for epochs in range(EACH, EPOCHS + 1, EACH) if fit(epochs) >= ENOUGH), None)
    return {"ends": ends, "reached": reached}


def long_fits(keras: Path, files: Sequence[str], seeds: int) -> dict[str, list[Long]]:
    """The long fits of both, by turns."""
    found: dict[str, list[Long]] = {OURS: [], KERAS: []}
    script = str(Path(__file__).with_name("keras_tutorial.py"))
    for seed in range(seeds):
        ours = [sys.executable, "-m", "tests.benchmarks.training_speed", "--long-fit", str(seed), "--epochs"]
        theirs = [str(keras), script, *files, "--seed", str(seed), "--epochs", str(EPOCHS)]
        looking = [*theirs, "--each", str(EACH), "--enough", str(ENOUGH)]
        with tempfile.TemporaryDirectory(prefix="telltale-training-") as home:
            # A fit of few epochs is compiled otherwise than a long one, so it is one by itself.
            short = last_json(run([*ours, str(TUTORIAL_EPOCHS)], Path(home))[1])
            told = last_json(run([*ours, str(EPOCHS)], Path(home))[1])
            found[OURS].append(long(short["ends"][-1], told["ends"], told["reached"]))
            told = last_json(run(looking, Path(home))[1])
            ends = last_json(run(theirs, Path(home))[1])["ends"]
            found[KERAS].append(long(ends[TUTORIAL_EPOCHS - 1], ends, told["reached"]))
    return found


def middle(values: Sequence[float | None], form: str) -> str:
    """The median of those that are there, and how many are not."""
    there = [value for value in values if value is not None]
    lost = f", {len(values) - len(there)} never" if len(there) < len(values) else ""
    return f"{statistics.median(there):{form}}{lost}" if there else "never"


def show(found: dict[str, Contender], fits: dict[str, list[Long]]) -> None:
    lines = []
    for name, each in found.items():
        walls, cpus = [cost.wall_s for cost in each.costs], [cost.cpu_s for cost in each.costs]
        least, median, most = report.spread(walls, ".2f")
        share = report.spread(ratios(found, name), ".3f")
        memory = f"{statistics.median(cost.peak_mib for cost in each.costs):,.0f}"
        accuracy = " ".join(f"{value:.3f}" for value in sorted(each.accuracies))
        cpu = report.spread(cpus, ".2f")[1]
        lines.append([name, median, f"{least}-{most}", cpu, memory, f"{share[1]} ({share[0]}-{share[2]})", accuracy])
    heads = ["whole process, cold", "wall s", "min-max", "CPU s", "peak MiB", "of Keras, same round", "accuracy"]
    print(report.table(heads, lines))
    if any(fits.values()):
        print()
        rows = [
            [
                name,
                middle([each.fit_s for each in runs], ".2f"),
                middle([each.epoch_ms for each in runs], ".2f"),
                middle([each.enough_s for each in runs], ".2f"),
                middle([each.enough_epochs for each in runs], ".0f"),
            ]
            for name, runs in fits.items()
        ]
        heads = ["fit alone, compiling included", "20 epochs s", "later epochs ms", f"AUROC {ENOUGH} s", "epochs"]
        print(report.table(heads, rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3, help="long fits of each; 0 for none")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the interpreter that trains ours")
    parser.add_argument("--keras-python", type=Path, default=ROOT / ".venv-keras" / "bin" / "python")
    parser.add_argument(
        "--without", nargs="*", default=list(WITHOUT), help="options of `telltale train`, less their --"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--long-fit", type=int, metavar="SEED", help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.long_fit is not None:
        print(json.dumps(long_ours(asked.long_fit, asked.epochs)))
        return 0
    if not asked.keras_python.exists():
        parser.error(f"{asked.keras_python} is not there; `make training-speed` makes it")
    files = [str(data_directory() / name) for name in FILES]
    found = contenders(asked.python, asked.keras_python, files, [f"--{option}" for option in asked.without])
    race(found, asked.rounds)
    fits = long_fits(asked.keras_python, files, asked.seeds)
    with tempfile.TemporaryDirectory() as home:
        theirs = last_json(run(found[KERAS].command(Path(home) / "out"), Path(home))[1])["versions"]
    title = f"Training, {RECIPE}, {asked.rounds} rounds by turns, {asked.seeds} long fits"
    header = report.header(title, PACKAGES) + f"{KERAS}: {', '.join(f'{name} {theirs[name]}' for name in theirs)}\n"
    ratio = statistics.median(ratios(found, OURS))
    met = ratio <= MOST_RATIO
    if asked.json:
        told = {
            "header": header.splitlines(),
            "whole": {name: [asdict(cost) for cost in each.costs] for name, each in found.items()},
            "ratios": {name: ratios(found, name) for name in found},
            "long": {name: [asdict(each) for each in runs] for name, runs in fits.items()},
            "ratio": ratio,
            "met": met,
        }
        print(json.dumps(told, indent=2))
    else:
        print(header)
        show(found, fits)
        print()
        print(report.bar(f"median ratio {ratio:.3f}, at most {MOST_RATIO:.3f} of Keras on TensorFlow", met=met))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
