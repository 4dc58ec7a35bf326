"""From a fitted model to an artifact: batch shape, known answers, provenance."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.detector.artifact import KNOWN_ANSWERS, Artifact
from monitor.detector.scoring import Scorer
from monitor.detector.spec import (
    CalibrationSpec,
    Channel,
    Manifest,
    ModelSpec,
    ScalingSpec,
    ScoreSpec,
    ThresholdSpec,
    WindowSpec,
    check,
)
from monitor.errors import DataError
from training.fit import Epoch

Float32Array = NDArray[np.float32]

# One call to the scorer holds up everything else the daemon does: this long at most.
CALL_SECONDS = 0.010
BATCH_ROWS = (1024, 512, 256, 128, 64, 32, 16, 8, 4, 2, 1)
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What names a data file for ever: its name, not its place, and its bytes."""

    file: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """All that decides a score."""

    window: WindowSpec
    channels: tuple[str, ...]
    scaling: ScalingSpec
    model: ModelSpec
    parameters: dict[str, Float32Array]

    def scorer(self, batch_rows: int) -> Scorer:
        return Scorer(
            self.model,
            self.scaling,
            ScoreSpec(),
            self.parameters,
            window_shape=(self.window.length, len(self.channels)),
            batch_rows=batch_rows,
        )


def fingerprint(path: Path, rows: int) -> Source:
    """Names the file at `path` as it is now."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
            return Source(file=path.name, sha256=digest.hexdigest(), bytes=file.tell(), rows=rows)
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None


def timed_scorer(detector: Detector) -> Scorer:
    """The scorer with the largest batch whose call takes at most 10 ms on this machine, compiled."""
    for rows in BATCH_ROWS:
        scorer = detector.scorer(rows)
        scorer.warm_up()
        windows = np.zeros((rows, *scorer.window_shape), dtype=np.float32)
        calls = []
        for _ in range(5):
            start = time.perf_counter()
            scorer(windows)
            calls.append(time.perf_counter() - start)
        if min(calls) <= CALL_SECONDS:  # the least disturbed call is the one that tells of the model
            break
    return scorer


def known_answers(windows: Float32Array, scorer: Scorer) -> tuple[Float32Array, Float32Array]:
    """A few windows from the lowest to the highest score, and their scores: (k, length, channels), (k,)."""
    scores, _ = scorer(windows)
    order = np.argsort(scores, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(KNOWN_ANSWERS, len(order))).astype(np.int64))]
    known = np.ascontiguousarray(windows[chosen])
    return known, scorer(known)[0]


def environment() -> dict[str, str]:
    """Versions of what computed the scores."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **versions, "machine": platform.machine(), "os": platform.system()}


def build(
    detector: Detector,
    scorer: Scorer,
    *,
    name: str,
    threshold: ThresholdSpec,
    calibration: CalibrationSpec,
    known: tuple[Float32Array, Float32Array],
    training: dict[str, Any],
    history: Sequence[Epoch],
    metrics: dict[str, Any],
    created: datetime | None = None,
) -> Artifact:
    """The artifact, checked but not yet written.

    Args:
        known: windows and their scores, from `known_answers`.
        training: provenance for the manifest; JSON values only.
        metrics: for `metrics.json`, beside the losses in `metrics.jsonl`.
    """
    moment = (created or datetime.now(UTC)).astimezone(UTC)
    manifest = Manifest(
        name=name,
        version=moment.strftime("%Y%m%dT%H%M%SZ"),
        created=moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        window=detector.window,
        channels=tuple(Channel(name=channel) for channel in detector.channels),
        scaling=detector.scaling,
        model=detector.model,
        score=ScoreSpec(),
        batch_rows=scorer.batch_rows,
        threshold=threshold,
        calibration=calibration,
        training=training,
    )
    # Once through its own form: a whole number in a place for fractions would else be written in two ways.
    manifest = msgspec.convert(msgspec.to_builtins(manifest), Manifest)
    check(manifest)
    extras = {
        "metrics.json": _json(metrics, indent=2),
        "metrics.jsonl": b"".join(
            _json({"epoch": epoch.number, "loss": epoch.loss, "validation_loss": epoch.validation}) for epoch in history
        ),
    }
    return Artifact(manifest, detector.parameters, *known, extras)


def _json(value: dict[str, Any], indent: int | None = None) -> bytes:
    return (json.dumps(value, indent=indent, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()
