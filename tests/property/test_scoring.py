"""Scores against a float64 forward pass in NumPy, and what a row's score must not depend on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.detector import autoencoder, spec
from monitor.detector.architectures import Activation, DenseSpec
from monitor.detector.scoring import HIGHEST, MAX_CONSTANT_BYTES, Detector, Scorer
from monitor.errors import ArtifactFormatError

LENGTH, CHANNELS, ROWS = 10, 2, 8
SHAPE = (LENGTH, CHANNELS)
SCALING = spec.ScalingSpec(kind="minmax", offset=(-1.5, 40.0), scale=(0.25, 12.0))

# float64 second source: scipy-free, straight from the definitions
Parameters = dict[str, np.ndarray]
ACTIVATIONS: dict[Activation, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "linear": lambda x: x,
    # Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2: the tanh approximation, as flax has it by default
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


def detector(model: DenseSpec, parameters: Parameters, score: spec.ScoreSpec | None = None) -> Detector:
    return Detector(
        window=spec.WindowSpec(kind="record", length=LENGTH, hop=LENGTH),
        channels=("a", "b"),
        scaling=SCALING,
        model=model,
        parameters=parameters,
        score=score or spec.ScoreSpec(),
    )


def make(
    hidden: Activation = "relu", output: Activation = "sigmoid", rows: int = ROWS, seed: int = 3
) -> tuple[Scorer, Parameters]:
    model = DenseSpec(widths=(7, 3), hidden=hidden, output=output)
    parameters = autoencoder.initial_parameters(model, autoencoder.Shape(SHAPE), seed)
    rng = np.random.default_rng(seed)
    parameters = {name: rng.normal(size=p.shape).astype(np.float32) * np.float32(0.3) for name, p in parameters.items()}
    return Scorer(detector(model, parameters), rows), parameters


def forward(
    parameters: Parameters, windows: np.ndarray, hidden: Activation, output: Activation
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and reconstructions in float64."""
    offset, scale = np.array(SCALING.offset), np.array(SCALING.scale)
    scaled = (windows.astype(np.float64) - offset) / scale
    values = scaled.reshape(len(windows), -1)
    for layer in range(4):  # 20-7-3-7-20
        kernel = parameters[f"layers.{layer}.kernel"].astype(np.float64)
        bias = parameters[f"layers.{layer}.bias"].astype(np.float64)
        values = ACTIVATIONS[output if layer == 3 else hidden](values @ kernel + bias)
    reconstruction = values.reshape(scaled.shape)
    return np.abs(scaled - reconstruction).mean(axis=(1, 2)), reconstruction * scale + offset


def draw(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, *SHAPE)) * [0.5, 20] + [-1, 45]).astype(np.float32)


def both(scorer: Scorer, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and reconstructions."""
    return scorer(windows), scorer.reconstruct(windows)


SCORER, PARAMETERS = make()


def test_a_finite_window_that_the_network_can_not_follow_is_anomalous() -> None:
    """Infinity less infinity inside the network is no missing number."""
    model = DenseSpec(widths=(7, 3), hidden="linear", output="linear")
    huge = {name: tensor * np.float32(1e30) for name, tensor in make("linear", "linear")[1].items()}
    windows = draw(3)
    windows[1, 4, 0] = np.nan
    scores = Scorer(detector(model, huge), ROWS)(windows)
    assert np.isnan(scores).tolist() == [False, True, False]
    assert scores[0] == scores[2] == HIGHEST


@pytest.mark.parametrize("hidden", ["relu", "tanh", "gelu", "linear"])
@pytest.mark.parametrize("output", ["sigmoid", "linear"])
def test_scores_are_the_mean_absolute_error_of_a_float64_forward_pass(hidden: Activation, output: Activation) -> None:
    scorer, parameters = make(hidden, output)
    windows = draw(21)
    scores, reconstructions = both(scorer, windows)
    expected, reconstructed = forward(parameters, windows, hidden, output)
    # Rounding of float32 (6e-8) over four layers of at most 20 terms; found here: 3e-7. The self-check allows 1e-5.
    np.testing.assert_allclose(scores, expected, rtol=2e-6)
    np.testing.assert_allclose(reconstructions, reconstructed, rtol=1e-5, atol=1e-4)  # in the data's unit
    assert scores.dtype == reconstructions.dtype == np.float32
    apart = (windows.astype(np.float64) - reconstructed) / np.asarray(SCALING.scale)
    errors = scorer.errors(windows)
    np.testing.assert_allclose(errors, np.sqrt(np.square(apart).mean(axis=1)), rtol=1e-4, atol=1e-5)
    assert errors.dtype == np.float32


def test_a_model_that_is_too_large_for_constants_scores_likewise() -> None:
    model = DenseSpec(widths=(1 + MAX_CONSTANT_BYTES // (8 * LENGTH * CHANNELS), 3), hidden="tanh", output="linear")
    parameters = autoencoder.initial_parameters(model, autoencoder.Shape(SHAPE), 3)
    windows = draw(21)
    scores, reconstructions = both(Scorer(detector(model, parameters), ROWS), windows)
    expected, reconstructed = forward(parameters, windows, "tanh", "linear")
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    np.testing.assert_allclose(reconstructions, reconstructed, rtol=1e-5, atol=1e-3)


# NaN, infinity and numbers that overflow, as neighbours
neighbours = st.sampled_from([0.0, np.nan, np.inf, -np.inf, 3e38, 1e-40, 7.0])
MINE = draw(1, seed=9)
ALONE = [part.copy() for part in both(SCORER, MINE)]


@settings(max_examples=60)
@given(st.integers(1, 3 * ROWS), st.data(), st.integers(0, 2**32 - 1))
def test_a_score_does_not_depend_on_other_rows_position_or_padding(count: int, data: st.DataObject, seed: int) -> None:
    place = data.draw(st.integers(0, count - 1))
    windows = draw(count, seed)
    for row in range(count):
        windows[row, data.draw(st.integers(0, LENGTH - 1))] = data.draw(neighbours)
    windows[place] = MINE[0]
    scores, reconstructions = both(SCORER, windows)
    assert scores[place].tobytes() == ALONE[0][0].tobytes()
    assert reconstructions[place].tobytes() == ALONE[1][0].tobytes()
    assert SCORER.errors(windows)[place].tobytes() == SCORER.errors(windows[place : place + 1])[0].tobytes()
    np.testing.assert_array_equal(np.isnan(scores), np.isnan(windows).any(axis=(1, 2)) | np.isnan(scores))
    assert (scores[~np.isnan(scores)] >= 0).all()


def test_one_nan_anywhere_makes_its_window_and_no_other_unscorable() -> None:
    for sample in range(LENGTH):
        for channel in range(CHANNELS):
            windows = draw(3)
            windows[1, sample, channel] = np.nan
            assert np.isnan(SCORER(windows)).tolist() == [False, True, False]


def test_a_score_is_finite_or_nan() -> None:
    _, parameters = make()
    model = DenseSpec(widths=(7, 3), hidden="relu", output="linear")
    zero = {name: np.zeros_like(tensor) for name, tensor in parameters.items()}  # reconstructs 0, exactly
    scorer = Scorer(detector(model, zero), ROWS)
    windows = np.full((2, *SHAPE), 5e37, dtype=np.float32)  # 2e38 when scaled; the sum of ten is infinite
    windows[1] = -windows[1]
    assert scorer(windows).tolist() == [pytest.approx(1e15)] * 2, "infinite in float32; over any threshold"


@pytest.mark.parametrize("count", [0, 1, ROWS - 1, ROWS, ROWS + 1, 5 * ROWS])
def test_sizes(count: int) -> None:
    scores, reconstructions = both(SCORER, draw(count))
    assert scores.shape == (count,)
    assert reconstructions.shape == (count, *SHAPE)
    np.testing.assert_array_equal(scores, [SCORER(window[None])[0] for window in draw(count)])


def test_each_program_is_compiled_once() -> None:
    scorer, _ = make()
    scorer.warm_up()
    assert scorer.compilations == 2
    for count in (1, 0, 3, ROWS, ROWS + 1, 50, 2):
        scorer(draw(count))
        scorer(np.asfortranarray(draw(count)))
        both(scorer, draw(2 * count)[::2])
    assert scorer.compilations == 2


@pytest.mark.parametrize(
    "windows",
    [
        np.zeros((3, *SHAPE)),  # float64
        np.zeros((3, *SHAPE), dtype=np.int32),
        np.zeros((3, *SHAPE), dtype=">f4"),
        np.zeros(SHAPE, dtype=np.float32),  # one window without its batch dimension
        np.zeros((3, CHANNELS, LENGTH), dtype=np.float32),
        np.zeros((3, LENGTH, CHANNELS, 1), dtype=np.float32),
        np.zeros((3, LENGTH - 1, CHANNELS), dtype=np.float32),
        np.float32(1),
    ],
    ids=lambda windows: f"{windows.dtype} {windows.shape}",
)
def test_other_types_and_shapes_are_refused(windows: np.ndarray) -> None:
    for function in (SCORER, SCORER.reconstruct):
        with pytest.raises(ValueError, match=r"expected float32 \(n, \*\(10, 2\)\)"):
            function(windows)


@pytest.mark.parametrize("count", [ROWS - 3, ROWS, 4 * ROWS])
def test_the_caller_may_overwrite_its_buffer_at_once(count: int) -> None:
    expected = [part.copy() for part in both(SCORER, draw(count))]
    for _ in range(50):
        buffer = draw(count)
        scores, reconstructions = both(SCORER, buffer)
        buffer[:] = np.nan
        np.testing.assert_array_equal(scores, expected[0])
        np.testing.assert_array_equal(reconstructions, expected[1])


def test_results_outlive_the_next_call() -> None:
    scores, reconstructions = both(SCORER, draw(3))
    kept = scores.copy(), reconstructions.copy()
    SCORER(draw(5, seed=1))
    SCORER(draw(3, seed=2))
    np.testing.assert_array_equal(scores, kept[0])
    np.testing.assert_array_equal(reconstructions, kept[1])


def test_parameters_that_are_changed_later_change_nothing() -> None:
    scorer, parameters = make()
    before = scorer(draw(3)).copy()
    for tensor in parameters.values():
        tensor[...] = 0
    np.testing.assert_array_equal(scorer(draw(3)), before)


def test_a_model_without_tensors_is_refused() -> None:
    with pytest.raises(ArtifactFormatError, match="is missing"):
        Scorer(detector(DenseSpec(widths=(2,)), {}), 1)
