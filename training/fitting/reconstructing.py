"""What a fitted network makes of scaled windows, for whatever is fitted on top of it; never for a score."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from monitor.detector import autoencoder
from monitor.detector.architectures import EnsembleSpec, ModelSpec
from monitor.detector.arrays import Float32Array

ROWS = 1_024


def reconstructions(
    model: ModelSpec, shape: autoencoder.Shape, parameters: autoencoder.Parameters, windows: Float32Array
) -> Float32Array:
    """Reconstructions of scaled windows (n, length, channels); the mean over an ensemble's members."""
    network, state = autoencoder.load(model, shape, parameters)

    def run(rows: jax.Array) -> jax.Array:
        if isinstance(model, EnsembleSpec):
            return jnp.mean(jax.vmap(network.reconstruct, in_axes=(0, None))(state, rows), axis=0)
        return network.reconstruct(state, rows)

    return in_batches(jax.jit(run), windows)


def codes(
    model: ModelSpec, shape: autoencoder.Shape, parameters: autoencoder.Parameters, windows: Float32Array
) -> Float32Array:
    """Codes (n, code) of scaled windows; of an ensemble those of its first member."""
    network, state = _first(model, shape, parameters)
    return in_batches(jax.jit(lambda rows: network.encode(state, rows)), windows)


def decoded(
    model: ModelSpec, shape: autoencoder.Shape, parameters: autoencoder.Parameters, given: Float32Array
) -> Float32Array:
    """Scaled windows (n, length, channels) that codes (n, code) stand for; of an ensemble by its first member."""
    network, state = _first(model, shape, parameters)
    return in_batches(jax.jit(lambda rows: network.decode(state, rows)), given)


def _first(
    model: ModelSpec, shape: autoencoder.Shape, parameters: autoencoder.Parameters
) -> tuple[autoencoder.Autoencoder, autoencoder.State]:
    """A network and its state; of an ensemble its first member's."""
    network, state = autoencoder.load(model, shape, parameters)
    return network, jax.tree.map(lambda leaf: leaf[0], state) if isinstance(model, EnsembleSpec) else state


def in_batches(function: jax.stages.Wrapped, rows: Float32Array) -> Float32Array:
    """`function` over any number of rows, in one compiled shape."""
    size = min(ROWS, max(len(rows), 1))
    found = []
    for start in range(0, max(len(rows), 1), size):
        part = rows[start : start + size]
        padded = np.zeros((size, *rows.shape[1:]), dtype=np.float32)
        padded[: len(part)] = part
        found.append(np.asarray(function(padded))[: len(part)])
    return np.concatenate(found)
