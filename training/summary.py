"""What a person reads after training or evaluating: a few lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from training.metrics.floors import Floor
from training.metrics.windows import ClassFigures, Report
from training.pipeline import Evaluated, Trained, how
from training.recipe_form import Recipe
from training.sources import Source


def of_training(recipe: Recipe, sources: Sequence[Source], trained: Trained, seed: int) -> str:
    """Data, split, loss, threshold and how it was chosen, test figures."""
    results, manifest = trained.results, trained.artifact.manifest
    window, sizes = manifest.window, results.windows
    rows = sum(source.rows for source in sources)
    names = [channel.name for channel in manifest.channels]
    listed = ", ".join(names[:6]) + (f", ... ({len(names)})" if len(names) > 6 else "")
    watched = "" if results.validation_loss is None else f", {results.validation_loss:.5f} validation"
    divided = f"{sizes['fit']} to fit, {sizes['calibration']} to calibrate, {sizes['test']} to test"
    lines = [
        f"data       {', '.join(source.file for source in sources)}: {rows} rows; channels {listed}",
        f"windows    {window.kind}, {window.length} samples, hop {window.hop}; {divided}",
        f"recipe     {recipe.name}, {results.epochs} epochs, seed {seed}",
        f"loss       {results.loss:.5f} training{watched} ({recipe.objective.loss}, scaled)",
        f"threshold  {results.threshold:.6g}: {how(manifest)}",
    ]
    alarms = results.false_alarms
    lines.append(
        f"alarms     {alarms.expected:.3g} false ones {alarms.unit} to expect (95 %: {alarms.low:.3g} to "
        f"{alarms.high:.3g})"
    )
    if results.detector is None:
        share = results.test_flagged_share
        if share is not None:
            lines.append(f"test       no labels; {share:.2%} of the test windows are over the threshold")
    else:
        lines += _figures(results.detector, results.baselines, results.floors)
    return "\n".join(lines)


def of_evaluation(results: Evaluated) -> str:
    """Figures, or the share over the line where there are no labels."""
    lines = [f"artifact   {results.name} {results.version} (sha256 {results.digest[:12]})"]
    lines.append(f"windows    {results.windows}, {results.unscorable} unscorable; threshold {results.threshold:.6g}")
    if results.detector is None:
        lines.append(f"test       no labels; {results.flagged} windows are over the threshold")
    else:
        lines += _figures(results.detector, {}, results.floors)
    return "\n".join(lines)


def _figures(detector: Report, baselines: dict[str, Report], floors: dict[str, Floor]) -> list[str]:
    lines = ["test                        accuracy  precision  recall     F1  AUROC     AP"]
    lines.append(
        _row("anomalies found", detector.accuracy, detector.anomaly, detector.auroc, detector.average_precision)
    )
    lines.append(_row("normal as positive", detector.accuracy, detector.normal, None, None))
    for name, found in baselines.items():
        title = f"floor: {BASELINES[name]}"
        lines.append(_row(title, found.accuracy, found.anomaly, found.auroc, found.average_precision))
    for name, floor in floors.items():
        lines.append(
            _row(
                f"floor: {name.replace('_', ' ')}", floor.accuracy, floor.anomaly, floor.auroc, floor.average_precision
            )
        )
    normal = detector.false_positive + detector.true_negative
    lines.append(
        f"           {detector.true_positive} anomalies found, {detector.false_negative} missed, "
        f"{detector.false_positive} false alarms among {normal} normal windows"
    )
    return lines


BASELINES = {"pca": "PCA", "knn": "nearest neighbours"}


def _row(name: str, accuracy: float | None, figures: ClassFigures, auroc: float | None, ap: float | None) -> str:
    cells = (accuracy, figures.precision, figures.recall, figures.f1, auroc, ap)
    widths = (8, 9, 6, 5, 5, 5)
    numbers = "  ".join(
        f"{'-' if cell is None else f'{cell:.3f}':>{width}}" for cell, width in zip(cells, widths, strict=True)
    )
    return f"  {name:<25} {numbers}"
