"""Builders: small artifacts, configurations, logs and arrays as files, and an oracle without the online path's code."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monitor.backends.abstract import RecordColumns, Restored, TopicPartition
from monitor.config.options import Config
from monitor.detector import autoencoder, spec
from monitor.detector.architectures import DenseSpec, ModelSpec
from monitor.detector.artifact import Artifact
from monitor.detector.scoring import Detector, Scorer
from monitor.detector.served import ServedModel
from monitor.messages import alerts, quality
from monitor.processing.counts import Counts
from monitor.processing.outbox import Outputs
from monitor.processing.processor import Processor
from monitor.serving import assembly

Written = Callable[[str | bytes], Path]  # a file with this content
INPUT = TopicPartition("telltale.input", 0)
_SCORERS: dict[int, tuple[Artifact, Scorer]] = {}

# A recipe of the smallest model there is, for windows of some `window` kind and a `score` of some kind.
SMALL_RECIPE = """
name = "small"
[window]
kind = "{window}"
length = 4
hop = 4
[scaling]
kind = "standard"
[model]
kind = "dense"
widths = [2]
hidden = "tanh"
output = "linear"
[fit]
epochs = 1
batch_size = 8
learning_rate = 1e-3
[split]
kind = "time"
test = 0.2
calibration = 0.2
[threshold]
method = "quantile"
quantile = 0.9
[score]
kind = "{score}"
"""


def sliding_windows(samples: np.ndarray, length: int, hop: int) -> np.ndarray:
    """All windows of one series: (n, channels) -> (windows, length, channels), a read-only view."""
    if len(samples) < length:
        return np.empty((0, length, samples.shape[1]), dtype=samples.dtype)
    view = np.lib.stride_tricks.sliding_window_view(samples, length, axis=0)[::hop]
    return view.transpose(0, 2, 1)


def make_artifact(
    *,
    kind: str = "sliding",
    length: int = 8,
    hop: int = 3,
    channels: Sequence[str] = ("value",),
    threshold: float = 0.5,
    batch_rows: int = 16,
    seed: int = 0,
    widths: tuple[int, ...] = (4, 2),
    model: ModelSpec | None = None,
    **window: Any,
) -> Artifact:
    """An untrained artifact: its scores mean nothing, and are as reproducible as any."""
    model = model or DenseSpec(widths=widths, hidden="tanh", output="linear")
    shape = (length, len(channels))
    parameters = autoencoder.initial_parameters(model, autoencoder.Shape(shape), seed)
    scaling = spec.ScalingSpec(kind="none", offset=(0.0,) * len(channels), scale=(1.0,) * len(channels))
    cut = spec.WindowSpec(kind=kind, length=length, hop=length if kind == "record" else hop, **window)
    detector = Detector(
        window=cut,
        channels=tuple(channels),
        scaling=scaling,
        model=model,
        parameters=parameters,
        score=spec.ScoreSpec(),
    )
    scorer = Scorer(detector, batch_rows)
    windows = np.random.default_rng(seed).normal(size=(4, *shape)).astype(np.float32)
    scores = scorer(windows)
    manifest = spec.Manifest(
        name="tiny",
        version="1",
        created="2026-11-21T00:00:00Z",
        window=cut,
        channels=tuple(spec.Channel(name=name) for name in channels),
        scaling=scaling,
        model=model,
        score=detector.score,
        batch_rows=batch_rows,
        threshold=spec.ThresholdSpec(value=threshold, method="given"),
        calibration=spec.CalibrationSpec(
            windows=4, held_out=True, mean=0.5, std=0.1, quantiles=((0.0, 0.1), (0.5, 0.4), (1.0, 2.0))
        ),
    )
    return Artifact(manifest, parameters, windows, scores, digest=hashlib.sha256(b"tiny").hexdigest())


def make_config(**sections: dict[str, Any]) -> Config:
    """A configuration from section keyword arguments; times are ms since 1970, of which tests like the first few."""
    small = {"timestamp_unit": "ms", "oldest_time": "1970-01-01T00:00:00Z"}
    return Config.model_validate(sections | {"input": small | sections.get("input", {})})


def make_columns(
    values: Sequence[bytes | None],
    *,
    keys: Sequence[bytes | None] | None = None,
    timestamps_ms: Iterable[int] | None = None,
    first_offset: int = 0,
    partition: TopicPartition = INPUT,
    headers: list[Any] | None = None,
) -> RecordColumns:
    """Records of one poll; one series "a" and a record a millisecond unless told otherwise."""
    count = len(values)
    stamps = range(first_offset, first_offset + count) if timestamps_ms is None else timestamps_ms
    return RecordColumns(
        partition=partition,
        offsets=np.arange(first_offset, first_offset + count, dtype=np.int64),
        timestamps_ms=np.fromiter(stamps, np.int64, count),
        keys=[b"a"] * count if keys is None else list(keys),
        values=list(values),
        next_offset=first_offset + count,
        headers=headers,
    )


def make_model(artifact: Artifact, override: float | None = None) -> ServedModel:
    """`artifact` in service; its scorer is made once, as it takes time and nothing else."""
    known, scorer = _SCORERS.get(id(artifact), (None, None))
    if known is not artifact or scorer is None:
        scorer = artifact.scorer()
        _SCORERS[id(artifact)] = artifact, scorer
    return ServedModel.of(artifact, scorer, override)


def make_processor(config: Config, artifact: Artifact) -> Processor:
    """The daemon's processor; a scorer for it is at `model.scorer`."""
    return assembly.make_processor(config, make_model(artifact, config.model.threshold))


def make_processor_at_zero(config: Config, artifact: Artifact, *partitions: TopicPartition) -> Processor:
    """A processor that owns `partitions` (default: one) from offset 0, nothing remembered."""
    processor = make_processor(config, artifact)
    for partition in partitions or (INPUT,):
        processor.assign(partition, Restored(position=None, state=(), beginning=0, end=0), 0)
    return processor


def counts_of(processor: Processor) -> Callable[[], Counts]:
    """What telemetry asks; made in a loop, a lambda would ask the last processor."""
    return lambda: processor.counts


def score_all(processor: Processor, scorer: Scorer | None = None) -> None:
    """Scores and decides whatever waits for it; by default with the processor's own model."""
    scorer = processor.model.scorer if scorer is None else scorer
    while (batch := processor.next_batch()) is not None:
        processor.receive_scores(batch, scorer(batch.values), scorer.reconstruct)


def work(processor: Processor, scorer: Scorer, *polls: RecordColumns, now_us: int | None = None) -> list[alerts.Alert]:
    """Takes polls in, one after the other, and returns the score's alerts; all else in its outputs is dropped."""
    told = []
    for columns in polls:
        processor.receive(columns, now_us)
        score_all(processor, scorer)
        told += of_score(processor.take_outputs())
    return told


def of_score(outputs: Outputs) -> list[alerts.Alert]:
    """The alerts of the score among all."""
    return [each for each in outputs.alerts if isinstance(each, alerts.Alert)]


def one_by_one(outputs: Outputs) -> list[alerts.Alert | quality.QualityAlert]:
    """The alerts, without digests."""
    return [each for each in outputs.alerts if not isinstance(each, quality.QualityDigest)]


def of_quality(outputs: Outputs) -> list[quality.QualityAlert]:
    """The alerts of data quality among all."""
    return [each for each in outputs.alerts if isinstance(each, quality.QualityAlert)]


def npy(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
