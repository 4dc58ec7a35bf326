"""Sends the stream and reads the alert topic until all alerts have arrived.

Rules of this file: one thread sends, this one reads and shows; they share only `Feeder`'s properties.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from monitor.backends.kafka.clients import TopicReader
from monitor.broker.cluster import LocalKafka
from monitor.demo.alert_text import clock, describe
from monitor.demo.feeder import Feeder
from monitor.demo.findings import Incidents, Outcome, covered_share, match, microseconds
from monitor.demo.processes import DaemonProcess, PartError, check_broker, metric
from monitor.demo.screen import Screen
from monitor.demo.stream import Scenario
from monitor.messages import quality
from monitor.messages.alerts import Alert

POLL_S = 0.05
CHECK_INTERVAL_S = 1.0
# After the last record is read the daemon commits within a second; then its alerts are readable.
SETTLE_S = 1.5
DRAIN_TIMEOUT_S = 60.0
# More alerts per second than a person can read are counted, not shown.
MOST_SHOWN_PER_S = 6.0


class Topics(NamedTuple):
    """Where the stream goes and the alerts come from."""

    bootstrap_servers: str
    stream: str
    alerts: str


@dataclass(slots=True)
class _Shown:
    """Limits how many alerts are shown per second."""

    allowance: float = MOST_SHOWN_PER_S
    at_s: float = 0.0
    hidden: int = 0

    def admits(self, now_s: float) -> bool:
        self.allowance = min(MOST_SHOWN_PER_S, self.allowance + (now_s - self.at_s) * MOST_SHOWN_PER_S)
        self.at_s = now_s
        if self.allowance < 1:
            self.hidden += 1
            return False
        self.allowance -= 1
        return True


def watch(scenario: Scenario, topics: Topics, kafka: LocalKafka, daemon: DaemonProcess, screen: Screen) -> Outcome:
    """Sends all of `scenario`, shows alerts as they arrive, and returns the outcome.

    Raises:
        TelltaleError: the daemon, the broker or the producer failed.
    """
    with ExitStack() as stack:
        feeder = Feeder(topics.bootstrap_servers, topics.stream, scenario.records)
        stack.callback(feeder.close)
        reader = stack.enter_context(TopicReader(topics.bootstrap_servers, topics.alerts, want_headers=False))
        watcher = _Watcher(scenario, feeder, reader, screen)
        screen.end(
            "stream", f"{len(scenario.records):,} records to {topics.stream}, {scenario.speed:.0f} times real time"
        )
        screen.begin("stream", "")
        feeder.start()
        checked_s = time.monotonic()
        while not feeder.done:
            watcher.turn()
            if time.monotonic() - checked_s > CHECK_INTERVAL_S:
                daemon.check()
                check_broker(kafka)
                checked_s = time.monotonic()
        metrics = _wait_consumed(watcher, feeder, kafka, daemon)
        return watcher.outcome(metrics)


def _wait_consumed(watcher: _Watcher, feeder: Feeder, kafka: LocalKafka, daemon: DaemonProcess) -> str:
    """Waits until the daemon has read all records and its last alerts are readable; returns its metrics."""
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while True:
        daemon.check()
        check_broker(kafka)
        metrics = daemon.metrics()
        consumed = metric(metrics, "records_consumed_total")
        if consumed >= feeder.sent:
            break
        if time.monotonic() > deadline:
            raise PartError(
                f"the daemon read {consumed:.0f} of {feeder.sent} records and no more within {DRAIN_TIMEOUT_S:.0f} s; "
                "the end of its log:\n" + "\n".join(daemon.tail())
            )
        watcher.turn()
    settled = time.monotonic() + SETTLE_S
    while time.monotonic() < settled:
        watcher.turn()
    ends = watcher.reader.ends()
    while any(watcher.reader.positions()[partition] < end for partition, end in ends.items()):
        watcher.turn()
    daemon.check()
    return daemon.metrics()


class _Watcher:
    """Reads the alert topic and keeps the counts."""

    def __init__(self, scenario: Scenario, feeder: Feeder, reader: TopicReader, screen: Screen) -> None:
        self.reader = reader
        self._scenario = scenario
        self._feeder = feeder
        self._screen = screen
        self._incidents = Incidents()
        self._latencies_s: list[float] = []
        self._shown = _Shown()
        self._started_s = time.monotonic()

    def turn(self) -> None:
        """Reads the alerts that have arrived; waits for them briefly."""
        records = self.reader.poll(POLL_S)
        now = time.monotonic()
        for record in records:
            alert = quality.decode(record.value or b"")
            if not isinstance(alert, Alert):
                continue  # the demo is about what the score finds
            incident = self._incidents.take(alert)
            window_end_us = microseconds(alert.data.window.end)
            self._latencies_s.append(now - self._feeder.sent_s(alert.data.series, window_end_us))
            if self._shown.admits(now):
                self._screen.alert(
                    describe(
                        alert,
                        incident,
                        self._scenario.planted,
                        start_us=self._scenario.start_us,
                        slack_us=self._scenario.slack_us,
                        planted_as=self._scenario.what_one,
                    )
                )
        self._progress(now)

    def _progress(self, now: float) -> None:
        share = self._feeder.sent / len(self._scenario.records)
        length_us = self._scenario.stop_us - self._scenario.start_us
        rate = self._scenario.samples * share / max(now - self._started_s, 0.1)
        at = f"{clock(int(share * length_us))} of {clock(length_us)}"
        self._screen.progress(share, f"{at}  {rate:,.0f} samples/s  {self._incidents.alerts} alerts")

    def outcome(self, metrics: str) -> Outcome:
        """The results, once the stream is over."""
        scenario, feeder = self._scenario, self._feeder
        if self._shown.hidden:
            self._screen.note(f"{self._shown.hidden} more alerts arrived too fast to be shown")
        incidents = self._incidents.all()
        signal_us = (scenario.stop_us - scenario.start_us) * len(scenario.series)
        problems = []
        for name, what in (
            ("records_rejected_total", "records were dead-lettered"),
            ("samples_late_total", "samples were dropped as late"),
            ("windows_unscorable_total", "windows could not be scored"),
            ("records_lost_total", "records were lost"),
        ):
            count = metric(metrics, name)
            if count or not metrics:
                problems.append(f"{count:.0f} {what}" if metrics else "the daemon's metrics could not be read")
        return Outcome(
            planted=len(scenario.planted),
            matched=match(scenario.planted, incidents, scenario.slack_us),
            incidents=len(incidents),
            alerts=self._incidents.alerts,
            duplicates=self._incidents.duplicates,
            covered_share=covered_share(incidents, signal_us),
            series_hours=scenario.series_hours,
            planted_counts=scenario.planted_counts,
            latencies_s=tuple(self._latencies_s),
            samples=scenario.samples,
            records=len(scenario.records),
            feed_s=feeder.took_s,
            speed=signal_us / len(scenario.series) / 1e6 / feeder.took_s,
            what=scenario.what,
            problems=tuple(dict.fromkeys(problems)),
        )
