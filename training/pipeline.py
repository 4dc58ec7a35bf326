"""The whole of a training run: divide, scale, fit, calibrate, evaluate, build the artifact. Read top down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import WindowTable
from monitor.detector import scaling
from monitor.detector.artifact import Artifact
from monitor.detector.decision import Verdict, decide
from monitor.detector.scoring import Scorer
from monitor.detector.spec import ScalingSpec
from monitor.errors import DataError
from training import calibrate, evaluate, export
from training import fit as fitting
from training.parts import Parts, Table, all_windows, divide
from training.recipes import Recipe


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What `metrics.json` and the summary say; `detector` and `pca` are None without labelled test windows."""

    windows: dict[str, int]
    loss: float
    validation_loss: float | None
    threshold: float
    test_flagged_share: float | None
    detector: evaluate.Report | None
    pca: evaluate.Report | None
    floors: dict[str, evaluate.Floor]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """An artifact that is not written yet, and what is known of it."""

    artifact: Artifact
    results: Results


def train(
    recipe: Recipe,
    tables: Sequence[Table],
    *,
    seed: int,
    name: str,
    sources: Sequence[export.Source] = (),
    batch_rows: int | None = None,
    on_epoch: Callable[[fitting.Epoch], None] | None = None,
) -> Trained:
    """Trains by `recipe`.

    Args:
        seed: decides split, initial parameters and order of rows.
        name: the artifact's.
        sources: fingerprints of the files that `tables` came from.
        batch_rows: the artifact's batch; None times it on this machine.

    Raises:
        DataError: the data does not allow it; says why.
    """
    parts = divide(recipe, tables, seed=seed)
    try:
        scales = scaling.fit(parts.scaled_on, recipe.scaling.kind)
    except ValueError as error:
        raise DataError(f"scaling: {error}; leave that channel out with --channels") from None
    held_out = bool(recipe.split.calibration)
    # Nothing is chosen by the validation loss, so without held-out windows the test part may be looked at, as in the
    # tutorial.
    watched = parts.calibration if held_out else parts.test[np.isfinite(parts.test).all(axis=(1, 2))]
    scaled = fitting.scale(parts.fit, scales)
    fitted = fitting.fit(scaled, fitting.scale(watched, scales), recipe.model, recipe.fit, seed=seed, on_epoch=on_epoch)
    detector = export.Detector(
        window=parts.window,
        channels=parts.channels,
        scaling=scales,
        model=recipe.model,
        parameters=fitted.parameters,
    )
    scorer = export.timed_scorer(detector) if batch_rows is None else detector.scorer(batch_rows)
    calibrated_on = parts.fit if recipe.threshold.method == "mean_std" else parts.calibration
    scores, _ = scorer(calibrated_on)
    threshold = calibrate.threshold(scores, recipe.threshold)
    overlap = parts.window.length / parts.window.hop if parts.window.kind == "sliding" else 1.0
    note = calibrate.too_few(len(scores), recipe.threshold, overlap=overlap)
    results = _results(recipe, parts, scales, scorer, fitted.history[-1], threshold.value, (note,) if note else ())
    artifact = export.build(
        detector,
        scorer,
        name=name,
        threshold=threshold,
        calibration=calibrate.table(scores, held_out=recipe.threshold.method == "quantile"),
        known=export.known_answers(calibrated_on, scorer),
        training=_provenance(recipe, seed, sources, results),
        history=fitted.history,
        metrics=msgspec.to_builtins(results),
    )
    return Trained(artifact=artifact, results=results)


def _results(
    recipe: Recipe,
    parts: Parts,
    scales: ScalingSpec,
    scorer: Scorer,
    last: fitting.Epoch,
    threshold: float,
    notes: tuple[str, ...],
) -> Results:
    scores, _ = scorer(parts.test)
    flagged = decide(scores, threshold) == Verdict.ANOMALY
    share = float(flagged.mean()) if len(flagged) else None
    truth = parts.anomalous if len(scores) else None
    return Results(
        windows={"fit": len(parts.fit), "calibration": len(parts.calibration), "test": len(parts.test)},
        loss=last.loss,
        validation_loss=last.validation,
        threshold=threshold,
        test_flagged_share=share,
        detector=None if truth is None else evaluate.report(truth, scores, flagged),
        pca=None if truth is None else _pca(recipe, parts, scales, truth),
        floors={} if truth is None else evaluate.floors(truth, share or 0.0),
        notes=notes,
    )


def _pca(recipe: Recipe, parts: Parts, scales: ScalingSpec, truth: NDArray[np.bool_]) -> evaluate.Report | None:
    """Principal components, as many as the bottleneck is wide, with a line by the same rule."""
    flat = [_flat(fitting.scale(part, scales)) for part in (parts.fit, parts.calibration, parts.test)]
    calibrated_on = flat[0] if recipe.threshold.method == "mean_std" else flat[1]
    basis = evaluate.principal_components(flat[0], recipe.model.widths[-1])
    if basis is None:
        return None
    scores = evaluate.pca_errors(flat[2], basis).astype(np.float32)
    line = calibrate.threshold(evaluate.pca_errors(calibrated_on, basis).astype(np.float32), recipe.threshold)
    return evaluate.report(truth, scores, decide(scores, line.value) == Verdict.ANOMALY)


def _flat(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    return windows.reshape(len(windows), windows.shape[1] * windows.shape[2])


def _provenance(recipe: Recipe, seed: int, sources: Sequence[export.Source], results: Results) -> dict[str, Any]:
    return {
        "recipe": msgspec.to_builtins(recipe),
        "seed": seed,
        "normal_class": recipe.normal_class,
        "data": [asdict(source) for source in sources],
        "windows": results.windows,
        "libraries": export.environment(),
    }


class Evaluated(msgspec.Struct, frozen=True, kw_only=True):
    """What `telltale evaluate` says; `detector` is None and `floors` empty without labels."""

    name: str
    version: str
    digest: str
    windows: int
    unscorable: int
    flagged: int
    threshold: float
    detector: evaluate.Report | None
    floors: dict[str, evaluate.Floor]


def evaluate_artifact(
    artifact: Artifact, scorer: Scorer, tables: Sequence[Table], *, normal_class: int | None
) -> Evaluated:
    """Scores all windows of `tables`; `normal_class` None takes that of the training.

    Raises:
        DataError: the windows are not the artifact's.
    """
    manifest = artifact.manifest
    shapes = {table.windows.shape[1:] for table in tables if isinstance(table, WindowTable)}
    if shapes - {manifest.window_shape}:
        raise DataError(f"windows of {sorted(shapes)} (samples, channels); the artifact takes {manifest.window_shape}")
    if normal_class is None:
        normal_class = int(manifest.training.get("normal_class", 0))
    found = all_windows(tables, manifest.window, normal_class)
    scores, _ = scorer(found.windows)
    flagged = decide(scores, manifest.threshold.value) == Verdict.ANOMALY
    truth = found.anomalous if len(scores) else None
    return Evaluated(
        name=manifest.name,
        version=manifest.version,
        digest=artifact.digest,
        windows=len(scores),
        unscorable=int(np.isnan(scores).sum()),
        flagged=int(flagged.sum()),
        threshold=manifest.threshold.value,
        detector=None if truth is None else evaluate.report(truth, scores, flagged),
        floors={} if truth is None else evaluate.floors(truth, float(flagged.mean())),
    )
