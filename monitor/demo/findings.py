"""Which planted intervals were found, which incidents were false, and the summary at the end.

The rule, in event time and per series:

    planted      [start, stop) of something abnormal: for a premature beat from its QRS complex to the end of the pause
    incident     [started_at, ended_at] of an incident, from the first sample of its first window over the threshold to
                 the last sample of its last one; if it is not resolved yet, up to the last window in an alert
    found        a planted interval that an incident overlaps
    false        an incident that overlaps no planted interval, even if each is taken to last one window longer (a
                 window that began in the pause may close after it)

An incident that never ends would find everything, so the summary has the share of the signal that incidents cover.

Rules of this file: pure; no clock, no Kafka, no terminal. Times are microseconds since 1970 unless named otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from monitor.messages.alerts import Alert

# "At most one false incident per patient-hour"; a run of less than an hour may have one.
MOST_FALSE_PER_HOUR = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PlantedInterval:
    """One abnormal interval of the stream, [start_us, stop_us)."""

    series: str
    start_us: int
    stop_us: int


@dataclass(slots=True, kw_only=True)
class AlertedIncident:
    """One incident as its alerts report it, [start_us, end_us]."""

    series: str
    start_us: int
    end_us: int
    resolved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Incidents compared with what was planted."""

    found: tuple[PlantedInterval, ...]
    missed: tuple[PlantedInterval, ...]
    false: tuple[AlertedIncident, ...]


class Incidents:
    """Follows alerts; keeps each incident's start and end."""

    def __init__(self) -> None:
        self._by_fingerprint: dict[str, AlertedIncident] = {}
        self._ids: set[str] = set()
        self.alerts = 0
        self.duplicates = 0

    def take(self, alert: Alert) -> AlertedIncident:
        """Updates and returns the incident that `alert` is about."""
        self.alerts += 1
        self.duplicates += alert.id in self._ids
        self._ids.add(alert.id)
        data = alert.data
        end_us = microseconds(data.episode.ended_at or data.window.end)
        incident = self._by_fingerprint.setdefault(
            data.fingerprint,
            AlertedIncident(series=data.series, start_us=microseconds(data.episode.started_at), end_us=end_us),
        )
        incident.resolved = data.status == "resolved"
        incident.end_us = end_us if incident.resolved else max(incident.end_us, end_us)
        return incident

    def all(self) -> tuple[AlertedIncident, ...]:
        """All incidents, in the order in which they opened."""
        return tuple(self._by_fingerprint.values())


def overlapping(
    intervals: Iterable[PlantedInterval], incident: AlertedIncident, slack_us: int = 0
) -> PlantedInterval | None:
    """The first interval that `incident` overlaps, each taken to last `slack_us` longer."""
    return next(
        (
            interval
            for interval in intervals
            if interval.series == incident.series
            and incident.start_us < interval.stop_us + slack_us
            and incident.end_us >= interval.start_us
        ),
        None,
    )


def match(planted: Sequence[PlantedInterval], incidents: Sequence[AlertedIncident], slack_us: int) -> Matched:
    """Compares by the rule above; `slack_us` is one window's length."""
    found = {
        interval for interval in planted if any(overlapping([interval], incident) is not None for incident in incidents)
    }
    return Matched(
        found=tuple(interval for interval in planted if interval in found),
        missed=tuple(interval for interval in planted if interval not in found),
        false=tuple(incident for incident in incidents if overlapping(planted, incident, slack_us) is None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that the summary reports.

    `planted_counts`: every planted interval must be found. This is not required of real heartbeats, of which nobody
    finds all; there each record is one beat, normal or planted.
    `latencies_s`: from the call that sent the record to the poll that returned its alert, one for each alert.
    """

    planted: int
    matched: Matched
    incidents: int
    alerts: int
    duplicates: int
    covered_share: float
    series_hours: float
    planted_counts: bool
    latencies_s: tuple[float, ...]
    samples: int
    records: int
    feed_s: float
    speed: float
    what: str
    problems: tuple[str, ...] = field(default=())

    @property
    def false_per_hour(self) -> float:
        return len(self.matched.false) / self.series_hours

    def _false_rate(self) -> str:
        if self.planted_counts:
            return f"{self.false_per_hour:.1f} per patient-hour"
        normal = self.records - self.planted
        return f"{len(self.matched.false) / normal:.1%} of {normal:,} normal ones"

    def latency_ms(self, quantile: float) -> float:
        """A quantile of the latencies, NaN without any."""
        return float(np.quantile(self.latencies_s, quantile)) * 1e3 if self.latencies_s else float("nan")

    def failures(self) -> tuple[str, ...]:
        """Why the exit code is not 0; empty if it is 0."""
        found = list(self.problems)
        if self.planted_counts and self.matched.missed:
            found.append(f"{len(self.matched.missed)} of {self.planted} planted {self.what} were not found")
        false = len(self.matched.false)
        if self.planted_counts and false > max(1.0, MOST_FALSE_PER_HOUR * self.series_hours):
            found.append(
                f"{false} false incidents in {self.series_hours:.2g} patient-hours; at most 1 per hour is expected"
            )
        if self.duplicates:
            found.append(f"{self.duplicates} alerts were published twice")
        return tuple(found)

    def verdict(self) -> str:
        """The result in a sentence, if there are no failures."""
        found, false = len(self.matched.found), len(self.matched.false)
        which = "Everything planted was found" if found == self.planted else f"{found} of {self.planted} were found"
        return which + (f", with {false} false incident{'s' if false > 1 else ''}" if false else ", and nothing else")

    def lines(self) -> list[tuple[str, str]]:
        """The summary as (heading, text)."""
        false = len(self.matched.false)
        p50, p99 = self.latency_ms(0.5), self.latency_ms(0.99)
        samples, records = self.samples / self.feed_s, self.records / self.feed_s
        return [
            (
                "planted",
                f"{self.planted} {self.what}: {len(self.matched.found)} found, {len(self.matched.missed)} missed",
            ),
            (
                "false",
                f"{false} of {self.incidents} incidents, {self._false_rate()}",
            ),
            (
                "signal",
                f"{self.series_hours:.2f} patient-hours, {self.covered_share:.1%} of it in incidents",
            ),
            (
                "latency",
                f"p50 {p50:.0f} ms, p99 {p99:.0f} ms from record sent to alert readable ({self.alerts} alerts)",
            ),
            (
                "rate",
                f"{samples:,.0f} samples/s in {records:,.0f} records/s, {self.speed:.0f} times real time",
            ),
        ]


def covered_share(incidents: Sequence[AlertedIncident], signal_us: float) -> float:
    """The share of all series' signal that is covered by incidents."""
    return sum(incident.end_us - incident.start_us for incident in incidents) / signal_us


def microseconds(moment: str) -> int:
    """An alert's RFC 3339 time in µs since 1970."""
    parsed = datetime.fromisoformat(moment)
    return round(parsed.timestamp()) * 1_000_000 if not parsed.microsecond else _exact(parsed)


def _exact(parsed: datetime) -> int:
    return int(parsed.replace(microsecond=0).timestamp()) * 1_000_000 + parsed.microsecond
