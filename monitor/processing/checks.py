"""What is watched besides the score: checks of a series' data, whose incidents live beside those of the score.

A check is a class in a file of its own, and a row of `CHECKS` (`monitor/extensions.py`) under the name of its rule. It
says of a series, or of one of its channels, what a score says of windows, a value over a threshold or not, and a policy
makes incidents of that:

    a turn of the log -> take -> findings -> policy -> incidents by (series, rule, channel) -> quality alerts

A row of `CHECKS` watches every artifact's series, unless the operator switches it off; a check that has nothing to say
of one finds nothing. Limits that belong to the data come from the manifest that it is made with, those that belong to
the operator from `QualityRules`.

Rules of this file: pure, and the log alone decides. A check is handed everything that arrives once, and how far the
time of the whole partition had come at each record, so that silence is found by the records of others. What it
remembers of a series is in the partition's snapshot. What is read again to refill windows goes through it too; what it
finds there was decided before. However the log is cut into turns, the findings are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from monitor import extensions
from monitor.detector.arrays import Float64Array, Int64Array, StructOfArrays
from monitor.detector.incidents import Policy
from monitor.detector.memory import Memory
from monitor.detector.spec import Manifest
from monitor.detector.times import FOREVER_US
from monitor.detector.windows import Windows
from monitor.processing.turns import Turn

WHOLE_SERIES = -1  # as a channel: none of them in particular


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityRules:
    """What the configuration says of checks; `QualityOptions` (`monitor/config/options.py`) documents each.

    A check is off where there is a field of its rule's name and it is false.
    """

    no_data: bool = True
    no_data_after_ms: int | None = None
    no_data_least_ms: int = 1_000
    no_data_resolves_after_ms: int = 3_600_000
    flatline: bool = True
    nan_ratio: bool = True
    out_of_range: bool = True
    late_burst: bool = True
    schema_mismatch: bool = True
    drift: bool = True


@dataclass(frozen=True, slots=True)
class Findings(StructOfArrays):
    """What a check says at n places of the log that it was handed: a `value` over `threshold` is a problem of a series.

    `series` (n,) are rows, `channel` indices of the artifact's channels, `WHOLE_SERIES` for none. `offset` and `index`
    say at which record and at which sample in it this is found, which need not be one of that series; index -1 stands
    for the record as a whole. `at` is the offset at which that sample took its place (None: its own). `start_us` to
    `end_us` is what it is about. `value` is finite, or NaN where nothing can be said, and `threshold` is more than 0.
    `usual` is what `value` is without a problem, for people: NaN, where nothing is. `observed` is what the channel
    reads there, and `note` a text, for people too (None: there is none).
    """

    series: Int64Array
    channel: Int64Array
    offset: Int64Array
    index: Int64Array
    start_us: Int64Array
    end_us: Int64Array
    value: Float64Array
    threshold: Float64Array
    usual: Float64Array
    at: Int64Array | None = None
    observed: Float64Array | None = None
    note: NDArray[np.object_] | None = None

    @property
    def placed_at(self) -> Int64Array:
        """The offset at which each is found."""
        return self.offset if self.at is None else self.at


class Problem(NamedTuple):
    """A finding over its threshold, to be put in words; `channel` is its name, empty for the whole series."""

    channel: str
    value: float
    threshold: float
    usual: float
    start_us: int
    end_us: int
    observed: float = math.nan
    note: str = ""


class Check(Protocol):
    """Watches the data of many series by one rule. It keeps nothing itself."""

    @property
    def policy(self) -> Policy:
        """When an incident opens, is reported again and closes: in findings of its series and channel."""

    @property
    def severity(self) -> Literal["warning", "error"]:
        """Of its alerts, while the incident is open."""

    @property
    def recovered(self) -> str:
        """What is published when all is well again, such as "sends again"."""

    @property
    def unit(self) -> str:
        """The unit of values and thresholds, such as "s"; empty where they have none."""

    @property
    def nothing(self) -> np.void:
        """What is remembered of a new series; its dtype is the layout of `memory`."""

    def take(self, turn: Turn, memory: Memory) -> Findings | None:
        """The findings in a turn, in any order; for what has no incident none need say that it is well.

        Args:
            turn: what arrived, with rows of series as `memory` has them. What is found in a `damaged` one is ignored.
            memory: of each series by row, updated in place by this turn; rows that no series has yet, or any more, may
                be written and read, and what is found in them is ignored.
        """

    def describe(self, problem: Problem) -> str:
        """A problem in words, for a summary that begins with series and channel: what is wrong, and what is usual."""


@runtime_checkable
class Timed(Protocol):
    """A check that finds something where no record comes, by the partition's time alone."""

    def due_us(self, memory: Memory) -> int:
        """The time from which on it does, `FOREVER_US` for never."""


def checks_of(manifest: Manifest, rules: QualityRules) -> dict[str, Check]:
    """The checks that go with an artifact, by rule, without those that are switched off."""
    rows = extensions.load_rows(extensions.CHECKS)
    return {rule: make(manifest, rules) for rule, make in rows.items() if getattr(rules, rule, True)}


def row_bytes(checks: Mapping[str, Check]) -> int:
    """What is remembered of a series, in memory and in a snapshot."""
    return sum(check.nothing.itemsize for check in checks.values())


@dataclass(frozen=True, slots=True)
class Found(StructOfArrays):
    """Findings of all checks in log order: their rules by number, and how many windows come before each."""

    findings: Findings
    rule: Int64Array
    before: Int64Array

    def split(self, windows: int) -> tuple[Found | None, Found | None]:
        """Those among the first `windows`, and those among the rest."""
        first, rest = self[self.before <= windows], self[self.before > windows]
        return first or None, replace(rest, before=rest.before - windows) if rest else None


class Checks:
    """The checks of one partition, and what they remember of its series by row."""

    def __init__(self, checks: Mapping[str, Check], channels: Sequence[str]) -> None:
        """`channels` as they are scored: what is remembered of others says nothing about these."""
        self._checks = checks
        self._channels = list(channels)
        self._memory = {rule: Memory.full(0, check.nothing) for rule, check in checks.items()}
        self._rows = 0  # so many are in use, or were; there is room for more

    def begin(self, rows: int, new: list[int]) -> None:
        """Makes room for `rows` rows, of which those of `new` go to new series."""
        self._rows = rows
        for rule, check in self._checks.items():
            memory = self._memory[rule]
            if rows > len(memory):
                self._memory[rule] = Memory.full(max(rows, 2 * len(memory), 16), check.nothing)
                self._memory[rule].put(slice(len(memory)), memory)
            self._memory[rule].put(np.array(new, dtype=np.int64), Memory.full(len(new), check.nothing))

    def take(self, turn: Turn, windows: Windows) -> Found | None:
        """What the checks say of a turn, placed among the windows that its samples closed."""
        parts, rules = [], []
        for number, (rule, check) in enumerate(self._checks.items()):
            found = check.take(turn, self._memory[rule].first(self._rows))
            if found is not None and len(found):
                parts.append(replace(found, at=found.placed_at))
                rules.append(np.full(len(found), number))
        return _in_log_order(Findings.concatenate(parts), np.concatenate(rules), windows) if parts else None

    def due_us(self) -> int:
        """The partition's time from which on one of the checks finds something, if no record comes before."""
        timed = ((check, self._memory[rule]) for rule, check in self._checks.items() if isinstance(check, Timed))
        return min((check.due_us(memory.first(self._rows)) for check, memory in timed), default=FOREVER_US)

    def note_damage(self, turn: Turn) -> None:
        """Any series may have lost samples in a batch that can't be read: `turn` says so, and nothing else."""
        for rule, check in self._checks.items():
            check.take(turn, self._memory[rule].first(self._rows))

    def snapshot(self, rows: Int64Array) -> dict[str, bytes]:
        """What each check remembers of the series `rows`, as many bytes for each, by rule, channels and layout."""
        return {self._name(rule, memory): memory.take(rows).table().tobytes() for rule, memory in self._memory.items()}

    def restore(self, rows: Int64Array, found: Mapping[str, bytes]) -> set[str]:
        """Puts back what `snapshot` returned; which checks go on.

        One starts over that it lacks, or has by other channels or layout.
        """
        going_on = set()
        for rule, memory in self._memory.items():
            kept = found.get(self._name(rule, memory))
            if kept is not None and len(kept) == len(rows) * memory.layout.itemsize:
                memory.put(rows, Memory.of(np.frombuffer(kept, memory.layout)))
                going_on.add(rule)
        return going_on

    def _name(self, rule: str, memory: Memory) -> str:
        return f"{rule} {self._channels} {memory.layout.descr}"


def _in_log_order(findings: Findings, rule: Int64Array, windows: Windows) -> Found:
    """Findings among the windows that the same samples closed; at the same sample a window comes first."""
    found = np.repeat([False, True], [len(windows), len(findings)])
    at = np.concatenate([windows.placed_at, findings.placed_at])
    offset = np.concatenate([windows.last_offset, findings.offset])
    index = np.concatenate([windows.last_index, findings.index])
    order = np.lexsort((found, index, offset, at))
    found = found[order]
    rows = order[found] - len(windows)
    before = np.maximum.accumulate(np.where(found, 0, order + 1))  # windows of one place are in order of time
    return Found(findings[rows], rule[rows], before[found])
