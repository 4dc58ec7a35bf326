"""`telltale inspect`: what an artifact is, after every byte of it was verified."""

from __future__ import annotations

from pathlib import Path

import msgspec

from monitor.assembly import load_detector
from monitor.detector.artifact import Artifact


def describe(path: Path, *, as_json: bool = False) -> str:
    """The artifact at `path` in words, or as JSON.

    Raises:
        ArtifactError: it must not be served, and why.
    """
    artifact, _ = load_detector(path)
    if as_json:
        document = {"digest": artifact.digest, **msgspec.to_builtins(artifact.manifest)}
        return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    return "\n".join(f"{name:<12}{text}" for name, text in _lines(artifact))


def _lines(artifact: Artifact) -> list[tuple[str, str]]:
    manifest = artifact.manifest
    window, threshold, calibration = manifest.window, manifest.threshold, manifest.calibration
    channels = ", ".join(f"{c.name} [{c.unit}]" if c.unit else c.name for c in manifest.channels)
    span = "" if window.sampling_rate_hz is None else f", {window.length / window.sampling_rate_hz:g} s"
    how = ", ".join(f"{name} {value:g}" for name, value in threshold.parameters.items())
    numbers = sum(tensor.size for tensor in artifact.parameters.values())
    widths = "-".join(map(str, [window.length * len(manifest.channels), *manifest.model.widths]))
    quantiles = ", ".join(f"{p:g}: {score:.4g}" for p, score in calibration.quantiles)
    training = ", ".join(f"{name} {value}" for name, value in manifest.training.items() if not isinstance(value, dict))
    kind = type(manifest.model).__name__.removesuffix("Spec").lower()
    held_out = "held-out" if calibration.held_out else "training"
    return [
        ("name", f"{manifest.name} {manifest.version}, made {manifest.created}"),
        ("verified", f"every byte, and {len(artifact.known_scores)} known answers; sha256 {artifact.digest}"),
        ("window", f"{window.kind}, {window.length} samples every {window.hop}{span}"),
        ("channels", channels),
        ("model", f"{kind} {widths} and back, {numbers:,} numbers"),
        ("scaling", manifest.scaling.kind),
        ("score", f"{manifest.score.kind}, in batches of {manifest.batch_rows}"),
        ("threshold", f"{threshold.value:.6g} ({threshold.method}{': ' + how if how else ''})"),
        ("calibrated", f"{calibration.windows} {held_out} windows, mean {calibration.mean:.4g}"),
        ("quantiles", quantiles),
        ("training", training or "nothing recorded"),
    ]
