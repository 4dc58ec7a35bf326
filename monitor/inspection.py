"""`telltale inspect`: describes an artifact, after verifying every byte of it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from monitor.detector import windowing
from monitor.detector.architectures import ConvolutionalSpec, DenseSpec, EnsembleSpec, VariationalSpec, single
from monitor.detector.served import ServedModel, load_verified
from monitor.detector.spec import Manifest, ThresholdSpec


def describe(path: Path, *, as_json: bool = False) -> str:
    """The artifact at `path` as text, or as JSON.

    Raises:
        ArtifactError: it must not be served; says why.
    """
    model = load_verified(path)
    artifact = model.artifact
    if as_json:
        document = {"digest": artifact.digest, **msgspec.to_builtins(artifact.manifest)}
        return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    return "\n".join(f"{name:<12}{text}" for name, text in _lines(model))


def _lines(model: ServedModel) -> list[tuple[str, str]]:
    artifact, manifest = model.artifact, model.manifest
    window, calibration = manifest.window, manifest.calibration
    threshold = model.thresholds.chosen
    channels = ", ".join(f"{c.scored} [{c.unit}]" if c.unit else c.scored for c in manifest.channels)
    span = "" if window.sampling_rate_hz is None else f", {window.length / window.sampling_rate_hz:g} s"
    how = ", ".join(f"{name} {value:g}" for name, value in threshold.parameters.items())
    numbers = sum(tensor.size for tensor in artifact.parameters.values())
    quantiles = ", ".join(f"{p:g}: {score:.4g}" for p, score in calibration.quantiles)
    training = ", ".join(f"{name} {value}" for name, value in manifest.training.items() if not isinstance(value, dict))
    held_out = "held-out" if calibration.held_out else "training"
    return [
        ("name", f"{manifest.name} {manifest.version}, made {manifest.created}"),
        ("verified", f"every byte, and {len(artifact.known_scores)} known answers; sha256 {artifact.digest}"),
        ("window", f"{windowing.described(window)}{span}"),
        ("channels", channels),
        *_quality(manifest),
        ("model", f"{_model(manifest)}, {numbers:,} numbers"),
        ("scaling", manifest.scaling.kind),
        ("score", f"{manifest.score.kind}, in batches of {manifest.batch_rows}"),
        ("threshold", f"{threshold.value:.6g} ({threshold.method}{': ' + how if how else ''}){_of_series(threshold)}"),
        ("calibrated", f"{calibration.windows} {held_out} windows, mean {calibration.mean:.4g}"),
        ("quantiles", quantiles),
        ("training", training or "nothing recorded"),
    ]


def _quality(manifest: Manifest) -> list[tuple[str, str]]:
    """What is known of each channel in normal data."""
    if manifest.quality is None:
        return []
    texts = [
        f"{channel.name}: {known.lowest:.6g} to {known.highest:.6g}"
        + (f", up to {known.longest_run} equal in a row" if known.longest_run > 1 else "")
        + (f", {known.missing:.3g} missing, up to {known.longest_missing} in a row" if known.missing else "")
        for channel, known in zip(manifest.channels, manifest.quality.channels, strict=True)
    ]
    return [("normal data", f"{manifest.quality.samples:,} samples; {'; '.join(texts)}")]


def _of_series(threshold: ThresholdSpec) -> str:
    """How many series have thresholds of their own, and their range."""
    values = threshold.series.values()
    return f"; {len(values)} series have their own, {min(values):.6g} to {max(values):.6g}" if values else ""


def _model(manifest: Manifest) -> str:
    """The network in a few words: its kind and sizes."""
    model = single(manifest.model)
    size = manifest.window.length * len(manifest.channels)
    if isinstance(model, DenseSpec | VariationalSpec):
        text = f"{'-'.join(map(str, [size, *model.widths]))} and back"
    elif isinstance(model, ConvolutionalSpec):
        latent = "" if model.latent is None else f", code {model.latent}"
        text = f"filters {'-'.join(map(str, model.filters))} of {model.kernel}, stride {model.stride}{latent}"
    else:
        text = f"{model.cell} of {model.units} units"
    kind = type(model).__name__.removesuffix("Spec").lower()
    several = f"{manifest.model.members} x " if isinstance(manifest.model, EnsembleSpec) else ""
    return f"{several}{kind} {text}"
