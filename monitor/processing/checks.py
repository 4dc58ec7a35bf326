"""What is watched besides the score: checks of a series' samples, whose incidents live beside those of the score.

A check is a class in a file of its own, and a row of `CHECKS` (`monitor/extensions.py`) under the name of its rule. It
says of samples what a score says of windows, a value over a threshold or not, and a policy makes incidents of that:

    samples in order -> take -> findings -> policy -> incidents by (series, rule) -> alerts

A row of `CHECKS` watches every artifact's series; a check that has nothing to say of one finds nothing. Limits that
belong to the data come from the manifest that it is made with.

Rules of this file: pure, and the log alone decides. A check is handed each sample once, those of a series in order of
event time, and with each how far the time of the whole partition had come there, so that silence is found by the
records of others. What it remembers of a series is in the partition's snapshot. Samples that are read again to refill
windows go through it too; what it finds in them was decided before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monitor import extensions
from monitor.detector.arrays import Float64Array, Int64Array, StructOfArrays
from monitor.detector.event_time import grouped
from monitor.detector.incidents import Policy
from monitor.detector.spec import Manifest
from monitor.detector.windows import Appended, Ordered, Samples, Windows

# What is remembered of series: a structured array, one row each.
Memory = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Findings(StructOfArrays):
    """What a check says at n of the samples that it was handed: a `value` over `threshold` is a problem of the series.

    `series` (n,) are rows; `offset` and `index` are those of the sample at which it is found, which need not be one
    of that series, and `at` the offset at which that took its place (None: its own). `start_us` to `end_us` is what it
    is about. `value` is finite, or NaN where nothing can be said, and `threshold` is more than 0.
    """

    series: Int64Array
    offset: Int64Array
    index: Int64Array
    start_us: Int64Array
    end_us: Int64Array
    value: Float64Array
    threshold: Float64Array
    at: Int64Array | None = None

    @property
    def placed_at(self) -> Int64Array:
        """The offset at which each is found."""
        return self.offset if self.at is None else self.at


class Check(Protocol):
    """Watches the samples of many series by one rule. It keeps nothing itself."""

    @property
    def policy(self) -> Policy:
        """When an incident opens, is reported again and closes: in findings of its series."""

    @property
    def nothing(self) -> np.void:
        """What is remembered of a new series; its dtype is the layout of `memory`."""

    def take(self, ordered: Ordered, stream_us: Int64Array, memory: Memory) -> Findings:
        """The findings in some samples, in any order; for a series without an incident none need say that it is well.

        Args:
            ordered: the samples in time, those of a series together and in order; among them what refused records leave
                (`hole`), whose values are NaN.
            stream_us: (n,) the partition's time at each.
            memory: of each series by row, updated in place by these samples; rows that no series has yet, or any more,
                may be written and read, and what is found in them is ignored.
        """

    def describe(self, value: float, threshold: float) -> str:
        """A finding over the threshold in words, for a summary: what is wrong, and the limit."""


def checks_of(manifest: Manifest) -> dict[str, Check]:
    """The checks that go with an artifact, by rule."""
    return {rule: make(manifest) for rule, make in extensions.load_rows(extensions.CHECKS).items()}


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
        self._memory: dict[str, Memory] = {rule: np.empty(0, check.nothing.dtype) for rule, check in checks.items()}
        self._rows = 0  # so many are in use, or were; there is room for more

    @property
    def row_bytes(self) -> int:
        """What a series takes, in memory and in a snapshot."""
        return sum(memory.itemsize for memory in self._memory.values())

    def begin(self, rows: int, new: list[int]) -> None:
        """Makes room for `rows` rows, of which those of `new` go to new series."""
        self._rows = rows
        for rule, check in self._checks.items():
            memory = self._memory[rule]
            if rows > len(memory):
                self._memory[rule] = np.full(max(rows, 2 * len(memory), 16), check.nothing)
                self._memory[rule][: len(memory)] = memory
            self._memory[rule][new] = check.nothing

    def take(
        self, taken: Samples | Windows, appended: Appended, stream_at: Callable[[Int64Array], Int64Array]
    ) -> Found | None:
        """What the checks say of what the windower took in; `stream_at` is the partition's time at offsets."""
        found = []
        for ordered in appended.ordered or (grouped(_samples(taken)),):
            stream_us = stream_at(ordered.at)
            found += [
                check.take(ordered, stream_us, self._memory[rule][: self._rows]) for rule, check in self._checks.items()
            ]
        counts = [len(findings) for findings in found]
        rule = np.repeat(np.arange(len(found)) % len(self._checks), counts)
        return _in_log_order(Findings.concatenate(found), rule, appended.windows) if any(counts) else None

    def snapshot(self, rows: Int64Array) -> dict[str, bytes]:
        """What each check remembers of the series `rows`, as many bytes for each, by rule, channels and layout."""
        return {self._name(rule, memory): memory[rows].tobytes() for rule, memory in self._memory.items()}

    def restore(self, rows: Int64Array, found: Mapping[str, bytes]) -> None:
        """Puts back what `snapshot` returned; a check starts over that it lacks, or has by other channels or layout."""
        for rule, memory in self._memory.items():
            kept = found.get(self._name(rule, memory), b"")
            if len(kept) == len(rows) * memory.itemsize:
                memory[rows] = np.frombuffer(kept, memory.dtype)

    def _name(self, rule: str, memory: Memory) -> str:
        return f"{rule} {self._channels} {memory.dtype.descr}"


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


def _samples(taken: Any) -> Samples:
    """The samples of records that are windows, each at its time; they stand alone, so that none is late."""
    assert isinstance(taken, Windows)
    count, length, channels = taken.values.shape
    index = np.tile(np.arange(length), count)
    period_us = np.repeat((taken.end_us - taken.start_us) / max(1, length - 1), length)
    time_us = np.repeat(taken.start_us, length) + np.rint(index * period_us).astype(np.int64)
    return Samples(
        series=np.repeat(taken.series, length),
        values=taken.values.reshape(-1, channels),
        time_us=time_us,
        clock_us=time_us,
        ties=np.ones(count * length, dtype=np.bool_),
        offset=np.repeat(taken.last_offset, length),
        index=index,
    )
