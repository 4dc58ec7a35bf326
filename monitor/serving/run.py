"""`telltale run`: from a configuration file to a running daemon. What can be checked is checked before it joins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from monitor import __version__
from monitor.config.file import load
from monitor.config.options import Config
from monitor.serving import schema_registry
from monitor.serving.telemetry import Telemetry, Vitals, configure_logging

if TYPE_CHECKING:
    from monitor.detector.served import ServedModel

log = structlog.get_logger("telltale")


def run_daemon(path: Path) -> None:
    """Runs the daemon that the configuration at `path` describes, until SIGTERM or SIGINT.

    Raises:
        ConfigError, ArtifactError: the operator or the trainer must fix something.
        BackendError: the brokers can't be reached, or kept failing.
    """
    config = load(path)
    configure_logging(config.log)
    # JAX takes seconds to import: mistakes in the configuration, and what a broker rejects, are reported before.
    from monitor.backends.kafka import check_access

    check_access(config.kafka)
    if config.needs_schemas:
        schema_registry.check_access(config.schema_registry)
    from monitor.backends.kafka import KafkaBackend
    from monitor.serving.assembly import load_model, make_processor, make_schema_gate
    from monitor.serving.daemon import Daemon
    from monitor.serving.http import HttpServer
    from monitor.serving.stopping import stop_on_signals

    model = load_model(config, config.model.artifact)
    processor = make_processor(config, model)
    vitals = Vitals(compilations=model.scorer.compilations)
    manifest, thresholds = model.manifest, model.thresholds
    info = {"name": manifest.name, "version": manifest.version, "sha256": model.artifact.digest}
    telemetry = Telemetry(vitals, lambda: processor.counts, info, thresholds.value, thresholds.chosen.series.values())
    server = HttpServer(config.http, telemetry, vitals)
    schemas = make_schema_gate(config, processor)
    daemon = Daemon(config, KafkaBackend(config), processor, model.scorer, telemetry, vitals, schemas=schemas)
    with stop_on_signals(daemon.stop, config.limits.shutdown_timeout_ms / 1000):
        try:
            server.start()
            _log_start(config, model, server.address)
            daemon.run()
        finally:
            server.close()


def _log_start(config: Config, model: ServedModel, address: str) -> None:
    manifest = model.manifest
    log.info(
        "Starting.",
        version=__version__,
        service=config.service.name,
        instance=config.service.identity,
        group=config.kafka.group_id,
        topics=config.input.topics,
        alerts=config.output.alerts,
        artifact=manifest.name,
        sha256=model.artifact.digest[:12],
        window=f"{manifest.window.kind} {manifest.window.length} x {len(manifest.channels)}",
        threshold=model.thresholds.value,
        batch_rows=manifest.batch_rows,
        http=f"http://{address}",
    )
