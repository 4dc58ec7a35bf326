"""Scores of data by an artifact's own scorer, as calibration takes them: series kept apart, in order of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable
from monitor.detector import windowing
from monitor.detector.artifact import Artifact
from monitor.detector.imputing import Imputer
from monitor.detector.incidents import Policy
from monitor.detector.scoring import Scorer
from monitor.detector.smoothing import smoothed
from monitor.detector.spec import SmoothingSpec
from monitor.errors import DataError
from training.recipes.schema import Recipe
from training.thresholds.calibration import CalibrationScores, windows_per_day
from training.thresholds.choose import LabelledScores
from training.windows.subsets import NormalClass, Subsets, Table, all_windows, for_artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedScores:
    """Scores (n,) of windows, NaN = unscorable, and which of them are over the threshold."""

    scores: NDArray[np.float32]
    flagged: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """`normal` windows that could be scored; `labelled` all windows, None where nothing has labels."""

    normal: CalibrationScores
    labelled: LabelledScores | None
    notes: tuple[str, ...] = ()


def calibrated_on(recipe: Recipe, subsets: Subsets) -> NDArray[np.float32]:
    """The windows whose scores the recipe's threshold is chosen by."""
    return subsets.calibration if _held_out(recipe) else subsets.fit


def smoothing_of(recipe: Recipe, scores: NDArray[np.float32]) -> SmoothingSpec | None:
    """How the recipe's scores are smoothed; `scores` are those of single calibration windows."""
    if recipe.score.smoothing == 1 or not len(scores):
        return None
    return SmoothingSpec(windows=recipe.score.smoothing, usual=float(np.median(scores)))


def _held_out(recipe: Recipe) -> bool:
    return bool(recipe.split.cross_fit) or recipe.threshold.method != "mean_std"


def calibration_of(
    recipe: Recipe, subsets: Subsets, tables: Sequence[Table], scores: NDArray[np.float32], policy: Policy
) -> CalibrationScores:
    """`scores` (n,) of the windows `calibrated_on`, smoothed by the recipe, and those that it trims left out.

    `tables` give the times. `policy` opens the incidents, but in windows of a random split.
    """
    held_out = _held_out(recipe)
    owners = subsets.calibration_series if held_out and subsets.series else None
    times = [table.time_us for table in tables if isinstance(table, SeriesTable)]
    rows = subsets.calibration_rows if held_out else None
    calibration = CalibrationScores(
        scores=smoothed(scores, owners, smoothing_of(recipe, scores)),
        series=owners,
        names=() if owners is None else subsets.series,
        overlap=windowing.overlap(subsets.window),
        goes_on=windowing.goes_on(subsets.window.kind),
        windows_per_day=windows_per_day(subsets.window, times),
        policy=None if recipe.split.kind == "random" else policy,
        held_out=held_out,
        rows=rows,
        times_us=None if rows is None or owners is None else _times_us(times, owners, rows),
    )
    return calibration.trimmed(recipe.fit.trim)


def channel_errors(scorer: Scorer, windows: NDArray[np.float32]) -> tuple[float, ...]:
    """How far each channel of normal windows is from what was expected, root mean square over them all, scaled.

    Empty where there is but one channel, which nothing can be compared with, or no window is complete.
    """
    complete = windows[np.isfinite(windows).all(axis=(1, 2))]
    if windows.shape[2] == 1 or not len(complete):
        return ()
    squares = np.square(scorer.errors(complete), dtype=np.float64)
    return tuple(np.sqrt(squares.mean(axis=0)).tolist())


def _times_us(
    times: Sequence[NDArray[np.int64] | None], table: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """When `rows` (n,) of the tables of the numbers `table` (n,) were taken; None where one has no times."""
    known = [each for each in times if each is not None]
    if len(known) < len(times):
        return None
    firsts = np.cumsum([0, *map(len, known)])
    return np.concatenate(known)[firsts[table] + rows]


def scored(
    artifact: Artifact,
    scorer: Scorer,
    tables: Sequence[Table],
    *,
    normal_class: NormalClass | None,
    held_out: bool,
    policy: Policy,
    max_missing_ratio: float | None = None,
) -> Scored:
    """Scores all windows of `tables`; `normal_class` None takes that of the training, `policy` opens the incidents.

    `max_missing_ratio` is the share of a window that may be missing, None: as much as the artifact allows.

    Raises:
        DataError: the windows are not the artifact's, or none is normal and complete.
    """
    manifest = artifact.manifest
    window = manifest.window
    normal_class = for_artifact(manifest, tables, normal_class)
    impute = Imputer(artifact, scorer.reconstruct, max_missing_ratio)
    names: dict[str, int] = {}
    scores, truths, series, rows, has_labels = [], [], [], [], False
    for number, table in enumerate(tables):
        found = all_windows([table], window, normal_class, impute)
        count = len(found.windows)
        has_labels |= found.anomalous is not None
        own = scorer(found.windows) if count else np.zeros(0, np.float32)
        scores.append(smoothed(own, None, manifest.score.smoothing))
        rows.append(found.last)
        truths.append(np.zeros(count, np.bool_) if found.anomalous is None else found.anomalous)
        name = table.series or f"series {number}"
        series.append(np.full(count, names.setdefault(name, len(names)), dtype=np.int64))
    score, truth, code = np.concatenate(scores), np.concatenate(truths), np.concatenate(series)
    unscorable = np.isnan(score)
    kept = ~truth & ~unscorable
    if not kept.any():
        raise DataError(
            f"{len(score)} windows, but none is normal (label {normal_class}) and complete; check the labels, and "
            f"whether series are as long as a window ({window.length} samples)"
        )
    notes = []
    if truth.any():
        notes.append(f"{int(truth.sum())} of {len(score)} windows are labelled anomalies and not calibrated with")
    if (unscorable & ~truth).any():
        notes.append(f"{int((unscorable & ~truth).sum())} normal windows were left out: too many missing numbers")
    times = [table.time_us for table in tables if isinstance(table, SeriesTable)]
    owners = np.repeat(np.arange(len(tables)), [len(each) for each in rows])
    named = all(isinstance(table, SeriesTable) for table in tables)
    normal = CalibrationScores(
        scores=score[kept],
        series=code[kept] if named else None,
        names=tuple(names) if named else (),
        overlap=windowing.overlap(window),
        goes_on=windowing.goes_on(window.kind),
        windows_per_day=windows_per_day(window, times) or manifest.calibration.windows_per_day,
        policy=policy,
        held_out=held_out,
        rows=np.concatenate(rows)[kept],
        times_us=_times_us(times, owners[kept], np.concatenate(rows)[kept]) if named else None,
    )
    return Scored(
        normal=normal,
        labelled=LabelledScores(scores=score, anomalous=truth) if has_labels else None,
        notes=tuple(notes),
    )
