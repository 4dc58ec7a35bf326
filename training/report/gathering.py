"""What a training run gives to its report: pictures, tables and rates from subsets, scores and metrics.

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
from monitor.detector.arrays import Float32Array
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
from training.windows.subsets import Subsets, watched

MOST_CODES = 2_000
CHUNK = 4_096  # windows whose errors are held at once
WALK = tuple(np.linspace(-2.5, 2.5, 7).tolist())
COLUMNS = ("accuracy", "precision", "recall", "F1", "AUROC", "average precision")
BASELINES = {
    "pca": "PCA",
    "pca_squared": "PCA, squared error",
    "knn": "nearest neighbours",
    "random": "random",
    "flag_everything": "flag everything",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """All of a run that its report needs; `flagged` and `scores` are of the test windows."""

    recipe: Recipe
    seed: int
    sources: Sequence[Source]
    subsets: Subsets
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


def files(run: TrainingRun, artifact: Artifact, scorer: Scorer) -> dict[str, bytes]:
    """`report.html` and `MODEL_CARD.md`, to lie beside the artifact."""
    made = content(run, artifact, scorer)
    return {"report.html": render(made), "MODEL_CARD.md": model_card(made)}


def content(run: TrainingRun, artifact: Artifact, scorer: Scorer) -> ReportContent:
    """The report's content."""
    recipe, subsets, manifest, window = run.recipe, run.subsets, artifact.manifest, artifact.manifest.window
    served = thresholds.of(manifest)
    owners = subsets.test_series if served.chosen.series else None
    tested = form.Tested(
        scores=run.scores,
        flagged=run.flagged,
        truth=subsets.anomalous,
        thresholds=None if owners is None else served.of_each(owners.tolist()),
    )
    index = shown(tested)
    values = np.nan_to_num(subsets.test[index])
    expected = run.chosen.expected
    unit = "a day per series" if expected.a_day else "per 1,000 windows"
    return ReportContent(
        name=manifest.name,
        version=manifest.version,
        created=manifest.created,
        model=in_words(recipe.model),
        score=scores.KINDS[recipe.score.kind].described,
        recipe=recipe.name,
        recipe_text=recipes.text(recipe),
        seed=run.seed,
        files=tuple(form.DataFile(name=s.file, rows=s.rows, sha256=s.sha256) for s in run.sources),
        channels=tuple(form.ReportedChannel(name=channel.scored, unit=channel.unit) for channel in manifest.channels),
        window=form.WindowForm(
            whole_records=windowing.whole_records(window.kind) or windowing.about_events(window.kind),
            length=window.length,
            hop=window.hop,
            sampling_rate_hz=window.sampling_rate_hz,
            image_shape=window.image_shape,
        ),
        windows=tuple((part, len(getattr(subsets, part))) for part in ("fit", "validation", "calibration", "test")),
        split=_split(recipe),
        threshold=form.Threshold(
            value=served.value,
            method=served.chosen.method,
            how=run.how,
            held_out=manifest.calibration.held_out,
            windows=manifest.calibration.windows,
            expected=form.Rate(value=expected.rate, low=expected.low, high=expected.high),
            rate_unit=unit,
            counting=run.counting,
            series=tuple(served.chosen.series.items()),
            quantiles=manifest.calibration.quantiles,
        ),
        tested=tested,
        history=tuple(
            form.EpochLosses(number=e.number, loss=e.loss, validation=e.validation) for e in run.fitted.history
        ),
        best_epoch=run.fitted.best_epoch if recipe.fit.patience else None,
        loss=f"{recipe.objective.loss}, scaled",
        watched=watched(recipe, subsets.sizes),
        timeline=_timeline(subsets),
        shown=_shown(index, values, scorer, window.length) if len(index) else None,
        alarms=form.Alarms(
            thresholds=run.trade.thresholds, expected=run.trade.expected, low=run.trade.low, high=run.trade.high
        ),
        tables=_tables(run),
        channel_errors=_channel_errors(run, scorer),
        latent=_latent(run),
        generated=_generated(run.detector),
        warnings=tuple(run.notes),
        missing=_missing(recipe, subsets),
        contamination=_contamination(recipe),
        environment=tuple((name, str(value)) for name, value in manifest.training["libraries"].items()),
        parameters=tuple(
            form.Parameter(name=name, shape=tensor.shape, sha256=hashlib.sha256(tensor.tobytes()).hexdigest())
            for name, tensor in run.detector.parameters.items()
        ),
        command=run.command,
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
        "series": "Each series whole in one split",
    }
    if blocks := recipe.split.cross_fit:
        return (
            f"{ways[recipe.split.kind]}; each of {blocks} blocks of what was fitted was also scored by a model without "
            "it, to calibrate."
        )
    return f"{ways[recipe.split.kind]}."


def _missing(recipe: Recipe, subsets: Subsets) -> str:
    ways = {
        "refuse": "data with any is refused",
        "drop": "windows with any are left out of fitting and calibration, and are unscorable in the test",
        "fill": f"filled along time up to a share of {recipe.window.max_missing_ratio:g} of a window",
    }
    return f"{ways[recipe.window.missing]}; {subsets.left_out} normal windows were left out."


def _contamination(recipe: Recipe) -> str:
    if not recipe.fit.trim:
        return "what is labelled normal, or not labelled, was taken for normal"
    return f"the {recipe.fit.trim:.1%} of windows with the highest loss were left out of each epoch"


def _timeline(subsets: Subsets) -> form.Timeline | None:
    spans = tuple(
        form.Span(series=series, part=part, start=start, end=end)  # type: ignore[arg-type]
        for series, part, start, end in subsets.timeline
    )
    return form.Timeline(unit="rows", spans=spans) if spans else None


def _tables(run: TrainingRun) -> tuple[form.MetricsTable, ...]:
    if run.report is None:
        return ()
    rows = [form.Row(name="this detector", kind="detector", cells=_cells(run.report, run.intervals))]
    for name, found, numbers in run.baselines:
        cells = _cells(found, None) if found is not None else tuple(map(_cell, numbers))
        rows.append(form.Row(name=BASELINES[name], kind="baseline", cells=cells))
    assert run.subsets.anomalous is not None
    scored = ~np.isnan(run.scores)
    oracle = best_f1(run.subsets.anomalous[scored], run.scores[scored])
    if oracle is not None:
        cells = (None, _cell(oracle.precision), _cell(oracle.recall), _cell(oracle.f1), None, None)
        rows.append(form.Row(name="best threshold in hindsight", kind="oracle", cells=cells))
    normal = run.report.normal
    inverse = form.Row(
        name="this detector",
        kind="detector",
        cells=tuple(map(_cell, (run.report.accuracy, normal.precision, normal.recall, normal.f1))),
    )
    return (
        form.MetricsTable(title=f"Anomalies as the positive class{_around(run)}", columns=COLUMNS, rows=tuple(rows)),
        form.MetricsTable(title="Normal windows as the positive class", columns=COLUMNS[:4], rows=(inverse,)),
    )


def _around(run: TrainingRun) -> str:
    """What the numbers beneath metrics are."""
    if run.intervals is None:
        return ""
    overlap = windowing.overlap(run.subsets.window) > 1
    return ", with 95% bootstrap intervals" + (" (too narrow: windows overlap)" if overlap else "")


def _cells(found: Report, intervals: Intervals | None) -> tuple[form.Estimate | None, ...]:
    classed = found.anomaly
    numbers = (found.accuracy, classed.precision, classed.recall, classed.f1, found.auroc, found.average_precision)
    if intervals is None:
        return tuple(map(_cell, numbers))
    around = (intervals.accuracy, None, None, intervals.anomaly_f1, intervals.auroc, None)
    return tuple(_cell(number, interval) for number, interval in zip(numbers, around, strict=True))


def _shown(index: NDArray[np.int64], windows: Float32Array, scorer: Scorer, length: int) -> form.Shown:
    """The samples of windows (n, rows, channels), and what was expected of them."""
    expected = scorer.reconstruct(windows)
    return form.Shown(index=index, values=windows[:, :length], reconstructions=expected[:, :length])


def _cell(number: float | None, around: Interval | None = None) -> form.Estimate | None:
    if number is None:
        return None
    return form.Estimate(value=number, low=around.low if around else None, high=around.high if around else None)


def _channel_errors(run: TrainingRun, scorer: Scorer) -> form.ChannelErrors | None:
    complete = np.flatnonzero(np.isfinite(run.subsets.test).all(axis=(1, 2)))
    if not len(complete):
        return None
    length, scale = run.detector.window.length, np.asarray(run.detector.scaling.scale, dtype=np.float64)
    if run.detector.scaling.kind == "window":
        scale = np.ones_like(scale)
    errors = np.concatenate(
        [
            (np.abs(windows.astype(np.float64) - scorer.reconstruct(windows)) / scale)[:, :length].mean(axis=1)
            for windows in (run.subsets.test[complete[i : i + CHUNK]] for i in range(0, len(complete), CHUNK))
        ]
    )
    truth = run.subsets.anomalous
    strange = np.zeros(len(complete), np.bool_) if truth is None else truth[complete]

    def mean(which: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        return errors[which].mean(axis=0) if which.any() else None

    return form.ChannelErrors(normal=mean(~strange), anomalous=mean(strange))


def _latent(run: TrainingRun) -> form.Latent | None:
    complete = np.flatnonzero(np.isfinite(run.subsets.test).all(axis=(1, 2)))[:MOST_CODES]
    if len(complete) < 3:
        return None
    modelled = scores.KINDS[run.recipe.score.kind].modelled(run.subsets.test[complete])
    codes = codec.encode(run.detector, modelled).values.astype(np.float64)
    width = codes.shape[1]
    if width < 2:
        codes = np.hstack([codes, np.zeros_like(codes)])
    centred = codes - codes.mean(axis=0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    whole = max(float(np.square(lengths).sum()), np.finfo(np.float64).tiny)
    explained = np.square(lengths[:2]) / whole
    truth = None if run.subsets.anomalous is None else run.subsets.anomalous[complete]
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
