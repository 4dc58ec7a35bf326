"""How many incidents a line would have opened, and how sure such a count is.

Rules of this file: counts equal those of `monitor.detector.decision.step`, window by window. Windows over the line
whose gaps are all shorter than `close_after` form a cluster: an incident never closes within one, and always between
two. So a cluster opens one incident if `open_after` windows in a row of it are over the line, else none. Where windows
are no neighbours in time there are no clusters, and each window over the line is an incident.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from monitor.detector.decision import Policy, Verdict, decide
from training.thresholds import poisson
from training.thresholds.calibration import CalibrationScores

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a line costs on normal windows: `over` windows are over it, in `incidents` incidents.

    `rate` is in incidents a day and series, or per 1,000 windows where nothing says how many windows a day has
    (`a_day` is False); `low` and `high` are its 95% interval for a Poisson count (Garwood 1936).
    """

    over: int
    windows: int
    incidents: int
    rate: float
    low: float
    high: float
    a_day: bool

    @property
    def unit(self) -> str:
        return "a day per series" if self.a_day else "per 1,000 windows"


def spans(over: NDArray[np.bool_], policy: Policy) -> NDArray[np.int64]:
    """The incidents of one series, (k, 2) first and last window over the line; `over` (n,) are those of its windows in
    order of time. Windows that could not be scored are left out before: they move nothing.
    """
    places = np.flatnonzero(over)
    apart = np.diff(places, prepend=places[:1])
    cluster = np.cumsum(apart > max(policy.close_after, 1))
    run = np.cumsum(apart > 1)
    long_enough = np.bincount(run)[run] >= policy.open_after
    opened = np.unique(cluster[long_enough])
    ends = np.searchsorted(cluster, opened, side="right") - 1
    return np.column_stack([places[np.searchsorted(cluster, opened)], places[ends]])


def count(over: NDArray[np.bool_], policy: Policy) -> int:
    """How many `spans` there are."""
    return len(spans(over, policy))


def expected(calibration: CalibrationScores, line: float, lines: Mapping[str, float] | None = None) -> Expected:
    """What `line` costs on `calibration`, all series together; `lines` are those of series that have their own."""
    each: float | NDArray[np.float64] = line
    if lines and calibration.series is not None:
        each = np.array([lines.get(name, line) for name in calibration.names])[calibration.series]
    elif lines and len(calibration.names) == 1:
        each = lines.get(calibration.names[0], line)
    over = decide(calibration.scores, each) == Verdict.ANOMALY
    policy = calibration.policy
    incidents = int(over.sum()) if policy is None else sum(count(run, policy) for run in calibration.runs(over))
    days = calibration.days
    exposure = len(calibration.scores) / 1000 if days is None else days
    low, high = poisson.interval(incidents)
    return Expected(
        over=int(over.sum()),
        windows=len(over),
        incidents=incidents,
        rate=incidents / exposure,
        low=low / exposure,
        high=high / exposure,
        a_day=days is not None,
    )


def lowest_line(calibration: CalibrationScores, allowed: int) -> tuple[float, bool]:
    """The lowest score from which upwards no line opens over `allowed` incidents, and whether lower ones do.

    Where no line at all does, the one that opens the most. Much lower ones may open fewer again, as incidents merge
    into one that never ends; none of those is meant. Windows are added from the highest score down, and clusters are
    merged as they meet (disjoint sets), so each window is looked at once.
    """
    policy = calibration.policy
    reach, open_after = (0, 1) if policy is None else (max(policy.close_after, 1), max(policy.open_after, 1))
    # Apart by more than `reach`, so that series never meet.
    padded = [np.concatenate([run, np.full(reach, -np.inf, np.float32)]) for run in calibration.runs()]
    scores = np.concatenate(padded)
    order = np.argsort(-scores, kind="stable")[: len(calibration.scores)]
    ordered = scores[order]
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1, [len(ordered)]]).tolist()
    clusters = _Clusters(len(scores), reach, open_after)
    most, best = 0, float(ordered[0])
    for first, end in pairwise(firsts):
        # What is over the next lower line is all that equals this score, too.
        for place in order[first:end].tolist():
            clusters.add(place)
        if clusters.open > allowed:
            return float(ordered[first]), True
        if clusters.open > most:
            lower = ordered[end] if end < len(ordered) else np.nextafter(ordered[first], np.float32(-np.inf))
            most, best = clusters.open, float(lower)
    return best, False


@dataclass(slots=True)
class _Clusters:
    """Windows over a line that goes down; `open` is how many incidents they make."""

    size: int
    reach: int
    open_after: int
    open: int = 0
    root: list[int] = field(init=False)
    long: bytearray = field(init=False)
    length: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.root = [-1] * self.size  # -1: not over the line
        self.long = bytearray(self.size)  # of a root: whether the cluster opens an incident
        self.length = [0] * self.size  # of the two ends of a run: how many windows are over in a row

    def add(self, place: int) -> None:
        self.root[place] = place
        before = self.length[place - 1] if place and self.root[place - 1] >= 0 else 0
        after = self.length[place + 1] if place + 1 < self.size and self.root[place + 1] >= 0 else 0
        total = before + 1 + after
        self.length[place - before] = self.length[place + after] = total
        if total >= self.open_after:
            self.long[place] = 1
            self.open += 1
        for step in (-1, 1):
            for distance in range(1, self.reach + 1):
                other = place + step * distance
                if not 0 <= other < self.size:
                    break
                if self.root[other] >= 0:
                    self._join(place, other)
                    break

    def _join(self, one: int, other: int) -> None:
        one, other = self._find(one), self._find(other)
        if one == other:
            return
        self.open -= self.long[one] and self.long[other]
        self.long[one] |= self.long[other]
        self.root[other] = one

    def _find(self, place: int) -> int:
        root = place
        while self.root[root] != root:
            root = self.root[root]
        while self.root[place] != root:
            self.root[place], place = root, self.root[place]
        return root
