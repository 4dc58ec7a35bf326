"""The networks: shapes for windows of any length, gradients that exist, and forward passes against plain NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.signal
import scipy.stats

from monitor.detector import architectures, autoencoder
from monitor.detector.architectures import (
    ConvolutionalSpec,
    DenseSpec,
    EnsembleSpec,
    ModelSpec,
    RecurrentSpec,
    Single,
    VariationalSpec,
)
from monitor.detector.networks.variational import divergence

SINGLES: dict[str, Single] = {
    "dense": DenseSpec(widths=(6, 3), code="sigmoid"),
    "convolutional": ConvolutionalSpec(filters=(4, 3), kernel=3),
    "convolutional, latent": ConvolutionalSpec(filters=(4, 3), kernel=5, stride=3, latent=2),
    "convolutional, nearest": ConvolutionalSpec(filters=(4,), kernel=3, upsampling="nearest"),
    "lstm": RecurrentSpec(cell="lstm", units=5),
    "gru": RecurrentSpec(cell="gru", units=5),
    "variational": VariationalSpec(widths=(6, 2)),
}


def made(spec: ModelSpec, shape: autoencoder.Shape) -> tuple[autoencoder.Autoencoder, autoencoder.State]:
    return autoencoder.load(spec, shape, autoencoder.initial_parameters(spec, shape, seed=1))


@pytest.mark.parametrize("name", SINGLES)
@pytest.mark.parametrize("window", [(1, 1), (7, 2), (16, 1)])
def test_every_network_takes_windows_of_any_length(name: str, window: tuple[int, int]) -> None:
    shape = autoencoder.Shape(window)
    network, state = made(SINGLES[name], shape)
    windows = jnp.asarray(np.random.default_rng(0).normal(size=(3, *window)).astype(np.float32))
    codes = network.encode(state, windows)
    assert codes.shape == (3, autoencoder.code_size(SINGLES[name], shape))
    assert network.decode(state, codes).shape == windows.shape
    np.testing.assert_array_equal(network.reconstruct(state, windows), network.decode(state, codes))


@pytest.mark.parametrize(
    "spec", [ConvolutionalSpec(filters=(4, 2), kernel=3), ConvolutionalSpec(filters=(3,), latent=4)]
)
def test_images_are_convolved_over_both_sides(spec: ConvolutionalSpec) -> None:
    shape = autoencoder.Shape((35, 2), (5, 7))
    parameters = autoencoder.initial_parameters(spec, shape, seed=0)
    assert parameters["down.0.kernel"].shape == (spec.kernel, spec.kernel, 2, spec.filters[0])
    network, state = autoencoder.load(spec, shape, parameters)
    windows = jnp.ones((2, 35, 2), dtype=jnp.float32)
    assert network.reconstruct(state, windows).shape == windows.shape


@pytest.mark.parametrize("name", SINGLES)
def test_every_parameter_matters(name: str) -> None:
    shape = autoencoder.Shape((9, 2))
    network, state = made(SINGLES[name], shape)
    windows = jnp.asarray(np.random.default_rng(0).normal(size=(16, 9, 2)).astype(np.float32))

    def total(state: autoencoder.State) -> jax.Array:
        result = jnp.sum(jnp.square(network.reconstruct(state, windows)))
        if isinstance(SINGLES[name], VariationalSpec):
            result += jnp.sum(network.posterior(state, windows)[1])
        return result

    for path, slope in autoencoder.parameters_of(jax.grad(total)(state)).items():
        assert np.isfinite(slope).all()
        assert slope.any(), path


def test_a_convolution_is_scipys() -> None:
    spec, shape = ConvolutionalSpec(filters=(1,), kernel=3, stride=1, hidden="linear"), autoencoder.Shape((12, 1))
    parameters = autoencoder.initial_parameters(spec, shape, seed=3)
    network, state = autoencoder.load(spec, shape, parameters)
    window = np.random.default_rng(0).normal(size=(1, 12, 1)).astype(np.float32)
    kernel = parameters["down.0.kernel"][:, 0, 0].astype(np.float64)
    # a network's convolution is a correlation
    expected = scipy.signal.correlate(window[0, :, 0].astype(np.float64), kernel, mode="same")
    np.testing.assert_allclose(
        np.asarray(network.encode(state, jnp.asarray(window)))[0], expected, rtol=1e-5, atol=1e-6
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = 1 / (1 + np.exp(-x))
    return found


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_recurrent_code_is_the_last_state_written_out(cell: str) -> None:
    """Hochreiter & Schmidhuber's and Cho's equations in float64, step by step."""
    spec, shape, units = RecurrentSpec(cell=cell, units=4), autoencoder.Shape((6, 2)), 4  # type: ignore[arg-type]
    parameters = autoencoder.initial_parameters(spec, shape, seed=2)
    network, state = autoencoder.load(spec, shape, parameters)
    window = np.random.default_rng(0).normal(size=(1, 6, 2)).astype(np.float32)
    w, u = (parameters[f"encoder.{part}.kernel"].astype(np.float64) for part in ("inputs", "recurrent"))
    hidden, memory = np.zeros(units), np.zeros(units)
    for sample in window[0].astype(np.float64):
        x, h = np.split(sample @ w, w.shape[1] // units), np.split(hidden @ u, u.shape[1] // units)
        if cell == "lstm":
            memory = _sigmoid(x[1] + h[1] + 1) * memory + _sigmoid(x[0] + h[0]) * np.tanh(x[2] + h[2])
            hidden = _sigmoid(x[3] + h[3]) * np.tanh(memory)
        else:
            update = _sigmoid(x[1] + h[1])
            hidden = (1 - update) * np.tanh(x[2] + _sigmoid(x[0] + h[0]) * h[2]) + update * hidden
    np.testing.assert_allclose(np.asarray(network.encode(state, jnp.asarray(window)))[0], hidden, rtol=1e-5, atol=1e-6)


def test_recurrent_kernels_are_orthogonal() -> None:
    parameters = autoencoder.initial_parameters(RecurrentSpec(units=6), autoencoder.Shape((4, 1)), seed=0)
    for gate in np.split(parameters["encoder.recurrent.kernel"].astype(np.float64), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(6), atol=1e-6)


@pytest.mark.parametrize(("mean", "log_variance"), [(0.0, 0.0), (1.5, -1.0), (-0.3, 0.8)])
def test_the_divergence_is_the_integral_that_it_stands_for(mean: float, log_variance: float) -> None:
    posterior, prior = scipy.stats.norm(mean, np.exp(log_variance / 2)), scipy.stats.norm(0, 1)
    expected, _ = scipy.integrate.quad(
        lambda z: posterior.pdf(z) * (posterior.logpdf(z) - prior.logpdf(z)), mean - 12, mean + 12
    )
    found = divergence(jnp.full((1, 1), mean, jnp.float32), jnp.full((1, 1), log_variance, jnp.float32))
    assert float(found[0]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_an_ensembles_members_have_their_own_parameters() -> None:
    spec, shape = EnsembleSpec(members=3, member=DenseSpec(widths=(4,))), autoencoder.Shape((5, 1))
    parameters = autoencoder.initial_parameters(spec, shape, seed=7)
    for member, seed in enumerate(autoencoder.member_seeds(7, 3)):
        alone = autoencoder.initial_parameters(spec.member, shape, seed)
        for name, tensor in alone.items():
            np.testing.assert_array_equal(parameters[name][member], tensor)


def test_ensembles_of_neighbouring_seeds_share_no_member() -> None:
    spec, shape = EnsembleSpec(members=5, member=DenseSpec(widths=(4,))), autoencoder.Shape((5, 1))
    kernels = [autoencoder.initial_parameters(spec, shape, seed)["layers.0.kernel"] for seed in range(8)]
    assert len({kernel.tobytes() for members in kernels for kernel in members}) == 8 * 5
    assert autoencoder.member_seeds(3, 5) == autoencoder.member_seeds(3, 5)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (DenseSpec(widths=()), "model.widths has 0 layers"),
        (DenseSpec(widths=(0, 70_000)), "model.widths is 0"),
        (DenseSpec(widths=(60_000, 60_000)), "would hold over"),
        (ConvolutionalSpec(filters=(4,), kernel=0), "model.kernel is 0"),
        (ConvolutionalSpec(filters=(4,), stride=100), "model.stride is 100"),
        (RecurrentSpec(units=-1), "model.units is -1"),
        (EnsembleSpec(members=0, member=DenseSpec(widths=(1,))), "members is 0"),
        (EnsembleSpec(members=64, member=DenseSpec(widths=(3_000, 3_000))), "would hold over"),
        (ConvolutionalSpec(filters=(60_000,), kernel=1, latent=60_000), "would hold over"),
    ],
)
def test_what_can_not_be_built_is_named(model: ModelSpec, told: str) -> None:
    assert told in "; ".join(architectures.problems(model, (10, 1), None))


@pytest.mark.parametrize("name", SINGLES)
@pytest.mark.parametrize(("window", "image"), [((7, 2), None), ((35, 2), (5, 7))])
def test_the_size_that_is_checked_is_that_of_the_tensors(
    name: str, window: tuple[int, int], image: tuple[int, int] | None
) -> None:
    tensors = autoencoder.initial_parameters(SINGLES[name], autoencoder.Shape(window, image), seed=0)
    kernels = sum(tensor.size for tensor in tensors.values() if tensor.ndim > 1)
    assert architectures._weights(SINGLES[name], window, image) == kernels
