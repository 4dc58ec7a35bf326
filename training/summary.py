"""What a person reads after training or evaluating: a few lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluate import ClassFigures, Floor, Report
from training.export import Source
from training.pipeline import Evaluated, Trained
from training.recipes import Recipe


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
        f"recipe     {recipe.name}, {recipe.fit.epochs} epochs, seed {seed}",
        f"loss       {results.loss:.5f} training{watched} (mean absolute error, scaled)",
        f"threshold  {results.threshold:.6g}: {_how(recipe, sizes)}",
    ]
    if results.detector is None:
        share = results.test_flagged_share
        if share is not None:
            lines.append(f"test       no labels; {share:.2%} of the test windows are over the threshold")
    else:
        lines += _figures(results.detector, results.pca, results.floors)
    return "\n".join(lines)


def of_evaluation(results: Evaluated) -> str:
    """Figures, or the share over the line where there are no labels."""
    lines = [f"artifact   {results.name} {results.version} (sha256 {results.digest[:12]})"]
    lines.append(f"windows    {results.windows}, {results.unscorable} unscorable; threshold {results.threshold:.6g}")
    if results.detector is None:
        lines.append(f"test       no labels; {results.flagged} windows are over the threshold")
    else:
        lines += _figures(results.detector, None, results.floors)
    return "\n".join(lines)


def _how(recipe: Recipe, sizes: dict[str, int]) -> str:
    rule = recipe.threshold
    if rule.method == "mean_std":
        return f"mean + {rule.k:g} standard deviations of the errors of {sizes['fit']} training windows"
    return f"quantile {rule.quantile:g} of the scores of {sizes['calibration']} held-out normal windows"


def _figures(detector: Report, pca: Report | None, floors: dict[str, Floor]) -> list[str]:
    lines = ["test                        accuracy  precision  recall     F1  AUROC     AP"]
    lines.append(
        _row("anomalies found", detector.accuracy, detector.anomaly, detector.auroc, detector.average_precision)
    )
    lines.append(_row("normal as positive", detector.accuracy, detector.normal, None, None))
    if pca is not None:
        lines.append(_row("floor: PCA", pca.accuracy, pca.anomaly, pca.auroc, pca.average_precision))
    for name, floor in floors.items():
        lines.append(_row(f"floor: {name.replace('_', ' ')}", floor.accuracy, floor.anomaly, floor.auroc, None))
    normal = detector.false_positive + detector.true_negative
    lines.append(
        f"           {detector.true_positive} anomalies found, {detector.false_negative} missed, "
        f"{detector.false_positive} false alarms among {normal} normal windows"
    )
    return lines


def _row(name: str, accuracy: float | None, figures: ClassFigures, auroc: float | None, ap: float | None) -> str:
    cells = (accuracy, figures.precision, figures.recall, figures.f1, auroc, ap)
    widths = (8, 9, 6, 5, 5, 5)
    numbers = "  ".join(
        f"{'-' if cell is None else f'{cell:.3f}':>{width}}" for cell, width in zip(cells, widths, strict=True)
    )
    return f"  {name:<25} {numbers}"
