"""What a run learns from, and whose threshold judges what: nothing is chosen by windows that must not choose."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from monitor.datafiles import SeriesTable, WindowTable
from monitor.detector import autoencoder, thresholds
from monitor.detector.architectures import DenseSpec
from monitor.detector.decision import Verdict, decide
from monitor.errors import DataError
from training import pipeline, recipes
from training.commands import summary
from training.evaluation import labelled
from training.fitting import fit as fitting
from training.fitting.checkpoints import Epoch, identity
from training.recipes.schema import FitPart, ObjectivePart, Recipe

change = msgspec.structs.replace


def series(count: int, name: str = "", strength: float = 1.0, seed: int = 0) -> SeriesTable:
    samples = strength * np.random.default_rng(seed).normal(size=(count, 1))
    return SeriesTable(samples=samples.astype(np.float32), channels=("value",), series=name)


def quick(**parts: object) -> Recipe:
    base = recipes.override(recipes.load("sliding"), epochs=3, length=16, hop=16)
    return change(base, **parts)


def test_whitening_and_threshold_come_from_different_windows() -> None:
    """With as many windows as numbers in one, a threshold by the whitening's own windows would flag nearly all."""
    base = quick()
    recipe = change(
        base,
        score=change(base.score, kind="whitened"),
        split=change(base.split, test=0.5),
        threshold=change(base.threshold, quantile=0.9),
    )
    results = pipeline.train(recipe, [series(6_000)], seed=0, name="x", batch_rows=64).results
    assert results.test_flagged_share is not None
    assert results.test_flagged_share < 0.3, "a tenth was asked for"


def test_windows_too_large_to_whiten_are_refused_before_anything_is_fitted() -> None:
    base = quick()
    told: list[Epoch] = []
    recipe = change(base, score=change(base.score, kind="whitened"), window=change(base.window, length=5_000, hop=500))
    two = SeriesTable(samples=np.zeros((30_000, 2), np.float32), channels=("a", "b"))
    with pytest.raises(DataError, match=r'recipe sliding: score\.kind "whitened" .* at most 8192 numbers, not 10000'):
        pipeline.train(recipe, [two], seed=0, name="x", batch_rows=8, on_epoch=told.append)
    assert told == []
    with pytest.raises(DataError, match="not 9000"):
        recipes.override(recipe, length=9_000)


def test_baselines_learn_from_the_windows_that_the_detector_learnt_from() -> None:
    """Nearest neighbours that remember anomalies know them; with the model's trimming they do not."""
    rng = np.random.default_rng(0)
    windows = np.sin(np.linspace(0, 6, 16)) + 0.1 * rng.normal(size=(600, 16))
    odd = rng.permutation(600)[:120]
    windows[odd] += np.sin(np.linspace(0, 25, 16)) * 2
    labels = np.zeros(600, np.int64)
    labels[odd[:60]] = 1  # the others pass for normal: about a tenth
    table = WindowTable(windows=windows[..., None].astype(np.float32), channels=("v",), labels=labels)
    base = recipes.override(recipes.load("beats-dense"), epochs=15, normal_class=0)
    recalls = {}
    for trim in (0.0, 0.15):
        recipe = change(base, fit=change(base.fit, trim=trim), threshold=change(base.threshold, quantile=0.97))
        results = pipeline.train(recipe, [table], seed=0, name="x", batch_rows=64).results
        both = [results.baselines[name].anomaly.recall for name in ("pca", "knn")]
        recalls[trim] = [recall for recall in both if recall is not None]
    assert recalls[0.0][1] < 0.5
    assert recalls[0.15][1] > 0.9
    assert recalls[0.15][0] > 0.9


def test_records_split_at_random_are_no_neighbours_in_time() -> None:
    """As many incidents as windows over the threshold, half of all; merged with their neighbours they would be few."""
    windows = np.random.default_rng(0).normal(size=(400, 16, 1)).astype(np.float32)
    base = recipes.override(recipes.load("beats-dense"), epochs=1, normal_class=0)
    recipe = change(base, threshold=change(base.threshold, quantile=0.5))
    table = WindowTable(windows=windows, channels=("v",))
    results = pipeline.train(recipe, [table], seed=0, name="x", batch_rows=64).results
    calibrated = results.windows["calibration"]
    over = calibrated - int(np.ceil(0.5 * (calibrated - 1))) - 1
    assert results.false_alarms.expected == pytest.approx(1000 * over / calibrated)


def test_prototypes_of_windows_that_are_scaled_each_by_itself() -> None:
    base = quick()
    recipe = change(
        base, score=change(base.score, kind="prototype", prototypes=4), scaling=change(base.scaling, kind="window")
    )
    trained = pipeline.train(recipe, [series(2_000)], seed=0, name="x", batch_rows=64)
    scores = trained.artifact.scorer()(np.random.default_rng(1).normal(size=(8, 16, 1)).astype(np.float32))
    assert np.isfinite(scores).all()


def test_patience_without_a_validation_window_is_refused() -> None:
    base = quick()
    recipe = change(base, fit=change(base.fit, patience=1), split=change(base.split, validation=0.05))
    with pytest.raises(DataError, match="validation split is too short"):
        pipeline.train(recipe, [series(400)], seed=0, name="x", batch_rows=64)


@pytest.mark.parametrize("hop", [8, 16])
def test_intervals_that_are_too_narrow_say_so(hop: int) -> None:
    recipe = recipes.override(quick(), hop=hop)
    table = series(2_000)
    table = replace(table, labels=(np.arange(2_000) % 100 > 90).astype(np.int64))
    trained = pipeline.train(change(recipe, normal_class=0), [table], seed=0, name="x", batch_rows=64)
    assert ("too narrow, as windows overlap" in summary.of_training(recipe, (), trained, 0)) == (hop < 16)


def test_each_series_is_judged_by_its_own_threshold_in_figures_too() -> None:
    base = quick()
    recipe = change(base, threshold=change(base.threshold, per="series", quantile=0.5))
    calm, wild = series(16_000, "calm", 0.5), series(16_000, "wild", 2.0, seed=1)
    wild.samples[-3_200:] *= 0.1  # its test windows: by one threshold for both nothing would be over it there
    tables = [calm, wild]
    trained = pipeline.train(recipe, tables, seed=0, name="x", batch_rows=64)
    served = thresholds.of(trained.artifact.manifest)
    threshold = served.chosen
    assert set(threshold.series) == {"calm", "wild"}
    assert trained.results.test_flagged_share == pytest.approx(0.25, abs=0.05), "half of the calm one's"
    found = labelled.evaluate_artifact(trained.artifact, trained.artifact.scorer(), [calm], normal_class=None)
    assert found.flagged == pytest.approx(found.windows / 2, rel=0.1)
    told = served.of_each(["calm", "wild", "unseen"])
    assert told.tolist() == [
        np.float32(threshold.series["calm"]),
        np.float32(threshold.series["wild"]),
        np.float32(threshold.value),
    ]
    assert decide(np.full(3, threshold.series["wild"], np.float32), told).tolist()[0] == Verdict.ANOMALY


def test_a_checkpoint_belongs_to_the_numbers_read() -> None:
    one, other = series(100), series(100, seed=1)
    names = {identity(quick(), [one], 0), identity(quick(), [other], 0), identity(quick(), [one], 1)}
    assert len(names) == 3
    assert identity(quick(), [series(100)], 0) in names


def test_missing_numbers_are_refused_where_the_recipe_says_so_and_a_channel_without_any_always() -> None:
    holed = series(4_000)
    holed.samples[1_234, 0] = np.nan
    refusing = quick(window=change(quick().window, missing="refuse"))
    with pytest.raises(DataError, match="row 1235, channel value: a number is missing"):
        pipeline.train(refusing, [holed], seed=0, name="x", batch_rows=64)
    holed.samples[:] = np.nan
    with pytest.raises(DataError, match="channel value has no number at all"):
        pipeline.train(quick(), [holed], seed=0, name="x", batch_rows=64)


def images(shape: tuple[int, int] | None) -> WindowTable:
    windows = np.random.default_rng(0).uniform(size=(60, 16, 1)).astype(np.float32)
    return WindowTable(windows=windows, channels=("grey",), image_shape=shape)


def test_images_have_the_artifacts_shape_or_are_refused() -> None:
    recipe = recipes.override(recipes.load("images-convolutional"), epochs=1)
    for shape in ((4, 5), (0, 16)):
        with pytest.raises(DataError, match="but windows of 16 samples"):
            pipeline.train(recipe, [images(shape)], seed=0, name="x", batch_rows=8)
    artifact = pipeline.train(recipe, [images((4, 4))], seed=0, name="x", batch_rows=8).artifact
    with pytest.raises(DataError, match="the artifact takes"):
        labelled.evaluate_artifact(artifact, artifact.scorer(), [images((2, 8))], normal_class=None)


def test_a_validation_loss_that_is_no_number_ends_the_run() -> None:
    shape = autoencoder.Shape((16, 1))
    task = fitting.Task(
        model=DenseSpec(widths=(4,), output="linear"),
        shape=shape,
        options=FitPart(epochs=5, batch_size=8, learning_rate=1e-3, patience=2),
        objective=ObjectivePart(loss="mse"),
    )
    windows = np.random.default_rng(0).normal(size=(20, 16, 1)).astype(np.float32)
    with pytest.raises(DataError, match="the loss is inf after epoch 1"):
        fitting.fit(windows, windows * np.float32(1e25), task)


def test_a_channel_that_never_changes_and_a_code_that_can_copy_are_told() -> None:
    rng = np.random.default_rng(0)
    samples = np.column_stack([np.sin(np.arange(900) / 5) + rng.normal(0, 0.1, 900), np.full(900, 7.0)])
    table = SeriesTable(samples=samples.astype(np.float32), channels=("flow", "changepoint"))
    exact, change = recipes.load("plant"), msgspec.structs.replace  # whose code is narrowed to what can't copy
    plant = change(
        exact,
        fit=change(exact.fit, method="adam", epochs=1),
        model=change(exact.model, widths=(16,)),
        split=change(exact.split, calibration=0.25, cross_fit=0),
    )
    told = pipeline.train(plant, [table], seed=0, name="p", sources=[], with_report=False).results.notes
    assert any(note.startswith("channel changepoint never changes in what is learnt from") for note in told)
    assert any("a code of 16 numbers for windows of 20 can nearly copy them" in note for note in told)
    longer = recipes.override(plant, length=40)
    told = pipeline.train(longer, [table], seed=0, name="p", sources=[], with_report=False).results.notes
    assert not any("copy" in note for note in told)
