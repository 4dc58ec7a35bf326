"""Our daemon as a contender: what `telltale run` builds, with a watch on it."""

from __future__ import annotations

import time
from collections.abc import Callable

from monitor.backends.abstract import Commit, Poll, Position, TopicPartition
from monitor.backends.kafka import KafkaBackend
from monitor.config.options import Config
from monitor.detector.arrays import Float32Array
from monitor.detector.scoring import Scorer
from monitor.serving.assembly import load_model, make_processor
from monitor.serving.daemon import Daemon
from monitor.serving.http import HttpServer
from monitor.serving.telemetry import Telemetry, Vitals, configure_logging
from tests.benchmarks.contenders import PARTITIONS, Result, Stopwatch, Workload


class TimedScorer:
    """A scorer that adds up its time."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.seconds = 0.0

    @property
    def compilations(self) -> int:
        return self._scorer.compilations

    def __call__(self, windows: Float32Array) -> Float32Array:
        return self._timed(self._scorer, windows)

    def reconstruct(self, windows: Float32Array) -> Float32Array:
        return self._timed(self._scorer.reconstruct, windows)

    def _timed(self, function: Callable[[Float32Array], Float32Array], windows: Float32Array) -> Float32Array:
        started = time.perf_counter()
        result = function(windows)
        self.seconds += time.perf_counter() - started
        return result


class TimedBackend(KafkaBackend):
    """The daemon's backend. Starts the watch with the last partition's `begin`; when the topic is decided to its end it
    asks the daemon to stop, whose last commit then comes at once; calls `done` after the commit of the last record.
    """

    def __init__(self, config: Config, records: int, watch: Stopwatch, done: Callable[[], None]) -> None:
        super().__init__(config)
        self._missing = records
        self._records = records
        self._watch = watch
        self._done = done
        self._offsets: dict[TopicPartition, int] = {}
        self._begun = 0
        self._alerts = config.output.alerts
        self.alerts = 0
        self.stop: Callable[[], None] = lambda: None
        self.caught_up: Callable[[], bool] = lambda: False

    def begin(self, partition: TopicPartition, offset: int) -> None:
        super().begin(partition, offset)
        self._begun += 1
        if self._begun == PARTITIONS:
            self._watch.start()

    def poll(self, timeout_s: float, max_records: int) -> Poll:
        if self._missing <= 0 and self.caught_up():
            self.stop()
            return Poll()
        poll = super().poll(timeout_s, max_records)
        self._missing -= sum(len(columns.offsets) for columns in poll.columns)
        return poll

    def commit(self, commit: Commit) -> dict[TopicPartition, Position]:
        positions = super().commit(commit)
        self.alerts += sum(message.topic == self._alerts for message in commit.messages)
        self._offsets |= {partition: position.offset for partition, position in positions.items()}
        if sum(self._offsets.values()) >= self._records:
            self._done()
        return positions


def ours(workload: Workload, config: Config) -> Result:
    """The daemon: decode, window, score, decide, publish alerts, all committed exactly once."""
    configure_logging(config.log)
    model = load_model(config, config.model.artifact)
    scorer = TimedScorer(model.scorer)
    processor = make_processor(config, model)
    vitals = Vitals()
    telemetry = Telemetry(vitals, lambda: processor.counts, {"name": "benchmark"}, workload.threshold)
    server = HttpServer(config.http, telemetry, vitals)
    server.start()
    watch = Stopwatch()
    results: list[Result] = []

    def done() -> None:
        if not results:
            seconds, cpu_s = watch.read()
            counts = processor.counts
            results.append(
                Result(
                    seconds=seconds,
                    cpu_s=cpu_s,
                    records=counts.records.total(),
                    windows=counts.windows,
                    over=counts.windows_anomalous,
                    alerts=backend.alerts,
                    refused=counts.rejected.total(),
                    scoring_s=scorer.seconds,
                )
            )

    backend = TimedBackend(config, workload.records, watch, done)
    daemon = Daemon(config, backend, processor, scorer, telemetry, vitals)  # type: ignore[arg-type]
    backend.stop, backend.caught_up = daemon.stop, daemon.caught_up
    daemon.run()
    server.close()
    return results[0]
