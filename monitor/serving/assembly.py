"""Builds model and processor from a configuration, alike for the daemon, `replay` and tests."""

from __future__ import annotations

import os
import time
from dataclasses import fields
from pathlib import Path

import jax

from monitor.config.options import Config
from monitor.detector import windowing
from monitor.detector.artifact import Artifact
from monitor.detector.served import ServedModel, load_verified
from monitor.detector.windowing import Windower
from monitor.errors import ConfigError
from monitor.formats.rules import InputRules
from monitor.messages.alerts import AlertWriter, Severity
from monitor.messages.quality import QualityWriter
from monitor.processing import followers
from monitor.processing.checks import QualityRules, checks_of, row_bytes
from monitor.processing.followers import FollowOptions, followers_of
from monitor.processing.processor import Processor
from monitor.serving.schema_registry import SchemaRegistry
from monitor.serving.schemas import Fetcher, SchemaGate

# A series' state must fit into one Kafka message, of 1 MiB at most by Kafka's default.
MAX_STATE_BYTES = 900_000
MAX_ALERT_NUMBERS = 10_000
# Limit of the memory for one partition's series, and its default.
MAX_PARTITION_BYTES = 4 * 2**30
PARTITION_BYTES = 512 * 2**20
MOST_SERIES = 100_000
NAME_BYTES = 512  # name and bookkeeping of a series


def load_model(config: Config, path: Path) -> ServedModel:
    """The model at `path`, ready for service: verified, compiled, and with the configuration's threshold.

    Raises:
        ArtifactError: it must not be served.
    """
    score_in_one_thread()
    model = load_verified(path, config.model.threshold)
    model.scorer.warm_up(errors=bool(model.manifest.calibration.channel_errors))
    return model


def score_in_one_thread() -> None:
    """Makes JAX on CPU run programs in the thread that calls them; only effective before JAX is first used.

    To pass a call to other threads and wait for them takes longer than most models; scores are the same. For a model
    so large that more threads pay off, operators set `PJRT_NPROC`.
    """
    os.environ.setdefault("PJRT_NPROC", "1")
    jax.config.update("jax_cpu_enable_async_dispatch", val=False)


def make_processor(config: Config, model: ServedModel) -> Processor:
    """The processor for `model` and `config`.

    Raises:
        ConfigError: they don't go together.
    """
    alerting, source, artifact = config.alerting, config.input, model.artifact
    _check_sizes(config, artifact)
    writer = AlertWriter(
        model,
        service=config.service.name,
        group=config.kafka.group_id,
        severity=Severity(error_ratio=alerting.error_ratio, critical_ratio=alerting.critical_ratio),
        include_window=alerting.include_window == "full",
    )
    rules = InputRules.of(source, max_series=most_series(config, artifact))
    quality_writer = QualityWriter(model, service=config.service.name, group=config.kafka.group_id)
    quality, follow = quality_rules(config), follow_options(config)
    processor = Processor(model, writer, quality_writer, rules, alerting.policy, quality, follow)
    processor.partition_bytes = rules.max_series * bytes_of_series(config, artifact)
    return processor


def quality_rules(config: Config) -> QualityRules:
    """What the configuration says to the checks of data quality."""
    return QualityRules(**{each.name: getattr(config.quality, each.name) for each in fields(QualityRules)})


def follow_options(config: Config) -> FollowOptions:
    """What the configuration says to what follows scores."""
    return FollowOptions(**{each.name: getattr(config.alerting, each.name) for each in fields(FollowOptions)})


def bytes_of_series(config: Config, artifact: Artifact) -> int:
    """Memory of one series."""
    return NAME_BYTES + _windower(artifact).row_bytes + _remembered_bytes(config, artifact)


def _remembered_bytes(config: Config, artifact: Artifact) -> int:
    """By checks and followers, of one series."""
    checks = checks_of(artifact.manifest, quality_rules(config))
    return row_bytes(checks) + followers.row_bytes(followers_of(artifact.manifest, follow_options(config)))


def _windower(artifact: Artifact) -> Windower:
    return windowing.windower(artifact.manifest.window, len(artifact.manifest.channels))


def make_schema_gate(config: Config, processor: Processor) -> SchemaGate | None:
    """What fetches schemas from the registry, before the processor needs them; None where records have none.

    Raises:
        ConfigError: a file that `schema_registry` names can't be used.
    """
    if not config.needs_schemas:
        return None
    fetcher = Fetcher(SchemaRegistry(config.schema_registry).schema)
    return SchemaGate(
        processor.schemas,
        fetcher,
        time.monotonic,
        timeout_s=config.schema_registry.timeout_ms / 1000,
        with_schemas=processor.with_schemas,
    )


def most_series(config: Config, artifact: Artifact) -> int:
    """How many series a partition keeps: as configured, else as many as fit into `PARTITION_BYTES`."""
    affordable = max(1, min(MOST_SERIES, PARTITION_BYTES // bytes_of_series(config, artifact)))
    return config.input.max_series or affordable


def _check_sizes(config: Config, artifact: Artifact) -> None:
    length, channels = artifact.manifest.window_shape
    series_bytes = bytes_of_series(config, artifact)
    if (config.input.max_series or 0) * series_bytes > MAX_PARTITION_BYTES:
        raise ConfigError(
            f"input.max_series: {config.input.max_series} series of {length} x {channels} windows could take "
            f"{(config.input.max_series or 0) * series_bytes / 2**30:.1f} GiB in one partition; set it to "
            f"{MAX_PARTITION_BYTES // series_bytes} or less"
        )
    if _windower(artifact).snapshot_bytes + _remembered_bytes(config, artifact) > MAX_STATE_BYTES:
        raise ConfigError(
            f"artifact {artifact.manifest.name}: a {artifact.manifest.window.kind} window of {length} x {channels} "
            f"needs more state than fits one Kafka message ({MAX_STATE_BYTES} bytes); train on a shorter window, or on "
            "a lower sampling rate"
        )
    if config.alerting.include_window == "full" and length * channels > MAX_ALERT_NUMBERS:
        raise ConfigError(
            f"alerting.include_window: a window of {length} x {channels} numbers is too large for an alert (at most "
            f"{MAX_ALERT_NUMBERS}); use none, and read the window again by its offsets"
        )
