"""Static thresholds and thresholds that follow, on servers that drift: alarms, and normal rows flagged, beside events.

SMD, the machines of `smd.py`: a detector is fitted on a machine's first half, and its threshold chosen by the held-out
fifth of that for a budget of one alarm a day, as `--alarms-per-day 1` does it. The second half, the later one, is what
the daemon would see: a row a minute, incidents by the default policy. An event is found where an incident is open in
it; it has an *opening inside* where one opens in it: an incident that never ends finds every event, and is told once.
Alarms are all openings; false ones those outside events.

    python -m tests.benchmarks.series.following --seeds 3
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from monitor.detector.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from monitor.detector.decision import Verdict, decide
from monitor.detector.following import Following, FollowingRules, ScoredWindows
from monitor.detector.incidents import Policy, Status, steps
from monitor.detector.memory import Memory
from tests.benchmarks.series import smd
from tests.benchmarks.series.contest import BATCH_ROWS, compiled_once, heading, mean_sd
from training import pipeline, recipes
from training.metrics import events
from training.recipes.schema import Recipe
from training.thresholds.rules import ThresholdPart, left_out
from training.windows import splits
from training.windows.subsets import served

MINUTE_US, MINUTES_A_DAY = 60_000_000, 1440
RULES = {
    "static": None,
    "following": FollowingRules(),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """Scores (m,) of the windows that end at rows `last` (m,) of a machine's second half, and which rows are events."""

    name: str
    scores: Float32Array
    last: Int64Array
    truth: BoolArray
    threshold: float


@dataclass(frozen=True, slots=True)
class Told:
    """What an operator sees of a machine."""

    events: int
    found: int
    opened_inside: int
    openings: int
    false_openings: int
    flagged: int
    normal_rows: int
    days: float

    def cells(self) -> tuple[float, ...]:
        """Alarms a day, false ones a day, the share of normal rows flagged, events found, those with an opening."""
        share = self.flagged / self.normal_rows
        return self.openings / self.days, self.false_openings / self.days, share, self.found, self.opened_inside


def by_budget(recipe: Recipe) -> Recipe:
    """The recipe with a threshold for one alarm a day, of rows of a minute, and nothing kept for a test."""
    return msgspec.structs.replace(
        recipe,
        window=msgspec.structs.replace(recipe.window, sampling_rate_hz=1 / 60),
        split=msgspec.structs.replace(recipe.split, test=0.0),
        threshold=ThresholdPart(method="budget", alarms_per_day=1.0, leave_out=left_out("budget")),
    )


def score(recipe: Recipe, directory: Path, name: str, seed: int) -> Machine:
    """Fits on a machine's first half, and scores the second."""
    first, second = smd.read(directory, name)
    artifact = pipeline.train(recipe, [first], seed=seed, name=recipe.name, batch_rows=BATCH_ROWS).artifact
    manifest = artifact.manifest
    cut = splits.cut(second.samples, second.time_us, slice(0, len(second.samples)), manifest.window)
    scores = artifact.scorer()(served(cut.values, manifest.window))
    assert second.labels is not None
    return Machine(name, scores, cut.last, second.labels == 1, manifest.threshold.value)


def in_force(machine: Machine, rules: FollowingRules | None) -> Float64Array:
    """The threshold of each window."""
    static = np.full(len(machine.scores), machine.threshold)
    if rules is None:
        return static
    following, row = Following(rules), np.zeros(len(machine.scores), dtype=np.int64)
    windows = ScoredWindows(row, machine.last * MINUTE_US, machine.scores, static)
    return following.advance(windows, Memory.full(1, following.nothing)).threshold


def told(machine: Machine, rules: FollowingRules | None) -> Told:
    """What is told of a machine whose threshold follows by some rules, or not."""
    verdicts = decide(machine.scores, in_force(machine, rules))
    policy = Policy(update_every=0)
    found = steps(verdicts, policy)
    opened = np.zeros(len(machine.truth), dtype=np.bool_)
    opened[machine.last[found[Status.FIRING]]] = True
    change = np.zeros(len(machine.truth), dtype=np.int64)
    change[machine.last[found[Status.FIRING]]] += 1
    change[machine.last[found[Status.RESOLVED]]] -= 1
    is_open = np.cumsum(change) > 0
    flagged = np.zeros(len(machine.truth), dtype=np.bool_)
    flagged[machine.last[verdicts == Verdict.ANOMALY]] = True
    labelled = events.intervals(machine.truth)
    return Told(
        events=len(labelled),
        found=sum(bool(is_open[first : last + 1].any()) for first, last in labelled),
        opened_inside=sum(bool(opened[first : last + 1].any()) for first, last in labelled),
        openings=int(opened.sum()),
        false_openings=int(opened[~machine.truth].sum()),
        flagged=int(flagged[~machine.truth].sum()),
        normal_rows=int((~machine.truth).sum()),
        days=len(machine.truth) / MINUTES_A_DAY,
    )


def pooled(parts: list[Told]) -> Told:
    """Of all machines together."""
    return Told(*(sum(column) for column in zip(*map(_numbers, parts), strict=True)))


def _numbers(one: Told) -> tuple[float, ...]:
    return tuple(getattr(one, name) for name in Told.__slots__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/smd"))
    parser.add_argument("--recipe", default="servers")
    parser.add_argument("--machines", nargs="*", default=list(smd.MACHINES), choices=smd.MACHINES)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    recipe = by_budget(recipes.override(recipes.load(options.recipe), normal_class="all"))
    heading(f"`{options.recipe}`, SMD, a budget of one alarm a day", options.seeds)
    with compiled_once():
        machines = [
            [score(recipe, options.data, name, seed) for name in options.machines] for seed in range(options.seeds)
        ]
    print(
        "| threshold | machine | alarms a day | outside events | normal rows flagged | events found | opening inside |"
    )
    print("|---|---|---|---|---|---|---|")
    for kind, rules in RULES.items():
        each = [[told(machine, rules) for machine in found] for found in machines]
        for number, name in enumerate(options.machines):
            print(row(kind, name, [found[number] for found in each]))
        print(row(kind, "all", [pooled(found) for found in each]))


def row(kind: str, name: str, seeds: list[Told]) -> str:
    """A machine's row of the table, or that of all."""
    alarms, false, flagged, found, inside = zip(*(each.cells() for each in seeds), strict=True)
    of = f" of {seeds[0].events}"
    share = mean_sd([100 * each for each in flagged], 1)
    return (
        f"| {kind} | {name} | {mean_sd(alarms, 2)} | {mean_sd(false, 2)} | {share} % | {mean_sd(found, 1)}{of} "
        f"| {mean_sd(inside, 1)}{of} |"
    )


if __name__ == "__main__":
    main()
