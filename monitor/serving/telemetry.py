"""The metrics, declared once, and the set-up of the log.

Rules of this file: metric names are `telltale_<noun>_<unit>`; labels come from closed sets or from the configuration
(topic, partition), never from data: a series is never a label. Counts are kept by the processor as plain numbers and
read when somebody asks, so that metrics cost the loop nothing.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from monitor import __version__
from monitor.backends.abstract import TopicPartition
from monitor.config.options import LogOptions
from monitor.detector.incidents import SCORE_RULE
from monitor.processing.counts import RATIO_BUCKETS, Counts
from monitor.serving.clientlog import Collapsed
from monitor.serving.health import Health

STAGES = ("poll", "process", "score", "commit")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class Vitals:
    """What the loop reports about itself: written by the loop's thread, read by the HTTP thread.

    Times are readings of the monotonic clock, in seconds.
    """

    started_s: float = field(default_factory=time.monotonic)
    progressed_s: float = field(default_factory=time.monotonic)
    health: Health = field(default_factory=Health)
    partitions: int = 0
    series: int = 0
    incidents: Counter[str] = field(default_factory=Counter)  # that are open, by rule
    held: int = 0
    lag: dict[TopicPartition, int] = field(default_factory=dict)
    commits: int = 0
    aborts: int = 0
    stalls: int = 0
    checkpoints: int = 0
    records_lost: int = 0
    starts_without_state: int = 0
    resumed: Counter[str] = field(default_factory=Counter)
    compilations: int = 0
    clock_ahead_s: float | None = None


class Telemetry:
    """The daemon's metrics: durations of stages, and a collector that reads the loop's counts."""

    def __init__(
        self,
        vitals: Vitals,
        counts: Callable[[], Counts],
        info: dict[str, str],
        threshold: float,
        series_thresholds: Collection[float] = (),
    ) -> None:
        """`threshold` applies to all series except those that have one of `series_thresholds`."""
        self.registry = CollectorRegistry()
        self._vitals = vitals
        self._counts = counts
        self._info = info
        self._threshold = threshold
        thresholds = [threshold, *series_thresholds]
        self._lowest, self._highest = min(thresholds), max(thresholds)
        self._stages = Histogram(
            "telltale_stage_duration_seconds",
            "Time that one turn of the loop spent in each stage.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.stage = {stage: self._stages.labels(stage).observe for stage in STAGES}
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        """Reads every number once; called by the registry."""
        yield from self._counters()
        yield from self._gauges()

    def _counters(self) -> Iterator[Metric]:
        counts, vitals = self._counts(), self._vitals
        yield _counter("records_consumed", "Records read, by topic.", dict(counts.records), ["topic"])
        yield _counter("record_bytes", "Bytes of record values read.", counts.bytes)
        yield _counter(
            "records_rejected",
            "Records rejected and written to the dead-letter topic.",
            dict(counts.rejected),
            ["topic", "reason"],
        )
        yield _counter(
            "records_ignored",
            "Records ignored because they hold no channel of the artifact, by topic.",
            dict(counts.ignored),
            ["topic"],
        )
        yield _counter("readings_ignored", "Readings ignored because they are of no channel.", counts.readings_ignored)
        yield _counter(
            "batches_damaged",
            "Record batches that can't be read and were skipped, each with a dead letter.",
            dict(counts.batches_damaged),
            ["topic", "reason"],
        )
        yield _counter("samples_processed", "Samples that went into windows.", counts.samples)
        yield _counter("samples_missing", "Samples with a missing number (null or NaN).", counts.samples_missing)
        yield _counter("samples_late", "Samples dropped because they were late.", counts.samples_late)
        yield _counter(
            "samples_duplicate",
            "Samples dropped because their series had one of the same time within its window.",
            counts.samples_duplicate,
        )
        yield _counter("series_gaps", "Gaps in a series' event time; its windows start again after each.", counts.gaps)
        yield _counter("windows_scored", "Windows scored.", counts.windows)
        yield _counter("windows_anomalous", "Windows over the threshold.", counts.windows_anomalous)
        yield _counter(
            "windows_unscorable", "Windows not scored because too many samples are missing.", counts.windows_unscorable
        )
        yield _counter("alerts_published", "Alerts published, by status.", dict(counts.alerts), ["status"])
        yield _counter(
            "quality_alerts_published",
            "Data quality alerts published, by rule and status.",
            dict(counts.quality),
            ["rule", "status"],
        )
        yield _counter(
            "alerts_suppressed",
            "Alerts that a stage suppressed, by stage and reason.",
            dict(counts.suppressed),
            ["stage", "reason"],
        )
        yield _counter(
            "incidents_abandoned",
            "Incidents resolved because their series ended, by reason.",
            dict(counts.abandoned),
            ["reason"],
        )
        yield _counter(
            "series_unmatched",
            "Series without a threshold of their own, though the artifact has thresholds per series.",
            len(counts.unmatched),
        )
        yield _counter("series_forgotten", "Series forgotten, by reason.", dict(counts.forgotten), ["reason"])
        yield _counter("commits", "Transactions committed.", vitals.commits)
        yield _counter("aborts", "Times that all state was discarded and restored from the last commit.", vitals.aborts)
        yield _counter(
            "stalls", "Times that the client was replaced because it did not read waiting records.", vitals.stalls
        )
        yield _counter("checkpoints", "Window checkpoints committed.", vitals.checkpoints)
        yield _counter(
            "records_replayed", "Records read again after a restore, only to refill windows.", counts.replayed
        )
        yield _counter("records_lost", "Offsets that retention deleted before they were read.", vitals.records_lost)
        yield _counter(
            "partitions_resumed", "Partitions taken over, by where reading resumed.", dict(vitals.resumed), ["reason"]
        )
        yield _counter(
            "starts_without_state",
            "Partitions taken over without their state, so that windows start empty.",
            vitals.starts_without_state,
        )
        yield _counter(
            "compilations",
            "Compilations of the scorer: 2 are normal, one for scores and one for reconstructions.",
            vitals.compilations,
        )
        ratio = HistogramMetricFamily(
            "telltale_score_ratio", "Score divided by threshold; windows above 1.0 are anomalous."
        )
        bounds = [*map(str, RATIO_BUCKETS), "+Inf"]
        ratio.add_metric([], list(zip(bounds, counts.ratios.cumsum().tolist(), strict=True)), counts.ratio_sum)
        yield ratio

    def _gauges(self) -> Iterator[Metric]:
        vitals, now = self._vitals, time.monotonic()
        ready = not vitals.health.why_not_ready(now)
        yield _gauge("ready", "1 while /readyz responds 200.", float(ready))
        yield _gauge(
            "broker_connected",
            "1 if a broker has responded within limits.ready_age_ms.",
            float(vitals.health.connected(now)),
        )
        silent = vitals.health.silent_s(now)
        yield _gauge(
            "broker_silence_seconds",
            "Time since the last response of a broker; NaN: none so far.",
            math.nan if silent is None else silent,
        )
        yield _gauge("assigned_partitions", "Input partitions assigned to this daemon.", vitals.partitions)
        yield _gauge("held_partitions", "Partitions on hold until somebody acts; the log says why.", vitals.held)
        yield _gauge("series_active", "Series in memory.", vitals.series)
        yield _gauge("incidents_open", "Open incidents of the score.", vitals.incidents[SCORE_RULE])
        quality = GaugeMetricFamily(
            "telltale_quality_incidents_open", "Open incidents of data quality, by rule.", labels=["rule"]
        )
        for rule, count in vitals.incidents.items():
            if rule != SCORE_RULE:
                quality.add_metric([rule], count)
        yield quality
        yield _gauge("uptime_seconds", "Time since the start.", now - vitals.started_s)
        yield _gauge("last_progress_seconds", "Time since the loop's last turn ended.", now - vitals.progressed_s)
        newest_s = self._counts().newest_ms / 1e3
        yield _gauge("newest_record_timestamp_seconds", "Newest Kafka timestamp of a record that was read.", newest_s)
        yield _gauge(
            "threshold", "Threshold of all series without one of their own, in the score's unit.", self._threshold
        )
        yield _gauge("threshold_lowest", "Lowest threshold of any series, in the score's unit.", self._lowest)
        yield _gauge("threshold_highest", "Highest threshold of any series, in the score's unit.", self._highest)
        ahead_s = float("nan") if vitals.clock_ahead_s is None else vitals.clock_ahead_s
        yield _gauge(
            "clock_ahead_seconds",
            "This machine's clock minus the brokers', as of the last commit; NaN: unknown.",
            ahead_s,
        )
        lag = GaugeMetricFamily(
            "telltale_consumer_lag_records",
            "Records not read yet; absent while the partition's end offset is unknown.",
            labels=["topic", "partition"],
        )
        for (topic, partition), records in vitals.health.lag(vitals.lag, now).items():
            lag.add_metric([topic, str(partition)], records)
        yield lag
        held = GaugeMetricFamily(
            "telltale_held_back_records",
            "Offsets behind an open transaction, which can't be read before it ends.",
            labels=["topic", "partition"],
        )
        for (topic, partition), progress in vitals.health.progress.items():
            held.add_metric([topic, str(partition)], progress.held_back)
        yield held
        info = GaugeMetricFamily("telltale_artifact_info", "The artifact in service.", labels=[*self._info, "telltale"])
        info.add_metric([*self._info.values(), __version__], 1)
        yield info


def _counter(name: str, text: str, values: Any, labels: list[str] | None = None) -> Metric:
    family = CounterMetricFamily(f"telltale_{name}", text, labels=labels or [])
    if labels is None:
        family.add_metric([], values)
    else:
        for key, value in values.items():
            family.add_metric([key] if isinstance(key, str) else list(key), value)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(f"telltale_{name}", text)
    family.add_metric([], value)
    return family


def metric_names() -> Iterable[tuple[str, str]]:
    """(name, help) of every metric of Telltale's own, for README's table and its test."""
    telemetry = Telemetry(Vitals(), Counts, {"name": "", "version": "", "sha256": ""}, 1.0)
    for family in telemetry.registry.collect():
        if family.name.startswith("telltale_"):
            yield family.name + ("_total" if family.type == "counter" else ""), family.documentation


def configure_logging(log: LogOptions) -> None:
    """Writes our events and the Kafka client's to standard error: as text for people, as JSON lines for machines."""
    console = log.format == "console" or (log.format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([] if console else [structlog.processors.format_exc_info]),
            last,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    if log.level != "debug":
        handler.addFilter(Collapsed())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log.level.upper())
    # The client logs keys and values at DEBUG and every connection at INFO: only for those who ask for debug.
    logging.getLogger("kafka").setLevel(logging.INFO if log.level == "debug" else logging.WARNING)
    for chatty in ("jax", "uvicorn"):  # INFO of theirs is noise here
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(log.level.upper())),
        cache_logger_on_first_use=True,
    )
