"""From a fitted model to an artifact: batch shape, known answers, provenance."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import msgspec
import numpy as np

from monitor.detector.arrays import Float32Array
from monitor.detector.artifact import KNOWN_ANSWERS, Artifact
from monitor.detector.scoring import Detector, Scorer
from monitor.detector.spec import CalibrationSpec, Channel, Manifest, QualitySpec, ThresholdSpec, check
from training.fitting.checkpoints import Epoch

# One call to the scorer holds up everything else the daemon does: this long at most.
CALL_SECONDS = 0.010
MOST_ROWS = 1024
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


def timed_scorer(detector: Detector) -> Scorer:
    """The scorer with the largest batch whose call takes at most 10 ms on this machine, compiled.

    Each shape compiles anew, so one that took too long says how much smaller the next to try is.
    """
    rows = MOST_ROWS
    while True:
        scorer = Scorer(detector, rows)
        scorer.warm_up()
        windows = np.zeros((rows, *scorer.window_shape), dtype=np.float32)
        # Up to five calls: the least disturbed one shows the speed of the model.
        over = np.inf
        for _ in range(5):
            start = time.perf_counter()
            scorer(windows)
            over = min(over, (time.perf_counter() - start) / CALL_SECONDS)
            if over <= 1:
                return scorer
        if rows == 1:
            return scorer
        rows = max(1 << int(np.log2(rows / over)), 1) if over > 2 else rows // 2


def known_answers(windows: Float32Array, scorer: Scorer) -> tuple[Float32Array, Float32Array]:
    """A few windows from the lowest to the highest score, and their scores: (k, length, channels), (k,)."""
    scores = scorer(windows)
    order = np.argsort(scores, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(KNOWN_ANSWERS, len(order))).astype(np.int64))]
    known = np.ascontiguousarray(windows[chosen])
    return known, scorer(known)


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
    table: Float32Array | None = None,
    units: Sequence[str] = (),
    levels: Sequence[float] = (),
    quality: QualitySpec | None = None,
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
        channels=tuple(
            Channel(name=name, unit=units[at] if units else "", level=levels[at] if levels else 0.0)
            for at, name in enumerate(detector.channels)
        ),
        scaling=detector.scaling,
        model=detector.model,
        score=detector.score,
        batch_rows=scorer.batch_rows,
        threshold=threshold,
        calibration=calibration,
        training=training,
        quality=quality,
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
    return Artifact(
        manifest,
        detector.parameters,
        *known,
        extras,
        score_tensors=detector.score_tensors,
        calibration_table=table,
        format_version=manifest.format_version,
    )


def _json(value: dict[str, Any], indent: int | None = None) -> bytes:
    return (json.dumps(value, indent=indent, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()
