"""From verdicts to the life of an incident: one window at a time as the daemon takes them, and over arrays.

Rules of this file: what windows decide, when an incident opens, is reported again and closes, is here and nowhere else.
No clock: windows are the only time there is. An UNSCORABLE window neither opens nor closes anything, and counts
nowhere. Without a window an incident ends where its series is forgotten or stays silent, or its topic is made again:
`monitor/processing/silence.py`, and `let_go` and `_recall` of `PartitionState` (`monitor/processing/partition.py`).

    closed --open_after windows over, in a row--> open (firing) --every update_every windows--> open (update)
    open --close_after windows under, in a row--> closed (resolved)

`step` is the policy. `steps` is the same over all windows of many series at once, `openings` at all thresholds at once;
tests/property/test_incidents.py holds both against `step` for every field of `Policy`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector.arrays import BoolArray, Float32Array, Int64Array
from monitor.detector.decision import Verdict

# The rule by which a score over its threshold opens an incident. Names of rules stand in the ids of alerts and in the
# keys of state records: letters, digits and "_", for ever.
SCORE_RULE = "reconstruction"


class Status(StrEnum):
    """What an alert says of its incident."""

    FIRING = "firing"
    UPDATE = "update"
    RESOLVED = "resolved"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """When an incident opens, is reported again, and closes; all in windows, as the options of the same names.

    `open_after` and `close_after` are at least 1; `update_every` 0 means never.
    """

    open_after: int = 1
    close_after: int = 3
    update_every: int = 20


class IncidentKey(NamedTuple):
    """The series (its name in UTF-8), the rule and the channel of an incident; each of these has incidents of its own.

    `channel` is empty where an incident is of the whole series.
    """

    series: bytes
    rule: str = SCORE_RULE
    channel: str = ""

    @property
    def watched(self) -> tuple[str, str]:
        """What is watched of the series: rule and channel."""
        return self.rule, self.channel


# µs since 1970, of the years 1 to 9999: what RFC 3339 can write
Moment = Annotated[int, msgspec.Meta(ge=-62_135_596_800_000_000, le=253_402_300_799_999_999)]


class Incident(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The life of one series' incident by one rule; the default value is a closed one.

    `over` and `under` count windows in a row, `quiet` windows since the incident was last reported. `fingerprint` is
    not empty while the incident is open. `started_us` is the start of the first window over, `ended_us` the end of the
    last one; `windows` counts windows over, and `peak_ratio` is the highest score over threshold among them.
    """

    over: int = 0
    under: int = 0
    quiet: int = 0
    fingerprint: str = ""
    started_us: Moment = 0
    ended_us: Moment = 0
    windows: int = 0
    peak_ratio: float = 0.0

    @property
    def open(self) -> bool:
        return bool(self.fingerprint)

    @property
    def active(self) -> bool:
        """Whether it is open, or has counted windows towards opening; else there is nothing to remember."""
        return bool(self.fingerprint or self.over)


def step(incident: Incident, verdict: int, ratio: float, start_us: int, end_us: int, policy: Policy) -> Status | None:
    """Moves `incident` on by one window, in place; returns what there is to report.

    On FIRING the caller sets `fingerprint`; on RESOLVED it starts a new `Incident` once it has reported.
    """
    if verdict == Verdict.UNSCORABLE:
        return None
    if verdict == Verdict.NORMAL:
        return _under(incident, policy)
    if incident.windows == 0:
        incident.started_us = start_us
    incident.windows += 1
    incident.ended_us = end_us
    incident.peak_ratio = max(incident.peak_ratio, ratio)
    incident.under = 0
    if not incident.open:
        incident.over += 1
        return Status.FIRING if incident.over >= policy.open_after else None
    return _lasting(incident, policy)


def _under(incident: Incident, policy: Policy) -> Status | None:
    if not incident.open:
        incident.over = incident.windows = incident.started_us = incident.ended_us = 0
        incident.peak_ratio = 0.0
        return None
    incident.under += 1
    if incident.under >= policy.close_after:
        return Status.RESOLVED
    return _lasting(incident, policy)


def _lasting(incident: Incident, policy: Policy) -> Status | None:
    incident.quiet += 1
    if policy.update_every and incident.quiet >= policy.update_every:
        incident.quiet = 0
        return Status.UPDATE
    return None


def steps(
    verdicts: NDArray[np.integer], policy: Policy, series: NDArray[np.integer] | None = None
) -> dict[Status, Int64Array]:
    """The windows at which `step` returns each status: indices into `verdicts` (n,), rising.

    Args:
        verdicts: of windows in order of time within their series.
        series: (n,) the series of each window, in any order; None: all are of one series.
    """
    rows, begins = _by_series(np.flatnonzero(verdicts != Verdict.UNSCORABLE), series)
    over, at = verdicts[rows] == Verdict.ANOMALY, np.arange(len(rows))
    # What the last of both was decides: whether an incident is open after a window.
    opener = np.where(_in_a_row(over, begins) >= policy.open_after, at, -1)
    closer = np.where(_in_a_row(~over, begins) >= policy.close_after, at, np.where(begins, at - 1, -1))
    is_open = np.maximum.accumulate(opener) > np.maximum.accumulate(closer)
    was_open = np.concatenate([[False], is_open[:-1]])[: len(rows)] & ~begins
    firing = is_open & ~was_open
    since = at - np.maximum.accumulate(np.where(firing, at, 0))
    update = is_open & was_open & (since % policy.update_every == 0) if policy.update_every else np.zeros_like(is_open)
    found = {Status.FIRING: firing, Status.UPDATE: update, Status.RESOLVED: was_open & ~is_open}
    return {status: np.sort(rows[which]) for status, which in found.items()}


def openings(scores: Float32Array, policy: Policy, series: NDArray[np.integer] | None = None) -> Float32Array:
    """The incidents that `scores` open at any threshold: (k, 2), each at every threshold t with `low <= t < high`.

    The windows before, `series` and unscorable windows are as in `steps`. After each window the thresholds under some
    level have an open incident, those from there on none; a window can only move that level: up to the lowest of the
    last `open_after` scores, or down to the highest of the last `close_after`.
    """
    rows, begins = _by_series(np.flatnonzero(~np.isnan(scores)), series)
    nth = _in_a_row(np.ones(len(rows), dtype=np.bool_), begins)
    opens = np.where(nth < policy.open_after, -np.inf, _lowest(scores[rows], policy.open_after))
    closes = np.where(nth < policy.close_after, np.inf, -_lowest(-scores[rows], policy.close_after))
    level, found = -np.inf, []
    for first, lowest, highest in zip(begins.tolist(), opens.tolist(), closes.tolist(), strict=True):
        if first:
            level = -np.inf
        if lowest > level:
            found.append((level, lowest))
            level = lowest
        elif highest < level:
            level = highest
    return np.array(found, dtype=np.float32).reshape(-1, 2)


def _by_series(rows: Int64Array, series: NDArray[np.integer] | None) -> tuple[Int64Array, BoolArray]:
    """`rows` with those of a series together, and which of them are the first of theirs."""
    if series is None:
        return rows, np.arange(len(rows)) == 0
    rows = rows[np.argsort(series[rows], kind="stable")]
    of = series[rows]
    return rows, np.concatenate([[True], of[1:] != of[:-1]])[: len(rows)]


def _in_a_row(which: BoolArray, begins: BoolArray) -> Int64Array:
    """How many in a row `which` holds for up to each window, (n,), within its series."""
    at = np.arange(len(which))
    return at - np.maximum.accumulate(np.where(which, np.where(begins, at - 1, -1), at))


def _lowest(values: Float32Array, count: int) -> Float32Array:
    """The lowest of the `count` values that end at each, (n,); near the beginning of as many as there are."""
    width = 1
    while width < min(count, len(values)):
        more = min(width, count - width)
        values = np.concatenate([values[:more], np.minimum(values[more:], values[:-more])])
        width += more
    return values
