"""Cross-fitting: each calibration window is scored by a model that saw none of its samples; the last one sees all."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.datafiles import SeriesTable
from monitor.detector.architectures import DenseSpec
from monitor.detector.incidents import Policy
from monitor.detector.spec import WindowSpec
from monitor.errors import DataError
from tests.helpers import sliding_windows
from training import pipeline, recipes
from training.evaluation.labelled import evaluate_artifact
from training.evaluation.scored import scored
from training.recipes import loading
from training.recipes.schema import Recipe
from training.windows import splits
from training.windows.subsets import Subsets, cross_fitted, divide


def recipe(**split: object) -> Recipe:
    """The recipe `plant`, with windows of 4 rows, and without smoothing."""
    plain = recipes.load("plant")
    return loading.check(
        msgspec.structs.replace(
            plain,
            normal_class="all",
            window=msgspec.structs.replace(plain.window, length=4),
            model=msgspec.structs.replace(plain.model, widths=(2,)),
            score=msgspec.structs.replace(plain.score, smoothing=1),
            split=msgspec.convert(
                {"kind": "time", "test": 0.2, "calibration": 0.0, "cross_fit": 5, **split}, type(plain.split)
            ),
        ),
        "here",
    )


def numbered(name: str, rows: int, first: int = 0) -> SeriesTable:
    """A series whose samples are their own numbers."""
    samples = np.arange(first, first + rows, dtype=np.float32)[:, None]
    return SeriesTable(samples=samples, time_us=None, labels=None, channels=("value",), series=name, source=name)


@given(st.integers(0, 120), st.integers(2, 12), st.integers(1, 9), st.integers(1, 9))
def test_blocks_hold_each_window_once_in_order(rows: int, count: int, length: int, hop: int) -> None:
    samples = np.arange(rows, dtype=np.float32)[:, None]
    window = WindowSpec(kind="sliding", length=length, hop=hop)
    blocks = splits.blocks(rows, count, window)
    windows = [splits.cut(samples, None, block, window).values for block in blocks]
    whole = sliding_windows(samples, length, hop)
    np.testing.assert_array_equal(np.concatenate([whole[:0], *windows]), whole)
    assert len(blocks) == min(count, len(whole))
    assert np.ptp([len(each) for each in windows] or [0]) <= 1, "they are about as large"


@given(st.integers(1, 60), st.data())
def test_without_a_block_the_rest_is_left(rows: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, rows - 1))
    block = slice(start, data.draw(st.integers(start + 1, rows)))
    left = [row for piece in splits.without(slice(0, rows), block) for row in range(rows)[piece]]
    assert left == [row for row in range(rows) if row not in range(rows)[block]]


def test_no_model_has_seen_a_sample_that_it_scores() -> None:
    tables, asked = [numbered("a", 60), numbered("b", 9, first=100), numbered("c", 200, first=1000)], recipe()
    subsets = divide(asked, tables, seed=0)
    blocks: list[Subsets] = []

    def middle(block: Subsets) -> np.ndarray:
        blocks.append(block)
        return block.calibration[:, 0, 0]

    scores = cross_fitted(asked, tables, subsets, middle, seed=0)
    np.testing.assert_array_equal(subsets.calibration, subsets.fit)
    np.testing.assert_array_equal(scores, subsets.calibration[:, 0, 0], "in the order of the windows of all")
    assert len(blocks) == 5
    for block in blocks:
        assert not set(block.fit.ravel()) & set(block.calibration.ravel())
        assert not set(block.scaled_on.ravel()) & set(block.calibration.ravel())
        assert set(block.scaled_on.ravel()) | set(block.calibration.ravel()) == set(subsets.scaled_on.ravel())
        assert not len(block.test)
    assert not set(subsets.fit.ravel()) & set(subsets.test.ravel())
    assert {subset for _, subset, _, _ in subsets.timeline} == {"fit", "test"}
    assert sum(map(len, subsets.normal)) == len(subsets.scaled_on), "samples are counted once"


def test_an_artifact_learns_from_all_and_is_calibrated_on_what_its_models_had_not_seen() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 2)).astype(np.float32)
    table = SeriesTable(samples=noise, time_us=None, labels=None, channels=("a", "b"), series="s", source="s")
    asked = recipe(test=0.0)
    trained = pipeline.train(asked, [table], seed=0, name="short", batch_rows=64)
    calibration = trained.artifact.manifest.calibration
    assert calibration.held_out
    assert calibration.windows == 197
    assert trained.results.windows == {"fit": 197, "validation": 0, "calibration": 197, "test": 0}
    in_sample = trained.artifact.scorer()(divide(asked, [table], seed=0).fit)
    assert calibration.mean > in_sample.mean(), "a model knows what it was fitted on"
    spread = msgspec.structs.replace(asked.threshold, method="mean_std", k=2.0)
    by_spread = pipeline.train(
        msgspec.structs.replace(asked, threshold=spread), [table], seed=0, name="short", batch_rows=64
    )
    found = by_spread.artifact.manifest
    assert found.calibration.mean == calibration.mean
    assert found.threshold.value == pytest.approx(calibration.mean + 2 * calibration.std)


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"cross_fit": 1}, r"split\.cross_fit is 1, must be 0 \(off\) or 2 to 100"),
        ({"calibration": 0.2}, r"split\.cross_fit takes the place of split\.calibration, which must be 0"),
        ({"kind": "series"}, r'split\.cross_fit is for blocks of time: split\.kind must be "time"'),
    ],
)
def test_what_cannot_be_meant_is_refused(split: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        recipe(**split)


def test_too_little_data_is_said_as_such() -> None:
    short = recipe(test=0.0)
    with pytest.raises(DataError, match=r"without block 1 of 5 no normal window is left to fit the model to"):
        pipeline.train(short, [numbered("a", 6)], seed=0, name="short", batch_rows=8)
    whitened = msgspec.structs.replace(short, score=msgspec.structs.replace(short.score, kind="whitened"))
    with pytest.raises(DataError, match=r'score\.kind "whitened" is fitted on held-out windows'):
        divide(whitened, [numbered("a", 100)], seed=0)


def test_smoothed_scores_are_the_same_in_training_evaluation_and_calibration() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(300, 2)).astype(np.float32)
    samples[250:] *= 3
    table = SeriesTable(samples=samples, time_us=None, labels=None, channels=("a", "b"), series="s", source="s")
    smooth = msgspec.structs.replace(recipe(), score=msgspec.structs.replace(recipe().score, smoothing=5))
    artifact = pipeline.train(smooth, [table], seed=0, name="smooth", batch_rows=64).artifact
    manifest, scorer = artifact.manifest, artifact.scorer()
    smoothing = manifest.score.smoothing
    assert smoothing is not None
    assert smoothing.windows == 5
    assert smoothing.usual < manifest.threshold.value
    own = scorer(sliding_windows(samples, 4, 1).astype(np.float32))
    means = np.convolve(np.concatenate([np.full(4, np.float32(smoothing.usual)), own]), np.full(5, 0.2), "valid")
    evaluated = evaluate_artifact(artifact, scorer, [table], normal_class="all")
    assert evaluated.flagged == int((means > manifest.threshold.value).sum()) > 10
    found = scored(artifact, scorer, [table], normal_class="all", held_out=True, policy=Policy())
    np.testing.assert_allclose(found.normal.scores, means, rtol=1e-5)
    in_sample = msgspec.structs.replace(smooth.split, cross_fit=0)
    spread = msgspec.structs.replace(smooth.threshold, method="mean_std")
    with pytest.raises(DataError, match=r"score\.smoothing needs held-out rows"):
        loading.check(msgspec.structs.replace(smooth, split=in_sample, threshold=spread), "here")


def test_a_linear_model_of_short_windows_keeps_two_fifths_of_their_numbers_at_most() -> None:
    samples = np.random.default_rng(0).normal(size=(120, 2)).astype(np.float32)
    table = SeriesTable(samples=samples, time_us=None, labels=None, channels=("a", "b"), series="s", source="s")
    plant = msgspec.structs.replace(recipes.load("plant"), normal_class="all")
    manifest = pipeline.train(plant, [table], seed=0, name="small", batch_rows=64).artifact.manifest
    assert isinstance(manifest.model, DenseSpec)
    assert manifest.model.widths == (8,), "of 20 numbers"
    assert manifest.training["recipe"]["model"]["widths"] == (8,)
    assert manifest.threshold.value > 0.1
