"""From scores to verdicts, and from verdicts to the life of an incident.

Rules of this file: everything that moves an incident from one state to the next is here. No clock: windows are the only
time there is. A score that is not a number is UNSCORABLE, never NORMAL: it neither opens nor closes anything.

    closed --open_after windows over--> open (firing) --every update_every windows--> open (update)
    open --close_after windows under, in a row--> closed (resolved)
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray


class Verdict(IntEnum):
    """What one window is found to be."""

    NORMAL = 0
    ANOMALY = 1
    UNSCORABLE = 2


def decide(scores: NDArray[np.float32], threshold: float | NDArray[np.floating]) -> NDArray[np.int8]:
    """The verdict of each score: ANOMALY strictly over the threshold, UNSCORABLE where it is not a number.

    `threshold` is one line for all scores, or one for each.
    The comparison is made in float32, the scores' own type, so that a threshold means the same wherever it is read.
    """
    line = np.asarray(threshold, dtype=np.float32)
    verdicts = np.where(scores > line, Verdict.ANOMALY, Verdict.NORMAL).astype(np.int8)
    verdicts[np.isnan(scores)] = Verdict.UNSCORABLE
    return verdicts


class Status(StrEnum):
    """What an alert says of its incident."""

    FIRING = "firing"
    UPDATE = "update"
    RESOLVED = "resolved"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """When an incident opens, is told of again, and closes; all in windows."""

    open_after: int = 1
    close_after: int = 3
    update_every: int = 20


class Incident(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The life of one series' incident; the default value is a series at rest.

    `over` and `under` count windows in a row, `quiet` windows since the incident was last told of. `fingerprint` is
    not empty while the incident is open. `started_us` is the start of the first window over, `ended_us` the end of the
    last one; `windows` counts windows over, and `peak_ratio` is the highest score over threshold among them.
    """

    over: int = 0
    under: int = 0
    quiet: int = 0
    fingerprint: str = ""
    started_us: int = 0
    ended_us: int = 0
    windows: int = 0
    peak_ratio: float = 0.0

    @property
    def open(self) -> bool:
        return bool(self.fingerprint)

    @property
    def at_rest(self) -> bool:
        """Nothing to remember."""
        return not self.fingerprint and not self.over


def step(incident: Incident, verdict: int, ratio: float, start_us: int, end_us: int, policy: Policy) -> Status | None:
    """Moves `incident` on by one window, in place; returns what there is to tell.

    On FIRING the caller sets `fingerprint`; on RESOLVED it starts a fresh `Incident` once it has told.
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
    return _told(incident, policy)


def _under(incident: Incident, policy: Policy) -> Status | None:
    if not incident.open:
        incident.over = incident.windows = incident.started_us = incident.ended_us = 0
        incident.peak_ratio = 0.0
        return None
    incident.under += 1
    if incident.under >= policy.close_after:
        return Status.RESOLVED
    return _told(incident, policy)


def _told(incident: Incident, policy: Policy) -> Status | None:
    incident.quiet += 1
    if policy.update_every and incident.quiet >= policy.update_every:
        incident.quiet = 0
        return Status.UPDATE
    return None
