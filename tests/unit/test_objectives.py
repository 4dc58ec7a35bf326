"""What each kind of autoencoder must show: the textbook's claim for it, on data small enough to be sure of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import pytest
import scipy.linalg
import sklearn.decomposition
import sklearn.metrics

from monitor.detector import autoencoder
from monitor.detector.architectures import DenseSpec, EnsembleSpec, VariationalSpec
from training.fitting import fit as fitting
from training.fitting import objectives, reconstructing
from training.recipes.schema import FitPart, ObjectivePart

LENGTH = 12
SHAPE = autoencoder.Shape((LENGTH, 1))
OPTIONS = FitPart(epochs=300, batch_size=64, learning_rate=1e-2, schedule="cosine", clip_norm=1.0)


def waves(count: int, seed: int = 0) -> np.ndarray:
    """Sums of three sines with random strengths, falling: windows on a three-dimensional plane, with a little noise."""
    rng = np.random.default_rng(seed)
    basis = np.sin(np.outer([1, 2, 3], np.linspace(0.2, 3.0, LENGTH)))
    strengths = rng.normal(size=(count, 3)) * [1.5, 1.0, 0.6]
    found: np.ndarray = strengths @ basis + 0.02 * rng.normal(size=(count, LENGTH))
    return found.astype(np.float32)[:, :, None]


def fitted(model: DenseSpec | VariationalSpec, objective: ObjectivePart, options: FitPart = OPTIONS) -> fitting.Fitted:
    task = fitting.Task(model=model, shape=SHAPE, options=options, objective=objective)
    return fitting.fit(waves(256), waves(0), task)


def error(model: DenseSpec, found: fitting.Fitted, seen: np.ndarray, wanted: np.ndarray) -> float:
    made = reconstructing.reconstructions(model, SHAPE, found.parameters, seen)
    return float(np.square(made - wanted).mean())


def test_a_linear_autoencoder_spans_the_principal_subspace() -> None:
    model = DenseSpec(widths=(3,), hidden="linear", output="linear")
    found = fitted(
        model, ObjectivePart(loss="mse"), FitPart(epochs=800, batch_size=256, learning_rate=2e-2, schedule="cosine")
    )
    components = sklearn.decomposition.PCA(3).fit(waves(256)[:, :, 0]).components_
    angles = scipy.linalg.subspace_angles(components.T, found.parameters["layers.1.kernel"].T.astype(np.float64))
    assert angles.max() < 0.02, "radians"


def test_an_overcomplete_autoencoder_learns_the_identity_unless_it_is_kept_from_it() -> None:
    model = DenseSpec(widths=(64,), hidden="relu", output="linear")
    anything = np.random.default_rng(9).normal(size=(512, LENGTH, 1)).astype(np.float32)
    unseen = np.random.default_rng(10).normal(size=(200, LENGTH, 1)).astype(np.float32)
    bounded = DenseSpec(widths=(64,), hidden="sigmoid", output="linear")
    cases = [
        (model, ObjectivePart(loss="mse"), OPTIONS),
        (model, ObjectivePart(loss="mse", dropout=0.5), OPTIONS),
        # without weight decay the decoder's weights grow as the code shrinks, and L1 costs nothing
        (model, ObjectivePart(loss="mse", l1=0.5), msgspec.structs.replace(OPTIONS, weight_decay=0.1)),
        (bounded, ObjectivePart(loss="mse", sparsity_target=0.02, sparsity_weight=1.0), OPTIONS),
    ]
    errors = []
    for network, objective, options in cases:
        task = fitting.Task(model=network, shape=SHAPE, options=options, objective=objective)
        errors.append(error(network, fitting.fit(anything, anything[:0], task), unseen, unseen))
    assert errors[0] < 0.03, "of a variance of 1: whatever comes in goes out"
    assert min(errors[1:]) > 5 * errors[0]


def test_a_sparse_code_meets_its_target() -> None:
    model = DenseSpec(widths=(24,), hidden="sigmoid", output="linear")
    target = 0.1
    codes = [
        reconstructing.codes(model, SHAPE, fitted(model, objective).parameters, waves(256)).mean(axis=0)
        for objective in (
            ObjectivePart(loss="mse", sparsity_target=target, sparsity_weight=1.0),
            ObjectivePart(loss="mse"),
        )
    ]
    assert np.abs(codes[0] - target).max() < 0.03
    assert abs(codes[1].mean() - target) > 0.1, "not by itself"


def test_sparsity_is_the_sum_of_bernoulli_divergences() -> None:
    codes = np.random.default_rng(0).uniform(0.05, 0.95, size=(6, 4)).astype(np.float32)
    weights = np.array([1, 1, 1, 1, 0, 0], dtype=np.float32)
    mean = codes[:4].mean(axis=0, dtype=np.float64)
    expected = sum(scipy.special.rel_entr([0.2, 0.8], [rho, 1 - rho]).sum() for rho in mean)
    assert float(objectives.sparsity(jnp.asarray(codes), jnp.asarray(weights), 0.2)) == pytest.approx(
        expected, rel=1e-4
    )


def test_denoising_improves_what_noise_has_spoilt() -> None:
    model = DenseSpec(widths=(32,), hidden="relu", output="linear")
    clean = waves(400, 3)
    noisy = clean + np.random.default_rng(4).normal(scale=0.5, size=clean.shape).astype(np.float32)
    with_noise = error(model, fitted(model, ObjectivePart(loss="mse", noise_std=0.5, mask_ratio=0.05)), noisy, clean)
    without = error(model, fitted(model, ObjectivePart(loss="mse")), noisy, clean)
    assert with_noise < 0.7 * without
    assert with_noise < 0.5 * float(np.square(noisy - clean).mean()), "better than the noise itself"


@pytest.mark.parametrize("hidden", ["sigmoid", "tanh"])
def test_the_contraction_is_the_jacobians_norm(hidden: str) -> None:
    model = DenseSpec(widths=(5, 3), hidden=hidden, output="linear")  # type: ignore[arg-type]
    network, state = autoencoder.load(model, SHAPE, autoencoder.initial_parameters(model, SHAPE, 0))
    windows = jnp.asarray(waves(4))
    found = objectives.contraction(network, state, windows)
    for row in range(4):
        jacobian = jax.jacobian(lambda window: network.encode(state, window[None])[0])(windows[row])
        assert float(found[row]) == pytest.approx(float(jnp.sum(jnp.square(jacobian))), rel=1e-5)


def test_contraction_makes_codes_less_sensitive() -> None:
    model = DenseSpec(widths=(16, 4), hidden="tanh", output="linear")
    slopes = []
    for objective in (ObjectivePart(loss="mse"), ObjectivePart(loss="mse", contractive=0.01)):
        network, state = autoencoder.load(model, SHAPE, fitted(model, objective).parameters)
        slopes.append(float(objectives.contraction(network, state, jnp.asarray(waves(64))).mean()))
    assert slopes[1] < 0.5 * slopes[0]


@pytest.mark.parametrize(
    ("loss", "second"),
    [
        ("mae", sklearn.metrics.mean_absolute_error),
        ("mse", sklearn.metrics.mean_squared_error),
        ("bce", lambda truth, made: -np.mean(truth * np.log(made) + (1 - truth) * np.log(1 - made))),
        ("huber", lambda truth, made: np.mean(scipy.special.huber(0.25, truth - made))),
    ],
)
def test_losses(loss: str, second: object) -> None:
    rng = np.random.default_rng(0)
    truth, made = rng.uniform(0.01, 0.99, size=(2, 3, LENGTH, 1)).astype(np.float32)
    found = objectives.row_losses(loss, 0.25, jnp.asarray(truth), jnp.asarray(made))  # type: ignore[arg-type]
    for row in range(3):
        expected = second(truth[row].ravel().astype(np.float64), made[row].ravel().astype(np.float64))  # type: ignore[operator]
        assert float(found[row]) == pytest.approx(expected, rel=1e-5)


def test_a_variational_code_comes_near_its_prior() -> None:
    model = VariationalSpec(widths=(16, 2))
    found = fitted(model, ObjectivePart(loss="mse", beta=1.0))
    codes = reconstructing.codes(model, SHAPE, found.parameters, waves(256))
    assert np.abs(codes.mean(axis=0)).max() < 0.3
    assert (codes.std(axis=0) < 1.3).all()


def test_an_ensembles_members_are_what_they_would_be_alone() -> None:
    member = DenseSpec(widths=(6, 3), hidden="tanh", output="linear")
    options = FitPart(epochs=5, batch_size=64, learning_rate=1e-3)
    several = fitting.fit(
        waves(100),
        waves(0),
        fitting.Task(model=EnsembleSpec(members=2, member=member), shape=SHAPE, options=options, seed=4),
    )
    for number, seed in enumerate(autoencoder.member_seeds(4, 2)):
        alone = fitting.fit(waves(100), waves(0), fitting.Task(model=member, shape=SHAPE, options=options, seed=seed))
        for name, tensor in alone.parameters.items():
            np.testing.assert_allclose(several.parameters[name][number], tensor, rtol=1e-3, atol=1e-5)
