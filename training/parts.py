"""From tables to the windows that fit, calibrate and test.

Rules of this file: what may be learnt from is decided here. Windows with more missing numbers than the artifact allows
become NaN: they are left out of fitting and calibration, and are unscorable in the test part, as in the daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable, WindowTable
from monitor.detector.spec import WindowSpec
from monitor.detector.windowing import mend_missing
from monitor.errors import DataError
from training import splits
from training.recipes import Recipe, WindowPart

Float32Array = NDArray[np.float32]
Table = SeriesTable | WindowTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Windows (n, length, channels) of the three parts, in the data's own unit.

    `fit` and `calibration` hold normal windows without NaN; `calibration` is empty where nothing is held out.
    `scaled_on` (..., channels) are the samples that scaling is fitted on. `anomalous` (n,) is the truth of `test`, None
    without labels.
    """

    window: WindowSpec
    channels: tuple[str, ...]
    scaled_on: Float32Array
    fit: Float32Array
    calibration: Float32Array
    test: Float32Array
    anomalous: NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """All windows of some tables; `anomalous` (n,) is None where no table has labels."""

    windows: Float32Array
    anomalous: NDArray[np.bool_] | None


def window_spec(part: WindowPart, tables: Sequence[Table]) -> WindowSpec:
    """The artifact's form of windows: a recipe's, with the data's own length for records.

    Raises:
        DataError: the data's windows have another length than the recipe's.
    """
    length = part.length
    if part.kind == "record":
        found = {table.windows.shape[1] for table in tables if isinstance(table, WindowTable)}
        if len(found) != 1 or (length and found != {length}):
            raise DataError(
                f"windows of {sorted(found)} samples, but an artifact has one length{f', {length}' if length else ''}"
            )
        length = found.pop()
    return WindowSpec(
        kind=part.kind,
        length=length,
        hop=part.hop or length,
        sampling_rate_hz=part.sampling_rate_hz,
        max_gap_ms=part.max_gap_ms,
        max_missing_ratio=part.max_missing_ratio,
    )


def channels_of(tables: Sequence[Table]) -> tuple[str, ...]:
    """The channels that all tables have.

    Raises:
        DataError: they differ from file to file.
    """
    names = {table.channels for table in tables}
    if len(names) != 1:
        several = " / ".join(", ".join(each[:8]) for each in sorted(names))
        raise DataError(f"the files have different channels: {several}; choose with --channels")
    return names.pop()


def divide(recipe: Recipe, tables: Sequence[Table], *, seed: int) -> Parts:
    """Splits by the recipe; series are split before their windows are cut.

    Raises:
        DataError: the tables do not fit together or leave a part empty that is needed.
    """
    window, channels = window_spec(recipe.window, tables), channels_of(tables)
    series = [table for table in tables if isinstance(table, SeriesTable)]
    records = [table for table in tables if isinstance(table, WindowTable)]
    if recipe.window.kind == "record":
        parts = _divide_records(recipe, records, window, channels, seed)
    else:
        parts = _divide_series(recipe, series, window, channels)
    if not len(parts.fit) or (recipe.split.calibration and not len(parts.calibration)):
        raise DataError(
            f"{len(parts.fit)} normal windows to fit and {len(parts.calibration)} to calibrate with are not enough; "
            f"check the labels (normal is {recipe.normal_class}), the window's length ({window.length}), missing "
            "numbers, and the shares in [split]"
        )
    return parts


def all_windows(tables: Sequence[Table], window: WindowSpec, normal_class: int) -> Labelled:
    """Every window there is, for evaluation."""
    found, truths = [], []
    for table in tables:
        if isinstance(table, WindowTable):
            values, truth = table.windows, _abnormal(table, normal_class)
        else:
            cut = splits.cut(table.samples, table.time_us, slice(0, len(table.samples)), window)
            values, truth = cut.values, splits.touched(cut, _abnormal(table, normal_class))
        found.append(served(values, window))
        truths.append(truth)
    labelled = any(table.labels is not None for table in tables)
    return Labelled(windows=np.concatenate(found), anomalous=np.concatenate(truths) if labelled else None)


def served(windows: Float32Array, window: WindowSpec) -> Float32Array:
    """Windows as the daemon hands them to its scorer: filled, or NaN where too much is missing."""
    return mend_missing(windows, window.max_missing_ratio)[0]


def _abnormal(table: Table, normal_class: int) -> NDArray[np.bool_]:
    rows = table.windows if isinstance(table, WindowTable) else table.samples
    return np.zeros(len(rows), dtype=np.bool_) if table.labels is None else table.labels != normal_class


def _complete(windows: Float32Array, window: WindowSpec) -> Float32Array:
    filled = served(windows, window)
    return filled[np.isfinite(filled).all(axis=(1, 2))]


def _divide_records(
    recipe: Recipe, tables: Sequence[WindowTable], window: WindowSpec, channels: tuple[str, ...], seed: int
) -> Parts:
    windows = np.concatenate([table.windows for table in tables])
    anomalous = np.concatenate([_abnormal(table, recipe.normal_class) for table in tables])
    split = splits.random_split(~anomalous, test=recipe.split.test, calibration=recipe.split.calibration, seed=seed)
    splits.check_no_leak(split.fit, split.calibration, split.test)
    scaled_on = split.fit
    if recipe.scaling.fit_on == "all":
        scaled_on = splits.training_rows(len(windows), test=recipe.split.test, seed=seed)
    return Parts(
        window=window,
        channels=channels,
        scaled_on=windows[scaled_on],
        fit=_complete(windows[split.fit], window),
        calibration=_complete(windows[split.calibration], window),
        test=served(windows[split.test], window),
        anomalous=anomalous[split.test] if any(table.labels is not None for table in tables) else None,
    )


def _divide_series(
    recipe: Recipe, tables: Sequence[SeriesTable], window: WindowSpec, channels: tuple[str, ...]
) -> Parts:
    scaled_on, fitted, held, tested, truths = [], [], [], [], []
    for table in tables:
        anomalous = _abnormal(table, recipe.normal_class)
        slices = splits.time_split(len(anomalous), test=recipe.split.test, calibration=recipe.split.calibration)
        cuts = [splits.cut(table.samples, table.time_us, part, window) for part in slices]
        rows = np.arange(len(anomalous), dtype=np.int64)
        splits.check_no_leak(*(rows[part] for part in slices))
        marked = [splits.touched(each, anomalous) for each in cuts]
        keep = slice(None) if recipe.scaling.fit_on == "all" else ~anomalous[slices[0]]
        scaled_on.append(table.samples[slices[0]][keep])
        fitted.append(cuts[0].values[~marked[0]])
        held.append(cuts[1].values[~marked[1]])
        tested.append(cuts[2].values)
        truths.append(marked[2])
    return Parts(
        window=window,
        channels=channels,
        scaled_on=np.concatenate(scaled_on),
        fit=_complete(np.concatenate(fitted), window),
        calibration=_complete(np.concatenate(held), window),
        test=served(np.concatenate(tested), window),
        anomalous=np.concatenate(truths) if any(table.labels is not None for table in tables) else None,
    )
