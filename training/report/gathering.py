"""What a training run gives to its report: pictures, tables and rates out of parts, scores and figures.

Rules of this file: nothing is computed twice that the pipeline has; what the report shows only a few of is only
reconstructed for those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.detector import scores, thresholds, windowing
from monitor.detector.architectures import (
    ConvolutionalSpec,
    DenseSpec,
    EnsembleSpec,
    ModelSpec,
    RecurrentSpec,
    VariationalSpec,
    single,
)
from monitor.detector.artifact import Artifact
from monitor.detector.scoring import Detector, Scorer
from training import codec, recipes
from training.datasets.sources import Source
from training.fitting import fit as fitting
from training.metrics.bootstrap import Interval, Intervals
from training.metrics.windows import Report, best_f1
from training.recipes.schema import Recipe
from training.report import content as form
from training.report.card import model_card
from training.report.content import ReportContent
from training.report.page import render
from training.report.selection import shown
from training.thresholds.choose import Chosen
from training.thresholds.false_alarms import TradeOff
from training.windows.subsets import Parts, watched

MOST_CODES = 2_000
CHUNK = 4_096  # windows whose errors are held at once
WALK = tuple(np.linspace(-2.5, 2.5, 7).tolist())
COLUMNS = ("accuracy", "precision", "recall", "F1", "AUROC", "average precision")
BASELINES = {"pca": "PCA", "knn": "nearest neighbours", "random": "random", "flag_everything": "flag everything"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """All of a run that its report tells of; `flagged` and `scores` are of the test windows."""

    recipe: Recipe
    seed: int
    sources: Sequence[Source]
    parts: Parts
    detector: Detector
    fitted: fitting.Fitted
    scores: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    chosen: Chosen
    trade: TradeOff
    counting: str
    report: Report | None
    intervals: Intervals | None
    baselines: Sequence[tuple[str, Report | None, tuple[float | None, ...]]]
    notes: Sequence[str]
    how: str
    command: str


def files(told: Told, artifact: Artifact, scorer: Scorer) -> dict[str, bytes]:
    """`report.html` and `MODEL_CARD.md`, to lie beside the artifact."""
    made = content(told, artifact, scorer)
    return {"report.html": render(made), "MODEL_CARD.md": model_card(made)}


def content(told: Told, artifact: Artifact, scorer: Scorer) -> ReportContent:
    """The report's content."""
    recipe, parts, manifest, window = told.recipe, told.parts, artifact.manifest, artifact.manifest.window
    served = thresholds.of(manifest)
    owners = parts.test_series if served.chosen.series else None
    tested = form.Tested(
        scores=told.scores,
        flagged=told.flagged,
        truth=parts.anomalous,
        thresholds=None if owners is None else served.of_each(owners.tolist()),
    )
    index = shown(tested)
    values = np.nan_to_num(parts.test[index])
    expected = told.chosen.expected
    unit = "a day per series" if expected.a_day else "per 1,000 windows"
    return ReportContent(
        name=manifest.name,
        version=manifest.version,
        created=manifest.created,
        model=in_words(recipe.model),
        score=scores.KINDS[recipe.score.kind].described,
        recipe=recipe.name,
        recipe_text=recipes.text(recipe),
        seed=told.seed,
        files=tuple(form.DataFile(name=s.file, rows=s.rows, sha256=s.sha256) for s in told.sources),
        channels=tuple(form.Channel(name=channel.scored, unit=channel.unit) for channel in manifest.channels),
        window=form.Window(
            whole_records=windowing.whole_records(window.kind),
            length=window.length,
            hop=window.hop,
            sampling_rate_hz=window.sampling_rate_hz,
            image_shape=window.image_shape,
        ),
        windows=tuple((part, len(getattr(parts, part))) for part in ("fit", "validation", "calibration", "test")),
        split=_split(recipe),
        threshold=form.Threshold(
            value=served.value,
            method=served.chosen.method,
            how=told.how,
            held_out=manifest.calibration.held_out,
            windows=manifest.calibration.windows,
            expected=form.Rate(value=expected.rate, low=expected.low, high=expected.high),
            rate_unit=unit,
            counting=told.counting,
            series=tuple(served.chosen.series.items()),
            quantiles=manifest.calibration.quantiles,
        ),
        tested=tested,
        history=tuple(form.Epoch(number=e.number, loss=e.loss, validation=e.validation) for e in told.fitted.history),
        best_epoch=told.fitted.best_epoch if recipe.fit.patience else None,
        loss=f"{recipe.objective.loss}, scaled",
        watched=watched(parts.sizes),
        timeline=_timeline(parts),
        shown=form.Shown(index=index, values=values, reconstructions=scorer.reconstruct(values))
        if len(index)
        else None,
        alarms=form.Alarms(
            thresholds=told.trade.thresholds, expected=told.trade.expected, low=told.trade.low, high=told.trade.high
        ),
        figures=_figures(told),
        channel_errors=_channel_errors(told, scorer),
        latent=_latent(told),
        generated=_generated(told.detector),
        warnings=tuple(told.notes),
        missing=_missing(recipe, parts),
        contamination=_contamination(recipe),
        environment=tuple((name, str(value)) for name, value in manifest.training["libraries"].items()),
        parameters=tuple(
            form.Parameter(name=name, shape=tensor.shape, sha256=hashlib.sha256(tensor.tobytes()).hexdigest())
            for name, tensor in told.detector.parameters.items()
        ),
        command=told.command,
    )


def in_words(model: ModelSpec) -> str:
    """As "dense autoencoder (32-16-8)"."""
    network = single(model)
    if isinstance(network, DenseSpec | VariationalSpec):
        kind = "variational" if isinstance(network, VariationalSpec) else "dense"
        text = f"{kind} autoencoder ({'-'.join(map(str, network.widths))})"
    elif isinstance(network, ConvolutionalSpec):
        text = f"convolutional autoencoder ({'-'.join(map(str, network.filters))} filters of {network.kernel})"
    else:
        assert isinstance(network, RecurrentSpec)
        text = f"{network.cell.upper()} sequence-to-sequence autoencoder ({network.units} units)"
    return f"ensemble of {model.members}: {text}" if isinstance(model, EnsembleSpec) else text


def _split(recipe: Recipe) -> str:
    ways = {
        "random": "Windows in random order by seed",
        "time": "Each series in order of time, before windows were cut",
        "series": "Whole series to one part each",
    }
    return f"{ways[recipe.split.kind]}."


def _missing(recipe: Recipe, parts: Parts) -> str:
    ways = {
        "refuse": "data with any is refused",
        "drop": "windows with any are left out of fitting and calibration, and are unscorable in the test",
        "fill": f"filled along time up to a share of {recipe.window.max_missing_ratio:g} of a window",
    }
    return f"{ways[recipe.window.missing]}; {parts.left_out} normal windows were left out."


def _contamination(recipe: Recipe) -> str:
    if not recipe.fit.trim:
        return "what is labelled normal, or not labelled, was taken for normal"
    return f"the {recipe.fit.trim:.1%} of windows with the highest loss were left out of each epoch"


def _timeline(parts: Parts) -> form.Timeline | None:
    spans = tuple(
        form.Span(series=series, part=part, start=start, end=end)  # type: ignore[arg-type]
        for series, part, start, end in parts.timeline
    )
    return form.Timeline(unit="rows", spans=spans) if spans else None


def _figures(told: Told) -> tuple[form.Figures, ...]:
    if told.report is None:
        return ()
    rows = [form.Row(name="this detector", kind="detector", cells=_cells(told.report, told.intervals))]
    for name, found, numbers in told.baselines:
        cells = _cells(found, None) if found is not None else tuple(map(_cell, numbers))
        rows.append(form.Row(name=BASELINES[name], kind="baseline", cells=cells))
    assert told.parts.anomalous is not None
    scored = ~np.isnan(told.scores)
    oracle = best_f1(told.parts.anomalous[scored], told.scores[scored])
    if oracle is not None:
        cells = (None, _cell(oracle.precision), _cell(oracle.recall), _cell(oracle.f1), None, None)
        rows.append(form.Row(name="best threshold in hindsight", kind="oracle", cells=cells))
    normal = told.report.normal
    inverse = form.Row(
        name="this detector",
        kind="detector",
        cells=tuple(map(_cell, (told.report.accuracy, normal.precision, normal.recall, normal.f1))),
    )
    return (
        form.Figures(title=f"Anomalies as the positive class{_around(told)}", columns=COLUMNS, rows=tuple(rows)),
        form.Figures(title="Normal windows as the positive class", columns=COLUMNS[:4], rows=(inverse,)),
    )


def _around(told: Told) -> str:
    """What the numbers beneath figures are."""
    if told.intervals is None:
        return ""
    overlap = windowing.overlap(told.parts.window) > 1
    return ", with 95% bootstrap intervals" + (" (too narrow: windows overlap)" if overlap else "")


def _cells(found: Report, intervals: Intervals | None) -> tuple[form.Cell | None, ...]:
    figures = found.anomaly
    numbers = (found.accuracy, figures.precision, figures.recall, figures.f1, found.auroc, found.average_precision)
    if intervals is None:
        return tuple(map(_cell, numbers))
    around = (intervals.accuracy, None, None, intervals.anomaly_f1, intervals.auroc, None)
    return tuple(_cell(number, interval) for number, interval in zip(numbers, around, strict=True))


def _cell(number: float | None, around: Interval | None = None) -> form.Cell | None:
    if number is None:
        return None
    return form.Cell(value=number, low=around.low if around else None, high=around.high if around else None)


def _channel_errors(told: Told, scorer: Scorer) -> form.ChannelErrors | None:
    complete = np.flatnonzero(np.isfinite(told.parts.test).all(axis=(1, 2)))
    if not len(complete):
        return None
    scale = np.asarray(told.detector.scaling.scale, dtype=np.float64)
    if told.detector.scaling.kind == "window":
        scale = np.ones_like(scale)
    errors = np.concatenate(
        [
            (np.abs(windows.astype(np.float64) - scorer.reconstruct(windows)) / scale).mean(axis=1)
            for windows in (told.parts.test[complete[i : i + CHUNK]] for i in range(0, len(complete), CHUNK))
        ]
    )
    truth = told.parts.anomalous
    strange = np.zeros(len(complete), np.bool_) if truth is None else truth[complete]

    def mean(which: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        return errors[which].mean(axis=0) if which.any() else None

    return form.ChannelErrors(normal=mean(~strange), anomalous=mean(strange))


def _latent(told: Told) -> form.Latent | None:
    complete = np.flatnonzero(np.isfinite(told.parts.test).all(axis=(1, 2)))[:MOST_CODES]
    if len(complete) < 3:
        return None
    codes = codec.encode(told.detector, told.parts.test[complete]).values.astype(np.float64)
    width = codes.shape[1]
    if width < 2:
        codes = np.hstack([codes, np.zeros_like(codes)])
    centred = codes - codes.mean(axis=0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    whole = max(float(np.square(lengths).sum()), np.finfo(np.float64).tiny)
    explained = np.square(lengths[:2]) / whole
    truth = None if told.parts.anomalous is None else told.parts.anomalous[complete]
    return form.Latent(
        codes=centred @ axes[:2].T,
        truth=truth,
        explained=(float(explained[0]), float(explained[1])),
        width=width,
    )


def _generated(detector: Detector) -> form.Generated | None:
    if not isinstance(single(detector.model), VariationalSpec) or detector.scaling.kind == "window":
        return None
    samples = codec.sample(detector, 8, seed=0)
    width = codec.encode(detector, samples[:1]).values.shape[1]
    axes = min(width, 3)
    codes = np.zeros((axes, len(WALK), width), dtype=np.float32)
    for axis in range(axes):
        codes[axis, :, axis] = WALK
    walk = codec.decode(detector, codec.plain_codes(detector, codes.reshape(-1, width)))
    return form.Generated(samples=samples, walk=walk.reshape(axes, len(WALK), *walk.shape[1:]), positions=WALK)
