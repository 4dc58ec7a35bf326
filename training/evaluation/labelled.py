"""An artifact on labelled data: metrics of windows, and of series if rows are labelled, with intervals and baselines.

Rules of this file: scores, thresholds and incidents as the daemon has them; nothing is chosen by the labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable
from monitor.detector.arrays import BoolArray, Float32Array, Float64Array
from monitor.detector.artifact import Artifact
from monitor.detector.decision import Verdict, decide
from monitor.detector.following import ScoredWindows
from monitor.detector.imputing import Imputer
from monitor.detector.incidents import Policy
from monitor.detector.scoring import Scorer
from monitor.detector.smoothing import smoothed
from monitor.detector.spec import Manifest, ThresholdSpec
from monitor.detector.thresholds import Quantiles, Thresholds
from monitor.errors import DataError
from training.evaluation.baselines import baselines
from training.evaluation.scored import FlaggedScores
from training.evaluation.series_metrics import (
    Alerted,
    LabelledSeries,
    OverSeries,
    Rules,
    alerted,
    block_rows,
    over_series,
)
from training.metrics import baseline_scores, bootstrap, vus
from training.metrics.baseline_scores import TrivialBaseline
from training.metrics.bootstrap import Intervals
from training.metrics.windows import Report, report
from training.recipes.schema import Recipe
from training.thresholds import following
from training.thresholds.alert_policy import NOTHING_SET, Assumed, AssumedPolicy
from training.thresholds.choose import parameters
from training.thresholds.rules import ThresholdPart
from training.windows.subsets import (
    LabelledWindows,
    NormalClass,
    Table,
    abnormal,
    all_windows,
    apart_for_score,
    divide,
    for_artifact,
)


class Evaluated(msgspec.Struct, frozen=True, kw_only=True):
    """What `telltale evaluate` says; without labels `detector` is None and there are no baselines.

    `drawn` says what the intervals of window metrics drew again, None where there was too little for intervals.
    `baselines` are empty without normal data to fit them on. `series` is of labelled series only, `alerted` of those
    without labels of which a window could be scored. `alerting` opens the incidents of both. `threshold_source` says
    where the operator set `threshold`; None: it is the artifact's.
    """

    name: str
    version: str
    digest: str
    windows: int
    unscorable: int
    flagged: int
    alerting: AssumedPolicy
    threshold: float
    threshold_source: str | None
    detector: Report | None
    drawn: str | None
    intervals: Intervals | None
    baselines: dict[str, Report]
    trivial_baselines: dict[str, TrivialBaseline]
    series: OverSeries | None
    alerted: Alerted | None


def evaluate_artifact(
    artifact: Artifact,
    scorer: Scorer,
    tables: Sequence[Table],
    *,
    normal_class: NormalClass | None,
    normal: Sequence[Table] = (),
    assumed: Assumed = NOTHING_SET,
) -> Evaluated:
    """Scores all windows of `tables`.

    Args:
        normal_class: of the rows' labels; None takes that of the training.
        normal: data as the artifact was trained on, to fit and calibrate PCA and nearest neighbours on.
        assumed: what the daemon alerts by: its policy, its threshold where it has one, and how much may be missing.

    Raises:
        DataError: the windows are not the artifact's, or baselines can't be fitted on `normal`.
    """
    manifest = artifact.manifest
    normal_class = for_artifact(manifest, tables, normal_class)
    impute = Imputer(artifact, scorer.reconstruct, assumed.max_missing_ratio)
    found = all_windows(tables, manifest.window, normal_class, impute)
    scores = smoothed(scorer(found.windows), found.table, manifest.score.smoothing)
    served, alerting = assumed.thresholds(manifest), assumed.alerting
    in_force = _in_force(scores, found, tables, served, manifest)
    judged = FlaggedScores(scores=scores, flagged=decide(scores, in_force) == Verdict.ANOMALY)
    result = Evaluated(
        name=manifest.name,
        version=manifest.version,
        digest=artifact.digest,
        windows=len(scores),
        unscorable=int(np.isnan(scores).sum()),
        flagged=int(judged.flagged.sum()),
        alerting=alerting,
        threshold=served.value,
        threshold_source=assumed.threshold_source,
        detector=None,
        drawn=None,
        intervals=None,
        baselines={},
        trivial_baselines={},
        series=None,
        alerted=None,
    )
    series = [table for table in tables if isinstance(table, SeriesTable)]
    each = _series(series, found, manifest, normal_class) if len(series) == len(tables) else []
    rules = Rules(hop=manifest.window.hop, policy=alerting.policy)
    truth = found.anomalous
    if truth is None:
        if not each or np.isnan(scores).all():
            return result
        by_clock = all(table.time_us is not None for table in series)
        return msgspec.structs.replace(result, alerted=alerted(each, judged, rules, by_clock=by_clock))
    beside: dict[str, FlaggedScores] = {}
    if normal and len(scores):
        rule = _rule(served.chosen, manifest)
        beside = _baselines(manifest, rule, normal, normal_class, found, truth, alerting.policy)
    block = block_rows(each, manifest.window.length)
    drawn, intervals = _intervals(judged, truth, found, manifest, block, len(each))
    return msgspec.structs.replace(
        result,
        detector=report(truth, scores, judged.flagged) if len(scores) else None,
        drawn=drawn,
        intervals=intervals,
        baselines={name: report(truth, one.scores, one.flagged) for name, one in beside.items()},
        trivial_baselines=baseline_scores.beside(truth, scores, judged.flagged) if len(scores) else {},
        series=over_series(each, judged, beside, rules, block=block) if each else None,
    )


def _in_force(
    scores: Float32Array, found: LabelledWindows, tables: Sequence[Table], served: Thresholds, manifest: Manifest
) -> Float32Array | Float64Array:
    """The threshold of each window: that of its series, raised where it follows and the times are known."""
    static = served.of_each(found.series.tolist())
    series = [table for table in tables if isinstance(table, SeriesTable)]
    times = [_times(table, manifest.window.sampling_rate_hz) for table in series]
    follows = served.chosen.follows
    if follows is None or len(series) < len(tables) or any(each is None for each in times):
        return static
    ends_us = np.zeros(len(scores), dtype=np.int64)
    for number, each in enumerate(times):
        own = found.table == number
        ends_us[own] = 0 if each is None else np.rint(each[found.last[own]] * 1e6)
    _, rows = np.unique(np.where(found.series == "", found.table.astype(str), found.series), return_inverse=True)
    return following.followed(ScoredWindows(rows, ends_us, scores, static.astype(np.float64)), follows)


def _series(
    tables: Sequence[SeriesTable], found: LabelledWindows, manifest: Manifest, normal_class: NormalClass
) -> list[LabelledSeries]:
    """The tables as labelled series. If one has no times, none has: they could not be pooled."""
    times = [_times(table, manifest.window.sampling_rate_hz) for table in tables]
    timed = all(each is not None for each in times)
    ends = np.searchsorted(found.table, np.arange(len(tables) + 1)).tolist()
    made = []
    for number, table in enumerate(tables):
        windows = slice(ends[number], ends[number + 1])
        made.append(
            LabelledSeries(
                name=table.series,
                anomalous=abnormal(table, normal_class),
                times_secs=times[number] if timed else None,
                period=vus.period(table.samples[:, 0]),
                windows=windows,
                first=found.first[windows],
                last=found.last[windows],
            )
        )
    return made


def _times(table: SeriesTable, rate_hz: float | None) -> NDArray[np.float64] | None:
    """When each row was taken, in seconds: as the data says, else by the sampling rate."""
    if table.time_us is not None:
        return table.time_us / 1e6
    return None if rate_hz is None else np.arange(len(table.samples)) / rate_hz


def _intervals(
    judged: FlaggedScores, truth: BoolArray, found: LabelledWindows, manifest: Manifest, block: int | None, series: int
) -> tuple[str | None, Intervals | None]:
    """What was drawn again, and the intervals of window metrics: windows of a series are drawn together."""
    if not len(truth):
        return None, None
    if not series:
        return "windows", bootstrap.of_windows(truth, judged.scores, judged.flagged, seed=0)
    owners = len(np.unique(found.table))
    if owners > 1:
        drawn, draws = f"{owners} series", bootstrap.series_draws(found.table, seed=0)
    elif block is not None and series == 1:
        windows = min(math.ceil(block / manifest.window.hop), len(truth))
        drawn, draws = f"blocks of {windows} windows", bootstrap.block_draws(len(truth), windows, seed=0)
    else:
        return None, None
    return drawn, bootstrap.of_draws(truth, judged.scores, judged.flagged, draws)


def _baselines(
    manifest: Manifest,
    rule: ThresholdPart,
    normal: Sequence[Table],
    normal_class: NormalClass,
    found: LabelledWindows,
    truth: BoolArray,
    policy: Policy,
) -> dict[str, FlaggedScores]:
    """PCA and nearest neighbours on `normal`, divided as the training's own data was; `rule` sets their threshold."""
    for_artifact(manifest, normal, normal_class)
    try:
        recipe = msgspec.convert(manifest.training["recipe"], Recipe)
        seed = int(manifest.training["seed"])
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"baselines: artifact {manifest.name} does not say how its training data was divided, so PCA and nearest "
            "neighbours can't be fitted as it was; leave --baselines-from out"
        ) from None
    recipe = msgspec.structs.replace(recipe, normal_class=normal_class, threshold=rule)
    try:
        subsets, _ = apart_for_score(recipe, divide(recipe, normal, seed=seed))
        beside = baselines(
            recipe,
            subsets,
            manifest.scaling,
            normal,
            found.windows,
            series=found.table,
            policy=policy,
            anomalous=truth,
        )
    except DataError as error:
        raise DataError(f"baselines: {error}") from None
    return {name: baseline.judged for name, baseline in beside.items()}


def _rule(threshold: ThresholdSpec, manifest: Manifest) -> ThresholdPart:
    """How a threshold was chosen; of one that was given, or chosen by labels, the calibration's quantile at it."""
    if threshold.method not in ("given", "oracle"):
        rule = msgspec.convert({"method": threshold.method, **threshold.parameters}, ThresholdPart)
        if parameters(rule) == threshold.parameters:
            return rule
    share = Quantiles(manifest.calibration).share_under(threshold.value)
    return ThresholdPart(method="quantile", quantile=max(share, 1 / manifest.calibration.windows))
