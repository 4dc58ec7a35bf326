"""The whole of a training run: divide, scale, fit, calibrate, evaluate, build the artifact. Read top down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable, plausibility
from monitor.detector import autoencoder, scaling, thresholds
from monitor.detector import scores as score_kinds
from monitor.detector.architectures import DenseSpec, single
from monitor.detector.arrays import Float32Array
from monitor.detector.artifact import Artifact
from monitor.detector.decision import Verdict, decide
from monitor.detector.incidents import Policy
from monitor.detector.scoring import Detector, Scorer
from monitor.detector.smoothing import smoothed
from monitor.detector.spec import Manifest, ScalingSpec, ScoreSpec
from monitor.detector.thresholds import Thresholds
from monitor.errors import DataError
from training import choosing, export
from training.datasets import levels, timestamps
from training.datasets.sources import Source
from training.evaluation.baselines import baselines
from training.evaluation.scored import calibrated_on, calibration_of, channel_errors, smoothing_of
from training.fitting import fit as fitting
from training.fitting import score_tensors, units
from training.fitting.checkpoints import Checkpoints, Epoch
from training.fitting.reconstructing import codes, reconstructions
from training.metrics import baseline_scores, bootstrap
from training.metrics.baseline_scores import TrivialBaseline
from training.metrics.bootstrap import Intervals
from training.metrics.windows import Report, report
from training.recipes.schema import ObjectivePart, Recipe
from training.thresholds.alert_policy import DEFAULTS, AssumedPolicy, counting
from training.thresholds.calibration import CalibrationScores
from training.thresholds.choose import Chosen, LabelledScores, choose, described
from training.thresholds.false_alarms import Expected, trade_off
from training.windows import channel_quality
from training.windows.subsets import (
    Subsets,
    Table,
    apart_for_score,
    cross_fitted,
    divide,
    units_of,
    watched,
)

BLOCK_ROWS = 256  # of a batch of scores while cross-fitting: compiled for each block


class FalseAlarms(msgspec.Struct, frozen=True, kw_only=True):
    """Incidents to expect from normal data, with a 95 % interval; `unit` says of what.

    `flagged` is the share of normal windows over the threshold. `static` is what there would be if the threshold did
    not follow; None: it does not.
    """

    expected: float
    low: float
    high: float
    unit: str
    flagged: float = 0.0
    static: FalseAlarms | None = None

    @classmethod
    def of(cls, found: Expected, static: Expected | None = None) -> FalseAlarms:
        """What the threshold costs on the calibration windows, and what it would if it did not follow."""
        unit = "a day and series" if found.a_day else "per 1,000 windows"
        return cls(
            expected=found.rate,
            low=found.low,
            high=found.high,
            unit=unit,
            flagged=found.share_over,
            static=None if static is None else cls.of(static),
        )


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What `metrics.json` and the summary say; `detector` and `intervals` are None without labelled test windows.

    `alerting` opens the incidents that are the false alarms; None: each window over the threshold counts as one.
    `tried` are the kinds of detectors that one was chosen from, best first.
    """

    windows: dict[str, int]
    epochs: int
    best_epoch: int
    loss: float
    validation_loss: float | None
    threshold: float
    false_alarms: FalseAlarms
    alerting: AssumedPolicy | None
    test_flagged_share: float | None
    detector: Report | None
    intervals: Intervals | None
    baselines: dict[str, Report]
    trivial_baselines: dict[str, TrivialBaseline]
    notes: tuple[str, ...]
    tried: tuple[choosing.Candidate, ...] = ()


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
    sources: Sequence[Source] = (),
    batch_rows: int | None = None,
    on_start: Callable[[int], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    checkpoints: Checkpoints | None = None,
    with_comparison: bool = True,
    with_report: bool = False,
    command: str = "",
    alerting: AssumedPolicy = DEFAULTS,
) -> Trained:
    """Trains by `recipe`.

    Args:
        seed: decides split, initial parameters and order of rows.
        name: the artifact's.
        sources: fingerprints of the files that `tables` came from.
        batch_rows: the artifact's batch; None times it on this machine.
        on_start: called with the number of epochs before the first, `on_epoch` after each.
        checkpoints: where an interrupted run goes on from.
        with_comparison: whether the test metrics get intervals, and PCA and nearest neighbours, beside them.
        with_report: whether report.html and MODEL_CARD.md are made too; `command` is how to make them again.
        alerting: opens the incidents that are counted as false alarms.

    Raises:
        DataError: the data does not allow it; says why.
    """
    odd = list(plausibility.notes(tables))
    taken = levels.choose(tables) if len({table.channels for table in tables}) == 1 else levels.NONE
    if taken.needed:
        tables = [levels.without(table, taken.values) for table in tables]
    subsets = divide(recipe, tables, seed=seed)
    recipe = _narrowed(units.resolved(recipe, subsets.scaled_on, units_of(tables), taken.values), subsets)
    scales = _scales(recipe, subsets)
    subsets, held = apart_for_score(recipe, subsets)
    tried: tuple[choosing.Candidate, ...] = ()
    fit = partial(_fitted, subsets, held, scales, seed, on_start, on_epoch, checkpoints)
    if recipe.choose:
        choice = choosing.choose(recipe, subsets, scales, seed, fit)
        recipe, detector, fitted, tried = choice.recipe, choice.detector, choice.fitted, choice.tried
        odd.append(choice.note)
    else:
        detector, fitted = fit(recipe)
    scorer = export.timed_scorer(detector) if batch_rows is None else Scorer(detector, batch_rows)
    chosen_by = calibrated_on(recipe, subsets)
    if recipe.split.cross_fit:
        held_out = cross_fitted(recipe, tables, subsets, partial(_scored_without, recipe, seed), seed=seed)
    else:
        held_out = scorer(chosen_by)
    calibration = calibration_of(recipe, subsets, tables, held_out, alerting.policy)
    smoothing = smoothing_of(recipe, held_out)
    scores = smoothed(scorer(subsets.test), subsets.test_series, smoothing)
    chosen = _choose(recipe, calibration, subsets.anomalous, scores)
    notes = [*taken.notes, *odd, *_notes(recipe, tables, subsets), *chosen.notes]
    owners = np.full(len(scores), "") if subsets.test_series is None else subsets.test_series
    flagged = decide(scores, Thresholds(chosen.threshold).of_each(owners.tolist())) == Verdict.ANOMALY
    counted_by = None if calibration.policy is None else alerting
    results = _results(subsets, scores, flagged, fitted, chosen, tuple(notes), counted_by, tried)
    if results.detector is not None and subsets.anomalous is not None and with_comparison:
        results = msgspec.structs.replace(
            results,
            intervals=_intervals(subsets.anomalous, scores, flagged),
            baselines=_baselines(recipe, subsets, scales, tables, fitted, alerting.policy),
        )
    detector = replace(detector, score=msgspec.structs.replace(detector.score, smoothing=smoothing))
    artifact = export.build(
        detector,
        scorer,
        name=name,
        threshold=chosen.threshold,
        calibration=msgspec.structs.replace(chosen.calibration, channel_errors=channel_errors(scorer, chosen_by)),
        table=chosen.table,
        known=export.known_answers(chosen_by, scorer),
        training=_provenance(recipe, seed, sources, results),
        history=fitted.history,
        metrics=msgspec.to_builtins(results),
        units=units_of(tables),
        levels=taken.values,
        quality=channel_quality.measure(subsets.normal, subsets.channels, taken.values),
    )
    if not with_report:
        return Trained(artifact=artifact, results=results)
    from training.report import gathering

    run = gathering.TrainingRun(
        recipe=recipe,
        seed=seed,
        sources=sources,
        subsets=subsets,
        detector=detector,
        fitted=fitted,
        scores=scores,
        flagged=flagged,
        chosen=chosen,
        trade=trade_off(chosen.used),
        counting=counting(counted_by),
        report=results.detector,
        intervals=results.intervals,
        baselines=_baseline_rows(results),
        notes=notes,
        how=how(artifact.manifest),
        command=command,
    )
    extras = {**artifact.extras, **gathering.files(run, artifact, scorer)}
    return Trained(artifact=replace(artifact, extras=extras), results=results)


def _narrowed(recipe: Recipe, subsets: Subsets) -> Recipe:
    """`recipe` for windows of few numbers: a linear model fitted exactly that keeps most of them copies anomalies too.

    Its code has two fifths of a window's numbers at most.
    """
    if recipe.fit.method != "exact" or not isinstance(recipe.model, DenseSpec):
        return recipe
    most = max(subsets.window.length * len(subsets.channels) * 2 // 5, 1)
    widths = tuple(min(width, most) for width in recipe.model.widths)
    return msgspec.structs.replace(recipe, model=msgspec.structs.replace(recipe.model, widths=widths))


def _scales(recipe: Recipe, subsets: Subsets) -> ScalingSpec:
    kind = recipe.scaling.kind
    assert kind != "auto"
    try:
        return scaling.fit(subsets.scaled_on, kind)
    except ValueError as error:
        raise DataError(f"scaling: {error}; leave that channel out with --channels") from None


def _scored_without(recipe: Recipe, seed: int, block: Subsets) -> NDArray[np.float32]:
    """The scores of a block's calibration windows by a model of its own."""
    detector, _ = _fitted(block, block.calibration[:0], _scales(recipe, block), seed, None, None, None, recipe)
    return Scorer(detector, min(len(block.calibration), BLOCK_ROWS))(block.calibration)


def _choose(
    recipe: Recipe,
    calibration: CalibrationScores,
    truth: NDArray[np.bool_] | None,
    scores: NDArray[np.float32],
) -> Chosen:
    labelled = None if truth is None else LabelledScores(scores=scores, anomalous=truth)
    return choose(calibration, recipe.threshold, oracle=labelled)


def _notes(recipe: Recipe, tables: Sequence[Table], subsets: Subsets) -> list[str]:
    series = [table for table in tables if isinstance(table, SeriesTable)]
    notes = list(timestamps.notes(series, recipe.window.sampling_rate_hz))
    notes += [*_still_channels(subsets), *_wide_code(recipe, subsets)]
    if subsets.left_out:
        notes.append(f"{subsets.left_out} normal windows were left out: too many missing numbers")
    return notes


def _still_channels(subsets: Subsets) -> Iterator[str]:
    for at, name in enumerate(subsets.channels if len(subsets.channels) > 1 else ()):
        values = subsets.fit[:, :, at]
        if np.nanmin(values) == np.nanmax(values):
            yield (
                f"channel {name} never changes in what is learnt from: any change will look anomalous; leave it out "
                f"with --channels where it is no sensor (labels, a state), or give more data{_lost_digits(values)}"
            )


def _lost_digits(values: Float32Array) -> str:
    """What to add of a channel that never changes, where it is so large that its file may have lost what changed."""
    value = float(np.nanmin(values))
    step = float(np.spacing(np.float32(abs(value))))
    return f"; if it was written in float32, which goes in steps of {step:g} there, write float64" if step >= 1 else ""


def _wide_code(recipe: Recipe, subsets: Subsets) -> Iterator[str]:
    """A dense model that can copy its input finds little, unless something else keeps it from copying."""
    model, size = single(recipe.model), subsets.window.length * len(subsets.channels)
    if isinstance(model, DenseSpec) and recipe.objective == ObjectivePart(loss=recipe.objective.loss):
        narrowest = min(model.widths)
        if narrowest > size / 2:
            yield (
                f"model: a code of {narrowest} numbers for windows of {size} can nearly copy them, anomalies too; "
                "choose longer windows, or a narrower code in a recipe of your own"
            )


def how(manifest: Manifest) -> str:
    """How the threshold was chosen, in words."""
    calibration = manifest.calibration
    chosen = thresholds.of(manifest).chosen
    if chosen.method == "oracle":
        return described(chosen)
    windows = "held-out normal windows" if calibration.held_out else "training windows"
    return f"{described(chosen)}, by the scores of {calibration.windows} {windows}"


def _baseline_rows(results: Results) -> list[tuple[str, Report | None, tuple[float | None, ...]]]:
    rows: list[tuple[str, Report | None, tuple[float | None, ...]]] = [
        (name, found, ()) for name, found in results.baselines.items()
    ]
    for name, found in results.trivial_baselines.items():
        of_class = found.anomaly
        numbers = (
            found.accuracy,
            of_class.precision,
            of_class.recall,
            of_class.f1,
            found.auroc,
            found.average_precision,
        )
        rows.append((name, None, numbers))
    return rows


def _fitted(
    subsets: Subsets,
    held: NDArray[np.float32],
    scales: ScalingSpec,
    seed: int,
    on_start: Callable[[int], None] | None,
    on_epoch: Callable[[Epoch], None] | None,
    checkpoints: Checkpoints | None,
    recipe: Recipe,
) -> tuple[Detector, fitting.Fitted]:
    shape = autoencoder.Shape((subsets.window.length, len(subsets.channels)), subsets.window.image_shape)
    unseen = getattr(subsets, watched(recipe, subsets.sizes))
    unseen = unseen[np.isfinite(unseen).all(axis=(1, 2))]
    scaled = fitting.scale(subsets.fit, scales)
    modelled = score_kinds.KINDS[recipe.score.kind].modelled
    task = fitting.Task(model=recipe.model, shape=shape, options=recipe.fit, objective=recipe.objective, seed=seed)
    watch = modelled(fitting.scale(unseen, scales))
    fitted = fitting.fit(modelled(scaled), watch, task, on_start=on_start, on_epoch=on_epoch, checkpoints=checkpoints)
    tensors: dict[str, NDArray[np.float32]] = {}
    if recipe.score.kind in score_tensors.FITTED:
        normal = scaled[~fitted.trimmed]
        apart = fitting.scale(held, scales)
        parameters = fitted.parameters
        made = [reconstructions(recipe.model, shape, parameters, modelled(part)) for part in (normal, apart)]
        material = score_tensors.Material(
            score=recipe.score,
            channels=len(subsets.channels),
            codes=lambda rows: codes(recipe.model, shape, fitted.parameters, rows.reshape(-1, *shape.window)),
            fitted=_flat(normal),
            reconstructed=_flat(made[0]),
            held=_flat(apart),
            held_reconstructed=_flat(made[1]),
            seed=seed,
        )
        tensors = score_tensors.FITTED[recipe.score.kind].fit(material)
    detector = Detector(
        window=subsets.window,
        channels=subsets.channels,
        scaling=scales,
        model=recipe.model,
        parameters=fitted.parameters,
        score=ScoreSpec(kind=recipe.score.kind, beta=recipe.score.beta, worst=recipe.score.worst),
        score_tensors=tensors,
    )
    return detector, fitted


def _results(
    subsets: Subsets,
    scores: NDArray[np.float32],
    flagged: NDArray[np.bool_],
    fitted: fitting.Fitted,
    chosen: Chosen,
    notes: tuple[str, ...],
    alerting: AssumedPolicy | None,
    tried: tuple[choosing.Candidate, ...],
) -> Results:
    share = float(flagged.mean()) if len(flagged) else None
    truth = subsets.anomalous if len(scores) else None
    last = fitted.history[fitted.best_epoch - 1]
    return Results(
        windows=subsets.sizes,
        epochs=len(fitted.history),
        best_epoch=fitted.best_epoch,
        loss=last.loss,
        validation_loss=last.validation,
        threshold=chosen.threshold.value,
        false_alarms=FalseAlarms.of(chosen.expected, chosen.expected_static),
        alerting=alerting,
        test_flagged_share=share,
        detector=None if truth is None else report(truth, scores, flagged),
        intervals=None,
        baselines={},
        trivial_baselines={} if truth is None else baseline_scores.beside(truth, scores, flagged),
        notes=notes,
        tried=tried,
    )


def _intervals(truth: NDArray[np.bool_], scores: NDArray[np.float32], flagged: NDArray[np.bool_]) -> Intervals:
    scored = ~np.isnan(scores)
    return bootstrap.of_windows(truth[scored], scores[scored], flagged[scored], seed=0)


def _baselines(
    recipe: Recipe,
    subsets: Subsets,
    scales: ScalingSpec,
    tables: Sequence[Table],
    fitted: fitting.Fitted,
    policy: Policy,
) -> dict[str, Report]:
    assert subsets.anomalous is not None
    truth, learnt = subsets.anomalous, ~fitted.trimmed
    beside = baselines(
        recipe,
        subsets,
        scales,
        tables,
        subsets.test,
        series=subsets.test_series,
        policy=policy,
        learnt=learnt,
        anomalous=truth,
    )
    return {name: report(truth, baseline.scores, baseline.judged.flagged) for name, baseline in beside.items()}


def _flat(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    return windows.reshape(len(windows), windows.shape[1] * windows.shape[2])


def _provenance(recipe: Recipe, seed: int, sources: Sequence[Source], results: Results) -> dict[str, Any]:
    return {
        "recipe": msgspec.to_builtins(recipe),
        "seed": seed,
        "normal_class": recipe.normal_class,
        "data": [asdict(source) for source in sources],
        "windows": results.windows,
        "alerting": None if results.alerting is None else msgspec.to_builtins(results.alerting.policy),
        "libraries": export.environment(),
    }
