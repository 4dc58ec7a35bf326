"""Which planted stretches were found, which incidents were false, and what a person reads at the end.

The rule, in event time and per series:

    planted      [start, stop) of an abnormal stretch: for a premature beat from its QRS complex to the end of the pause
    incident     [started_at, ended_at] of an incident, from the first sample of its first window over the threshold to
                 the last sample of its last one; up to the last window told of where it was not resolved yet
    found        a planted stretch that an incident overlaps
    false        an incident that overlaps no planted stretch, even if each is taken to last one window longer (a
                 window that began in the pause may close after it)

An incident that never ends would find everything, so the share of the signal that incidents cover is said too.

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
class Stretch:
    """One abnormal stretch that lies in the stream, [start_us, stop_us)."""

    series: str
    start_us: int
    stop_us: int


@dataclass(slots=True, kw_only=True)
class Incident:
    """One incident as its alerts tell of it, [start_us, end_us]."""

    series: str
    start_us: int
    end_us: int
    resolved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What came of comparing incidents with what was planted."""

    found: tuple[Stretch, ...]
    missed: tuple[Stretch, ...]
    false: tuple[Incident, ...]


class Incidents:
    """Follows alerts; knows each incident's span."""

    def __init__(self) -> None:
        self._by_fingerprint: dict[str, Incident] = {}
        self._ids: set[str] = set()
        self.alerts = 0
        self.duplicates = 0

    def take(self, alert: Alert) -> Incident:
        """The incident that `alert` tells of, brought up to date."""
        self.alerts += 1
        self.duplicates += alert.id in self._ids
        self._ids.add(alert.id)
        data = alert.data
        end_us = microseconds(data.episode.ended_at or data.window.end)
        incident = self._by_fingerprint.setdefault(
            data.fingerprint,
            Incident(series=data.series, start_us=microseconds(data.episode.started_at), end_us=end_us),
        )
        incident.resolved = data.status == "resolved"
        incident.end_us = end_us if incident.resolved else max(incident.end_us, end_us)
        return incident

    def all(self) -> tuple[Incident, ...]:
        """All of them, in the order in which they opened."""
        return tuple(self._by_fingerprint.values())


def overlapping(stretches: Iterable[Stretch], incident: Incident, slack_us: int = 0) -> Stretch | None:
    """The first stretch that `incident` overlaps, each taken to last `slack_us` longer."""
    return next(
        (
            stretch
            for stretch in stretches
            if stretch.series == incident.series
            and incident.start_us < stretch.stop_us + slack_us
            and incident.end_us >= stretch.start_us
        ),
        None,
    )


def match(planted: Sequence[Stretch], incidents: Sequence[Incident], slack_us: int) -> Matched:
    """Compares by the rule above; `slack_us` is one window's length."""
    found = {
        stretch for stretch in planted if any(overlapping([stretch], incident) is not None for incident in incidents)
    }
    return Matched(
        found=tuple(stretch for stretch in planted if stretch in found),
        missed=tuple(stretch for stretch in planted if stretch not in found),
        false=tuple(incident for incident in incidents if overlapping(planted, incident, slack_us) is None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that is told at the end.

    `planted_counts`: every planted stretch must be found. Not so for real heartbeats, of which nobody finds all; there
    each record is one beat, normal or planted.
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
        """Why the exit code is not 0; empty if it is."""
        found = list(self.problems)
        if self.planted_counts and self.matched.missed:
            found.append(f"{len(self.matched.missed)} of {self.planted} planted {self.what} were not found")
        false = len(self.matched.false)
        if self.planted_counts and false > max(1.0, MOST_FALSE_PER_HOUR * self.series_hours):
            found.append(
                f"{false} false incidents in {self.series_hours:.2g} patient-hours; at most 1 an hour is right"
            )
        if self.duplicates:
            found.append(f"{self.duplicates} alerts came twice")
        return tuple(found)

    def verdict(self) -> str:
        """What came of it in a word, where there are no failures."""
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


def covered_share(incidents: Sequence[Incident], signal_us: float) -> float:
    """Which share of all series' signal lies in incidents."""
    return sum(incident.end_us - incident.start_us for incident in incidents) / signal_us


def microseconds(moment: str) -> int:
    """An alert's RFC 3339 time."""
    parsed = datetime.fromisoformat(moment)
    return round(parsed.timestamp()) * 1_000_000 if not parsed.microsecond else _exact(parsed)


def _exact(parsed: datetime) -> int:
    return int(parsed.replace(microsecond=0).timestamp()) * 1_000_000 + parsed.microsecond
