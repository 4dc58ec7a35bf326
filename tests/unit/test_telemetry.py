"""Metrics: their names, what they say, and that it can be read. Logs: one line of JSON, or one for people."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import structlog
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from monitor import __version__
from monitor.backends.abstract import Progress, TopicPartition
from monitor.config.options import LogOptions
from monitor.detector.decision import Verdict
from monitor.errors import Reason
from monitor.processing.counts import RATIO_BUCKETS, Counts
from monitor.serving.health import Health
from monitor.serving.telemetry import STAGES, Telemetry, Vitals, configure_logging, metric_names

INFO = {"name": "ecg", "version": "1", "sha256": "00ff"}
# https://prometheus.io/docs/practices/naming/: base units, plural; counts end in what is counted
UNITS = ("_seconds", "_bytes", "_ratio", "_records", "_info", "_partitions")
# Dimensionless, or in the score's own unit
NO_UNIT = {"telltale_ready", "telltale_broker_connected", "telltale_series_active", "telltale_incidents_open"}
NO_UNIT |= {
    "telltale_quality_incidents_open",
    "telltale_threshold",
    "telltale_threshold_lowest",
    "telltale_threshold_highest",
}
LABELS = {"topic", "partition", "reason", "rule", "status", "stage", "le", "name", "version", "sha256", "telltale"}


def families(vitals: Vitals, counts: Counts) -> dict[str, Metric]:
    """What a scraper reads, by the name of the family."""
    telemetry = Telemetry(vitals, lambda: counts, INFO, threshold=0.25, series_thresholds=(0.5, 0.125))
    for stage in STAGES:
        telemetry.stage[stage](0.003)
    text = generate_latest(telemetry.registry).decode("utf-8")
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(found: dict[str, Metric], name: str, /, **labels: str) -> float:
    """Of the one sample with exactly these labels."""
    samples = [sample for family in found.values() for sample in family.samples]
    (sample,) = [sample for sample in samples if sample.name == name and sample.labels == labels]
    return float(sample.value)


def busy() -> tuple[Vitals, Counts]:
    now = time.monotonic()
    health = Health(answered_s=lambda: now)
    health.observe(
        {
            TopicPartition("in", 0): Progress(read=95, committed=95, end=98, answered_s=now, assured_s=now),
            TopicPartition("in", 1): Progress(read=7, committed=7, end=7, answered_s=now - 60, assured_s=now),
        },
        restoring=0,
    )
    vitals = Vitals(
        health=health, partitions=2, series=7, incidents=Counter({"reconstruction": 1, "no_data": 4}),
        lag={TopicPartition("in", 0): 5, TopicPartition("in", 1): 0},
        stalls=1, commits=11, aborts=1, checkpoints=3, records_lost=4, starts_without_state=2, compilations=1,
        resumed=Counter({"position": 2, "offset_missing": 1}),
    )  # fmt: skip
    counts = Counts(
        records=Counter({"in": 100, "more": 1}), bytes=1234, replayed=9, newest_ms=1_795_248_000_250,
        rejected=Counter({("in", Reason.MALFORMED.value): 3}), samples=97, samples_missing=2, samples_late=1, gaps=6,
        alerts=Counter({"firing": 2, "resolved": 1}), abandoned=Counter({"forgotten": 1}),
        suppressed=Counter({("maintenance", "planned"): 3}), quality=Counter({("no_data", "firing"): 2}),
        batches_damaged=Counter({("in", Reason.CORRUPT_BATCH.value): 1}),
        forgotten=Counter({"silent": 5}), ignored=Counter({"in": 2}), readings_ignored=4,
    )  # fmt: skip
    verdicts = np.array([Verdict.NORMAL, Verdict.ANOMALY, Verdict.UNSCORABLE, Verdict.ANOMALY], np.int8)
    counts.scored(np.array([0.05, 0.3, math.nan, 25.0], np.float32), verdicts, np.full(4, 0.25, np.float32))
    return vitals, counts


# --- metrics ---


def test_names_follow_the_conventions() -> None:
    names = dict(metric_names())
    assert len(names) == len(list(metric_names())) > 20
    for name, text in names.items():
        assert re.fullmatch(r"telltale_[a-z]+(_[a-z]+)*", name)
        assert text.endswith("."), name
        assert name.endswith("_total") or name.endswith(UNITS) or name in NO_UNIT, name
        for unit in ("_ms", "_milliseconds", "_minutes", "_kilobytes", "_count"):
            assert not name.endswith(unit)


def test_labels_come_from_closed_sets_and_are_never_series() -> None:
    for family in families(*busy()).values():
        if family.name.startswith("telltale_"):
            for sample in family.samples:
                assert set(sample.labels) <= LABELS, sample


def test_every_declared_metric_is_exposed() -> None:
    found = families(*busy())
    for name, text in metric_names():
        assert found[name.removesuffix("_total")].documentation == text
        assert found[name.removesuffix("_total")].samples, name


def test_counters_are_the_loops_own_numbers() -> None:
    found = families(*busy())
    assert value(found, "telltale_records_consumed_total", topic="in") == 100
    assert value(found, "telltale_records_consumed_total", topic="more") == 1
    assert value(found, "telltale_record_bytes_total") == 1234
    assert value(found, "telltale_records_rejected_total", topic="in", reason="malformed") == 3
    assert value(found, "telltale_samples_processed_total") == 97
    assert value(found, "telltale_samples_missing_total") == 2
    assert value(found, "telltale_samples_late_total") == 1
    assert value(found, "telltale_series_gaps_total") == 6
    assert value(found, "telltale_windows_scored_total") == 4
    assert value(found, "telltale_windows_anomalous_total") == 2
    assert value(found, "telltale_windows_unscorable_total") == 1
    assert value(found, "telltale_alerts_published_total", status="firing") == 2
    assert value(found, "telltale_commits_total") == 11
    assert value(found, "telltale_aborts_total") == 1
    assert value(found, "telltale_stalls_total") == 1
    assert value(found, "telltale_checkpoints_total") == 3
    assert value(found, "telltale_records_replayed_total") == 9
    assert value(found, "telltale_records_lost_total") == 4
    assert value(found, "telltale_starts_without_state_total") == 2
    assert value(found, "telltale_partitions_resumed_total", reason="offset_missing") == 1
    assert value(found, "telltale_incidents_abandoned_total", reason="forgotten") == 1
    assert value(found, "telltale_alerts_suppressed_total", stage="maintenance", reason="planned") == 3
    assert value(found, "telltale_series_forgotten_total", reason="silent") == 5
    assert value(found, "telltale_compilations_total") == 1


def test_gauges() -> None:
    found = families(*busy())
    assert value(found, "telltale_ready") == 1
    assert value(found, "telltale_assigned_partitions") == 2
    assert value(found, "telltale_series_active") == 7
    assert value(found, "telltale_incidents_open") == 1
    assert value(found, "telltale_threshold") == 0.25
    assert value(found, "telltale_threshold_lowest") == 0.125
    assert value(found, "telltale_threshold_highest") == 0.5
    assert value(found, "telltale_consumer_lag_records", topic="in", partition="0") == 5
    lags = found["telltale_consumer_lag_records"].samples
    assert len(lags) == 1, "no sample, rather than 0, where the end was last known a minute ago"
    assert value(found, "telltale_broker_connected") == 1
    assert 0 <= value(found, "telltale_broker_silence_seconds") < 5
    assert value(found, "telltale_newest_record_timestamp_seconds") == 1_795_248_000.25
    assert value(found, "telltale_artifact_info", **INFO, telltale=__version__) == 1


def test_without_lines_of_series_all_lines_are_the_one() -> None:
    registry = Telemetry(Vitals(), Counts, INFO, 0.75).registry
    names = ("telltale_threshold", "telltale_threshold_lowest", "telltale_threshold_highest")
    assert [registry.get_sample_value(name) for name in names] == [0.75, 0.75, 0.75]


def test_times_run() -> None:
    vitals = Vitals()
    vitals.started_s -= 60
    vitals.progressed_s = time.monotonic() - 5
    found = families(vitals, Counts())
    assert 60 <= value(found, "telltale_uptime_seconds") < 120
    assert 5 <= value(found, "telltale_last_progress_seconds") < 60


def test_counts_are_read_when_asked() -> None:
    counts = Counts()
    telemetry = Telemetry(Vitals(), lambda: counts, INFO, 1.0)
    assert telemetry.registry.get_sample_value("telltale_samples_processed_total") == 0
    counts.samples += 5
    assert telemetry.registry.get_sample_value("telltale_samples_processed_total") == 5


def test_score_ratios_are_a_histogram() -> None:
    found = families(*busy())
    buckets = {float(s.labels["le"]): s.value for s in found["telltale_score_ratio"].samples if "le" in s.labels}
    assert list(buckets) == [*RATIO_BUCKETS, math.inf]
    assert list(buckets.values()) == sorted(buckets.values())
    # 0.05, 0.3 and 25 over 0.25; what could not be scored has no ratio
    ratios = (0.2, 1.2, 100.0)
    assert buckets == {bound: sum(ratio <= bound for ratio in ratios) for bound in buckets}
    assert value(found, "telltale_score_ratio_count") == 3
    assert value(found, "telltale_score_ratio_sum") == pytest.approx(sum(ratios))


def test_a_ratio_on_a_bound_is_within_it() -> None:
    counts = Counts()
    counts.scored(np.array([0.5, 1.0], np.float32), np.zeros(2, np.int8), np.full(2, 0.5, np.float32))
    found = families(Vitals(), counts)
    assert value(found, "telltale_score_ratio_bucket", le="1.0") == 1
    assert value(found, "telltale_score_ratio_bucket", le="2.0") == 2


def test_stages_are_timed() -> None:
    found = families(Vitals(), Counts())
    for stage in STAGES:
        assert value(found, "telltale_stage_duration_seconds_count", stage=stage) == 1
        assert value(found, "telltale_stage_duration_seconds_sum", stage=stage) == pytest.approx(0.003)


def test_the_process_is_described_too() -> None:
    found = families(Vitals(), Counts())
    assert "python_info" in found
    assert "process_resident_memory_bytes" in found


# --- logs ---


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Logging as it was: the set-up is the process's."""
    root, kafka = logging.getLogger(), logging.getLogger("kafka")
    before = root.handlers[:], root.level, kafka.level
    yield
    root.handlers[:], root.level, kafka.level = before
    root.setLevel(before[1])
    kafka.setLevel(before[2])
    structlog.reset_defaults()


def test_logs_are_json_lines(restored_logging: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogOptions(format="json"))
    structlog.get_logger("telltale").info("Assigned.", partition=3)
    logging.getLogger("kafka.client").warning("Away: %s", "b:1", extra={"node": 1})
    logging.getLogger("kafka.client").info("chatter")
    structlog.get_logger("telltale").debug("unasked")
    try:
        int("two\nlines")
    except ValueError:
        structlog.get_logger("telltale").exception("Failed.")
    captured = capsys.readouterr()
    assert captured.out == ""
    ours, client, failed = [json.loads(line) for line in captured.err.splitlines()]
    assert (ours["event"], ours["level"], ours["partition"]) == ("Assigned.", "info", 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", ours["timestamp"])
    assert (client["event"], client["level"], client["node"]) == ("Away: b:1", "warning", 1)
    assert "ValueError: invalid literal" in failed["exception"]


def test_logs_for_people(restored_logging: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogOptions(format="console"))
    structlog.get_logger("telltale").warning("Assigned.", partition=3)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"warning +\] Assigned\. +partition=3", line)
    assert "\x1b" not in line, "no colours where nobody sees them"


def test_auto_is_json_where_no_terminal_is(restored_logging: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogOptions(format="auto"))
    structlog.get_logger("telltale").info("Assigned.")
    assert json.loads(capsys.readouterr().err)["event"] == "Assigned."


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_levels(restored_logging: None, capsys: pytest.CaptureFixture[str], level: str, heard: int) -> None:
    configure_logging(LogOptions.model_validate({"level": level, "format": "json"}))
    logger = structlog.get_logger("telltale")
    for name in ("debug", "info", "warning", "error"):
        getattr(logger, name)("Said.")
    logging.getLogger("kafka").debug("keys and values")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == heard
    assert "keys and values" not in str(lines), "the client's DEBUG holds data, whatever is asked"
