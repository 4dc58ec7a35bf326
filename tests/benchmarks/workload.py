"""What the benchmarks work on: one artifact, one topic of made samples, and what any contender must find in it.

The signal means nothing: a sine with noise, with bursts. The threshold is put where about one window in a hundred is
over it, and no score is near it, so that another arithmetic's rounding can't change a count.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
from confluent_kafka import Producer

from monitor.backends.kafka import create_topic
from monitor.detector import storage
from monitor.detector.arrays import Float32Array
from monitor.detector.artifact import Artifact
from monitor.detector.spec import ThresholdSpec
from tests.benchmarks.contenders import HOP, LENGTH, PARTITIONS, SERIES, Workload
from tests.helpers import make_artifact, sliding_windows

WIDTHS = (32, 16, 8)
BATCH_ROWS = 1024
OVER = 0.01  # share of windows that are to be over the threshold
INCIDENT = 20  # windows, about, that an incident lasts


def prepare(kind: str, records: int, bootstrap: str, directory: Path, seed: int = 0) -> Workload:
    """Makes data, finds a threshold for them, writes the artifact, and fills a topic with them."""
    rng = np.random.default_rng(seed)
    artifact = benchmark_artifact("sliding" if kind == "json" else "record")
    if kind == "json":
        values = signal(rng, records // SERIES, INCIDENT * HOP - LENGTH)
        windows = np.concatenate([sliding_windows(series[:, None], LENGTH, HOP) for series in values])
        # Round-robin over the series, as sensors that report together do.
        rows: Iterator[bytes] = (b'{"value": %.6f}' % value for value in values.T.ravel().tolist())
    else:
        values = signal(rng, records // SERIES * LENGTH, INCIDENT * LENGTH)
        windows = values.reshape(SERIES, -1, LENGTH, 1).transpose(1, 0, 2, 3).reshape(-1, LENGTH, 1)
        rows = (window.tobytes() for window in windows)
    scores = artifact.scorer()(np.ascontiguousarray(windows))
    threshold = between(scores, 1 - OVER)
    path = directory / f"artifact-{kind}"
    storage.save(with_threshold(artifact, threshold), path)
    weights = directory / f"weights-{kind}.npz"
    np.savez(weights, allow_pickle=False, threshold=np.float32(threshold), **artifact.parameters)
    topic = f"bench.{kind}"
    filled = fill(bootstrap, topic, rows)
    over = int((scores > np.float32(threshold)).sum())
    samples = filled if kind == "json" else filled * LENGTH
    return Workload(
        kind=kind,
        topic=topic,
        artifact=str(path),
        weights=str(weights),
        records=filled,
        samples=samples,
        windows=len(scores),
        over=over,
        threshold=threshold,
    )


def benchmark_artifact(kind: str) -> Artifact:
    """The dense 140-32-16-8 model, untrained: its speed is that of a trained one."""
    return make_artifact(kind=kind, length=LENGTH, hop=HOP, widths=WIDTHS, batch_rows=BATCH_ROWS)


def with_threshold(artifact: Artifact, threshold: float) -> Artifact:
    """The same artifact with another line."""
    given = ThresholdSpec(value=threshold, method="given")
    return replace(artifact, manifest=msgspec.structs.replace(artifact.manifest, threshold=given))


def signal(rng: np.random.Generator, length: int, burst: int, series: int = SERIES) -> Float32Array:
    """(series, length): a sine with noise, and as many bursts of four times the amplitude as make OVER of the time."""
    time_s = np.arange(length)
    phase = rng.uniform(0, 2 * np.pi, (series, 1))
    values = np.sin(2 * np.pi * time_s / 50 + phase) + rng.normal(0, 0.2, (series, length))
    for _ in range(max(1, round(OVER * series * length / burst))):
        which, start = rng.integers(series), rng.integers(length)
        values[which, start : start + burst] *= 4
    return np.round(values, 6).astype(np.float32)


def between(scores: Float32Array, quantile: float) -> float:
    """A threshold near `quantile`, in the middle of the widest gap between the scores around it."""
    ordered = np.sort(scores.astype(np.float64))
    around = int(quantile * len(ordered))
    part = ordered[max(0, around - 20) : around + 20]
    widest = int(np.diff(part).argmax())
    return float((part[widest] + part[widest + 1]) / 2)


@dataclass(frozen=True)
class Filling:
    """How a topic is filled: of so many series, in batches of so many records (0: as many as fit)."""

    series: int = SERIES
    batch_records: int = 0
    first_ms: int = field(default_factory=lambda: int(time.time() * 1000) - 3_600_000)


def fill(bootstrap: str, topic: str, rows: Iterator[bytes], filling: Filling | None = None) -> int:
    """Makes a topic and writes one record after the other, series by turns, a turn a millisecond; returns how many."""
    filling = filling or Filling()
    create_topic(bootstrap, topic, PARTITIONS, topic_settings={"retention.ms": "-1"})
    # librdkafka, because it takes seconds where kafka-python takes minutes; batches as `FeedProducer` makes them.
    # Idempotent, because a retried batch could otherwise come behind its successor, whose samples would then be late.
    settings = {"enable.idempotence": True, "linger.ms": 5, "batch.size": 256 * 1024, "log_level": 3}
    if filling.batch_records:
        settings |= {"batch.num.messages": filling.batch_records}
    producer = Producer({"bootstrap.servers": bootstrap} | settings)
    keys = [b"series-%03d" % series for series in range(filling.series)]
    count = 0
    for count, row in enumerate(rows, start=1):
        turn, series = divmod(count - 1, filling.series)
        partition = series % PARTITIONS
        try:
            producer.produce(topic, row, keys[series], partition, timestamp=filling.first_ms + turn)
        except BufferError:
            producer.flush()
            producer.produce(topic, row, keys[series], partition, timestamp=filling.first_ms + turn)
    if producer.flush(60):
        raise RuntimeError(f"topic {topic}: not everything was written within 60 s")
    return count
