"""The golden logs' artifacts: tiny, of every kind of score and window, with scores that no machine rounds.

Most kernels are zero and all numbers are halves, quarters, eighths, ..., so that sums, squares and means come out the
same in whatever order they are added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monitor.detector import autoencoder, spec, storage
from monitor.detector.architectures import DenseSpec, EnsembleSpec, ModelSpec, VariationalSpec
from monitor.detector.artifact import Artifact
from monitor.detector.scoring import Detector, Scorer
from monitor.detector.spec import Channel, ChannelQuality, QualitySpec, ScalingSpec, ScoreSpec, WindowSpec

HERE = Path(__file__).parent
DENSE = DenseSpec(widths=(1,), hidden="linear", output="linear")
# What training saw of both channels: 0.25 to 0.5, never the same twice, 90 % of it from 0.25 to 0.4375
KNOWN = QualitySpec(
    samples=10_000, channels=(ChannelQuality(lowest=0.25, highest=0.5, longest_run=1, low=0.25, high=0.4375),) * 2
)
QUANTILES = ((0.0, 0.0), (0.5, 0.25), (1.0, 4.25))


def tiny(
    name: str,
    window: WindowSpec,
    *,
    channels: Sequence[Channel] = (Channel(name="flow", unit="l/min"), Channel(name="pressure", unit="bar")),
    score: ScoreSpec | None = None,
    score_tensors: Mapping[str, Any] | None = None,
    scaling: ScalingSpec | None = None,
    model: ModelSpec = DENSE,
    parameters: Mapping[str, Any] | None = None,
    threshold: float = 0.5,
    series: Mapping[str, float] | None = None,
    quality: QualitySpec | None = None,
) -> Artifact:
    """An artifact whose parameters are zeros but for `parameters`; `series` are thresholds of series by name.

    Where there are such, each of these series has calibration quantiles of its own too.
    """
    count = len(channels)
    scaling = scaling or ScalingSpec(kind="none", offset=(0.0,) * count, scale=(1.0,) * count)
    score, series = score or ScoreSpec(), dict(series or {})
    shape = autoencoder.Shape((window.length, count))
    zeros = {each: np.zeros_like(it) for each, it in autoencoder.initial_parameters(model, shape, 0).items()}
    tensors = zeros | {each: np.array(it, dtype=np.float32) for each, it in (parameters or {}).items()}
    scored = {each: np.array(it, dtype=np.float32) for each, it in (score_tensors or {}).items()}
    manifest = spec.Manifest(
        name=name,
        version="7",
        created="2026-11-30T00:00:00Z",
        window=window,
        channels=tuple(channels),
        scaling=scaling,
        model=model,
        score=score,
        batch_rows=4,
        threshold=spec.ThresholdSpec(value=threshold, method="given", series=series),
        calibration=spec.CalibrationSpec(
            windows=64, held_out=True, mean=0.25, std=0.125, quantiles=QUANTILES, series=tuple(series)
        ),
        quality=quality,
    )
    steps = np.arange(2 * window.length * count).reshape(2, window.length, count)
    windows = ((steps % 8 - 3) / 4).astype(np.float32)
    detector = Detector(
        window=window,
        channels=tuple(channel.name for channel in channels),
        scaling=scaling,
        model=model,
        parameters=tensors,
        score=score,
        score_tensors=scored,
    )
    scores = Scorer(detector, manifest.batch_rows)(windows)
    table = np.array([[0, 0.5 + row, 4.5 + row] for row in range(len(series))], dtype=np.float32) if series else None
    version = manifest.format_version
    return Artifact(
        manifest, tensors, windows, scores, score_tensors=scored, calibration_table=table, format_version=version
    )


def sliding(length: int = 4, hop: int = 2, **more: Any) -> WindowSpec:
    return WindowSpec(kind="sliding", length=length, hop=hop, **more)


def records(length: int = 4, **more: Any) -> WindowSpec:
    return WindowSpec(kind="record", length=length, hop=length, **more)


def every() -> list[Artifact]:
    """All of them; each one's file has its name."""
    eye, level = np.eye(8), Channel(name="tank", unit="mm", level=18_228_934.0)
    halved = ScalingSpec(kind="standard", offset=(1.0, -1.0), scale=(2.0, 0.5))
    each_window = ScalingSpec(kind="window", offset=(0.0, 0.0), scale=(0.25, 0.25))
    lowered, raised = np.zeros(8), np.full(8, 0.5)
    return [
        tiny("mae", sliding(max_gap_ms=5000.0, max_missing_ratio=0.25)),
        tiny(
            "mse-of-series",
            records(sampling_rate_hz=4.0),
            score=ScoreSpec(kind="mse"),
            scaling=halved,
            series={"pump-1": 0.25, "pump-2": 2.0},
        ),
        tiny(
            "whitened",
            sliding(4, 1, sampling_rate_hz=8.0),
            score=ScoreSpec(kind="whitened"),
            score_tensors={"mean": np.full(8, 0.25), "whitener": 2 * eye},
        ),
        tiny(
            "prototype",
            records(),
            score=ScoreSpec(kind="prototype"),
            score_tensors={"centres": [[0.0] * 8, [4.0] * 8, [-8.0] * 8, [12.0] * 8]},
        ),
        tiny(
            "memory",
            sliding(4, 4),
            score=ScoreSpec(kind="memory"),
            score_tensors={"codes": [[9.0], [-100.0]]},
            parameters={"layers.0.kernel": eye[:, :1]},
            threshold=2.0,
        ),
        tiny(
            "nearest-code",
            sliding(4, 4),
            score=ScoreSpec(kind="nearest_code"),
            score_tensors={"codes": [[9.0], [-100.0]]},
            parameters={"layers.0.kernel": eye[:, :1]},
            threshold=2.0,
        ),
        tiny(
            "worst-channels",
            sliding(4, 4),
            score=ScoreSpec(kind="worst_channels", worst=1),
            score_tensors={"usual": [0.5, 2.0]},
            threshold=1.5,
        ),
        tiny(
            "elbo",
            sliding(4, 3),
            score=ScoreSpec(kind="elbo", beta=0.5),
            model=VariationalSpec(widths=(2,)),
            parameters={"mean.kernel": eye[:, :2]},
        ),
        tiny(
            "ensemble",
            sliding(4, 4),
            model=EnsembleSpec(members=2, member=DENSE),
            parameters={"layers.1.bias": [lowered, raised]},
        ),
        tiny("each-window", sliding(4, 4), scaling=each_window, threshold=0.75),
        tiny("levels", sliding(4, 2, max_missing_ratio=0.5), channels=[level, Channel(name="flow")]),
        tiny("known-channels", sliding(4, 2, max_gap_ms=5000.0), threshold=1.0, quality=KNOWN),
        tiny("one-channel", sliding(4, 2), channels=[Channel(name="value")]),
    ]


def write() -> None:
    """Writes those that are not there; whoever is has gone into alerts' `model.sha256`, and stays."""
    for artifact in every():
        path = HERE / f"{artifact.manifest.name}.zip"
        if not path.exists():
            path.write_bytes(storage.pack(artifact))
