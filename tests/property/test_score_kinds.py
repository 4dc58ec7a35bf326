"""Every kind of score and of scaling against its definition in float64; and what they promise of any finite window."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.distance
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from monitor.detector import autoencoder, scaling, scores, spec
from monitor.detector.architectures import DenseSpec, EnsembleSpec, ModelSpec, VariationalSpec
from monitor.detector.scoring import Detector, Scorer
from monitor.errors import ArtifactFormatError
from training.fitting import exact, reconstructing, score_tensors
from training.fitting import fit as fitting
from training.recipes.schema import ScorePart

LENGTH, CHANNELS, SIZE = 6, 2, 12
SHAPE = autoencoder.Shape((LENGTH, CHANNELS))
DENSE = DenseSpec(widths=(5, 3), hidden="tanh", output="linear")
SCALING = spec.ScalingSpec(kind="standard", offset=(0.5, -2.0), scale=(2.0, 0.5))
RNG = np.random.default_rng(0)
WINDOWS = (RNG.normal(size=(40, LENGTH, CHANNELS)) * [2.0, 0.5] + [0.5, -2.0]).astype(np.float32)
CENTRES = RNG.normal(size=(7, SIZE)).astype(np.float32)
WHITENING = score_tensors.whitening(RNG.normal(size=(60, SIZE)).astype(np.float32))


def scorer(
    kind: str,
    tensors: dict[str, np.ndarray] | None = None,
    model: ModelSpec = DENSE,
    scaled: spec.ScalingSpec = SCALING,
    beta: float = 0.7,
    worst: int = 4,
    parameters: dict[str, np.ndarray] | None = None,
) -> Scorer:
    detector = Detector(
        window=spec.WindowSpec(kind="record", length=LENGTH, hop=LENGTH),
        channels=("a", "b"),
        scaling=scaled,
        model=model,
        parameters=parameters or autoencoder.initial_parameters(model, SHAPE, 3),
        score=spec.ScoreSpec(kind=kind, beta=beta, worst=worst),
        score_tensors=tensors or {},
    )
    return Scorer(detector, 16)


def scaled_and_made(model: ModelSpec = DENSE) -> tuple[np.ndarray, np.ndarray]:
    rows = fitting.scale(WINDOWS, SCALING)
    made = reconstructing.reconstructions(model, SHAPE, autoencoder.initial_parameters(model, SHAPE, 3), rows)
    return rows.reshape(40, -1).astype(np.float64), made.reshape(40, -1).astype(np.float64)


def test_mse() -> None:
    rows, made = scaled_and_made()
    np.testing.assert_allclose(scorer("mse")(WINDOWS), np.square(rows - made).mean(axis=1), rtol=1e-5)


def test_whitened_is_the_mahalanobis_distance_of_the_residual() -> None:
    rows, made = scaled_and_made()
    whitener = WHITENING["whitener"].astype(np.float64)
    inverse = whitener @ whitener.T
    expected = [
        scipy.spatial.distance.mahalanobis(residual, WHITENING["mean"], inverse) ** 2 / SIZE for residual in rows - made
    ]
    np.testing.assert_allclose(scorer("whitened", WHITENING)(WINDOWS), expected, rtol=1e-4)


def test_prototype_is_the_distance_to_the_nearest_centre_and_shows_it() -> None:
    rows, _ = scaled_and_made()
    distances = scipy.spatial.distance.cdist(rows, CENTRES.astype(np.float64)) / np.sqrt(SIZE)
    made = scorer("prototype", {"centres": CENTRES})
    scores, expected = made(WINDOWS), made.reconstruct(WINDOWS)
    np.testing.assert_allclose(scores, distances.min(axis=1), rtol=1e-5)
    nearest = CENTRES[distances.argmin(axis=1)].reshape(WINDOWS.shape) * SCALING.scale + SCALING.offset
    np.testing.assert_allclose(expected, nearest, rtol=1e-4, atol=1e-5)


LINEAR = DenseSpec(widths=(3,), hidden="linear", output="linear")
CODES = RNG.normal(size=(9, 3)).astype(np.float32)


def test_memory_is_between_the_error_and_the_distance_to_what_is_known() -> None:
    rows, made = scaled_and_made(LINEAR)
    parameters = autoencoder.initial_parameters(LINEAR, SHAPE, 3)
    codes = rows @ parameters["layers.0.kernel"].astype(np.float64)
    error = np.square(rows - made).mean(axis=1)
    apart = np.square(scipy.spatial.distance.cdist(codes, CODES.astype(np.float64)).min(axis=1)) / SIZE
    found = scorer("memory", {"codes": CODES}, LINEAR)
    np.testing.assert_allclose(found(WINDOWS), np.sqrt(error * (error + apart)), rtol=1e-4)
    np.testing.assert_allclose(fitting.scale(found.reconstruct(WINDOWS), SCALING).reshape(40, -1), made, atol=1e-5)


def test_nearest_code_is_the_distance_to_what_it_stands_for() -> None:
    parameters = exact.fit(fitting.scale(WINDOWS, SCALING).reshape(40, -1), 3)
    rows = fitting.scale(WINDOWS, SCALING).reshape(40, -1).astype(np.float64)
    codes = rows[::4] @ parameters["layers.0.kernel"] + parameters["layers.0.bias"]
    stand_for = codes @ parameters["layers.1.kernel"] + parameters["layers.1.bias"]
    expected = scipy.spatial.distance.cdist(rows, stand_for).min(axis=1) / np.sqrt(SIZE)
    found = scorer("nearest_code", {"codes": codes.astype(np.float32)}, LINEAR, parameters=parameters)
    np.testing.assert_allclose(found(WINDOWS), expected, rtol=1e-4)


@pytest.mark.parametrize("worst", [1, 2, 9])
def test_channels_is_the_mean_of_the_worst_beside_what_is_usual(worst: int) -> None:
    rows, made = scaled_and_made()
    each = np.sqrt(np.square(rows - made).reshape(40, LENGTH, CHANNELS).mean(axis=1)) / [0.5, 4.0]
    found = scorer("worst_channels", {"usual": np.array([0.5, 4.0], np.float32)}, worst=worst)(WINDOWS)
    np.testing.assert_allclose(found, np.sort(each, axis=1)[:, -worst:].mean(axis=1), rtol=1e-5)


def test_elbo_adds_the_divergence_to_the_squared_error() -> None:
    model = VariationalSpec(widths=(5, 2))
    rows, made = scaled_and_made(model)
    network, state = autoencoder.load(model, SHAPE, autoencoder.initial_parameters(model, SHAPE, 3))
    mean, log_variance = (
        np.asarray(part, np.float64)
        for part in network.posterior(state, jnp.asarray(rows.reshape(40, 6, 2), np.float32))
    )
    divergence = -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum(axis=1)  # Kingma & Welling, appendix B
    expected = np.square(rows - made).mean(axis=1) + 0.7 * divergence / SIZE
    np.testing.assert_allclose(scorer("elbo", model=model)(WINDOWS), expected, rtol=1e-5)


def test_an_ensembles_score_is_the_mean_of_its_members() -> None:
    alone = []
    for seed in autoencoder.member_seeds(3, 3):
        detector = Detector(
            window=spec.WindowSpec(kind="record", length=LENGTH, hop=LENGTH),
            channels=("a", "b"),
            scaling=SCALING,
            model=DENSE,
            parameters=autoencoder.initial_parameters(DENSE, SHAPE, seed),
        )
        member = Scorer(detector, 16)
        alone.append((member(WINDOWS), member.reconstruct(WINDOWS)))
    made = scorer("mae", model=EnsembleSpec(members=3, member=DENSE))
    scores, expected = made(WINDOWS), made.reconstruct(WINDOWS)
    np.testing.assert_allclose(scores, np.mean([each[0] for each in alone], axis=0), rtol=1e-5)
    np.testing.assert_allclose(expected, np.mean([each[1] for each in alone], axis=0), rtol=1e-4, atol=1e-5)


PER_WINDOW = spec.ScalingSpec(kind="window", offset=(0.0, 0.0), scale=(1e-3, 1e-3))


def test_windows_are_scaled_by_their_own_moments() -> None:
    """The same shape at another level and strength gets the same score; flat windows stay finite."""
    found = scorer("mse", scaled=PER_WINDOW)
    moved = (WINDOWS * np.float32(4) + np.float32(64)).astype(np.float32)
    np.testing.assert_allclose(found(moved), found(WINDOWS), rtol=1e-3)
    flat = np.full((1, LENGTH, CHANNELS), 1e6, dtype=np.float32)
    assert np.isfinite(found(flat)).all()
    # Under the least deviation, 1e-3, a movement stays as small as it is.
    trembling = np.tile(np.array([[1e-6, 1e-6], [-1e-6, -1e-6]], np.float32), (LENGTH // 2, 1))[None]
    assert 0 < found(trembling)[0] < 1e-4
    # Steps of 1/4 about 3e6 are all there in float32, and so is their mean; their sum is not.
    half = np.round(WINDOWS[:, : LENGTH // 2] * 8).astype(np.float32) / 4
    steps = np.concatenate([half, -half], axis=1)
    np.testing.assert_allclose(found(steps + np.float32(3e6)), found(steps), rtol=1e-5)
    scaled = fitting.scale(WINDOWS, PER_WINDOW).astype(np.float64)
    expected = (WINDOWS - WINDOWS.mean(axis=1, keepdims=True)) / WINDOWS.std(axis=1, keepdims=True)
    np.testing.assert_allclose(scaled, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["robust", "window"])
def test_scaling_is_fitted_to_its_definition(kind: str) -> None:
    samples = np.concatenate([WINDOWS.reshape(-1, 2), [[np.nan, 3.0]]])
    found = scaling.fit(samples, kind)  # type: ignore[arg-type]
    if kind == "robust":
        lower, middle, upper = np.nanquantile(samples.astype(np.float64), [0.25, 0.5, 0.75], axis=0)
        np.testing.assert_allclose(found.offset, middle)
        np.testing.assert_allclose(found.scale, (upper - lower) / (2 * scipy.stats.norm.ppf(0.75)), rtol=1e-6)
    else:
        np.testing.assert_allclose(found.scale, 1e-3 * np.nanstd(samples.astype(np.float64), axis=0))
    constant = scaling.fit(np.full((9, 1), 5.0), kind)  # type: ignore[arg-type]
    assert constant.scale == (5.0 * scaling.CONSTANT,)


KINDS = {
    "mae": scorer("mae"),
    "mse": scorer("mse"),
    "whitened": scorer("whitened", WHITENING),
    "prototype": scorer("prototype", {"centres": CENTRES}),
    "elbo": scorer("elbo", model=VariationalSpec(widths=(5, 2))),
    "nearest code": scorer("nearest_code", {"codes": CODES}, LINEAR),
    "memory": scorer("memory", {"codes": CODES}, LINEAR),
    "worst_channels": scorer("worst_channels", {"usual": np.array([0.5, 4.0], np.float32)}),
    "per window": scorer("mae", scaled=PER_WINDOW),
}


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(KINDS)),
    npst.arrays(np.float32, (1, LENGTH, CHANNELS), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
)
def test_any_finite_window_gets_a_finite_score(kind: str, window: np.ndarray) -> None:
    score = KINDS[kind](window)[0]
    assert np.isfinite(score)
    assert score >= 0
    window[0, 2, 1] = np.nan
    assert np.isnan(KINDS[kind](window)[0])


@pytest.mark.parametrize(
    ("kind", "tensors", "told"),
    [
        ("prototype", {}, "'centres' is missing"),
        ("mae", {"centres": CENTRES}, "'centres' is not one of mae's"),
        ("prototype", {"centres": CENTRES[:, :3]}, "expected float32"),
        ("prototype", {"centres": CENTRES * np.float32(np.nan)}, "not finite"),
        ("whitened", {"mean": WHITENING["mean"], "whitener": CENTRES}, "expected float32"),
        ("worst_channels", {"usual": np.ones(3, np.float32)}, "expected float32"),
    ],
)
def test_score_tensors_are_checked(kind: str, tensors: dict[str, np.ndarray], told: str) -> None:
    with pytest.raises(ArtifactFormatError, match=told):
        scorer(kind, tensors)


def test_centres_are_no_worse_than_scikit_learns() -> None:
    import sklearn.cluster

    rows = np.concatenate([RNG.normal(size=(60, 3)) + at for at in ([0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9])])
    found = score_tensors.centres(rows.astype(np.float32), 4, seed=0)
    spread = scipy.spatial.distance.cdist(rows, found).min(axis=1) ** 2
    reference = sklearn.cluster.KMeans(4, n_init=4, random_state=0).fit(rows).inertia_
    assert spread.sum() <= 1.001 * reference
    assert len(score_tensors.centres(np.zeros((5, 3), np.float32), 4, seed=0)) == 1, "no more centres than windows"


def test_whitening_gives_unit_covariance() -> None:
    residuals = RNG.normal(size=(20_000, 3)) @ RNG.normal(size=(3, 3)) + [1.0, 2.0, 3.0]
    made = score_tensors.whitening(residuals.astype(np.float32))
    white = (residuals - made["mean"]) @ made["whitener"]
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(3), atol=0.02)


def test_prototypes_far_from_zero_are_distinguished() -> None:
    plain = spec.ScalingSpec(kind="none", offset=(0.0, 0.0), scale=(1.0, 1.0))
    centres = (CENTRES + np.float32(101_325)).astype(np.float32)
    windows = centres.reshape(-1, LENGTH, CHANNELS)
    made = scorer("prototype", {"centres": centres}, scaled=plain)
    scores, expected = made(windows), made.reconstruct(windows)
    np.testing.assert_array_equal(expected, windows)
    np.testing.assert_array_equal(scores, 0)


def _material(rows: np.ndarray, made: np.ndarray, **score: int) -> score_tensors.Material:
    return score_tensors.Material(
        score=ScorePart(**score),  # type: ignore[arg-type]
        channels=2,
        codes=lambda each: each[:, :3],
        fitted=rows,
        reconstructed=made,
        held=rows[:0],
        held_reconstructed=rows[:0],
        seed=0,
    )


def test_codes_are_remembered_evenly() -> None:
    rows = RNG.normal(size=(100, SIZE)).astype(np.float32)
    few = score_tensors.FITTED["memory"].fit(_material(rows, rows, memory=34))["codes"]
    np.testing.assert_array_equal(few, rows[::3, :3])
    everything = score_tensors.FITTED["memory"].fit(_material(rows, rows, memory=3_000))["codes"]
    np.testing.assert_array_equal(everything, rows[:, :3])


def test_a_channels_usual_error_is_never_much_less_than_the_others() -> None:
    rows = np.zeros((50, SIZE), np.float32)
    made = np.tile(np.array([3.0, 4e-3], np.float32), (50, LENGTH))
    usual = score_tensors.FITTED["worst_channels"].fit(_material(rows, made))["usual"]
    np.testing.assert_allclose(usual, [3.0, 0.1 * 3 / np.sqrt(2)], rtol=1e-4)
    assert (score_tensors.FITTED["worst_channels"].fit(_material(rows, rows))["usual"] > 0).all()


def test_what_keeps_a_kind_from_a_model_or_from_windows() -> None:
    variational = VariationalSpec(widths=(5, 2))
    able: list[ModelSpec] = [variational, EnsembleSpec(members=2, member=variational)]
    for model in able:
        assert scores.problems("elbo", model, (LENGTH, CHANNELS)) == []
    unable: list[ModelSpec] = [DENSE, EnsembleSpec(members=2, member=DENSE)]
    for model in unable:
        assert scores.problems("elbo", model, (LENGTH, CHANNELS)) == ['score.kind "elbo" needs a variational model']
    assert scores.problems("memory", LINEAR, (LENGTH, CHANNELS)) == []
    assert "needs a dense model of one width" in scores.problems("memory", DENSE, (LENGTH, CHANNELS))[0]
    assert scores.problems("whitened", DENSE, (4_096, 2)) == []
    assert "at most 8192 numbers, not 8193" in scores.problems("whitened", DENSE, (8_193, 1))[0]
