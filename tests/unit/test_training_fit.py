"""Fitting: the same bits for the same seed, and a last batch as short as the data makes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monitor.detector import autoencoder
from monitor.detector.architectures import ConvolutionalSpec, DenseSpec
from monitor.detector.scoring import Detector, Scorer
from monitor.detector.spec import ScalingSpec, WindowSpec
from monitor.errors import DataError
from training.fitting import exact
from training.fitting import fit as fitting
from training.fitting.checkpoints import Epoch
from training.recipes.schema import FitPart, ObjectivePart

MODEL = DenseSpec(widths=(6, 3), hidden="relu", output="linear")
WINDOWS = np.random.default_rng(0).normal(size=(37, 5, 2)).astype(np.float32)
OPTIONS = FitPart(epochs=3, batch_size=16, learning_rate=1e-2)
SHAPE = autoencoder.Shape((5, 2))


def task(options: FitPart, seed: int) -> fitting.Task:
    return fitting.Task(model=MODEL, shape=SHAPE, options=options, seed=seed)


def test_the_same_seed_gives_the_same_bits() -> None:
    first = fitting.fit(WINDOWS, WINDOWS[:4], task(OPTIONS, 1))
    again = fitting.fit(WINDOWS, WINDOWS[:4], task(OPTIONS, 1))
    other = fitting.fit(WINDOWS, WINDOWS[:4], task(OPTIONS, 2))
    assert first.history == again.history != other.history
    for name, tensor in first.parameters.items():
        np.testing.assert_array_equal(tensor, again.parameters[name])
    assert any((first.parameters[name] != other.parameters[name]).any() for name in first.parameters)


def test_the_loss_falls_and_is_told_epoch_by_epoch() -> None:
    told: list[Epoch] = []
    options = FitPart(epochs=40, batch_size=16, learning_rate=1e-2, clip_norm=1.0)
    fitted = fitting.fit(WINDOWS, WINDOWS[:0], task(options, 0), on_epoch=told.append)
    assert tuple(told) == fitted.history
    assert [epoch.number for epoch in told] == list(range(1, 41))
    assert told[-1].loss < told[0].loss
    assert told[0].validation is None


@pytest.mark.parametrize(("rows", "batch"), [(37, 16), (32, 16), (1, 1), (5, 5), (17, 16)])
def test_every_row_is_in_an_epoch_once(rows: int, batch: int) -> None:
    indices, weights = fitting.batch_indices(np.random.default_rng(0), rows, batch)
    assert indices.shape == weights.shape == (-(-rows // batch), batch)
    assert sorted(indices[weights == 1].tolist()) == list(range(rows))
    assert weights.sum() == rows


def _start(seed: int) -> tuple[autoencoder.Autoencoder, autoencoder.State]:
    return autoencoder.load(MODEL, SHAPE, autoencoder.initial_parameters(MODEL, SHAPE, seed))


def test_a_step_is_the_mean_over_its_real_rows() -> None:
    """One epoch equals plain Adam steps on unpadded batches, the last one short (written out, without Optax)."""
    # Batches are odd: as many errors up as down would cancel to a gradient that is rounding, and Adam divides by it.
    options = FitPart(epochs=1, batch_size=15, learning_rate=1e-2)
    fitted = fitting.fit(WINDOWS, WINDOWS[:0], task(options, 5))
    network, state = _start(5)
    order, weights = fitting.batch_indices(np.random.default_rng(5), 37, 15)
    flat, shape = jax.tree.flatten(state)
    moments = [(jnp.zeros_like(leaf), jnp.zeros_like(leaf)) for leaf in flat]
    losses = []
    slopes = jax.jit(jax.value_and_grad(lambda s, r: jnp.mean(fitting.row_errors(network, ObjectivePart(), s, r))))
    for step in range(3):
        rows = jnp.asarray(WINDOWS[order[step][weights[step] == 1]])
        assert len(rows) == (15, 15, 7)[step]
        loss, gradient = slopes(jax.tree.unflatten(shape, flat), rows)
        losses.append(float(loss) * len(rows))
        for at, slope in enumerate(jax.tree.leaves(gradient)):
            first, second = 0.9 * moments[at][0] + 0.1 * slope, 0.999 * moments[at][1] + 0.001 * slope**2
            moments[at] = (first, second)
            towards = first / (1 - 0.9 ** (step + 1)) / (jnp.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
            flat[at] = flat[at] - 1e-2 * towards
    assert fitted.history[0].loss == pytest.approx(sum(losses) / 37, rel=1e-5)
    expected = autoencoder.parameters_of(jax.tree.unflatten(shape, flat))
    for name, tensor in fitted.parameters.items():
        np.testing.assert_allclose(tensor, expected[name], rtol=1e-3, atol=1e-5)


def test_a_short_fit_is_compiled_otherwise_to_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    jit = jax.jit

    def told(function: Any, **options: Any) -> Any:
        asked.append(options.get("compiler_options"))
        return jit(function, **options)

    monkeypatch.setattr(jax, "jit", told)
    options = FitPart(epochs=3, batch_size=15, learning_rate=1e-2)
    quick = fitting.fit(WINDOWS, WINDOWS[:5], task(options, 5))
    assert (fitting._QUICKLY in asked) == (jax.__version_info__[:2] == (0, 10) and jax.default_backend() == "cpu")
    asked.clear()
    monkeypatch.setattr(fitting, "_SHORT", 0)
    thorough = fitting.fit(WINDOWS, WINDOWS[:5], task(options, 5))
    assert fitting._QUICKLY not in asked
    for one, other in zip(quick.history, thorough.history, strict=True):
        assert (one.loss, one.validation) == pytest.approx((other.loss, other.validation), rel=1e-5)
    for name, tensor in quick.parameters.items():
        np.testing.assert_allclose(tensor, thorough.parameters[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("short", "changes", "rows"),
    [
        (True, {}, 2_500),
        (False, {}, 6_000),
        (False, {"options": FitPart(epochs=600, batch_size=512, learning_rate=1e-3)}, 2_500),
        (
            False,
            {"options": FitPart(epochs=300, batch_size=1, learning_rate=1e-3)},
            20,
        ),  # steps cost, however few parameters and rows
        (False, {"objective": ObjectivePart(noise_std=0.1)}, 2_500),
        (False, {"model": ConvolutionalSpec(filters=(4,), kernel=3, stride=2)}, 100),
    ],
)
def test_what_is_short(monkeypatch: pytest.MonkeyPatch, short: bool, changes: dict[str, Any], rows: int) -> None:
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    shape = autoencoder.Shape((140, 1))
    tutorial = fitting.Task(
        model=DenseSpec(widths=(32, 16, 8)), shape=shape, options=FitPart(epochs=20, batch_size=512, learning_rate=1e-3)
    )
    chosen = replace(tutorial, **changes)
    parameters = autoencoder.initial_parameters(chosen.model, shape, 0)
    _, state = autoencoder.load(chosen.model, shape, parameters)
    assert fitting.is_short(chosen, state, rows, 0) == short
    assert not fitting.is_short(chosen, state, rows, 10_000)


def test_validation_is_of_the_parameters_that_the_epoch_ended_with() -> None:
    unseen = WINDOWS[:7] + 0.5
    fitted = fitting.fit(WINDOWS, unseen, task(FitPart(epochs=2, batch_size=15, learning_rate=1e-2), 5))
    network, state = autoencoder.load(MODEL, SHAPE, fitted.parameters)
    errors = fitting.row_errors(network, ObjectivePart(), state, jnp.asarray(unseen))
    assert fitted.history[-1].validation == pytest.approx(float(errors.mean()), rel=1e-5)
    assert fitted.history[0].validation != pytest.approx(float(errors.mean()), rel=1e-3)


def test_the_loss_is_the_daemons_score() -> None:
    scaling = ScalingSpec(kind="standard", offset=(0.5, -1.0), scale=(2.0, 3.0))
    detector = Detector(
        window=WindowSpec(kind="record", length=5, hop=5),
        channels=("a", "b"),
        scaling=scaling,
        model=MODEL,
        parameters=autoencoder.initial_parameters(MODEL, SHAPE, 0),
    )
    scorer = Scorer(detector, 64)
    network, state = _start(0)
    errors = fitting.row_errors(network, ObjectivePart(), state, jnp.asarray(fitting.scale(WINDOWS, scaling)))
    np.testing.assert_allclose(scorer(WINDOWS), np.asarray(errors), rtol=1e-5)


def test_nothing_to_fit_and_a_loss_that_is_no_number() -> None:
    with pytest.raises(DataError, match="no normal window"):
        fitting.fit(WINDOWS[:0], WINDOWS[:0], task(OPTIONS, 0))
    wild = FitPart(epochs=50, batch_size=16, learning_rate=1e30)
    with pytest.raises(DataError, match="learning_rate"):
        fitting.fit(WINDOWS, WINDOWS[:0], task(wild, 0))


@pytest.mark.parametrize(
    ("epochs", "least", "batch", "rows", "expected"),
    [(10, 0, 16, 37, 10), (10, 100, 16, 37, 34), (0, 3, 16, 37, 1), (50, 100, 16, 37, 50), (0, 7, 64, 5, 7)],
)
def test_little_data_gets_no_fewer_steps(epochs: int, least: int, batch: int, rows: int, expected: int) -> None:
    options = FitPart(epochs=epochs, min_steps=least, batch_size=batch)
    assert fitting.long_enough(options, rows).epochs == expected


def test_a_fit_says_how_long_it_will_take_and_keeps_to_it() -> None:
    told: list[int] = []
    options = FitPart(min_steps=5, batch_size=16)
    fitted = fitting.fit(WINDOWS, WINDOWS[:0], task(options, 0), on_start=told.append)
    assert told == [len(fitted.history)] == [2]


@pytest.mark.parametrize(("rows", "size", "width"), [(400, 12, 3), (30, 2_500, 4), (5, 12, 8), (3, 2_500, 6)])
def test_the_exact_fit_is_the_best_linear_one(rows: int, size: int, width: int) -> None:
    """Both ways to it, and more components than the data has dimensions, against NumPy's singular values."""
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(rows, size)) * np.linspace(0.1, 2, size) + 3).astype(np.float32)
    parameters = exact.fit(table, width)
    code = table @ parameters["layers.0.kernel"] + parameters["layers.0.bias"]
    rest = table - (code @ parameters["layers.1.kernel"] + parameters["layers.1.bias"])
    values = np.linalg.svd(table.astype(np.float64) - table.mean(axis=0, dtype=np.float64), compute_uv=False)
    assert np.square(rest, dtype=np.float64).sum() == pytest.approx(np.square(values[width:]).sum(), rel=1e-4, abs=1e-4)
    assert parameters["layers.0.kernel"].shape == (size, width)
    assert all(np.array_equal(tensor, again) for tensor, again in zip(
        parameters.values(), exact.fit(table, width).values(), strict=True
    ))  # fmt: skip


def test_no_descent_comes_below_the_exact_fit() -> None:
    """Served by the same network, with the same loss."""
    model = DenseSpec(widths=(2,), hidden="linear", output="linear")
    shape = autoencoder.Shape(WINDOWS.shape[1:])
    losses = {}
    for options in (FitPart(method="exact"), FitPart(epochs=300, batch_size=16, learning_rate=1e-2)):
        wanted = fitting.Task(model=model, shape=shape, options=options, objective=ObjectivePart(loss="mse"))
        fitted = fitting.fit(WINDOWS, WINDOWS[:4], wanted)
        losses[options.method] = fitted.history[fitted.best_epoch - 1].loss
        assert fitted.history[-1].validation is not None
        assert not fitted.trimmed.any()
    assert losses["exact"] <= losses["adam"] + 1e-6
    assert losses["exact"] == pytest.approx(losses["adam"], rel=0.05)
