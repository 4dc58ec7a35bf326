"""From tables to the windows that fit, calibrate and test.

Rules of this file: what may be learnt from is decided here. Windows with more missing numbers than the artifact allows
become NaN: they are left out of fitting and calibration, and are unscorable in the test split, as in the daemon.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.datafiles import SeriesTable, WindowTable
from monitor.datafiles.columns import unnamed
from monitor.detector import architectures, scores, spec, windowing
from monitor.detector.arrays import Float32Array
from monitor.detector.imputing import Imputer
from monitor.detector.spec import Manifest, WindowSpec
from monitor.detector.windows import impute_or_blank
from monitor.errors import DataError
from training.datasets import missing, timestamps
from training.fitting import score_tensors
from training.recipes.schema import Recipe, WindowPart
from training.windows import channel_quality, splits

Table = SeriesTable | WindowTable
NormalClass = int | Literal["all"]
SUBSETS = ("fit", "validation", "calibration", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subsets:
    """Windows (n, length, channels) of the four subsets, in the data's own unit.

    `fit`, `validation` and `calibration` hold normal windows without NaN, in order of time within a series;
    `validation` and `calibration` are empty where nothing is held out. `scaled_on` (..., channels) are the samples that
    scaling is fitted on. `anomalous` (n,) is the truth of `test`, None without labels. `series` are the names of the
    series, `calibration_series` (m,) says whose each calibration window is, `calibration_rows` (m,) its last row there,
    `test_series` (n,) names each test
    window's. `timeline` lists what of which series went
    where: (series, subset, first row, end row), of series in time. `left_out` normal windows were too incomplete.
    `normal` are the samples of the normal windows or rows outside the test, in intervals (n, channels) without a break.
    For cross-fitting `calibration` are the windows of the blocks, which `fit` holds too; see `cross_fitted`.
    """

    window: WindowSpec
    channels: tuple[str, ...]
    scaled_on: Float32Array
    fit: Float32Array
    validation: Float32Array
    calibration: Float32Array
    test: Float32Array
    anomalous: NDArray[np.bool_] | None
    series: tuple[str, ...] = ()
    calibration_series: NDArray[np.int64] | None = None
    calibration_rows: NDArray[np.int64] | None = None
    test_series: NDArray[np.str_] | None = None
    timeline: tuple[tuple[str, str, int, int], ...] = ()
    left_out: int = 0
    normal: tuple[Float32Array, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """How many windows each subset has."""
        return {name: len(getattr(self, name)) for name in SUBSETS}


class _Parts(NamedTuple):
    """The rows of a series that each subset gets, in pieces without a break; in the order of `SUBSETS`."""

    fit: tuple[slice, ...] = ()
    validation: tuple[slice, ...] = ()
    calibration: tuple[slice, ...] = ()
    test: tuple[slice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledWindows:
    """All windows of some tables; `anomalous` (n,) is None where no table has labels, `series` (n,) are their names.

    `table` (n,) is the index of each window's table, `first` and `last` (n,) its rows there.
    """

    windows: Float32Array
    anomalous: NDArray[np.bool_] | None
    series: NDArray[np.str_]
    table: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def watched(recipe: Recipe, sizes: Mapping[str, int]) -> str:
    """The subset that the loss beside the training loss is of; where nothing is chosen by it, any may be looked at."""
    unseen = ("validation",) if recipe.split.cross_fit else ("validation", "calibration")
    return next((part for part in unseen if sizes[part]), "test")


def window_spec(part: WindowPart, tables: Sequence[Table]) -> WindowSpec:
    """The artifact's form of windows: a recipe's, with the data's own length for records.

    Raises:
        DataError: the data's windows have another length than the recipe's, or gaps can't be filled as it says.
    """
    length = part.length
    if windowing.whole_records(part.kind):
        found = {table.windows.shape[1] for table in tables if isinstance(table, WindowTable)}
        if len(found) != 1 or (length and found != {length}):
            raise DataError(
                f"windows of {sorted(found)} samples, but an artifact has one length{f', {length}' if length else ''}"
            )
        length = found.pop()
    images = {table.image_shape for table in tables if isinstance(table, WindowTable)} - {None}
    images |= {part.image_shape} - {None}
    if len(images) > 1:
        raise DataError(f"images of {sorted(map(str, images))}, but an artifact has one shape")
    for height, width in filter(None, images):
        if min(height, width) < 1 or height * width != length:
            raise DataError(f"images of {height} x {width}, but windows of {length} samples; say --image-shape anew")
    rate_hz = part.sampling_rate_hz or timestamps.stated_rate(tables)
    before, length = splits.about_event(part, rate_hz) if windowing.about_events(part.kind) else (0, length)
    made = WindowSpec(
        image_shape=images.pop() if images else None,
        kind=part.kind,
        length=length,
        hop=part.hop or length,
        before=before,
        template_beats=part.template_beats,
        sampling_rate_hz=rate_hz,
        max_gap_ms=part.max_gap_ms,
        max_hold_ms=part.max_hold_ms,
        gap_fill=part.gap_fill,
        max_missing_ratio=part.max_missing_ratio if part.missing == "fill" else 0.0,
    )
    if problems := windowing.KINDS[made.kind].problems(made) + spec.filling_problems(made):
        raise DataError("; ".join(problems))
    return made


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


def units_of(tables: Sequence[Table]) -> tuple[str, ...]:
    """The channels' units where the data states them, all tables alike; else nothing."""
    stated = {table.units for table in tables if isinstance(table, SeriesTable) and table.units}
    return stated.pop() if len(stated) == 1 else ()


def divide(recipe: Recipe, tables: Sequence[Table], *, seed: int) -> Subsets:
    """Splits by the recipe; series are split before their windows are cut.

    Raises:
        DataError: the tables do not fit together or leave a subset empty that is needed, or their windows are too large
            for the recipe's model or score.
    """
    window, channels = window_spec(recipe.window, tables), channels_of(tables)
    shape = window.length, len(channels)
    problems = architectures.problems(recipe.model, shape, window.image_shape)
    problems += scores.problems(
        recipe.score.kind, recipe.model, shape, recipe.window.template_beats, recipe.scaling.kind
    )
    if recipe.split.cross_fit and score_tensors.held_out(recipe.score.kind):
        problems.append(f'score.kind "{recipe.score.kind}" is fitted on held-out windows: split.cross_fit must be 0')
    if problems:
        raise DataError(f"recipe {recipe.name}: " + "; ".join(problems))
    missing.check(tables, recipe.window.missing)
    series = [table for table in tables if isinstance(table, SeriesTable)]
    records = [table for table in tables if isinstance(table, WindowTable)]
    if windowing.whole_records(recipe.window.kind):
        subsets = _divide_records(recipe, records, window, channels, seed)
    else:
        subsets = _divide_series(recipe, series, window, channels, _parts(recipe, series, window, seed))
    if not len(subsets.fit) or (recipe.split.held_out and not len(subsets.calibration)):
        about_time = "".join(f"; {note}" for note in itertools.islice(timestamps.notes(series), 3))
        raise DataError(_empty("fit" if not len(subsets.fit) else "calibration", subsets, recipe) + about_time)
    if recipe.fit.patience and not len(subsets.validation):
        raise DataError(
            "fit.patience needs validation windows, but the validation split is too short for one: give more data, or "
            "a larger split.validation"
        )
    return subsets


def cross_fitted(
    recipe: Recipe, tables: Sequence[Table], subsets: Subsets, scored: Callable[[Subsets], Float32Array], *, seed: int
) -> Float32Array:
    """Scores (n, ...) of `subsets.calibration`, what `divide` made of `tables`: of each block by a model without it.

    Args:
        scored: fits on the `scaled_on` and `fit` of a block's subsets, which share no sample with its `calibration`,
            and scores that.

    Raises:
        DataError: nothing is left to fit on without a block.
    """
    series = [table for table in tables if isinstance(table, SeriesTable)]
    whole = _parts(recipe, series, subsets.window, seed)
    scores, owners = list[Float32Array](), list[NDArray[np.int64]]()
    for number in range(max(len(parts.calibration) for parts in whole)):
        parts = [_without_block(each, number) for each in whole]
        block = _divide_series(recipe, series, subsets.window, subsets.channels, parts)
        if len(block.calibration) and not len(block.fit):
            raise DataError(
                f"split.cross_fit: without block {number + 1} of {recipe.split.cross_fit} no normal window is left to "
                "fit the model to; give more normal data"
            )
        if len(block.calibration):
            assert block.calibration_series is not None
            scores.append(scored(block))
            owners.append(block.calibration_series)
    # Blocks come in order of time; stable, so that they stay so within a series.
    return np.concatenate(scores)[np.argsort(np.concatenate(owners), kind="stable")]


def _without_block(parts: _Parts, number: int) -> _Parts:
    """The block to score, and what is left to fit on; a series that is too short for so many loses nothing."""
    kept = parts._replace(calibration=parts.calibration[number : number + 1], test=())
    for block in kept.calibration:
        kept = kept._replace(fit=tuple(piece for part in kept.fit for piece in splits.without(part, block)))
    return kept


def _empty(name: Literal["fit", "calibration"], subsets: Subsets, recipe: Recipe) -> str:
    """Why a split has no window to learn from, and what to do."""
    what = {"fit": "to fit the model to", "calibration": "to choose the threshold by"}[name]
    sizes = subsets.sizes
    said = f"no normal windows {what} ({sizes['fit']} in the fit split, {sizes['calibration']} in calibration)"
    length = subsets.window.length
    rows = max((stop - first for _, split, first, stop in subsets.timeline if split == name), default=0)
    if not windowing.whole_records(recipe.window.kind) and rows < length:
        remedy = "a larger split.calibration" if name == "calibration" else "a smaller split.test or split.calibration"
        shorter = f"a shorter window (--window {rows} at most), " if rows > 1 else ""
        return (
            f"{said}: a window takes {length} rows, and the {name} split of the longest series has {rows}; give longer "
            f"series, {shorter}or {remedy} in the recipe"
        )
    if subsets.left_out:
        return (
            f"{said}: {subsets.left_out} windows were left out for their missing numbers; fill the numbers in, or set "
            'window.missing = "fill" and window.max_missing_ratio in the recipe'
        )
    return (
        f"{said}: the labels leave none (normal is {recipe.normal_class}); give --normal-class, --label-column none "
        "where the column is not a label, or more normal data"
    )


def apart_for_score(recipe: Recipe, subsets: Subsets) -> tuple[Subsets, NDArray[np.float32]]:
    """`subsets`, and the held-out windows that the score's tensors are fitted on, where it takes such: the first half
    of each series' calibration.

    Those have no say in the threshold: residuals are whiter on the windows that a whitening was fitted on.
    """
    if not score_tensors.held_out(recipe.score.kind):
        return subsets, subsets.calibration[:0]
    owners = subsets.calibration_series
    codes = np.zeros(len(subsets.calibration), dtype=np.int64) if owners is None else owners
    first = np.zeros(len(codes), dtype=np.bool_)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        first[rows[: len(rows) // 2]] = True
    ends, kept = subsets.calibration_rows, subsets.calibration[~first]
    owners, ends = (None if column is None else column[~first] for column in (owners, ends))
    return replace(subsets, calibration=kept, calibration_series=owners, calibration_rows=ends), subsets.calibration[
        first
    ]


def all_windows(
    tables: Sequence[Table], window: WindowSpec, normal_class: NormalClass, impute: Imputer | None = None
) -> LabelledWindows:
    """Every window there is, for evaluation; `impute` is the artifact's, None: numbers are filled along time alone."""
    cuts, truths = [], []
    for table in tables:
        marked = abnormal(table, normal_class)
        if isinstance(table, WindowTable):
            rows = np.arange(len(table.windows), dtype=np.int64)
            cuts.append(splits.CutWindows(values=table.windows, first=rows, last=rows))
        else:
            cuts.append(splits.cut(table.samples, table.time_us, slice(0, len(table.samples)), window))
        truths.append(splits.touched(cuts[-1], marked))
    sizes = [len(cut.values) for cut in cuts]
    return LabelledWindows(
        windows=np.concatenate(
            [served(cut.values, window) if impute is None else impute(cut.values).windows for cut in cuts]
        ),
        anomalous=np.concatenate(truths) if labelled(tables, normal_class) else None,
        series=np.repeat(np.array([table.series for table in tables]), sizes),
        table=np.repeat(np.arange(len(tables)), sizes),
        first=np.concatenate([cut.first for cut in cuts]),
        last=np.concatenate([cut.last for cut in cuts]),
    )


def for_artifact(manifest: Manifest, tables: Sequence[Table], normal_class: NormalClass | None) -> NormalClass:
    """The label of normal rows, that of the training for None, where the tables are as the artifact takes them.

    Channels are told apart by name only where both sides state names: "value", or "0", "1", ... are those of columns
    without any.

    Raises:
        DataError: they are not.
    """
    names = tuple(channel.name for channel in manifest.channels)
    for table in tables:
        both = len(names) == len(table.channels) and unnamed(len(names)) not in (names, table.channels)
        if both and table.channels != names:
            raise DataError(
                f"{table.source or table.series or 'data'}: channels {', '.join(table.channels[:8])}; the artifact "
                f"takes {', '.join(names[:8])}, in this order"
            )
    windows = [table for table in tables if isinstance(table, WindowTable)]
    shapes = {table.windows.shape[1:] for table in windows}
    shapes |= {(manifest.window.rows, len(table.channels)) for table in tables}
    if shapes - {manifest.window_shape}:
        raise DataError(f"windows of {sorted(shapes)} (samples, channels); the artifact takes {manifest.window_shape}")
    images = {table.image_shape for table in windows} - {None, manifest.window.image_shape}
    if images:
        raise DataError(f"images of {sorted(map(str, images))}; the artifact takes {manifest.window.image_shape}")
    if normal_class is not None:
        return normal_class
    stated = manifest.training.get("normal_class", 0)
    return "all" if stated == "all" else int(stated)


def served(windows: Float32Array, window: WindowSpec) -> Float32Array:
    """Windows as the daemon hands them to its scorer: filled, or NaN where too much is missing."""
    return impute_or_blank(windows, window.max_missing_ratio)[0]


def abnormal(table: Table, normal_class: NormalClass) -> NDArray[np.bool_]:
    """Which rows of `table` are labelled anything but normal."""
    rows = table.windows if isinstance(table, WindowTable) else table.samples
    if table.labels is None or normal_class == "all":
        return np.zeros(len(rows), dtype=np.bool_)
    return np.asarray(table.labels != normal_class)


def labelled(tables: Sequence[Table], normal_class: NormalClass) -> bool:
    """Whether any table has labels, and they tell something."""
    return normal_class != "all" and any(table.labels is not None for table in tables)


def _complete(windows: Float32Array, window: WindowSpec) -> Float32Array:
    return served(windows[_is_complete(windows, window)], window)


def _is_complete(windows: Float32Array, window: WindowSpec) -> NDArray[np.bool_]:
    """Which windows (m,) are whole once they are filled."""
    return np.asarray(np.isfinite(served(windows, window)).all(axis=(1, 2)))


def _divide_records(
    recipe: Recipe, tables: Sequence[WindowTable], window: WindowSpec, channels: tuple[str, ...], seed: int
) -> Subsets:
    windows = np.concatenate([table.windows for table in tables])
    anomalous = np.concatenate([abnormal(table, recipe.normal_class) for table in tables])
    shares = recipe.split
    split = splits.random_split(
        ~anomalous, test=shares.test, calibration=shares.calibration, validation=shares.validation, seed=seed
    )
    splits.check_no_leak(split.fit, split.validation, split.calibration, split.test)
    scaled_on = split.fit
    if recipe.scaling.fit_on == "all":
        scaled_on = splits.training_rows(len(windows), test=shares.test, seed=seed)
    learnt = [_complete(windows[rows], window) for rows in (split.fit, split.validation, split.calibration)]
    return Subsets(
        window=window,
        channels=channels,
        scaled_on=windows[scaled_on],
        fit=learnt[0],
        validation=learnt[1],
        calibration=learnt[2],
        test=served(windows[split.test], window),
        anomalous=anomalous[split.test] if labelled(tables, recipe.normal_class) else None,
        left_out=len(split.fit) + len(split.validation) + len(split.calibration) - sum(map(len, learnt)),
        normal=tuple(windows[np.concatenate([split.fit, split.validation, split.calibration])]),
    )


def _divide_series(
    recipe: Recipe,
    tables: Sequence[SeriesTable],
    window: WindowSpec,
    channels: tuple[str, ...],
    parts: Sequence[_Parts],
) -> Subsets:
    names = tuple(table.series or f"series {number}" for number, table in enumerate(tables))
    scaled_on, normal = list[Float32Array](), list[Float32Array]()
    cuts = list[list[_Cut]]()  # of each series, by subset
    for table, part in zip(tables, parts, strict=True):
        anomalous = abnormal(table, recipe.normal_class)
        keep = np.ones_like(anomalous) if recipe.scaling.fit_on == "all" else ~anomalous
        scaled_on += [table.samples[piece][keep[piece]] for piece in part.fit]
        # the blocks of cross-fitting are rows of `fit`
        for piece in (*part.fit, *part.validation, *(() if recipe.split.cross_fit else part.calibration)):
            normal += channel_quality.unbroken(table.samples[piece], ~anomalous[piece])
        cuts.append([_cut(table, pieces, anomalous, window) for pieces in part])
    normal_cuts = [[cut[subset].only(~cut[subset].anomalous) for cut in cuts] for subset in range(3)]
    complete = [[cut.only(_is_complete(cut.windows, window)) for cut in subset] for subset in normal_cuts]
    learnt = [served(np.concatenate([cut.windows for cut in subset]), window) for subset in complete]
    tested = [cut[3] for cut in cuts]
    sizes = [[sum(len(cut.windows) for cut in subset) for subset in of] for of in (normal_cuts, complete)]
    left_out = [every - kept for every, kept in zip(*sizes, strict=True)]
    return Subsets(
        window=window,
        channels=channels,
        scaled_on=np.concatenate(scaled_on),
        fit=learnt[0],
        validation=learnt[1],
        calibration=learnt[2],
        test=served(np.concatenate([cut.windows for cut in tested]), window),
        anomalous=np.concatenate([cut.anomalous for cut in tested]) if labelled(tables, recipe.normal_class) else None,
        series=names,
        calibration_series=np.repeat(np.arange(len(names)), [len(cut.windows) for cut in complete[2]]),
        calibration_rows=np.concatenate([cut.last for cut in complete[2]]),
        test_series=np.repeat(np.array(names), [len(cut.windows) for cut in tested]),
        timeline=tuple(_timeline(recipe, names, parts)),
        left_out=sum(left_out[:2] if recipe.split.cross_fit else left_out),
        normal=tuple(normal),
    )


class _Cut(NamedTuple):
    """Windows (m, length, channels) of a series, which of them (m,) hold an abnormal row, and their last rows (m,)."""

    windows: Float32Array
    anomalous: NDArray[np.bool_]
    last: NDArray[np.int64]

    def only(self, kept: NDArray[np.bool_]) -> _Cut:
        return _Cut(self.windows[kept], self.anomalous[kept], self.last[kept])


def _cut(table: SeriesTable, pieces: Sequence[slice], anomalous: NDArray[np.bool_], window: WindowSpec) -> _Cut:
    cuts = [splits.cut(table.samples, table.time_us, piece, window) for piece in pieces]
    nothing = np.zeros((0, window.rows, table.samples.shape[1]), np.float32)
    return _Cut(
        np.concatenate([nothing, *(cut.values for cut in cuts)]),
        np.concatenate([np.zeros(0, np.bool_), *(splits.touched(cut, anomalous) for cut in cuts)]),
        np.concatenate([np.zeros(0, np.int64), *(cut.last for cut in cuts)]),
    )


def _timeline(recipe: Recipe, names: Sequence[str], parts: Sequence[_Parts]) -> Iterator[tuple[str, str, int, int]]:
    for name, part in zip(names, parts, strict=True):
        for subset, pieces in zip(SUBSETS, part, strict=True):
            if subset != "calibration" or not recipe.split.cross_fit:
                yield from ((name, subset, piece.start, piece.stop) for piece in pieces)


def _parts(recipe: Recipe, tables: Sequence[SeriesTable], window: WindowSpec, seed: int) -> list[_Parts]:
    """Fit, validation, calibration and test of each series; under `series` one of them is all of it.

    For cross-fitting `calibration` are the blocks of `fit`.
    """
    slices = _slices(recipe, tables, seed)
    parts = [_Parts(*((piece,) if piece.stop > piece.start else () for piece in each)) for each in slices]
    for part, table in zip(parts, tables, strict=True):
        rows = np.arange(len(table.samples), dtype=np.int64)
        splits.check_no_leak(*(rows[piece] for pieces in part for piece in pieces))
    if not recipe.split.cross_fit:
        return parts
    blocks = [splits.blocks(part[0].stop, recipe.split.cross_fit, window) for part in slices]  # each begins at row 0
    return [part._replace(calibration=tuple(each)) for part, each in zip(parts, blocks, strict=True)]


def _slices(recipe: Recipe, tables: Sequence[SeriesTable], seed: int) -> list[tuple[slice, slice, slice, slice]]:
    shares = recipe.split
    sizes = [len(table.samples) for table in tables]
    if shares.kind == "time":
        return [
            splits.time_split(size, test=shares.test, calibration=shares.calibration, validation=shares.validation)
            for size in sizes
        ]
    subsets = splits.series_split(
        len(tables), test=shares.test, calibration=shares.calibration, validation=shares.validation, seed=seed
    )
    splits.check_no_leak(*subsets)
    nothing, everything = slice(0, 0), [slice(0, size) for size in sizes]
    made = []
    for number in range(len(tables)):
        fit, validation, calibration, test = (everything[number] if number in part else nothing for part in subsets)
        made.append((fit, validation, calibration, test))
    return made
