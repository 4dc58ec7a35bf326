"""Fitting an autoencoder: one compiled step, one compiled epoch, the same parameters for the same seed.

Rules of this file: the loss of a step is the mean over its real rows. The last batch of an epoch is as short as the
data makes it (Keras keeps it, and so do we): it is padded to the common shape and the padding weighs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]
from flax import nnx
from numpy.typing import NDArray

from monitor.detector import autoencoder
from monitor.detector.autoencoder import State
from monitor.detector.spec import ModelSpec, ScalingSpec
from monitor.errors import DataError
from training.recipes import FitPart

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one pass came to: mean losses, in scaled units; `validation` is None without validation windows."""

    number: int
    loss: float
    validation: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Parameters by their tensor names, and the loss of every epoch."""

    parameters: dict[str, Float32Array]
    history: tuple[Epoch, ...]


def scale(windows: Float32Array, scaling: ScalingSpec) -> Float32Array:
    """`(x - offset) / scale` per channel in float32, as the scorer does it: (n, length, channels)."""
    offset, spread = np.asarray(scaling.offset, np.float32), np.asarray(scaling.scale, np.float32)
    return (windows - offset) / spread


def fit(
    windows: Float32Array,
    validation: Float32Array,
    model: ModelSpec,
    options: FitPart,
    *,
    seed: int,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Fitted:
    """Fits `model` to normal windows.

    Args:
        windows: (n, length, channels) float32, scaled, without NaN; n >= 1.
        validation: (k, length, channels), scaled; only looked at, never learnt from; k may be 0.
        seed: decides initial parameters and the order of rows: the same seed gives the same bits.
        on_epoch: called after each epoch.

    Raises:
        DataError: there is nothing to fit, or the loss stopped being a number.
    """
    if not len(windows):
        raise DataError("no normal window to fit: check the labels (--normal-class) and the window's length")
    shape = (windows.shape[1], windows.shape[2])
    fresh = autoencoder.build(model, shape, seed)
    reconstruct, state = autoencoder.load(model, shape, autoencoder.parameters_of(nnx.state(fresh)))
    optimizer = _optimizer(options)
    moments = optimizer.init(state)
    epoch = _compile_epoch(reconstruct, optimizer)
    evaluate = jax.jit(lambda state, rows: jnp.mean(row_errors(reconstruct, state, rows)))
    data, unseen = jnp.asarray(windows), jnp.asarray(validation)
    random = np.random.default_rng(seed)
    history = []
    for number in range(1, options.epochs + 1):
        indices, weights = batch_indices(random, len(windows), min(options.batch_size, len(windows)))
        state, moments, loss = epoch(state, moments, data, indices, weights)
        done = Epoch(
            number=number, loss=float(loss), validation=float(evaluate(state, unseen)) if len(validation) else None
        )
        if not np.isfinite(done.loss):
            raise DataError(f"the loss is {done.loss} after epoch {number}: lower fit.learning_rate or set clip_norm")
        history.append(done)
        if on_epoch is not None:
            on_epoch(done)
    return Fitted(parameters=autoencoder.parameters_of(state), history=tuple(history))


def row_errors(reconstruct: autoencoder.Reconstruct, state: State, rows: jax.Array) -> jax.Array:
    """Mean absolute error of each row, (n,): the loss is their mean, the score is the same number."""
    return jnp.mean(jnp.abs(rows - reconstruct(state, rows)), axis=(1, 2))


def batch_indices(random: np.random.Generator, rows: int, batch: int) -> tuple[NDArray[np.int32], Float32Array]:
    """Rows in a random order, cut in batches; drawn by NumPy, which needs no compiling and never changes its draws.

    Returns:
        numbers of rows (steps, batch) and their weights, 1.0, or 0.0 for padding; every row has weight 1.0 once.
    """
    steps = -(-rows // batch)
    order = np.zeros(steps * batch, dtype=np.int32)
    order[:rows] = random.permutation(rows)
    weights = (np.arange(steps * batch) < rows).astype(np.float32)
    return order.reshape(steps, batch), weights.reshape(steps, batch)


def _optimizer(options: FitPart) -> optax.GradientTransformation:
    adam = optax.adam(options.learning_rate, eps=options.epsilon)
    return optax.chain(optax.clip_by_global_norm(options.clip_norm), adam) if options.clip_norm else adam


_Carry = tuple[State, optax.OptState]
_CompiledEpoch = Callable[
    [State, optax.OptState, jax.Array, NDArray[np.int32], Float32Array], tuple[State, optax.OptState, jax.Array]
]


def _compile_epoch(reconstruct: autoencoder.Reconstruct, optimizer: optax.GradientTransformation) -> _CompiledEpoch:
    def loss(state: State, windows: jax.Array, weights: jax.Array) -> jax.Array:
        return jnp.sum(row_errors(reconstruct, state, windows) * weights) / jnp.sum(weights)

    def train_step(carry: _Carry, data: jax.Array, indices: jax.Array, weights: jax.Array) -> tuple[_Carry, jax.Array]:
        state, moments = carry
        value, gradient = jax.value_and_grad(loss)(state, data[indices], weights)
        # Optax raises a float to an integer count, which is an error where our tests make promotion strict.
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = optimizer.update(gradient, moments, state)
        return (optax.apply_updates(state, updates), moments), value * jnp.sum(weights)

    @jax.jit
    def epoch(
        state: State, moments: optax.OptState, data: jax.Array, indices: jax.Array, weights: jax.Array
    ) -> tuple[State, optax.OptState, jax.Array]:
        (state, moments), sums = jax.lax.scan(
            lambda carry, step: train_step(carry, data, step[0], step[1]), (state, moments), (indices, weights)
        )
        return state, moments, jnp.sum(sums) / jnp.sum(weights)

    compiled: _CompiledEpoch = epoch
    return compiled
